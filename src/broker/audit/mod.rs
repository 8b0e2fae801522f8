//! Checking a data directory offline, and copying what is intact into a new one.
//!
//! The entries of the log are folded as a server folds them, and compared with every state that a sealed segment holds:
//! so nothing is missing and nothing does not belong. Every offset between head and tail of a topic must be covered by a
//! batch that is intact.
//!
//! A copy keeps every intact batch at its offset. What is missing is written into the state as lost ([`Event::Lost`]), and
//! readers are told of it as a gap. Where nobody knows what the lost part of a journal held, offsets that it may have
//! given are lost, too: none is ever given twice.
//!
//! [`Event::Lost`]: super::event::Event::Lost

mod auditor;
mod coverage;
mod data_dir;
mod doubt;
mod report;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use auditor::Progress;
pub use data_dir::DataDir;
pub use report::{FoundDamage, LostRange, Report};

use self::auditor::Auditor;
use crate::storage::{SalvageWriter, StorageError, Survey, Volume};

/// Looks at everything in a volume, and changes nothing. `target`: where to copy what is intact; it must be empty.
///
/// # Errors
/// [`StorageError`] when the volume cannot be looked at, or the target cannot be written. Damage is no error. A target that
/// is not complete then is refused by whoever opens it.
pub fn audit(
    volume: &dyn Volume,
    target: Option<Arc<dyn Volume>>,
    tell: &mut dyn FnMut(Progress),
) -> Result<Report, StorageError> {
    let survey = Survey::begin(volume)?;
    let salvage = target.map(SalvageWriter::new).transpose()?;
    let mut auditor = Auditor::new(salvage, tell);
    let (mut before, mut bytes) = (0, 0);
    for (at, number) in survey.numbers().enumerate() {
        auditor.begin(number, survey.name(at), survey.is_original(at));
        let end = survey.visit(at, &mut auditor)?;
        bytes += survey.bytes(at)?;
        auditor.end(end, before, bytes)?;
        before = number;
    }
    auditor.finish(survey.numbers().count())
}

/// Bytes of the files that [`audit`] would look at.
///
/// # Errors
/// [`StorageError`] when they cannot be measured.
pub(super) fn audited_bytes(volume: &dyn Volume) -> Result<u64, StorageError> {
    let survey = Survey::begin(volume)?;
    (0..survey.numbers().count()).map(|at| survey.bytes(at)).sum()
}
