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
    use crate::fuzzing::choices::try_out;

    #[test]
    fn any_choices_keep_the_promises() {
        try_out(store, 200, 300);
    }
}
