//! Names: files that appear, are renamed, are deleted; and what was in a file before it was truncated.

use std::{
    collections::{BTreeSet, HashSet},
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    super::{
        config::{Key, StartAt},
        identity::{Content, FileId, HEAD_BYTES},
        request::Position,
    },
    Files,
    followed::{Fate, Followed, open_file},
    gzip::{Plain, is_compressed},
    start::Known,
};

/// What is at a path.
fn identify(path: &Path) -> io::Result<Option<(FileId, fs::Metadata)>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let head = || {
        let mut head = vec![0; HEAD_BYTES];
        let count = open_file(path)?.read_at(&mut head, 0)?;
        head.truncate(count);
        Ok(head)
    };
    Ok(FileId::of(&metadata, head)?.map(|id| (id, metadata)))
}

impl Files {
    /// Looks at everything; says whether anything was new. Costs a look at each file.
    pub(super) fn reconcile(&mut self) -> bool {
        let (mut scan, mut has_changed) = (self.patterns.scan(), false);
        // What came between looking and watching is seen by looking again.
        while self.watch(&scan.directories) {
            scan = self.patterns.scan();
        }
        let known: HashSet<PathBuf> = self.paths.keys().cloned().collect();
        for path in scan.files.iter().chain(known.iter().filter(|path| !scan.files.contains(*path))) {
            has_changed |= self.look_at_path(path);
        }
        let unnamed: Vec<Content> =
            self.files.values().filter(|file| file.fate != Fate::Named).map(|file| file.content).collect();
        unnamed.into_iter().for_each(|content| self.list(content));
        self.links = scan.links;
        has_changed
    }

    /// Watches directories; says whether any of them was not watched before.
    fn watch(&mut self, directories: &BTreeSet<PathBuf>) -> bool {
        let mut is_new = false;
        for directory in directories {
            let Some(watcher) = &mut self.watcher else { return false };
            match watcher.watch_directory(directory) {
                Ok(new) => is_new |= new,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    // There are no watches left: looking has to do.
                    tracing::warn!(path = %directory.display(), %error, "cannot be watched: files are looked at instead");
                    self.report.last_error = Some(format!("{}: {error}", directory.display()));
                    self.watcher = None;
                }
            }
        }
        is_new
    }

    /// Looks at what a name stands for now. Says whether that is new.
    pub(super) fn look_at_path(&mut self, path: &Path) -> bool {
        let before = self.paths.get(path).copied();
        let found = match identify(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                if self.patterns.matches(path) {
                    self.report.last_error = Some(format!("{}: {error}", path.display()));
                }
                return false;
            }
        };
        let Some((id, metadata)) = found else {
            if let Some(content) = before {
                self.lose_name(content, path);
            }
            return before.is_some();
        };
        if let Some(content) = before.filter(|content| content.file == id) {
            let file = self.files.get_mut(&content).expect("a name belongs to a file");
            let has_changed = metadata.len() != file.size || !(file.is_settled() || file.is_waiting);
            if has_changed {
                self.list(content);
            }
            return has_changed;
        }
        if let Some(content) = before {
            self.lose_name(content, path);
        }
        match self.current.get(&id).copied() {
            Some(content) => self.gain_name(content, path, before),
            None if self.patterns.matches(path) => self.follow_new(id, &metadata, path, before),
            // Another name for what is not ours.
            None => return false,
        }
        true
    }

    /// A file has another name now, or is at another place.
    fn lose_name(&mut self, content: Content, path: &Path) {
        if self.paths.get(path) != Some(&content) {
            return;
        }
        self.paths.remove(path);
        self.left.insert(path.to_owned(), content);
        let Some(file) = self.files.get_mut(&content) else { return };
        if file.fate != Fate::Named {
            return;
        }
        file.fate = Fate::Left;
        // Only who holds it open can still write to it.
        if let (Some(watcher), Some(open)) = (&mut self.watcher, &file.file) {
            watcher.watch_held(&**open, content).ok();
        }
        self.list(content);
        self.give_up_deleted();
    }

    fn gain_name(&mut self, content: Content, path: &Path, instead_of: Option<Content>) {
        let is_ours = self.patterns.matches(path);
        let file = self.files.get_mut(&content).expect("what is current is followed");
        if !is_ours && file.fate == Fate::Named {
            // Another name of a file that has one.
            return;
        }
        if is_ours {
            if let Some(watcher) = self.watcher.as_mut().filter(|_| file.fate != Fate::Named) {
                watcher.unwatch_held(content);
            }
            if self.paths.get(&file.path) == Some(&content) {
                self.paths.remove(&file.path);
                self.left.insert(file.path.clone(), content);
            }
            file.fate = Fate::Named;
            self.paths.insert(path.to_owned(), content);
        }
        file.path = path.to_owned();
        self.put_behind(content, instead_of);
        self.list(content);
    }

    /// A file that was not followed appears.
    fn follow_new(&mut self, id: FileId, metadata: &fs::Metadata, path: &Path, instead_of: Option<Content>) {
        let is_first_look = !self.checkpoints.was_used;
        let known = self.known.remove(&id);
        let begin = match (&known, self.config.start) {
            (None, StartAt::End) if is_first_look => metadata.len(),
            _ => 0,
        };
        self.follow(id, path, known, begin);
        let content = self.current[&id];
        self.paths.insert(path.to_owned(), content);
        self.put_behind(content, instead_of);
        self.list(content);
    }

    fn follow(&mut self, id: FileId, path: &Path, known: Option<Known>, begin: u64) {
        let content = known.as_ref().map_or(Content::first(id), |known| known.content);
        let at = known.as_ref().map_or(begin, |known| known.end);
        let key = match self.config.key {
            Key::Path => Some(Bytes::copy_from_slice(path.as_os_str().as_encoded_bytes())),
            Key::None => None,
        };
        let mut file = Followed::new(content, path.to_owned(), key, at);
        file.begin = known.as_ref().map_or(begin, |known| known.begin);
        if begin > 0 {
            self.remember(&mut file, begin);
        }
        if self.config.gzip
            && let Ok(open) = file.open()
            && is_compressed(&open)
        {
            file.plain = Some(Plain::new(open));
        }
        if let Some(known) = known {
            if let Some(mut checkpoint) = self.checkpoints.get(content).cloned().filter(|it| it.missing_since.is_some())
            {
                checkpoint.missing_since = None;
                self.checkpoints.put(content, checkpoint);
                self.is_changed = true;
            }
            if file.plain.is_none() && at > 0 {
                file.size = at;
            }
            file = self.resume(known, file);
        }
        self.current.insert(id, content);
        self.files.insert(content, file);
    }

    fn remember(&mut self, file: &mut Followed, begin: u64) {
        if let Ok(marker) = file.open().and_then(|open| super::super::marker::Marker::read(&open, begin)) {
            file.in_line = !marker.is_at_line_start();
            file.marker = marker;
        }
        self.note(file.content, begin, file.marker.clone(), begin);
    }

    /// Has a content read only when what had its name before is durable, so that lines stay in order across a rotation.
    pub(super) fn put_behind(&mut self, content: Content, before: Option<Content>) {
        let name = self.files.get(&content).map(|file| file.path.clone()).unwrap_or_default();
        let before = before.or(self.left.remove(&name));
        let Some(before) = before.filter(|before| *before != content && self.files.contains_key(before)) else {
            return;
        };
        let mut earlier = Some(before);
        while let Some(at) = earlier {
            if at == content {
                // Names went round in a circle: who was first nobody can say.
                return;
            }
            earlier = self.files.get(&at).and_then(|file| file.after);
        }
        if let Some(file) = self.files.get_mut(&content) {
            file.after = Some(before);
            self.waiting.entry(before).or_default().push(content);
            self.list(before);
        }
    }

    /// What is known of the file at a path that does not belong to the source.
    pub(super) fn known_at(&self, path: &Path) -> Option<&Known> {
        let (id, _) = identify(path).ok()??;
        self.known.get(&id)
    }

    /// Follows a file that was renamed while nobody looked, to its end.
    pub(super) fn follow_renamed(&mut self, path: &Path) {
        let Ok(Some((id, metadata))) = identify(path) else { return };
        let Some(known) = self.known.remove(&id) else { return };
        if known.end == metadata.len() {
            return;
        }
        self.follow(id, path, Some(known), 0);
        let content = self.current[&id];
        if let Some(file) = self.files.get_mut(&content) {
            file.fate = Fate::Left;
            file.open().ok();
        }
        self.list(content);
    }

    /// The file of a content was truncated: what it had has an end, perhaps in a copy, and something else begins in it.
    pub(super) fn truncated(&mut self, content: Content) {
        self.report.truncations += 1;
        let Some(mut old) = self.files.remove(&content) else { return };
        let next = content.next();
        let mut new = Followed::new(next, old.path.clone(), old.key.clone(), 0);
        (new.file, new.fate) = (old.file.take(), old.fate);
        new.after = Some(content);
        self.current.insert(content.file, next);
        if old.fate == Fate::Named {
            self.paths.insert(old.path.clone(), next);
        }
        self.checkpoints.remove(next);
        match self.find_copy(&old) {
            Some((path, copy)) => {
                let size = copy.metadata().map_or(old.sent, |metadata| metadata.len());
                tracing::info!(path = %old.path.display(), copy = %path.display(), rest = size - old.sent, "truncated: the rest is in a copy");
                (old.path, old.file, old.size) = (path, Some(Arc::new(copy)), size);
                old.fate = Fate::Copy;
            }
            None => {
                tracing::info!(path = %old.path.display(), at = old.sent, "truncated");
                (old.size, old.fate) = (old.sent, Fate::Over);
            }
        }
        old.is_listed = false;
        new.is_listed = false;
        self.files.insert(content, old);
        self.files.insert(next, new);
        // What waited for the old content waits for what took its place: that was written before, too.
        let waiting = self.waiting.remove(&content).unwrap_or_default();
        for other in &waiting {
            if let Some(file) = self.files.get_mut(other).filter(|file| file.after == Some(content)) {
                file.after = Some(next);
            }
        }
        self.waiting.entry(next).or_default().extend(waiting);
        self.waiting.insert(content, vec![next]);
        self.list(content);
        self.list(next);
    }

    /// A file beside it that has the same bytes where the old content was read last, and has not fewer.
    fn find_copy(&self, old: &Followed) -> Option<(PathBuf, File)> {
        if old.sent == 0 || old.plain.is_some() || old.marker.bytes().is_empty() {
            return None;
        }
        let entries = fs::read_dir(old.path.parent()?).ok()?.flatten();
        let paths = entries.map(|entry| entry.path()).filter(|path| !self.paths.contains_key(path));
        let candidates = paths.filter_map(|path| {
            let metadata =
                fs::metadata(&path).ok().filter(|metadata| metadata.is_file() && metadata.len() >= old.sent)?;
            let is_followed = identify(&path).ok().flatten().is_some_and(|(id, _)| self.current.contains_key(&id));
            (!is_followed).then_some((metadata.mtime(), metadata.mtime_nsec(), path))
        });
        let mut candidates: Vec<_> = candidates.collect();
        // The newest first.
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        candidates.into_iter().find_map(|(_, _, path)| {
            let file = open_file(&path).ok()?;
            old.marker.is_before(&file, old.sent).then_some((path, file))
        })
    }

    /// Says all that is known about a path.
    pub(super) fn explain(&self, path: &Path) -> Vec<String> {
        let mut said = Vec::new();
        let matches = self.patterns.matches(path);
        said.push(format!(
            "source {}: {}",
            self.config.name,
            if matches { "the path matches" } else { "the path does not match" }
        ));
        match identify(path) {
            Err(error) => said.push(format!("  cannot be looked at: {error}")),
            Ok(None) => said.push("  is not a regular file, or has no line yet by which it could be known".to_owned()),
            Ok(Some((id, metadata))) => {
                said.push(format!("  identity {id}, {} bytes", metadata.len()));
                match self.current.get(&id).and_then(|content| self.file_report(*content)) {
                    Some(report) => {
                        said.push(format!("  producer {} in topic {}", report.producer, self.config.topic));
                        said.push(format!("  read up to {}, durable up to {}", report.sent, report.durable));
                        said.extend(report.error.map(|error| format!("  not read: {error}")));
                    }
                    None if matches => said.push("  not followed yet".to_owned()),
                    None => said.push("  not followed".to_owned()),
                }
            }
        }
        said
    }

    /// Begins a file anew, as another content: what is read again is stored again.
    pub(super) fn reset(&mut self, path: &Path, to: Position) -> Result<(), String> {
        let content = *self.paths.get(path).ok_or_else(|| format!("{} is not followed", path.display()))?;
        let old = self.files.get_mut(&content).expect("a name belongs to a file");
        let at = match to {
            Position::Begin => 0,
            Position::End => old.size,
            Position::At(at) if at <= old.size => at,
            Position::At(at) => return Err(format!("{at} is behind the end of the file, {}", old.size)),
        };
        self.truncated(content);
        let next = content.next();
        let mut file = self.files.remove(&next).expect("it was just made");
        if at > 0 {
            (file.begin, file.sent, file.acked, file.size) = (at, at, at, at);
            self.remember(&mut file, at);
        }
        self.files.insert(next, file);
        Ok(())
    }
}
