//! The runtime on which all storage I/O of this process runs.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, sync_channel};

use flott_core::{Error, Result};
use tokio::runtime::{Builder, Runtime};

/// Threads that wait for disks and networks; blocking file calls have tokio's own pool.
const NUM_THREADS: usize = 2;

fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(NUM_THREADS)
            .thread_name("flott-io")
            .enable_all()
            .build()
            .ok()
    });
    runtime
        .as_ref()
        .ok_or_else(|| Error::external("THREAD", "the threads for storage cannot be started"))
}

/// Starts a future on the I/O runtime; its result comes through the channel.
///
/// # Errors
/// The runtime cannot be started.
pub fn start<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Result<Receiver<T>> {
    let (done, result) = sync_channel(1);
    runtime()?.spawn(async move {
        // Nobody waits any more: the result is not needed.
        let _ = done.send(future.await);
    });
    Ok(result)
}

/// Runs a future on the I/O runtime and waits for it; may be called from any thread.
///
/// # Errors
/// The runtime cannot be started, or the future panicked.
pub fn wait_for<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Result<T> {
    start(future)?
        .recv()
        .map_err(|_| Error::internal("a storage call ended without a result"))
}
