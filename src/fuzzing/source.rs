//! Values out of bytes: any bytes give some, and the bytes of a body give what the body means, so that the seeds of bodies
//! are seeds of values, too.

/// Reads as protocol.md section 1.2 lays out, and forgives everything. When it is spent it gives zeros.
pub(super) struct Source<'a> {
    rest: &'a [u8],
    /// What all batches together may still take.
    batch_bytes: usize,
}

/// Something that can be made from a source.
pub(super) trait Generate: Sized {
    fn generate(source: &mut Source<'_>) -> Self;
}

/// The ends of the ranges of section 1.2.
const EDGES: [u64; 8] = [250, 251, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, 1 << 63, u64::MAX];

impl<'a> Source<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, batch_bytes: bytes.len() }
    }

    pub(super) fn make<T: Generate>(&mut self) -> T {
        T::generate(self)
    }

    pub(super) fn is_spent(&self) -> bool {
        self.rest.is_empty()
    }

    /// So many bytes, or what is left.
    pub(super) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let taken = self.take(N);
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    pub(super) fn byte(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    /// The number of section 1.2; its reserved first bytes give the ends of ranges.
    pub(super) fn number(&mut self) -> u64 {
        match self.byte() {
            0xfb => u16::from_le_bytes(self.array()).into(),
            0xfc => u32::from_le_bytes(self.array()).into(),
            0xfd => u64::from_le_bytes(self.array()),
            0xfe | 0xff => EDGES[usize::from(self.byte()) % EDGES.len()],
            small => small.into(),
        }
    }

    /// A varint of section 5.2.
    pub(super) fn varint(&mut self) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte();
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }

    /// Bytes behind their number.
    pub(super) fn counted(&mut self) -> &'a [u8] {
        let count = self.number();
        self.take(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// The length of a batch. All of them together are no longer than the source was.
    pub(super) fn batch_bytes(&mut self) -> u32 {
        let length = usize::try_from(self.number()).unwrap_or(usize::MAX).min(self.batch_bytes);
        self.batch_bytes -= length;
        u32::try_from(length).expect("a source is short")
    }

    /// Elements behind their number: not more than the source lasts for.
    pub(super) fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let (count, mut list) = (self.number(), Vec::new());
        while (list.len() as u64) < count && !self.is_spent() {
            list.push(element(self));
        }
        list
    }
}
