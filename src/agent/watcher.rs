//! What happens in directories: inotify, one watch for each directory and one for each open file that has lost its name.

use std::{
    collections::HashMap,
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};
use tokio::io::unix::AsyncFd;

use super::identity::Content;

/// Room for events that are read at once.
const BUFFER_BYTES: usize = 16 * 1024;

/// Something that may have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Bytes of the file with this name changed.
    Written(PathBuf),
    /// The name came, went, or is of another file now.
    Renamed(PathBuf),
    /// A directory came or went.
    Directory,
    /// Bytes of a file without a name changed.
    Held(Content),
    /// Events were lost: anything may have happened.
    Overflow,
}

enum Watched {
    Directory(PathBuf),
    Held(Content),
}

/// One inotify instance. When it is dropped, so are its watches.
pub(super) struct Watcher {
    inotify: AsyncFd<OwnedFd>,
    watched: HashMap<i32, Watched>,
    directories: HashMap<PathBuf, i32>,
    buffer: Box<[MaybeUninit<u8>]>,
}

impl Watcher {
    /// # Errors
    /// When the system has no inotify, or no instance left.
    pub(super) fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd keeps its descriptor as long as it lives")]
        let inotify = AsyncFd::new(inotify)?;
        Ok(Self {
            inotify,
            watched: HashMap::new(),
            directories: HashMap::new(),
            buffer: vec![MaybeUninit::uninit(); BUFFER_BYTES].into(),
        })
    }

    /// Watches a directory, once. Says whether that is new, and what is in it has to be looked at.
    ///
    /// # Errors
    /// When it cannot be watched: it is gone, or the system has no watch left.
    pub(super) fn watch_directory(&mut self, path: &Path) -> io::Result<bool> {
        let wanted = WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let watch = inotify::add_watch(self.inotify.get_ref(), path, wanted)?;
        // Another directory may have the name by now, and then the watch is another one.
        if self.directories.insert(path.to_owned(), watch) == Some(watch) {
            return Ok(false);
        }
        self.watched.insert(watch, Watched::Directory(path.to_owned()));
        Ok(true)
    }

    /// Watches an open file by its descriptor, whatever becomes of its names.
    ///
    /// # Errors
    /// When the system has no watch left.
    pub(super) fn watch_held(&mut self, file: &impl AsRawFd, content: Content) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let watch = inotify::add_watch(self.inotify.get_ref(), path.as_str(), WatchFlags::MODIFY)?;
        self.watched.insert(watch, Watched::Held(content));
        Ok(())
    }

    /// Ends the watch of an open file.
    pub(super) fn unwatch_held(&mut self, content: Content) {
        let found = self.watched.iter().find(|(_, watched)| matches!(watched, Watched::Held(held) if *held == content));
        if let Some((&watch, _)) = found {
            self.forget(watch);
        }
    }

    /// How many directories are watched.
    pub(super) fn directories(&self) -> usize {
        self.directories.len()
    }

    fn forget(&mut self, watch: i32) {
        if let Some(Watched::Directory(path)) = self.watched.remove(&watch)
            && self.directories.get(&path) == Some(&watch)
        {
            self.directories.remove(&path);
        }
        // It may be gone with the directory.
        inotify::remove_watch(self.inotify.get_ref(), watch).ok();
    }

    /// Waits until something has happened.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn readable(&self) {
        // An error means that the runtime is shutting down.
        self.inotify.readable().await.map(|mut ready| ready.retain_ready()).ok();
    }

    /// Takes everything that has happened so far, each thing once.
    pub(super) fn drain(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut gone = Vec::new();
        let watched = &self.watched;
        // Taken before anything is read: what comes after the last read makes it ready anew.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let ready = self.inotify.poll_read_ready(&mut context);
        let mut reader = Reader::new(self.inotify.get_ref(), &mut self.buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let flags = event.events();
                    let name = event.file_name().map(|name| std::ffi::OsStr::from_bytes(name.to_bytes()));
                    let change = match watched.get(&event.wd()) {
                        _ if flags.contains(ReadFlags::QUEUE_OVERFLOW) => Change::Overflow,
                        Some(Watched::Held(content)) => Change::Held(*content),
                        Some(Watched::Directory(path)) => in_directory(path, name, flags),
                        None => continue,
                    };
                    if flags.intersects(ReadFlags::IGNORED | ReadFlags::MOVE_SELF) {
                        gone.push(event.wd());
                    }
                    if changes.last() != Some(&change) {
                        changes.push(change);
                    }
                }
                Err(Errno::INTR) => {}
                // `AGAIN`: that was all. Anything else would come again and again.
                Err(_) => break,
            }
        }
        if let std::task::Poll::Ready(Ok(mut ready)) = ready {
            ready.clear_ready();
        }
        gone.into_iter().for_each(|watch| self.forget(watch));
        changes
    }
}

fn in_directory(path: &Path, name: Option<&std::ffi::OsStr>, flags: ReadFlags) -> Change {
    match name {
        None => Change::Directory,
        Some(_) if flags.contains(ReadFlags::ISDIR) => Change::Directory,
        Some(name) if flags.contains(ReadFlags::MODIFY) => Change::Written(path.join(name)),
        Some(name) => Change::Renamed(path.join(name)),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    /// Waits for a change, among whatever else comes.
    async fn wait_for(watcher: &mut Watcher, wanted: &Change) {
        let mut seen = Vec::new();
        let found = async {
            while !seen.contains(wanted) {
                watcher.readable().await;
                seen.extend(watcher.drain());
            }
        };
        let result = tokio::time::timeout(std::time::Duration::from_secs(60), found).await;
        assert!(result.is_ok(), "{wanted:?} is not among {seen:?}");
    }

    #[tokio::test]
    async fn names_contents_and_directories_are_told_apart() {
        let root = tempfile::tempdir().expect("a directory");
        let (a, b) = (root.path().join("a"), root.path().join("b"));
        let mut watcher = Watcher::new().expect("inotify");
        assert!(watcher.watch_directory(root.path()).expect("watched"));
        assert!(!watcher.watch_directory(root.path()).expect("watched already"));
        let mut file = fs::File::create(&a).expect("made");
        wait_for(&mut watcher, &Change::Renamed(a.clone())).await;
        file.write_all(b"x").expect("written");
        wait_for(&mut watcher, &Change::Written(a.clone())).await;
        fs::rename(&a, &b).expect("renamed");
        wait_for(&mut watcher, &Change::Renamed(b.clone())).await;
        fs::create_dir(root.path().join("d")).expect("made");
        wait_for(&mut watcher, &Change::Directory).await;
    }

    #[tokio::test]
    async fn a_file_that_was_deleted_is_still_heard() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("a");
        let mut file = fs::File::create(&path).expect("made");
        let content: Content = "1-2-3.0".parse().expect("a content");
        let mut watcher = Watcher::new().expect("inotify");
        watcher.watch_held(&file, content).expect("watched");
        fs::remove_file(&path).expect("removed");
        file.write_all(b"x").expect("written");
        wait_for(&mut watcher, &Change::Held(content)).await;
        watcher.unwatch_held(content);
        assert_eq!(watcher.watched.len(), 0);
    }
}
