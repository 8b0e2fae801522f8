//! Being asked to stop: Ctrl-C (SIGINT) and SIGTERM.

use std::io;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

/// What a second signal ends the process with: it asked for haste, not for order.
const HURRIED_EXIT: i32 = 130;

/// Resolves at the first signal.
///
/// From the call on, signals no longer end the process by themselves. The first one asks it to finish what it is at; a
/// second one, for when that takes too long, ends it at once.
pub(crate) fn stop_requested() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (first, asked) = oneshot::channel();
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        // Nobody listens any more when the work is done already.
        first.send(()).ok();
        either(&mut interrupt, &mut terminate).await;
        std::process::exit(HURRIED_EXIT);
    });
    Ok(async {
        if asked.await.is_err() {
            // The task ends only with the runtime or the process.
            std::future::pending::<()>().await;
        }
    })
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
