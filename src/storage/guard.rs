//! Panics of the database below: on files that are damaged in a way that it does not look for, it runs into its own
//! assertions. Bytes of a disk must not take a thread down, so they become what they are: corrupted data.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe, catch_unwind},
};

use super::StorageError;

thread_local! {
    /// Whether a panic of this thread becomes an error.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Lets panics that become errors say nothing on stderr, for a program that tells of the errors. Changes the panic hook
/// of the process; other panics go to the one that was there.
pub fn hide_caught_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !CATCHING.get() {
            before(info);
        }
    }));
}

/// Runs `work`, which reads or writes a database.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
    let was_catching = CATCHING.replace(true);
    // What it leaves behind is not used again: the caller lets go of the file, or of the engine.
    let done = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(was_catching);
    done.unwrap_or_else(|panic| {
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
