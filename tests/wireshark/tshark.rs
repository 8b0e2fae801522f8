//! Running `tshark` with the dissector, and with nothing else of whoever runs the tests.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
};

use tempfile::TempDir;

use crate::{
    support::Running,
    tree::{self, Item},
};

const DISSECTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/wireshark/connectify.lua");

/// Nobody, whoever that is.
const NOBODY: u32 = 65534;

/// The program, with a directory that it may read.
pub(crate) struct Tshark {
    directory: TempDir,
}

impl Tshark {
    /// The program; none when these tests are to be skipped, which has been said then.
    pub(crate) fn find() -> Option<Self> {
        static REASON: OnceLock<Option<&str>> = OnceLock::new();
        let reason = REASON.get_or_init(|| {
            let reason = reason_to_skip();
            if let Some(reason) = reason {
                // Past the capture of what tests print: this is for everybody to see.
                writeln!(io::stderr(), "SKIPPED: nothing tests the Wireshark dissector: {reason}").ok();
            }
            reason
        });
        if reason.is_some() {
            return None;
        }
        let everybody = fs::Permissions::from_mode(0o755);
        let directory = tempfile::Builder::new().permissions(everybody).tempdir().expect("a directory");
        let tshark = Self { directory };
        tshark.write("connectify.lua", &fs::read(DISSECTOR).expect("the dissector"));
        Some(tshark)
    }

    /// The trees of all packets of a capture, each with the protocols in it, and nothing wrong with the dissector.
    #[track_caller]
    pub(crate) fn packets(&self, capture: &[u8], options: &[&str]) -> Vec<Vec<Item>> {
        tree::packets(&self.run(capture, &[&["-T", "pdml"], options].concat()))
    }

    /// The trees of the messages of a capture, whatever packets they are in.
    #[track_caller]
    pub(crate) fn messages(&self, capture: &[u8], options: &[&str]) -> Vec<Item> {
        let items = self.packets(capture, &[&["-J", "connectify"], options].concat()).into_iter().flatten();
        items.filter(|item| item.name == "connectify").collect()
    }

    /// What it prints about a capture.
    #[track_caller]
    pub(crate) fn run(&self, capture: &[u8], options: &[&str]) -> String {
        self.write("capture.pcap", capture);
        let mut command = Command::new("tshark");
        command
            .current_dir(&self.directory)
            .args(["-r", "capture.pcap", "-X", "lua_script:connectify.lua"])
            .args(options);
        // Plugins and preferences of the user stay out of it.
        command.env("HOME", self.directory.path()).env("WIRESHARK_CONFIG_DIR", self.directory.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if rustix::process::geteuid().is_root() {
            // Recent versions run no scripts for root, and do not say so.
            command.uid(NOBODY).gid(NOBODY);
        }
        let ended = Running::start(command).feed(b"").end();
        assert!(!ended.stderr.contains("Lua"), "{}", ended.stderr);
        let printed = ended.text();
        // What is hidden stands for expert information of that group, which is not a failure of the dissector.
        let is_malformed = |line: &str| line.contains("name=\"_ws.malformed\"") && !line.contains("hide=\"yes\"");
        let error = printed.lines().find(|line| line.contains("Lua Error") || is_malformed(line));
        assert_eq!(error, None, "the dissector fails");
        printed
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.directory.path().join(name);
        fs::write(&path, bytes).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("our own file");
    }
}

fn reason_to_skip() -> Option<&'static str> {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let paths = env::var_os("PATH").unwrap_or_default();
    if is_set("CONNECTIFY_NO_TSHARK") {
        Some("CONNECTIFY_NO_TSHARK is set")
    } else if env::split_paths(&paths).any(|path| is_program(&path.join("tshark"))) {
        None
    } else if is_set("CONNECTIFY_CI") {
        panic!("there is no tshark: install the Debian package tshark, or set CONNECTIFY_NO_TSHARK=1");
    } else {
        Some("there is no tshark, which the Debian package tshark installs")
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
