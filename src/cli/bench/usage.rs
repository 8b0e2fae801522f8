//! What the server's process has spent, as /proc tells it.

use std::fs;

use anyhow::Context;

/// Linux counts in hundredths of a second towards programs, on every processor that matters (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has spent since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    pub(super) peak_rss_mib: u64,
    /// To the device. Only its owner may know.
    pub(super) written_bytes: Option<u64>,
}

impl Usage {
    /// `None` for no process; an error when there is none with this id.
    pub(super) fn of(pid: Option<u32>) -> anyhow::Result<Option<Self>> {
        let Some(pid) = pid else { return Ok(None) };
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
        let gone = || format!("cannot tell what process {pid} spends");
        let (stat, status) = (read("stat").with_context(gone)?, read("status").with_context(gone)?);
        Ok(Some(Self::parse(&stat, &status, &read("io").unwrap_or_default()).with_context(gone)?))
    }

    fn parse(stat: &str, status: &str, io: &str) -> Option<Self> {
        // The name of the program comes before, in brackets, and may hold anything.
        let (_, numbers) = stat.rsplit_once(')')?;
        let numbers: Vec<&str> = numbers.split_whitespace().collect();
        let ticks = |at: usize| numbers.get(at)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
            peak_rss_mib: field(status, "VmHWM:")? / 1024,
            written_bytes: field(io, "write_bytes:"),
        })
    }
}

/// The number behind a key at the beginning of a line.
fn field(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "7 (a ) b) S 1 7 7 0 -1 4194560 900 0 0 0 250 150 0 0 20 0 4 0 100 5000 300\n";
    const STATUS: &str = "Name:\ta ) b\nVmPeak:\t  9000 kB\nVmHWM:\t  20480 kB\nVmRSS:\t  10000 kB\n";

    #[test]
    fn the_files_of_proc_are_read() {
        let io = "rchar: 1\nwchar: 2\nread_bytes: 3\nwrite_bytes: 4096\ncancelled_write_bytes: 5\n";
        let usage = Usage { cpu_seconds: 4.0, peak_rss_mib: 20, written_bytes: Some(4096) };
        assert_eq!(Usage::parse(STAT, STATUS, io), Some(usage));
        assert_eq!(Usage::parse(STAT, STATUS, ""), Some(Usage { written_bytes: None, ..usage }));
        assert_eq!(Usage::parse("", STATUS, io), None);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        let mine = Usage::of(Some(std::process::id())).expect("we are there").expect("and were asked for");
        assert!(mine.peak_rss_mib > 0);
        assert_eq!(Usage::of(None).expect("nothing was asked"), None);
        // No process has a number as large as this.
        Usage::of(Some(u32::MAX)).expect_err("nobody is there");
    }
}
