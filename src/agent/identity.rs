//! What a file is known by, and the name of its producer.
//!
//! A path is not an identity: files are renamed. Neither is an inode: it is given to the next file as soon as the last one
//! is gone, which ext4 does at once. Device, inode and the time of birth together are one. Where a filesystem keeps no time
//! of birth, a checksum of the first line takes its place, and a file is known once that line has ended.

use std::{fs::Metadata, io, os::unix::fs::MetadataExt, time::UNIX_EPOCH};

use twox_hash::XxHash3_64;

/// Bytes of the first line that tell files apart where there is no time of birth.
pub(crate) const HEAD_BYTES: usize = 256;

/// A file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    device: u64,
    inode: u64,
    /// When it was made, in nanoseconds since 1970; or, with the highest bit set, a checksum of its first line.
    birth: u64,
}

impl FileId {
    /// The identity of an open file, by its metadata; `head` gives its first bytes, if they are needed.
    ///
    /// `Ok(None)`: it cannot be told yet, because the filesystem has no times of birth and the first line has not ended.
    ///
    /// # Errors
    /// When the first bytes cannot be read.
    pub fn of(metadata: &Metadata, head: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<Option<Self>> {
        let (device, inode) = (metadata.dev(), metadata.ino());
        let born = metadata.created().ok().and_then(|created| created.duration_since(UNIX_EPOCH).ok());
        if let Some(born) = born.filter(|born| !born.is_zero()) {
            let birth = u64::try_from(born.as_nanos()).unwrap_or(u64::MAX) >> 1;
            return Ok(Some(Self { device, inode, birth }));
        }
        Ok(checksum_of_first_line(&head()?).map(|birth| Self { device, inode, birth }))
    }
}

/// Of the first line, or of as much of it as counts. `None`: it may still grow.
fn checksum_of_first_line(head: &[u8]) -> Option<u64> {
    let line = match memchr::memchr(b'\n', head) {
        Some(end) => &head[..end.min(HEAD_BYTES)],
        None if head.len() >= HEAD_BYTES => &head[..HEAD_BYTES],
        None => return None,
    };
    Some(XxHash3_64::oneshot(line) | 1 << 63)
}

impl FileId {
    /// Whether a file with this metadata can be it. Where there is no time of birth, device and inode have to do.
    #[must_use]
    pub(super) fn may_be(&self, metadata: &Metadata) -> bool {
        let is_same = |other: Option<Self>| other.is_none_or(|other| other.birth == self.birth);
        let found = Self::of(metadata, || Ok(Vec::new())).ok().flatten();
        (self.device, self.inode) == (metadata.dev(), metadata.ino()) && is_same(found)
    }
}

impl std::fmt::Display for FileId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { device, inode, birth } = self;
        write!(f, "{device:x}-{inode:x}-{birth:x}")
    }
}

impl std::str::FromStr for FileId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut fields = text.splitn(3, '-').map(|field| u64::from_str_radix(field, 16).map_err(drop));
        let mut next = || fields.next().unwrap_or(Err(()));
        Ok(Self { device: next()?, inode: next()?, birth: next()? })
    }
}

/// What one producer copies: the bytes of a file, from its beginning or since it was truncated.
///
/// Its text form is the name of the producer, behind the prefix of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Content {
    /// The file.
    pub file: FileId,
    /// How often it was truncated.
    pub generation: u32,
}

impl Content {
    /// A file that was never truncated.
    #[must_use]
    pub fn first(file: FileId) -> Self {
        Self { file, generation: 0 }
    }

    /// What is in the file after it was truncated.
    #[must_use]
    pub fn next(self) -> Self {
        Self { generation: self.generation.wrapping_add(1), ..self }
    }
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.file, self.generation)
    }
}

impl std::str::FromStr for Content {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (file, generation) = text.rsplit_once('.').ok_or(())?;
        Ok(Self { file: file.parse()?, generation: generation.parse().map_err(drop)? })
    }
}

/// Names of the producers of one source: `agent/web-7/nginx/fd00-2a1-18c9f00ba5.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// For a source of an agent.
    #[must_use]
    pub fn of(agent: &str, source: &str) -> Self {
        Self { prefix: format!("agent/{agent}/{source}/") }
    }

    /// What the names of all its producers begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The name of one producer.
    #[must_use]
    pub fn name(&self, content: impl std::fmt::Display) -> String {
        format!("{}{content}", self.prefix)
    }

    /// What the producer of this name copies, if it belongs to the source.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Content> {
        name.strip_prefix(&self.prefix)?.parse().ok()
    }
}

/// Who the agent is when its configuration does not say: the machine, so that nothing has to be kept to stay the same.
///
/// # Errors
/// When the system has neither a machine id nor a host name.
pub fn machine() -> io::Result<String> {
    let id = ["/etc/machine-id", "/var/lib/dbus/machine-id"].into_iter().find_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned()).filter(|id| !id.is_empty())
    });
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").map(|host| host.trim().to_owned());
    match (id, host) {
        // Containers of one image share a machine id, but not a host name.
        (id, Ok(host)) if !host.is_empty() => {
            let hash = XxHash3_64::oneshot(format!("{}/{host}", id.unwrap_or_default()).as_bytes());
            Ok(format!("{hash:016x}"))
        }
        (Some(id), _) => Ok(id),
        (None, _) => Err(io::Error::other("this machine has neither a machine id nor a host name; set agent.id")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn id_of(path: &std::path::Path) -> FileId {
        let metadata = fs::metadata(path).expect("it exists");
        FileId::of(&metadata, || fs::read(path)).expect("readable").expect("told")
    }

    #[test]
    fn a_file_stays_the_same_when_it_is_renamed_and_another_one_is_not_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        fs::write(&a, "same\n").expect("written");
        let first = id_of(&a);
        fs::rename(&a, &b).expect("renamed");
        assert_eq!(id_of(&b), first);
        fs::write(&a, "same\n").expect("written");
        assert_ne!(id_of(&a), first);
    }

    #[test]
    fn without_a_time_of_birth_the_first_line_tells_once_it_has_ended() {
        assert_eq!(checksum_of_first_line(b"no end"), None);
        let line = checksum_of_first_line(b"a line\n");
        assert!(line.is_some());
        assert_eq!(checksum_of_first_line(b"a line\nand more"), line);
        assert_ne!(checksum_of_first_line(b"another\n"), line);
        assert_eq!(checksum_of_first_line(&[7; 300]), checksum_of_first_line(&[7; 1000]));
    }

    #[test]
    fn names_of_producers_are_read_back() {
        let names = Names::of("web-7", "nginx");
        let content = Content { file: FileId { device: 0xfd00, inode: 0x2a1, birth: u64::MAX }, generation: 7 };
        let name = names.name(content);
        assert_eq!(name, "agent/web-7/nginx/fd00-2a1-ffffffffffffffff.7");
        assert_eq!(names.content(&name), Some(content));
        assert_eq!(Names::of("web-7", "nginx-2").content(&name), None);
        assert_eq!(names.content("agent/web-7/nginx/other"), None);
        assert_eq!(content.next().generation, 8);
    }
}
