//! Which files a source is about: patterns, the directories to look into for them, and what is there now.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs, io,
    path::{Component, Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

/// How deep `**` goes.
const MAX_DEPTH: usize = 16;

/// Patterns that include files, and those that exclude some of them.
#[derive(Clone, Debug)]
pub struct Patterns {
    includes: Vec<Include>,
    included: GlobSet,
    excluded: GlobSet,
}

#[derive(Clone, Debug)]
struct Include {
    steps: Vec<Step>,
}

/// One name of a path.
#[derive(Clone, Debug)]
enum Step {
    Name(PathBuf),
    Like(GlobMatcher),
    AnyDepth,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Directories in which files or further directories may come and go.
    pub directories: BTreeSet<PathBuf>,
    /// Files that match.
    pub files: BTreeSet<PathBuf>,
    /// Those that are links: where they lead, and by which name. Changes are told of where they lead.
    pub links: BTreeMap<PathBuf, PathBuf>,
}

impl Patterns {
    /// Reads patterns, each beginning with `/`. Those that exclude may be of a name alone: `*.gz`.
    ///
    /// # Errors
    /// When one is malformed.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, globset::Error> {
        let includes = include.iter().map(|pattern| Include::new(pattern)).collect::<Result<_, _>>()?;
        let exclude: Vec<_> = exclude.iter().map(|pattern| anywhere(pattern)).collect();
        Ok(Self { includes, included: set(include)?, excluded: set(&exclude)? })
    }

    /// Whether a path is of a file that the source is about.
    #[must_use]
    pub fn matches(&self, path: &Path) -> bool {
        self.included.is_match(path) && !self.excluded.is_match(path)
    }

    /// Looks at what is there.
    #[must_use]
    pub fn scan(&self) -> Scan {
        let mut scan = Scan::default();
        for include in &self.includes {
            self.walk(Path::new("/"), &include.steps, 0, &mut scan);
        }
        scan
    }

    fn walk(&self, directory: &Path, steps: &[Step], depth: usize, scan: &mut Scan) {
        let Some((step, rest)) = steps.split_first() else { return };
        match step {
            Step::Name(name) if !rest.is_empty() => {
                let next = directory.join(name);
                match next.is_dir() {
                    true => self.walk(&next, rest, depth, scan),
                    // It may come.
                    false => drop(scan.directories.insert(directory.to_owned())),
                }
            }
            Step::Name(name) => {
                scan.directories.insert(directory.to_owned());
                self.offer(directory.join(name), scan);
            }
            Step::Like(glob) => {
                scan.directories.insert(directory.to_owned());
                for entry in names(directory) {
                    match (glob.is_match(&entry), rest.is_empty()) {
                        (true, true) => self.offer(directory.join(entry), scan),
                        (true, false) if is_directory(&directory.join(&entry)) => {
                            self.walk(&directory.join(entry), rest, depth, scan);
                        }
                        _ => {}
                    }
                }
            }
            Step::AnyDepth => {
                scan.directories.insert(directory.to_owned());
                self.walk(directory, rest, depth, scan);
                let below = names(directory).map(|name| directory.join(name)).filter(|path| is_directory(path));
                for next in below.filter(|_| depth < MAX_DEPTH) {
                    self.walk(&next, steps, depth + 1, scan);
                }
            }
        }
    }

    fn offer(&self, path: PathBuf, scan: &mut Scan) {
        if !self.matches(&path) || !fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
            return;
        }
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink())
            && let Ok(target) = fs::canonicalize(&path)
        {
            scan.directories.extend(target.parent().map(Path::to_owned));
            scan.links.insert(target, path.clone());
        }
        scan.files.insert(path);
    }
}

impl Include {
    fn new(pattern: &str) -> Result<Self, globset::Error> {
        let names = Path::new(pattern).components().filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        });
        Ok(Self { steps: names.map(step).collect::<Result<_, _>>()? })
    }
}

fn step(name: &OsStr) -> Result<Step, globset::Error> {
    let text = name.to_string_lossy();
    Ok(match text.as_ref() {
        "**" => Step::AnyDepth,
        text if text.contains(['*', '?', '[', '{', '\\']) => Step::Like(glob(text)?.compile_matcher()),
        _ => Step::Name(name.into()),
    })
}

/// A pattern without a `/` is about the name, in whatever directory.
fn anywhere(pattern: &str) -> String {
    if pattern.contains('/') { pattern.to_owned() } else { format!("**/{pattern}") }
}

fn glob(pattern: &str) -> Result<globset::Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).build()
}

fn set(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        builder.add(glob(pattern)?);
    }
    builder.build()
}

/// A link to a directory is not followed below `**` and wildcards: it may lead in a circle.
fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// What a directory cannot be asked for is not there.
fn names(directory: &Path) -> impl Iterator<Item = std::ffi::OsString> {
    let entries: io::Result<fs::ReadDir> = fs::read_dir(directory);
    entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.file_name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for path in paths {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("made");
            fs::write(path, "x\n").expect("written");
        }
        root
    }

    /// What is found below a root, with the root cut off.
    fn found(root: &Path, include: &[&str], exclude: &[&str]) -> (Vec<String>, Vec<String>) {
        let include: Vec<_> = include.iter().map(|pattern| root.join(pattern).to_string_lossy().into_owned()).collect();
        let exclude: Vec<_> = exclude.iter().map(|&pattern| pattern.to_owned()).collect();
        let scan = Patterns::new(&include, &exclude).expect("patterns").scan();
        let short = |path: &PathBuf| {
            path.strip_prefix(root).map_or("outside".to_owned(), |path| path.to_string_lossy().into_owned())
        };
        (scan.files.iter().map(short).collect(), scan.directories.iter().map(short).collect())
    }

    #[test]
    fn patterns_of_names_and_of_directories_find_files() {
        let root = tree(&["a/x.log", "a/y.txt", "b/x.log", "b/c/z.log", "x.log"]);
        let of = |include: &[&str], exclude: &[&str]| found(root.path(), include, exclude);
        assert_eq!(of(&["a/*.log"], &[]), (vec!["a/x.log".to_owned()], vec!["a".to_owned()]));
        assert_eq!(of(&["*/x.log"], &[]).0, ["a/x.log", "b/x.log"]);
        assert_eq!(of(&["**/*.log"], &[]).0, ["a/x.log", "b/c/z.log", "b/x.log", "x.log"]);
        assert_eq!(of(&["**/*.log"], &["x.log"]).0, ["b/c/z.log"]);
        assert_eq!(of(&["a/x.log", "a/*"], &["*.txt"]).0, ["a/x.log"]);
        assert_eq!(of(&["*.log"], &[]).0, ["x.log"], "a star does not match a slash");
    }

    #[test]
    fn a_link_is_a_file_and_is_heard_where_it_leads() {
        let root = tree(&["pods/a/0.log", "containers/plain.log"]);
        let (target, link) = (root.path().join("pods/a/0.log"), root.path().join("containers/a.log"));
        std::os::unix::fs::symlink(&target, &link).expect("linked");
        let pattern = root.path().join("containers/*.log").to_string_lossy().into_owned();
        let scan = Patterns::new(&[pattern], &[]).expect("patterns").scan();
        assert_eq!(scan.files.len(), 2);
        let target = target.canonicalize().expect("there");
        assert!(scan.directories.contains(target.parent().expect("a directory")));
        assert_eq!(scan.links, BTreeMap::from([(target, link)]));
    }

    #[test]
    fn a_directory_that_does_not_exist_is_waited_for_where_it_will_appear() {
        let root = tree(&["a/x.log"]);
        assert_eq!(found(root.path(), &["a/b/c/*.log"], &[]), (vec![], vec!["a".to_owned()]));
        assert_eq!(found(root.path(), &["z/*/x.log"], &[]), (vec![], vec![String::new()]));
    }
}
