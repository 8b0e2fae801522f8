//! The configuration of an agent: a TOML file, read strictly. A key that does not exist is an error that says which one
//! was meant; `${NAME}` in a value is a variable of the environment.

mod text;

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use self::text::{bytes, duration};
use super::cutter::{Bounds, Framing};
use crate::{Compression, limits::MAX_RECORD_BYTES, record::check_name};

const KIB: usize = 1024;
/// With keys of paths of usual lengths so many small records fit a batch by far.
pub(super) const MAX_RECORDS_AT_ONCE: usize = 8 * KIB;

/// A configuration that is valid.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the server is.
    #[serde(default)]
    pub server: ServerSection,
    /// The agent itself.
    #[serde(default)]
    pub agent: AgentSection,
    /// What it ships.
    #[serde(default)]
    pub source: Sources,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSection {
    /// Host and port. Default: `127.0.0.1:7466`.
    pub address: String,
    /// A file with the credentials that the server expects. Default: none.
    pub credentials_file: Option<PathBuf>,
}

impl Default for ServerSection {
    fn default() -> Self {
        Self { address: "127.0.0.1:7466".to_owned(), credentials_file: None }
    }
}

/// `[agent]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentSection {
    /// Who it is: part of the names of its producers, and with them of what it has shipped. Two agents with one id fence
    /// each other off. Default: made from the machine's id and the host's name.
    pub id: Option<String>,
    /// Where it keeps what it need not ask the server for, its spools, and the socket that `status` asks. Default:
    /// `/var/lib/connectify-agent`.
    pub state_dir: PathBuf,
    /// Bytes that were read and are not acknowledged, over all sources. Default: 8 MiB.
    #[serde(deserialize_with = "bytes")]
    pub memory_limit: u64,
    /// How long it waits at its end for what is on its way. Default: 5 s.
    #[serde(deserialize_with = "duration")]
    pub shutdown_timeout: Duration,
}

impl Default for AgentSection {
    fn default() -> Self {
        Self {
            id: None,
            state_dir: "/var/lib/connectify-agent".into(),
            memory_limit: 8 << 20,
            shutdown_timeout: Duration::from_secs(5),
        }
    }
}

/// `[[source.KIND]]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sources {
    /// Files.
    pub file: Vec<FileSource>,
    /// The journal of systemd.
    pub journald: Vec<JournaldSource>,
    /// What others send as syslog.
    pub syslog: Vec<SyslogSource>,
}

/// `[[source.file]]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// Its name: part of the names of its producers.
    pub name: String,
    /// Where its records go; the topic is made if it does not exist.
    pub topic: String,
    /// Files, by patterns: `*` and `?` do not match a `/`, `**` does.
    pub include: Vec<String>,
    /// Not these.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Where to begin in a file that was there before the source was first used. Default: at its beginning.
    #[serde(default)]
    pub start: StartAt,
    /// What makes a record. Default: a line.
    #[serde(default)]
    pub format: Format,
    /// A line that matches this begins a record of several lines.
    #[serde(default)]
    pub multiline: Option<Multiline>,
    /// The key of its records. Default: the path of the file.
    #[serde(default)]
    pub key: Key,
    /// How its batches are compressed. Default: not at all.
    #[serde(default)]
    pub compression: Method,
    /// A longer line is split. Default: 1 MiB.
    #[serde(default = "default_record_bytes", deserialize_with = "bytes")]
    pub max_record_bytes: u64,
    /// How changes are noticed. Default: by inotify where that works, else by looking.
    #[serde(default)]
    pub watch: Watch,
    /// A file that was deleted or renamed away is let go when nothing was written to it for this long. Default: 5 min.
    #[serde(default = "default_close_removed", deserialize_with = "duration")]
    pub close_removed: Duration,
    /// Unread bytes of deleted files that may be held on disk; beyond it the oldest are given up, which a record in the
    /// topic tells. Default: no limit.
    #[serde(default, deserialize_with = "text::some_bytes")]
    pub hold_deleted: Option<u64>,
    /// Whether to unpack files that are compressed with gzip, known by their first bytes. Default: no.
    #[serde(default)]
    pub gzip: bool,
}

fn default_record_bytes() -> u64 {
    1 << 20
}

fn default_close_removed() -> Duration {
    Duration::from_secs(300)
}

/// Where to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartAt {
    /// At the beginning.
    #[default]
    Begin,
    /// At the end.
    End,
}

/// What makes a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A line.
    #[default]
    Lines,
    /// A message of a container's log.
    Cri,
}

/// `multiline = { ... }`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Multiline {
    /// A regular expression.
    pub start: String,
    /// When nothing is written for this long, the last record has ended. Default: 500 ms.
    #[serde(default = "default_multiline_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
    /// Most lines of a record. Default: 500.
    #[serde(default = "default_max_lines")]
    pub max_lines: usize,
}

fn default_multiline_timeout() -> Duration {
    Duration::from_millis(500)
}

fn default_max_lines() -> usize {
    500
}

/// The key of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Key {
    /// The path of the file.
    #[default]
    Path,
    /// None.
    None,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Not.
    #[default]
    None,
    /// Fast.
    Lz4,
    /// Small.
    Zstd,
}

impl From<Method> for Compression {
    fn from(method: Method) -> Self {
        match method {
            Method::None => Self::None,
            Method::Lz4 => Self::Lz4,
            Method::Zstd => Self::Zstd,
        }
    }
}

/// How changes are noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Watch {
    /// By inotify where that works.
    #[default]
    Auto,
    /// By inotify.
    Inotify,
    /// By looking again and again.
    Poll,
}

/// `[[source.journald]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournaldSource {
    /// Its name: part of the name of its producer.
    pub name: String,
    /// Where its records go; the topic is made if it does not exist.
    pub topic: String,
    /// Only these units. Default: all.
    #[serde(default)]
    pub units: Vec<String>,
    /// Where to begin when the source was never used. Default: with the oldest entry.
    #[serde(default)]
    pub start: StartAt,
    /// The program that reads the journal, with what comes before our own arguments. Default: `["journalctl"]`.
    #[serde(default = "default_journalctl")]
    pub command: Vec<String>,
}

fn default_journalctl() -> Vec<String> {
    vec!["journalctl".to_owned()]
}

/// `[[source.syslog]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogSource {
    /// Its name: part of the name of its producer.
    pub name: String,
    /// Where its records go; the topic is made if it does not exist.
    pub topic: String,
    /// `udp://HOST:PORT`, `tcp://HOST:PORT`, `unix:PATH` for datagrams.
    pub listen: String,
    /// What was received and is not acknowledged waits on disk.
    #[serde(default)]
    pub spool: SpoolSection,
    /// A longer message is split. Default: 64 KiB.
    #[serde(default = "default_message_bytes", deserialize_with = "bytes")]
    pub max_record_bytes: u64,
}

fn default_message_bytes() -> u64 {
    64 << 10
}

/// `spool = { ... }`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolSection {
    /// How much may wait. Default: 1 GiB.
    #[serde(deserialize_with = "bytes")]
    pub max: u64,
    /// What happens when it is full. Default: the sender waits where it can, which one of datagrams cannot.
    pub when_full: WhenFull,
}

impl Default for SpoolSection {
    fn default() -> Self {
        Self { max: 1 << 30, when_full: WhenFull::Block }
    }
}

/// What happens when a spool is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Nothing more is read.
    #[default]
    Block,
    /// The oldest go, and a record in the topic says so.
    DropOldest,
    /// The newest are not taken, and a record in the topic says so.
    DropNewest,
}

/// What is wrong with a configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`] with the place of what is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| ConfigError(format!("cannot read {}: {error}", path.display())))?;
        Self::parse(&text, |name| std::env::var(name).ok())
            .map_err(|ConfigError(what)| ConfigError(format!("{}: {what}", path.display())))
    }

    /// Reads a text; `variable` knows the environment.
    ///
    /// # Errors
    /// [`ConfigError`] with the place of what is wrong.
    pub fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut document: toml::Table = toml::from_str(text).map_err(|error| ConfigError(error.to_string()))?;
        text::substitute(&mut document, &variable).map_err(ConfigError)?;
        // With variables in it, the text is another one: what it says is checked where it stands, if there are none.
        let parsed = match text.contains("${") {
            true => document.try_into(),
            false => toml::from_str(text),
        };
        let config: Self = parsed.map_err(|error| ConfigError(text::with_suggestion(&error.to_string())))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let mut names = BTreeSet::new();
        let sources = self.source.file.iter().map(|source| (&source.name, &source.topic));
        let sources = sources.chain(self.source.journald.iter().map(|source| (&source.name, &source.topic)));
        let sources = sources.chain(self.source.syslog.iter().map(|source| (&source.name, &source.topic)));
        for (name, topic) in sources {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if name.is_empty() || name.len() > 40 || !name.chars().all(is_plain) {
                return Err(ConfigError(format!("source name {name:?}: want 1 to 40 of A-Z a-z 0-9 - _ .")));
            }
            if !names.insert(name) {
                return Err(ConfigError(format!("two sources have the name {name:?}")));
            }
            crate::record::TopicName::new(topic).map_err(|error| ConfigError(format!("topic of {name}: {error}")))?;
        }
        if let Some(id) = &self.agent.id {
            if id.len() > 64 || id.contains('/') {
                return Err(ConfigError(format!("agent.id {id:?}: want at most 64 bytes without a /")));
            }
            check_name(id).map_err(|error| ConfigError(format!("agent.id: {error}")))?;
        }
        if self.agent.memory_limit < 1 << 20 {
            return Err(ConfigError(format!("agent.memory_limit {} is less than 1MiB", self.agent.memory_limit)));
        }
        self.source.file.iter().try_for_each(FileSource::check)
    }
}

impl FileSource {
    fn check(&self) -> Result<(), ConfigError> {
        let fail = |what: String| Err(ConfigError(format!("source {}: {what}", self.name)));
        if self.include.is_empty() {
            return fail("include names no file".to_owned());
        }
        if let Some(relative) = self.include.iter().find(|pattern| !pattern.starts_with('/')) {
            return fail(format!("{relative:?} does not begin with a /"));
        }
        if !(1 << 10..=(MAX_RECORD_BYTES as u64) / 2).contains(&self.max_record_bytes) {
            return fail(format!("max_record_bytes {} is not between 1KiB and 2MiB", self.max_record_bytes));
        }
        if self.multiline.is_some() && self.format == Format::Cri {
            return fail("multiline and format = \"cri\" exclude each other".to_owned());
        }
        match self.framing() {
            Ok(_) => Ok(()),
            Err(error) => fail(format!("multiline.start: {error}")),
        }
    }

    /// How it cuts records.
    ///
    /// # Errors
    /// When the pattern is not a regular expression.
    pub fn framing(&self) -> Result<Framing, regex::Error> {
        Ok(match (&self.multiline, self.format) {
            (Some(multiline), _) => Framing::Multiline(regex::bytes::Regex::new(&multiline.start)?),
            (None, Format::Lines) => Framing::Lines,
            (None, Format::Cri) => Framing::Cri,
        })
    }

    /// How large its records get.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        let max_record_bytes = usize::try_from(self.max_record_bytes).unwrap_or(KIB * KIB);
        let max_lines = self.multiline.as_ref().map_or(500, |multiline| multiline.max_lines.max(1));
        Bounds { max_record_bytes, max_lines, max_records: MAX_RECORDS_AT_ONCE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, |name| (name == "HOME_OF_LOGS").then(|| "/srv/logs".to_owned()))
    }

    #[track_caller]
    fn assert_refused(text: &str, words: &[&str]) {
        let error = parse(text).expect_err("refused").to_string();
        for word in words {
            assert!(error.contains(word), "{error:?} has no {word:?}");
        }
    }

    const FILE: &str = "[[source.file]]\nname = \"nginx\"\ntopic = \"web\"\ninclude = [\"/var/log/nginx/*.log\"]\n";

    #[test]
    fn what_is_left_out_has_a_default() {
        let config = parse(FILE).expect("valid");
        let source = &config.source.file[0];
        assert_eq!(config.server.address, "127.0.0.1:7466");
        assert_eq!((source.start, source.key, source.max_record_bytes), (StartAt::Begin, Key::Path, 1 << 20));
        assert_eq!(config.agent.shutdown_timeout, Duration::from_secs(5));
        assert_eq!(parse("").expect("valid").source, Sources::default());
    }

    #[test]
    fn a_key_that_does_not_exist_is_refused_with_the_one_that_was_meant() {
        assert_refused(&format!("{FILE}exlcude = []\n"), &["exlcude", "did you mean `exclude`?"]);
        assert_refused("[sever]\naddress = \"x\"\n", &["sever", "did you mean `server`?"]);
        assert_refused(&format!("{FILE}start = \"beginning\"\n"), &["beginning", "did you mean `begin`?"]);
        assert_refused(&format!("{FILE}zzzzzz = 1\n"), &["zzzzzz"]);
        assert_refused(FILE.replace("topic", "#").as_str(), &["missing field `topic`"]);
    }

    #[test]
    fn values_have_units_and_bounds() {
        let config =
            parse(&format!("[agent]\nmemory_limit = \"2MiB\"\nshutdown_timeout = \"250ms\"\n{FILE}")).expect("valid");
        assert_eq!((config.agent.memory_limit, config.agent.shutdown_timeout), (2 << 20, Duration::from_millis(250)));
        assert_refused("[agent]\nmemory_limit = \"many\"\n", &["memory_limit", "many"]);
        assert_refused("[agent]\nshutdown_timeout = \"5\"\n", &["5", "30s"]);
        assert_refused("[agent]\nmemory_limit = \"1KiB\"\n", &["1MiB"]);
        assert_refused("[agent]\nid = \"a/b\"\n", &["agent.id"]);
        assert_refused(&format!("{FILE}{FILE}"), &["two sources", "nginx"]);
        assert_refused(&FILE.replace("/var", "var"), &["does not begin with a /"]);
        assert_refused(&format!("{FILE}multiline = {{ start = \"(\" }}\n"), &["multiline.start"]);
        assert_refused(&FILE.replace("web", "a/b"), &["topic of nginx"]);
    }

    #[test]
    fn variables_of_the_environment_stand_in_values() {
        let text = FILE.replace("/var/log/nginx", "${HOME_OF_LOGS}");
        assert_eq!(parse(&text).expect("valid").source.file[0].include, ["/srv/logs/*.log"]);
        assert_refused(&FILE.replace("/var/log/nginx", "${NO_SUCH}"), &["NO_SUCH", "not set"]);
        let text = FILE.replace("/var/log/nginx", "/a/$${x}");
        assert_eq!(parse(&text).expect("valid").source.file[0].include, ["/a/${x}/*.log"]);
    }
}
