//! The store, on a disk that loses power.

use crate::trial::cut_as_told;

/// Every promise of the store holds after a short run, a power cut, and another one while it recovers: what is done, when
/// the power goes and what is left of each write are all choices of the fuzzer.
pub fn store(data: &[u8]) {
    if let Err(failure) = cut_as_told(data) {
        panic!("{failure}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::Rng;

    #[test]
    fn any_choices_keep_the_promises() {
        let mut rng = Rng::new(11);
        for _ in 0..200 {
            let length = rng.index(300);
            let data: Vec<u8> = (0..length).map(|_| rng.number().to_le_bytes()[0]).collect();
            store(&data);
        }
    }
}
