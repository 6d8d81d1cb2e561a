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

/// Does work that waits for disks for each of `parts`, all at the same time, on the threads of the
/// I/O runtime for that; waits for all of it, and gives the first error.
///
/// # Errors
/// The work's; the runtime cannot be started, or the work panicked.
pub fn wait_for_blocking<T: Send + 'static>(
    parts: Vec<T>,
    work: fn(T) -> Result<()>,
) -> Result<()> {
    let runtime = runtime()?;
    let num_parts = parts.len();
    let (done, results) = sync_channel(num_parts);
    for part in parts {
        let done = done.clone();
        runtime.spawn_blocking(move || {
            // Nobody waits any more after an error.
            let _ = done.send(work(part));
        });
    }
    drop(done);
    let mut outcome = Ok(());
    for _ in 0..num_parts {
        let lost = |_| Error::internal("a storage call ended without a result");
        let result = results.recv().map_err(lost)?;
        outcome = outcome.and(result);
    }
    outcome
}

/// Starts work that waits for disks on a thread beside; its result comes through the channel.
///
/// # Errors
/// The runtime cannot be started.
pub fn start_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Receiver<T>> {
    let (done, result) = sync_channel(1);
    runtime()?.spawn_blocking(move || {
        // Nobody waits any more: the result is not needed.
        let _ = done.send(work());
    });
    Ok(result)
}

/// Does work that gives items, on a thread beside, so many items ahead of who takes them. The work is
/// told `false` when nobody takes any more.
///
/// # Errors
/// The runtime cannot be started.
pub fn read_ahead<T: Send + 'static>(
    num_ahead: usize,
    work: impl FnOnce(&dyn Fn(T) -> bool) + Send + 'static,
) -> Result<Receiver<T>> {
    let (give, items) = sync_channel(num_ahead);
    runtime()?.spawn_blocking(move || work(&|item| give.send(item).is_ok()));
    Ok(items)
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
