//! A sink that gives the job's rows to the caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};
use parking_lot::Mutex;

use flott_core::changelog::{ChangelogBatch, ChangelogMode};
use flott_core::schema::Schema;
use flott_core::sink::{Committable, SinkWriter, TableSink, WriterContext};
use flott_core::{Error, Result};

/// How often a writer that waits looks whether the job has been cancelled.
const LOOK_AFTER: Duration = Duration::from_millis(20);

/// Gives every batch to a receiver, for SELECT and for tests. When the receiver does not keep up,
/// the job waits; when it is dropped, the job fails.
pub struct CollectSink {
    schema: Schema,
    /// Dropped when all writers have their own, so that the receiver sees the end.
    sender: Mutex<(Option<Sender<ChangelogBatch>>, usize)>,
    is_cancelled: Arc<AtomicBool>,
}

impl CollectSink {
    /// `capacity` is the number of batches that may wait for the receiver.
    pub fn new(schema: Schema, capacity: usize) -> (Arc<Self>, Receiver<ChangelogBatch>) {
        let (sender, receiver) = bounded(capacity);
        let sink = Self {
            schema,
            sender: Mutex::new((Some(sender), 0)),
            is_cancelled: Arc::default(),
        };
        (Arc::new(sink), receiver)
    }

    /// The columns of the batches.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }
}

impl TableSink for CollectSink {
    fn changelog_mode(&self, offered: ChangelogMode) -> Result<ChangelogMode> {
        Ok(offered)
    }

    fn describe(&self) -> String {
        "collect".into()
    }

    fn create_writer(&self, context: WriterContext) -> Result<Box<dyn SinkWriter>> {
        let mut guard = self.sender.lock();
        let (sender, num_writers) = &mut *guard;
        *num_writers += 1;
        let own = if *num_writers == context.parallelism {
            sender.take()
        } else {
            sender.clone()
        };
        let sender = own.ok_or_else(|| Error::internal("a collect sink runs in one job only"))?;
        Ok(Box::new(CollectWriter {
            sender: Some(sender),
            is_cancelled: self.is_cancelled.clone(),
        }))
    }

    fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::SeqCst);
        self.sender.lock().0 = None;
    }
}

struct CollectWriter {
    sender: Option<Sender<ChangelogBatch>>,
    is_cancelled: Arc<AtomicBool>,
}

impl SinkWriter for CollectWriter {
    fn write(&mut self, batch: &ChangelogBatch) -> Result<()> {
        let Some(sender) = &self.sender else {
            return Err(Error::internal("a collect sink was written after its end"));
        };
        let mut batch = batch.clone();
        while !self.is_cancelled.load(Ordering::SeqCst) {
            match sender.send_timeout(batch, LOOK_AFTER) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(returned)) => batch = returned,
                Err(SendTimeoutError::Disconnected(_)) => {
                    let message = "the reader of the result has gone away";
                    return Err(Error::external("RESULT_CLOSED", message));
                }
            }
        }
        Ok(())
    }

    fn prepare_commit(&mut self, is_final: bool) -> Result<Vec<Committable>> {
        if is_final {
            self.sender = None;
        }
        Ok(Vec::new())
    }
}
