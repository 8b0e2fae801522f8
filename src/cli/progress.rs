//! Progress of long work, on a terminal and nowhere else.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// How often the time and the rate are drawn again while nothing arrives.
const TICK: Duration = Duration::from_millis(200);

/// A bar when the amount of work is known, else a count; nothing unless stderr is a terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Progress over so many bytes, or over an unknown number. `typed`: a person types the input, and wants their line
    /// for themselves.
    pub(crate) fn over(total_bytes: Option<u64>, typed: bool) -> Self {
        if typed || !io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let (bar, style) = match total_bytes {
            Some(bytes) => {
                (ProgressBar::new(bytes), "{wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} {msg}")
            }
            None => (ProgressBar::no_length(), "{spinner} {bytes} {binary_bytes_per_sec} {elapsed} {msg}"),
        };
        bar.set_style(ProgressStyle::with_template(style).expect("the templates above are well formed"));
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// Work that is measured by time, or by nothing; [`Self::say`] says where it is.
    pub(crate) fn spinner() -> Self {
        if !io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        // It is also to vanish when the work is given up.
        let bar = ProgressBar::no_length().with_finish(ProgressFinish::AndClear);
        bar.set_style(ProgressStyle::with_template("{spinner} {elapsed} {msg}").expect("that is well formed"));
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// Where the work is.
    pub(crate) fn say(&self, words: String) {
        self.bar.set_message(words);
    }

    /// So many bytes are done by now, and what that means. Not for every line: it takes longer than a line does.
    pub(crate) fn show(&self, bytes: u64, what: std::fmt::Arguments<'_>) {
        if !self.bar.is_hidden() {
            self.bar.set_position(bytes);
            self.bar.set_message(what.to_string());
        }
    }

    /// Leaves the terminal to what is said next.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
