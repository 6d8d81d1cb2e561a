//! Lookups: rows of a table outside, asked for by key while a stream passes.
//!
//! A connector that can answer by key gives a [`LookupSource`]; each subtask of the join has a
//! [`Lookup`] of its own. The operator's thread makes requests and polls for answers and never
//! waits: a lookup that does I/O runs it elsewhere (a thread, a runtime of the connector's own),
//! calls its waker when there is an answer, and hands it out at the next poll. How many requests
//! are open at once is the operator's business, as are caches, retries and the order of answers.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;

use crate::clock::Clock;
use crate::error::Result;
use crate::metrics::OperatorMetrics;
use crate::options::{OptionDef, OptionType};
use crate::schema::Schema;
use crate::source::{FieldPath, Waker};

/// What a join wants of a table.
#[derive(Debug, Clone, Default)]
pub struct LookupRequest {
    /// The fields to produce, in this order, as in [`crate::source::ScanRequest::fields`].
    pub fields: Vec<FieldPath>,
    /// The fields that are the key: positions in `fields`.
    pub keys: Vec<usize>,
}

/// A table that is looked up by key, planned for one join.
pub trait LookupSource: Send + Sync {
    /// The columns produced: one for each requested field.
    fn schema(&self) -> Schema;

    /// For EXPLAIN: what is special about this lookup.
    fn describe(&self) -> String {
        String::new()
    }

    /// # Errors
    /// What opening a connection reports.
    fn create_lookup(&self, context: LookupContext) -> Result<Box<dyn Lookup>>;
}

/// What a lookup may use.
#[derive(Clone)]
pub struct LookupContext {
    pub subtask: usize,
    pub parallelism: usize,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<OperatorMetrics>,
    /// Has the operator poll soon; to be called when an answer has come in.
    pub waker: Waker,
}

/// The rows of the keys of one request.
#[derive(Debug)]
pub struct LookupAnswer {
    /// The request's number.
    pub request: u64,
    /// All rows of the table with one of the keys, in any order, with the key columns among them;
    /// none for a key that is not there. An error fails the job.
    pub rows: Result<RecordBatch>,
}

/// What a poll of a lookup gives.
#[derive(Debug)]
pub enum LookupPoll {
    Answer(LookupAnswer),
    /// Nothing now; the waker will be called.
    Pending,
    /// Nothing now; poll again at this processing time, in ms.
    PendingUntil(i64),
}

/// Answers the requests of one subtask, each once, in any order.
pub trait Lookup: Send {
    /// Asks for the rows of these keys: a column for each of [`LookupRequest::keys`], of that
    /// field's type, without NULLs, no key twice. Must not block.
    ///
    /// # Errors
    /// When the request cannot even be made.
    fn request(&mut self, request: u64, keys: Vec<ArrayRef>) -> Result<()>;

    /// The next answer.
    ///
    /// # Errors
    /// When no answer will come any more.
    fn poll(&mut self) -> Result<LookupPoll>;
}

/// `lookup.cache`.
pub const CACHE: OptionDef = OptionDef::new(
    "lookup.cache",
    OptionType::Enum(&["NONE", "PARTIAL"]),
    "whether rows that were looked up are kept for the next time",
)
.default("NONE");
/// `lookup.partial-cache.max-rows`.
pub const MAX_ROWS: OptionDef = OptionDef::new(
    "lookup.partial-cache.max-rows",
    OptionType::Integer,
    "how many rows the cache keeps at most",
);
/// `lookup.partial-cache.expire-after-write`.
pub const EXPIRE_AFTER_WRITE: OptionDef = OptionDef::new(
    "lookup.partial-cache.expire-after-write",
    OptionType::Duration,
    "how long a row is kept after it was looked up",
);
/// `lookup.partial-cache.expire-after-access`.
pub const EXPIRE_AFTER_ACCESS: OptionDef = OptionDef::new(
    "lookup.partial-cache.expire-after-access",
    OptionType::Duration,
    "how long a row is kept after it was last used",
);
/// `lookup.partial-cache.cache-missing-key`.
pub const CACHE_MISSING_KEY: OptionDef = OptionDef::new(
    "lookup.partial-cache.cache-missing-key",
    OptionType::Boolean,
    "whether the cache keeps that a key has no rows",
)
.default("true");
/// The options of the cache, for connectors that can be looked up.
pub const CACHE_OPTIONS: &[OptionDef] = &[
    CACHE,
    MAX_ROWS,
    EXPIRE_AFTER_WRITE,
    EXPIRE_AFTER_ACCESS,
    CACHE_MISSING_KEY,
];
