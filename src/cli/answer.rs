//! What a command ends with, and the exit status that says so.

use std::process::ExitCode;

use super::output::{ClosedPipe, talk};

/// How a command that was carried out ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done; exit 0.
    Yes,
    /// The question was answered with no, for this reason; exit 1.
    No(String),
}

const NO: u8 = 1;
const FAILURE: u8 = 2;

/// Says why not, if so, and gives the exit status: 0, 1 for a negative answer, 2 for a failure.
///
/// A closed stdout is success: its reader has what it wanted.
pub(crate) fn exit_code(ended: &anyhow::Result<Answer>) -> ExitCode {
    match ended {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No(reason)) => {
            talk(reason);
            NO.into()
        }
        Err(error) if error.is::<ClosedPipe>() => ExitCode::SUCCESS,
        Err(error) => {
            talk(format_args!("{error:#}"));
            FAILURE.into()
        }
    }
}
