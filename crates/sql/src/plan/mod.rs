//! The logical plan: relational operators over positions, with Flink's types.
//!
//! Columns are referred to by position, never by name, so that equal names, renames and joins need
//! no care. Every node knows its schema. The binder makes the plan, the optimizer rewrites it, the
//! planner turns it into a job graph.

mod build;
mod display;
mod matching;
mod walk;

pub use build::{join_schema, time_of};
pub use display::explain_plan;
pub use matching::{Match, MatchColumn, MatchCondition, MatchView};

use std::sync::Arc;

use flott_core::catalog::{CatalogTable, ObjectPath};
use flott_core::options::Options;
use flott_core::schema::Schema;
use flott_core::source::{FieldPath, FieldPredicate};
use flott_core::types::DataType;
use flott_core::{Error, Result};
use flott_table::aggregates::{self, AggregateFunction, AggregateTypes};

use crate::expr::Expr;

/// A node of the logical plan.
#[derive(Debug, Clone)]
pub enum Plan {
    Scan(Scan),
    Values(Values),
    Project(Project),
    Filter(Filter),
    Watermark(Watermark),
    WindowTvf(WindowTvf),
    Aggregate(Aggregate),
    Join(Join),
    Over(Over),
    Rank(Rank),
    Sort(Sort),
    Union(Union),
    Unnest(Unnest),
    Match(Match),
}

/// Reads a table's source schema (physical, then metadata columns); computed columns and the
/// watermark are Project and Watermark nodes above it.
#[derive(Debug, Clone)]
pub struct Scan {
    pub path: ObjectPath,
    pub table: Arc<CatalogTable>,
    /// The table's options with hints applied, without `connector`.
    pub options: Options,
    /// What to produce, in this order: at first each column of the source schema.
    pub fields: Vec<FieldPath>,
    /// Filters offered to the source. They stay in the plan too unless the source applies them.
    pub predicates: Vec<FieldPredicate>,
    pub limit: Option<u64>,
    /// Columns of the source schema that are produced whether they are read or not: the key by
    /// which the changelog is brought into order.
    pub keeps: Vec<usize>,
    /// The table that takes what cannot be read of this one.
    pub dead_letters: Option<Arc<DeadLetterTable>>,
    /// What a LOOKUP hint says of it.
    pub lookup_hint: Vec<(String, String)>,
    pub schema: Schema,
}

/// A table for the dead letters of another one.
#[derive(Debug, Clone)]
pub struct DeadLetterTable {
    pub path: ObjectPath,
    pub table: Arc<CatalogTable>,
    /// Without `connector`.
    pub options: Options,
}

#[derive(Debug, Clone)]
pub struct Values {
    pub rows: Vec<Vec<Expr>>,
    pub schema: Schema,
}

#[derive(Debug, Clone)]
pub struct Project {
    pub input: Arc<Plan>,
    pub exprs: Vec<Expr>,
    pub schema: Schema,
}

#[derive(Debug, Clone)]
pub struct Filter {
    pub input: Arc<Plan>,
    pub predicate: Expr,
}

/// `WATERMARK FOR`: makes `column` a rowtime attribute.
#[derive(Debug, Clone)]
pub struct Watermark {
    pub input: Arc<Plan>,
    pub column: usize,
    pub expr: Expr,
    pub schema: Schema,
}

/// How rows fall into windows; all lengths in ms.
#[derive(Debug, Clone, PartialEq)]
pub enum WindowKind {
    Tumble {
        size_ms: i64,
        offset_ms: i64,
    },
    Hop {
        size_ms: i64,
        slide_ms: i64,
        offset_ms: i64,
    },
    Cumulate {
        max_size_ms: i64,
        step_ms: i64,
        offset_ms: i64,
    },
    /// By partition keys: positions in the input.
    Session {
        gap_ms: i64,
        partition_keys: Vec<usize>,
    },
}

/// A window table-valued function: its input's columns, then `window_start`, `window_end`,
/// `window_time`.
#[derive(Debug, Clone)]
pub struct WindowTvf {
    pub input: Arc<Plan>,
    pub kind: WindowKind,
    /// The time attribute's position in the input.
    pub time_column: usize,
    pub is_proctime: bool,
    pub schema: Schema,
}

/// GROUP BY, DISTINCT, and aggregates without keys. Its schema: the keys, then the calls' results,
/// then the window's properties.
#[derive(Debug, Clone)]
pub struct Aggregate {
    pub input: Arc<Plan>,
    /// Positions in the input.
    pub keys: Vec<usize>,
    /// Each a list of positions in `keys`; `None` is the one set of all keys. With sets, keys
    /// absent from a set are NULL in its rows. The schema then has, after the keys, no extra
    /// column: GROUPING and GROUPING_ID are `grouping_calls`.
    pub grouping_sets: Option<Vec<Vec<usize>>>,
    /// Each call gives a BIGINT of bits for these positions in `keys`, after the aggregates.
    pub grouping_calls: Vec<Vec<usize>>,
    pub calls: Vec<AggregateCall>,
    /// When set, rows are grouped by window too.
    pub window: Option<GroupWindow>,
    pub schema: Schema,
}

/// How an aggregate is grouped by window: found by the optimizer (window columns of a TVF below
/// among the keys) or given by a legacy group window.
#[derive(Debug, Clone)]
pub struct GroupWindow {
    pub kind: WindowKind,
    pub time: WindowTime,
    /// Appended to the schema after keys, calls and grouping calls, in this order.
    pub properties: Vec<WindowProperty>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum WindowTime {
    /// The input's column of this position; the aggregate assigns windows itself.
    Rowtime(usize),
    Proctime,
    /// The input's rows carry their windows already: the positions of start and end.
    Attached {
        start: usize,
        end: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowProperty {
    Start,
    End,
    /// `window_time`: end − 1 ms, a rowtime attribute.
    Rowtime,
    Proctime,
}

#[derive(Clone)]
pub struct AggregateCall {
    pub function: &'static AggregateFunction,
    pub types: AggregateTypes,
    /// Positions in the input; of the types' argument types already.
    pub args: Vec<usize>,
    pub distinct: bool,
    /// The position of a BOOLEAN in the input.
    pub filter: Option<usize>,
}

impl AggregateCall {
    /// A call of a function of the list over all rows; the arguments are positions in the input
    /// with their types.
    ///
    /// # Errors
    /// An unknown function (internal), or types that it does not take.
    pub fn of(name: &str, args: Vec<(usize, DataType)>) -> Result<Self> {
        let function = aggregates::find(name)
            .ok_or_else(|| Error::internal(format!("no aggregate function {name}")))?;
        let (args, types): (_, Vec<_>) = args.into_iter().unzip();
        Ok(Self {
            function,
            types: (function.bind)(&types)?,
            args,
            distinct: false,
            filter: None,
        })
    }
}

impl std::fmt::Debug for AggregateCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let distinct = if self.distinct { "DISTINCT " } else { "" };
        write!(f, "{}({distinct}{:?})", self.function.name, self.args)?;
        self.filter.map_or(Ok(()), |c| write!(f, " FILTER ${c}"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
    /// Left rows with a match; the schema is the left's.
    Semi,
    /// Left rows without a match; the schema is the left's.
    Anti,
    /// As Anti, but NOT IN's: nothing passes once the right holds a NULL key, and a NULL left key
    /// never passes unless the right is empty.
    NullAwareAnti,
}

#[derive(Debug, Clone)]
pub struct Join {
    pub left: Arc<Plan>,
    pub right: Arc<Plan>,
    pub kind: JoinKind,
    /// Over the left's columns then the right's; `TRUE` literal for a cross join.
    pub condition: Expr,
    pub mode: JoinMode,
    pub schema: Schema,
}

#[derive(Debug, Clone)]
pub enum JoinMode {
    /// Both sides kept; recognised further by the optimizer.
    Regular,
    /// `left.time BETWEEN right.time + lower AND right.time + upper`, in ms; positions are in the
    /// left and the right schema. The bounds are not in `condition` any more.
    Interval {
        left_time: usize,
        right_time: usize,
        lower_ms: i64,
        upper_ms: i64,
        is_proctime: bool,
    },
    /// Equal windows; positions of start and end in each schema.
    Window {
        left: (usize, usize),
        right: (usize, usize),
    },
    /// `right FOR SYSTEM_TIME AS OF left.rowtime`: the version valid at the left row's time.
    Temporal { left_time: usize, right_time: usize },
    /// `right FOR SYSTEM_TIME AS OF left.proctime`.
    Lookup,
}

/// Window functions that share partition and order: the input's columns, then one for each call.
#[derive(Debug, Clone)]
pub struct Over {
    pub input: Arc<Plan>,
    pub partition_keys: Vec<usize>,
    pub order: Vec<SortKey>,
    pub frame: Frame,
    pub calls: Vec<OverCall>,
    pub schema: Schema,
}

#[derive(Debug, Clone)]
pub enum OverCall {
    Aggregate(AggregateCall),
    RowNumber,
    Rank,
    DenseRank,
    /// Rows back (LAG) or, negative, forward (LEAD).
    Lag {
        arg: usize,
        offset: i64,
        default: Option<usize>,
    },
    Ntile {
        buckets: i64,
    },
    PercentRank,
    CumeDist,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    pub is_rows: bool,
    /// Rows, or ms for RANGE, before the current row; `None` is unbounded.
    pub preceding: Option<i64>,
}

/// Top-n: at most the rows of rank `from..=to` of each partition, by ROW_NUMBER. Also
/// deduplication: `to` = 1 and the order a time attribute.
#[derive(Debug, Clone)]
pub struct Rank {
    pub input: Arc<Plan>,
    pub partition_keys: Vec<usize>,
    pub order: Vec<SortKey>,
    pub from: u64,
    pub to: u64,
    /// Whether the rank is the last column of the schema.
    pub outputs_rank: bool,
    /// Positions of window start and end among the partition keys' columns: a rank per window,
    /// emitted once the window has closed.
    pub window: Option<(usize, usize)>,
    pub schema: Schema,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortKey {
    pub column: usize,
    pub descending: bool,
    /// Flink: NULL is the lowest value, so first when ascending.
    pub nulls_first: bool,
}

/// ORDER BY, LIMIT and OFFSET; without keys, LIMIT alone.
#[derive(Debug, Clone)]
pub struct Sort {
    pub input: Arc<Plan>,
    pub keys: Vec<SortKey>,
    pub offset: u64,
    pub fetch: Option<u64>,
}

/// UNION ALL; the inputs' types are equal.
#[derive(Debug, Clone)]
pub struct Union {
    pub inputs: Vec<Arc<Plan>>,
    pub schema: Schema,
}

/// `CROSS JOIN UNNEST(expr)` or `LEFT JOIN … ON TRUE`: the input's columns, then the element's
/// (a row's fields; a map's key and value; a multiset's element), then the ordinality.
#[derive(Debug, Clone)]
pub struct Unnest {
    pub input: Arc<Plan>,
    /// The position of the ARRAY, MAP or MULTISET in the input.
    pub column: usize,
    pub is_outer: bool,
    pub with_ordinality: bool,
    pub schema: Schema,
}
