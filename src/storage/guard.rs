//! Panics of the database below: on files that are damaged in a way that it does not look for, it runs into its own
//! assertions. Bytes of a disk must not take a thread down, so they become what they are: corrupted data.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::StorageError;

/// Runs `work`, which reads or writes a database.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
    // What it leaves behind is not used again: the caller lets go of the file, or of the engine.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(StorageError::Corrupted(format!("the database does not make sense: {text}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_corrupted_data_and_says_what_it_was() {
        let error = guarded::<()>(|| panic!("index {} out of bounds", 33)).expect_err("it panicked");
        assert!(matches!(&error, StorageError::Corrupted(what) if what.contains("index 33")), "{error}");
        assert_eq!(guarded(|| Ok(7)).expect("it did not"), 7);
    }
}
