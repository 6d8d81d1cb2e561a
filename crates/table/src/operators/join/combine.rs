//! Rows of two sides side by side, and the rest of the join condition over them.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt32Array, new_null_array};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{concat_batches, is_null, or_kleene, take, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_physical_expr_common::physical_expr::PhysicalExpr;
use flott_core::Result;
use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::operator::Output;

use super::keys::SideName;
use super::{JoinInputs, JoinKind};
use crate::operators::evaluate::{batch_of, evaluate_matches, over_own_columns};
use crate::operators::rows::RowStore;

/// Pairs are made, checked and sent in batches of at most this many.
pub(super) const MAX_PAIRS: usize = 1 << 14;

/// Where rows of one side of a pair are.
pub(super) enum RowsOf<'a> {
    /// Rows of a batch at these positions.
    Batch(&'a RecordBatch, &'a [u32]),
    /// Rows of these slots.
    Stored(&'a RowStore, &'a [u32]),
}

impl RowsOf<'_> {
    pub fn columns(&self, columns: &[usize]) -> Result<Vec<ArrayRef>> {
        match self {
            Self::Batch(rows, positions) => {
                let positions = UInt32Array::from(positions.to_vec());
                let columns = columns.iter();
                let taken = columns.map(|&c| Ok(take(rows.column(c), &positions, None)?));
                taken.collect()
            }
            Self::Stored(store, slots) => store.columns(slots, columns),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Batch(_, rows) | Self::Stored(_, rows) => rows.len(),
        }
    }
}

/// The rest of the condition over the columns that it needs.
struct Residual {
    expr: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    left: Vec<usize>,
    right: Vec<usize>,
}

impl Residual {
    fn new(expr: &Arc<dyn PhysicalExpr>, inputs: &JoinInputs) -> Result<Self> {
        let num_left = inputs.left_schema.fields().len();
        let (used, expr) = over_own_columns(expr)?;
        let (left, right): (Vec<usize>, Vec<usize>) = used.iter().partition(|&&c| c < num_left);
        let right: Vec<usize> = right.into_iter().map(|c| c - num_left).collect();
        let fields = left.iter().map(|&c| inputs.left_schema.fields()[c].clone());
        let of_right = right.iter();
        let fields = fields.chain(of_right.map(|&c| inputs.right_schema.fields()[c].clone()));
        Ok(Self {
            expr,
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            left,
            right,
        })
    }

    fn matches(&self, left: &RowsOf<'_>, right: &RowsOf<'_>) -> Result<BooleanArray> {
        let mut columns = left.columns(&self.left)?;
        columns.extend(right.columns(&self.right)?);
        let rows = batch_of(self.schema.clone(), columns, left.len())?;
        evaluate_matches(self.expr.as_ref(), &rows)
    }
}

/// Makes a join's output.
pub(super) struct Combiner {
    residual: Option<Residual>,
    schema: SchemaRef,
    schemas: [SchemaRef; 2],
    all: [Vec<usize>; 2],
    is_left_only: bool,
}

impl Combiner {
    pub fn new(inputs: &JoinInputs) -> Result<Self> {
        let residual = inputs.residual.as_ref();
        let schemas = [inputs.left_schema.clone(), inputs.right_schema.clone()];
        Ok(Self {
            residual: residual.map(|r| Residual::new(r, inputs)).transpose()?,
            schema: inputs.schema.clone(),
            all: [0, 1].map(|side: usize| (0..schemas[side].fields().len()).collect()),
            schemas,
            is_left_only: is_left_only(inputs.kind),
        })
    }

    /// Which of these pairs fulfil the rest of the condition; `None` is all.
    pub fn matches(
        &self,
        side: SideName,
        own: &RowsOf<'_>,
        other: &RowsOf<'_>,
    ) -> Result<Option<BooleanArray>> {
        let Some(residual) = &self.residual else {
            return Ok(None);
        };
        let matches = match side {
            SideName::Left => residual.matches(own, other),
            SideName::Right => residual.matches(other, own),
        };
        Ok(Some(matches?).filter(|m| m.has_false()))
    }

    /// Pairs as output rows; `side` is the one that `own` is of.
    pub fn pairs(
        &self,
        side: SideName,
        own: &RowsOf<'_>,
        other: &RowsOf<'_>,
    ) -> Result<RecordBatch> {
        let (left, right) = match side {
            SideName::Left => (own, other),
            SideName::Right => (other, own),
        };
        let mut columns = left.columns(&self.all[0])?;
        columns.extend(right.columns(&self.all[1])?);
        batch_of(self.schema.clone(), columns, left.len())
    }

    /// Rows without a partner as output rows: the other side's columns are NULL, or left out.
    pub fn alone(&self, side: SideName, rows: &RowsOf<'_>) -> Result<RecordBatch> {
        let own = rows.columns(&self.all[side as usize])?;
        let num_rows = rows.len();
        let other = if self.is_left_only {
            Vec::new()
        } else {
            let fields = self.schemas[side.other() as usize].fields().iter();
            let nulls = fields.map(|f| new_null_array(f.data_type(), num_rows));
            nulls.collect()
        };
        let columns = match side {
            SideName::Left => [own, other].concat(),
            SideName::Right => [other, own].concat(),
        };
        batch_of(self.schema.clone(), columns, num_rows)
    }
}

/// When a row of a side is sent by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alone {
    Never,
    /// While it has no match.
    Unmatched,
    /// Once for all its matches.
    Matched,
}

impl Alone {
    pub fn of(kind: JoinKind, side: SideName) -> Self {
        use JoinKind::*;
        match (kind, side) {
            (Semi, SideName::Left) => Self::Matched,
            (Left | Full | Anti | NullAwareAnti, SideName::Left) => Self::Unmatched,
            (Right | Full, SideName::Right) => Self::Unmatched,
            _ => Self::Never,
        }
    }

    /// Whether a row with so many matches is sent.
    pub fn is_sent(self, num_matches: u32) -> bool {
        match self {
            Self::Never => false,
            Self::Unmatched => num_matches == 0,
            Self::Matched => num_matches > 0,
        }
    }
}

/// Whether the output has the left's columns alone.
pub(super) fn is_left_only(kind: JoinKind) -> bool {
    matches!(
        kind,
        JoinKind::Semi | JoinKind::Anti | JoinKind::NullAwareAnti
    )
}

/// Rows of a batch beside rows of the other side.
#[derive(Default)]
pub(super) struct Pairs {
    pub rows: Vec<u32>,
    /// Positions among the rows of the batch that are joined.
    pub picks: Vec<u32>,
    pub slots: Vec<u32>,
}

impl Pairs {
    #[inline]
    pub fn push(&mut self, row: u32, pick: usize, slot: u32) {
        self.rows.push(row);
        self.picks.push(pick as u32);
        self.slots.push(slot);
    }

    pub fn is_full(&self) -> bool {
        self.rows.len() >= MAX_PAIRS
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Keeps the pairs that are marked.
    pub fn keep(&mut self, marks: &BooleanArray) {
        for items in [&mut self.rows, &mut self.picks, &mut self.slots] {
            let mut index = 0;
            items.retain(|_| {
                index += 1;
                marks.value(index - 1)
            });
        }
    }

    pub fn clear(&mut self) {
        self.rows.clear();
        self.picks.clear();
        self.slots.clear();
    }
}

/// Where every key is equal or NULL on a side.
pub(super) fn may_be_equal(
    left: &[ArrayRef],
    right: &[ArrayRef],
    num_rows: usize,
) -> Result<BooleanArray> {
    let mut marks = BooleanArray::from(vec![true; num_rows]);
    for (left, right) in left.iter().zip(right) {
        let nulls = or_kleene(&is_null(left)?, &is_null(right)?)?;
        let equal = or_kleene(&nulls, &eq(left, right)?)?;
        marks = arrow::compute::and(&marks, &equal)?;
    }
    Ok(marks)
}

/// Sends rows that come from these positions of a batch in the order of the batch and with its
/// kinds.
pub(super) fn emit_in_order(
    parts: Vec<(RecordBatch, Vec<u32>)>,
    kinds: &[u8],
    out: &mut dyn Output,
) -> Result<()> {
    let Some((first, _)) = parts.first() else {
        return Ok(());
    };
    let rows = concat_batches(&first.schema(), parts.iter().map(|(rows, _)| rows))?;
    let positions: Vec<u32> = parts.into_iter().flat_map(|(_, p)| p).collect();
    let mut order: Vec<u32> = (0..positions.len() as u32).collect();
    order.sort_by_key(|&row| positions[row as usize]);
    let kinds = order
        .iter()
        .map(|&row| kinds[positions[row as usize] as usize]);
    let kinds: Vec<u8> = kinds.collect();
    let rows = match order.is_sorted() {
        true => rows,
        false => take_record_batch(&rows, &UInt32Array::from(order))?,
    };
    let is_insert_only = kinds.iter().all(|&k| k == RowKind::Insert as u8);
    out.emit(ChangelogBatch::new(
        rows,
        (!is_insert_only).then(|| kinds.into()),
    ))
}
