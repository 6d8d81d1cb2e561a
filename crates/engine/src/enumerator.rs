//! The job's one enumerator of a source, shared by its readers.

use std::sync::Arc;

use parking_lot::Mutex;

use flott_core::Result;
use flott_core::clock::Clock;
use flott_core::source::{SplitEnumerator, SplitPoll, SplitProvider};

/// An enumerator behind a lock, with the epoch of each reader.
pub struct JobEnumerator {
    inner: Mutex<Inner>,
    clock: Arc<dyn Clock>,
}

struct Inner {
    enumerator: Box<dyn SplitEnumerator>,
    /// The epoch of the last checkpoint's cut.
    epoch: u64,
    reader_epochs: Vec<u64>,
}

impl JobEnumerator {
    pub fn new(
        enumerator: Box<dyn SplitEnumerator>,
        num_readers: usize,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            inner: Mutex::new(Inner {
                enumerator,
                epoch: 0,
                reader_epochs: vec![0; num_readers],
            }),
            clock,
        }
    }

    /// Takes the state for the checkpoint whose cut begins `epoch`.
    pub fn begin_epoch(&self, epoch: u64) -> Result<Vec<u8>> {
        let mut inner = self.inner.lock();
        inner.epoch = epoch;
        inner.enumerator.snapshot()
    }

    /// A reader has crossed into `epoch`; `u64::MAX` when it has ended.
    pub fn reader_at(&self, subtask: usize, epoch: u64) {
        self.inner.lock().reader_epochs[subtask] = epoch;
    }
}

impl SplitProvider for JobEnumerator {
    fn next_split(&self, subtask: usize) -> Result<SplitPoll> {
        let now_ms = self.clock.now_ms();
        let mut inner = self.inner.lock();
        let epoch = inner.epoch;
        if inner.reader_epochs.iter().any(|&e| e < epoch) {
            // Between the enumerator's snapshot and the readers': nothing may change hands.
            return Ok(SplitPoll::PendingUntil(now_ms));
        }
        inner.enumerator.next_split(subtask, now_ms)
    }
}
