//! Waiting for what other processes do.

use std::sync::mpsc;
use std::time::Duration;

use flott_core::clock::Stopwatch;

/// Asks every 20 ms until it is so; gives whether it was within `limit`.
pub fn wait_for(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let since = Stopwatch::start();
    while since.elapsed() < limit {
        if is_so() {
            return true;
        }
        pause(Duration::from_millis(20));
    }
    is_so()
}

/// Lets time pass: other processes are not ours to wake.
pub fn pause(duration: Duration) {
    let (_sender, receiver) = mpsc::channel::<()>();
    let _ = receiver.recv_timeout(duration);
}
