//! What a source remembers on this machine, so that it need not ask the server for it. It is a cache: when it is lost or
//! damaged, the server still knows how far every file was copied.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{identity::Content, marker::Marker};

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// Where copying has come to; as far as the server has it.
    pub(super) end: u64,
    /// The bytes before that.
    pub(super) marker: Marker,
    /// Where it began: behind what was there before, with `start = "end"`.
    #[serde(default)]
    pub(super) begin: u64,
    /// Since when the file is missing, in seconds since 1970.
    #[serde(default)]
    pub(super) missing_since: Option<u64>,
}

/// Everything that one source remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoints {
    /// Whether the source was ever used: what appears later is read from its beginning, whatever `start` says.
    #[serde(default)]
    pub(super) was_used: bool,
    /// Files, by the text of their [`Content`].
    #[serde(default)]
    files: BTreeMap<String, Checkpoint>,
}

impl Checkpoints {
    fn path(directory: &Path, source: &str) -> PathBuf {
        directory.join(format!("{source}.json"))
    }

    /// What was written last. What cannot be read is put aside and counts as nothing.
    pub(super) fn load(directory: &Path, source: &str) -> Self {
        let path = Self::path(directory, source);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::default(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "checkpoints cannot be read, the server is asked instead");
                return Self::default();
            }
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            let aside = path.with_extension("json.bad");
            let kept = fs::rename(&path, &aside).map_or_else(|_| "nowhere".to_owned(), |()| aside.display().to_string());
            tracing::warn!(path = %path.display(), %error, kept, "checkpoints are damaged, the server is asked instead");
            Self::default()
        })
    }

    /// Writes them: whoever reads finds the old ones or the new ones. They are not synced: a cache may be old.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn save(&self, directory: &Path, source: &str) -> io::Result<()> {
        let path = Self::path(directory, source);
        let new = path.with_extension("json.new");
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(new, path)
    }

    pub(super) fn get(&self, content: Content) -> Option<&Checkpoint> {
        self.files.get(&content.to_string())
    }

    pub(super) fn put(&mut self, content: Content, checkpoint: Checkpoint) {
        self.files.insert(content.to_string(), checkpoint);
    }

    pub(super) fn remove(&mut self, content: Content) {
        self.files.remove(&content.to_string());
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Content, &Checkpoint)> {
        self.files.iter().filter_map(|(text, checkpoint)| Some((text.parse().ok()?, checkpoint)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_back_and_what_is_damaged_is_put_aside() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(Checkpoints::load(directory.path(), "s"), Checkpoints::default());
        let content: Content = "1-2-3.4".parse().expect("a content");
        let mut checkpoints = Checkpoints { was_used: true, ..Checkpoints::default() };
        let marker = Marker::of(b"some bytes");
        checkpoints.put(content, Checkpoint { end: 10, marker, begin: 0, missing_since: None });
        checkpoints.save(directory.path(), "s").expect("written");
        let loaded = Checkpoints::load(directory.path(), "s");
        assert_eq!(loaded, checkpoints);
        assert_eq!(loaded.iter().count(), 1);
        fs::write(directory.path().join("s.json"), "{").expect("written");
        assert_eq!(Checkpoints::load(directory.path(), "s"), Checkpoints::default());
        assert!(directory.path().join("s.json.bad").exists());
    }
}
