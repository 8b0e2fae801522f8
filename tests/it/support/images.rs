//! What a crash leaves: the files of a server as they are while it has them open.

use std::{fs, path::Path};

use tempfile::TempDir;

/// A directory of a test's own.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Copies the files of a server that is running and idle. Who opens the copy finds what `kill -9` would have left.
pub(crate) fn image(data: &Path) -> TempDir {
    let copy = directory();
    for entry in fs::read_dir(data).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a file").to_owned();
        // A file that is removed meanwhile was not needed any more.
        if name != "LOCK" && fs::copy(&path, copy.path().join(&name)).is_err() {
            assert!(!path.exists(), "{} cannot be copied", path.display());
        }
    }
    copy
}
