//! The contract between an operator and whatever runs it.
//!
//! An operator is one subtask's instance; it is driven by one thread and never blocks. Calls come
//! in this order: `open`, at most one `restore`, then any sequence of `process`, `watermark`,
//! `input_ended`, `on_timer` and `snapshot` (each after a `prepare_snapshot`), then `finish` once
//! all inputs have ended.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

use crate::changelog::ChangelogBatch;
use crate::clock::Clock;
use crate::error::Result;
use crate::key_group::key_groups_of;
use crate::metrics::OperatorMetrics;
use crate::options::Options;
use crate::source::Waker;

pub use crate::snapshot::{
    PackedReader, RowsReader, StateBatch, StateContent, StatePart, StateRows, StateScope,
    StateSnapshot, StateTable, StoredRows,
};

/// Where an operator stands and what it may use.
#[derive(Debug, Clone)]
pub struct OperatorContext {
    pub subtask: usize,
    pub parallelism: usize,
    pub max_parallelism: usize,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<OperatorMetrics>,
    /// The job's configuration (`table.exec.state.ttl`, …).
    pub config: Arc<Options>,
    pub host: OperatorHost,
}

/// What an operator may ask of whatever runs it; by default nothing comes of it.
#[derive(Clone, Default)]
pub struct OperatorHost {
    /// Has [`Operator::next_timer_ms`] looked at again soon; may be called from any thread.
    pub waker: Option<Waker>,
    /// Takes bytes from the job's budget of what is under way.
    pub holder: Option<Holder>,
    /// Where what does not fit into memory goes, for operators whose state is not kept by key.
    pub overflow: Option<Arc<dyn Overflow>>,
}

/// Room outside of the memory. State by key finds its way there without the operator.
pub trait Overflow: Send + Sync {
    /// The operator keeps so many bytes in memory now; gives whether they may stay there.
    fn may_keep(&self, bytes: usize) -> bool;

    /// Writes rows to where they can be read as often as needed, until they are dropped. Batches
    /// are read as they were given.
    ///
    /// # Errors
    /// The rows' own, and an external error `SPILL` when they cannot be written.
    fn write(&self, rows: RowsReader<'_>) -> Result<StateRows>;
}

/// Takes bytes from a budget until what it gives is dropped.
pub type Holder = Arc<dyn Fn(usize) -> Held + Send + Sync>;

/// Bytes taken from a budget; they go back when it is dropped.
pub type Held = Option<Arc<dyn std::any::Any + Send + Sync>>;

impl OperatorHost {
    pub fn wake(&self) {
        if let Some(wake) = &self.waker {
            wake();
        }
    }

    /// The operator keeps so many bytes in memory now; gives whether they may stay there.
    pub fn may_keep(&self, bytes: usize) -> bool {
        let overflow = self.overflow.as_ref();
        overflow.is_none_or(|overflow| overflow.may_keep(bytes))
    }

    /// Counts rows that an operator holds until somebody outside answers as under way, so that
    /// sources wait.
    pub fn hold(&self, bytes: usize) -> Held {
        self.holder.as_ref().and_then(|hold| hold(bytes))
    }
}

impl std::fmt::Debug for OperatorHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OperatorHost")
    }
}

impl OperatorContext {
    /// The key groups that this subtask owns.
    pub fn key_groups(&self) -> Range<usize> {
        key_groups_of(self.subtask, self.parallelism, self.max_parallelism)
    }
}

/// Takes what an operator sends downstream.
pub trait Output {
    /// Sends a batch; empty batches are dropped.
    fn emit(&mut self, batch: ChangelogBatch) -> Result<()>;

    /// Sends a watermark, in ms; it must not be lower than the last.
    fn watermark(&mut self, watermark: i64) -> Result<()>;
}

/// One subtask's instance of an operator.
pub trait Operator: Send {
    fn open(&mut self, _context: &OperatorContext) -> Result<()> {
        Ok(())
    }

    /// A batch has come in on the input of this index.
    fn process(&mut self, input: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()>;

    /// The least watermark over all inputs has risen to this. The default passes it on.
    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        out.watermark(watermark)
    }

    /// When [`Operator::on_timer`] wants to be called next, in processing-time ms.
    fn next_timer_ms(&self) -> Option<i64> {
        None
    }

    /// Processing time has reached [`Operator::next_timer_ms`].
    fn on_timer(&mut self, _now_ms: i64, _out: &mut dyn Output) -> Result<()> {
        Ok(())
    }

    /// The input of this index has ended, maybe before others; every input ends before
    /// [`Operator::finish`]. After a restore the end of an input may be told again.
    fn input_ended(&mut self, _input: usize, _out: &mut dyn Output) -> Result<()> {
        Ok(())
    }

    /// All inputs have ended; the watermark is at its maximum already.
    fn finish(&mut self, _out: &mut dyn Output) -> Result<()> {
        Ok(())
    }

    /// A snapshot is about to be taken: what must not stay here over a checkpoint, because another
    /// parallelism may do without this operator, is sent now.
    fn prepare_snapshot(&mut self, _out: &mut dyn Output) -> Result<()> {
        Ok(())
    }

    /// The state as it stands now; it must not be destroyed by taking it. A table is whole, or what
    /// has changed since this instance's last snapshot, restore or beginning: a new table begins
    /// with a delta in which everything is new.
    ///
    /// A caller that asks for a snapshot keeps it: what it says is not said again.
    fn snapshot(&mut self) -> Result<StateSnapshot> {
        Ok(StateSnapshot::default())
    }

    /// Takes back state of one or more subtasks' snapshots, already reduced to this subtask's key
    /// groups. Its tables are whole ([`StateContent::Full`]).
    fn restore(&mut self, _snapshot: StateSnapshot) -> Result<()> {
        Ok(())
    }

    /// Makes the next snapshot one of everything, as if there had been none before. Nothing to do
    /// for an operator whose tables are always whole.
    fn restart_snapshots(&mut self) {}

    /// About how many bytes of memory the state takes. Asked for often: it must be cheap.
    fn state_bytes(&self) -> usize {
        0
    }

    /// The least watermark that would make [`Operator::watermark`] do more than pass it on, as long
    /// as no more rows come: `i64::MAX` when none would; `None` when none ever will, whatever rows
    /// come. The default: any watermark may.
    fn next_event_time(&self) -> Option<i64> {
        Some(i64::MIN)
    }
}

/// Makes an operator's instance for each subtask.
pub trait OperatorFactory: Send + Sync {
    fn create(&self) -> Result<Box<dyn Operator>>;

    /// How the operator's tables hold the columns of its state; `None` where state of other columns
    /// cannot be turned into the operator's own.
    ///
    /// # Errors
    /// A defect: a configuration of which no operator can be made.
    fn state_layout(&self) -> Result<Option<StateLayout>> {
        Ok(None)
    }
}

/// How an operator's tables hold the columns of [`Node::state`](crate::graph::Node::state).
#[derive(Debug, Clone, Default)]
pub struct StateLayout {
    pub tables: Vec<TableLayout>,
    /// Why what was kept before cannot do without a column or call that is new; `None` where it can:
    /// the column is NULL in old rows, the call has seen no rows yet.
    pub refuses_new: Option<&'static str>,
    /// A call that is new is made of the rows that are kept.
    pub rebuilds_calls: bool,
    /// State is forgotten after `table.exec.state.ttl`.
    pub has_ttl: bool,
}

/// How one table of an operator holds columns of its state.
#[derive(Debug, Clone)]
pub enum TableLayout {
    /// Whole rows of the input of the table's position: they are the last columns. Of several such
    /// tables each has the columns whose names begin with the table's and a dot. Calls are no part
    /// of them.
    Rows {
        table: Cow<'static, str>,
        types: Vec<DataType>,
    },
    /// Only the rows' keys: they are the last columns.
    Keys {
        table: &'static str,
        types: Vec<DataType>,
    },
    /// Columns of these types behind the key group, in a table of each call that has one: it is
    /// called like the call's number with this prefix.
    OfCall {
        prefix: &'static str,
        call: usize,
        types: Vec<DataType>,
    },
    /// Keys and partial states of calls; columns named [`TRAILING_COLUMNS`] stand behind them.
    Aggregates {
        table: &'static str,
        names: StateNames,
        keys: Vec<DataType>,
        /// In the order of their columns.
        parts: Vec<PartLayout>,
    },
}

/// What the columns of keys and partial states are called: `key0`, `key1` …, `agg0_0`, `agg0_1`,
/// `agg1_0` … of calls of their own, `set0.0+2.1_0` of calls that share a set of values, each with
/// the number of its filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateNames {
    pub key: &'static str,
    pub call: &'static str,
    pub set: &'static str,
}

impl StateNames {
    /// Of aggregations by key.
    pub const AGGREGATES: Self = Self {
        key: "key",
        call: "agg",
        set: "set",
    };
}

/// The partial states of a call, or the values that calls with DISTINCT share.
#[derive(Debug, Clone)]
pub struct PartLayout {
    /// Of each call its number, and the number of its filter in the set; 0 of calls without one.
    pub calls: Vec<(usize, usize)>,
    /// How many filters a set of values has; `None` is no set.
    pub num_filters: Option<usize>,
    /// The state of a group without rows: columns of one row.
    pub empty: Vec<ArrayRef>,
    /// When all of its calls are new, its columns are left out: the operator makes them of rows.
    pub is_rebuilt: bool,
}

/// The columns behind partial states: a group's number of rows, and when it was last updated.
pub const TRAILING_COLUMNS: [&str; 2] = ["num_rows", "updated_ms"];

impl<F> OperatorFactory for F
where
    F: Fn() -> Result<Box<dyn Operator>> + Send + Sync,
{
    fn create(&self) -> Result<Box<dyn Operator>> {
        self()
    }
}
