//! What a crash leaves: the files of a server as they are while it has them open.

use std::{fs, path::Path};

use tempfile::TempDir;

/// A directory of a test's own.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Copies the files of a server that is running and idle. Who opens the copy finds what `kill -9` would have left. Work in the
/// background may go on, and a copy made across it is of no moment: it is made until two are the same.
pub(crate) fn image(data: &Path) -> TempDir {
    let contents = |of: &TempDir| {
        let files = fs::read_dir(of.path()).expect("a directory").map(|entry| entry.expect("an entry").path());
        let mut files: Vec<_> =
            files.map(|path| (path.file_name().map(ToOwned::to_owned), fs::read(path).ok())).collect();
        files.sort();
        files
    };
    let mut before = copied(data);
    loop {
        let after = copied(data);
        if contents(&before) == contents(&after) {
            return after;
        }
        before = after;
    }
}

fn copied(data: &Path) -> TempDir {
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
