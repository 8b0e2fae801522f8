//! Telling a service manager, if one started this process, that it is ready or about to stop.

use sd_notify::NotifyState;

/// It serves.
pub(crate) fn ready() {
    say(NotifyState::Ready);
}

/// It has been asked to stop, and does.
pub(crate) fn stopping() {
    say(NotifyState::Stopping);
}

fn say(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager was not told");
    }
}
