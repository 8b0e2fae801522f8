//! Numbers that look random and are the same for the same seed, on every machine and in every version.

/// SplitMix64; before it, what somebody chose.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
    /// From the last to the first.
    chosen: Vec<u8>,
}

impl Rng {
    /// A sequence of its own for each seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed, chosen: Vec::new() }
    }

    /// A sequence that a fuzzer chooses: each decision takes as few bytes as it needs, so that a change of a byte is a
    /// change of one decision. Behind them it goes on by itself.
    #[must_use]
    pub fn chosen(bytes: &[u8]) -> Self {
        Self { state: bytes.len() as u64, chosen: bytes.iter().rev().copied().collect() }
    }

    /// Whether all that somebody chose is used up.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.chosen.is_empty()
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.choice(8).unwrap_or_else(|| self.next())
    }

    /// What the next bytes say, up to so many, if there are any.
    fn choice(&mut self, bytes: usize) -> Option<u64> {
        let first = u64::from(self.chosen.pop()?);
        Some((1..bytes).fold(first, |number, _| number << 8 | u64::from(self.chosen.pop().unwrap_or(0))))
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let bytes = match bound {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 8,
        };
        self.choice(bytes).unwrap_or_else(|| self.next()) % bound
    }

    /// An index into something of this length.
    ///
    /// # Panics
    /// When `len` is 0.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// True in `one_in` of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
