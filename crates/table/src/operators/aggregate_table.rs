//! What the aggregating operators share: groups with the accumulators of an operator's calls.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt16Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType as ArrowType, Field, Schema as ArrowSchema, SchemaRef};
use arrow::record_batch::RecordBatch;
use flott_core::changelog::{ChangelogBatch, adds};
use flott_core::operator::{StateLayout, StateNames, StateRows, TableLayout};
use flott_core::schema::{Column, Schema};
use flott_core::types::LogicalType;
use flott_core::{Error, Result};
use flott_state::{ChangeTracker, GroupTable};

pub(crate) use super::accumulators::Accumulators;
use super::accumulators::Part;
pub use super::accumulators::PartialColumns;
use super::evaluate::batch_of;
use crate::aggregates::{AggregateCallConfig, Phase};

/// The columns of keys with partial states.
pub(crate) fn state_schema(
    input: &Schema,
    key_columns: &[usize],
    calls: &[AggregateCallConfig],
    counts_rows: bool,
) -> Result<Schema> {
    let mut columns: Vec<Column> = key_columns
        .iter()
        .map(|&c| input.columns()[c].clone().with_time(None))
        .collect();
    for part in Part::all(calls, counts_rows)? {
        let types = part.state_types().into_iter().enumerate();
        let call = part.first_call();
        columns.extend(types.map(|(i, t)| Column::new(format!("$agg{call}_{i}"), t)));
    }
    if counts_rows {
        columns.push(Column::new("$count", LogicalType::BigInt.not_null()));
    }
    Ok(Schema::new(columns))
}

/// Which rows add and which remove; `None` is all add.
pub(crate) fn additions(batch: &ChangelogBatch) -> Option<BooleanArray> {
    let kinds = batch.kinds()?;
    if kinds.iter().all(|&k| adds(k)) {
        return None;
    }
    let buffer = BooleanBuffer::collect_bool(kinds.len(), |i| adds(kinds[i]));
    Some(BooleanArray::new(buffer, None))
}

/// How rows are grouped and aggregated. Positions are in the columns of [`AggregateLayout::pick`].
pub(crate) struct AggregateLayout {
    /// The input's columns that are needed.
    input_columns: Vec<usize>,
    key_columns: Vec<usize>,
    key_types: Vec<ArrowType>,
    pub(super) calls: Vec<AggregateCallConfig>,
    pub phase: Phase,
    /// Whether groups know their number of rows, because rows are also removed.
    pub counts_rows: bool,
    pub(super) num_counts: usize,
    pub(super) required_counts: Vec<usize>,
}

impl AggregateLayout {
    /// `more_columns` of the input are picked besides, after the others.
    pub fn new(
        input: &SchemaRef,
        key_columns: &[usize],
        calls: &[AggregateCallConfig],
        phase: Phase,
        counts_rows: bool,
        more_columns: &[usize],
    ) -> Self {
        let key_types = key_columns
            .iter()
            .map(|&c| input.field(c).data_type().clone())
            .collect();
        let mut layout = Self {
            input_columns: Vec::new(),
            key_columns: Vec::new(),
            key_types,
            calls: calls.to_vec(),
            phase,
            counts_rows,
            num_counts: usize::from(counts_rows),
            required_counts: (0..usize::from(counts_rows)).collect(),
        };
        if phase == Phase::Global {
            layout.input_columns = (0..input.fields().len()).collect();
            layout.key_columns = key_columns.to_vec();
            return layout;
        }
        let picked = &mut layout.input_columns;
        let mut pick = |column: usize| match picked.iter().position(|&c| c == column) {
            Some(position) => position,
            None => {
                picked.push(column);
                picked.len() - 1
            }
        };
        layout.key_columns = key_columns.iter().map(|&c| pick(c)).collect();
        for call in &mut layout.calls {
            call.args.iter_mut().for_each(|c| *c = pick(*c));
            call.filter = call.filter.map(&mut pick);
        }
        more_columns.iter().for_each(|&c| {
            pick(c);
        });
        layout
    }

    /// Of a split aggregation, whose rows come over several ways and are counted on each: a group
    /// has rows when all of the `required` counts are positive, and is gone when all are 0.
    pub fn with_counts(self, num_counts: usize, required: Vec<usize>) -> Self {
        Self {
            num_counts,
            required_counts: required,
            ..self
        }
    }

    /// Only the columns that are needed.
    pub fn pick(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        Ok(rows.project(&self.input_columns)?)
    }

    /// Where a column of the input is among the picked.
    pub fn position(&self, column: usize) -> Result<usize> {
        let position = self.input_columns.iter().position(|&c| c == column);
        position.ok_or_else(|| Error::internal(format!("column {column} is not picked")))
    }

    /// The key columns of picked rows.
    pub fn keys(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        let keys = self.key_columns.iter();
        keys.map(|&c| rows.column(c).clone()).collect()
    }

    pub fn num_keys(&self) -> usize {
        self.key_columns.len()
    }

    /// What the columns of keys are called in a snapshot.
    pub fn key_names(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.num_keys()).map(|key| format!("key{key}"))
    }

    pub fn group_table(&self) -> Result<GroupTable> {
        GroupTable::new(&self.key_types)
    }
}

/// Groups by key with their accumulators.
pub(crate) struct AggregateTable {
    layout: Arc<AggregateLayout>,
    groups: GroupTable,
    accumulators: Accumulators,
    /// The group of each row of the last batch.
    row_groups: Vec<u32>,
    changes: ChangeTracker,
}

impl AggregateTable {
    pub fn new(layout: &Arc<AggregateLayout>) -> Result<Self> {
        Ok(Self {
            groups: layout.group_table()?,
            accumulators: Accumulators::new(layout)?,
            layout: layout.clone(),
            row_groups: Vec::new(),
            changes: ChangeTracker::default(),
        })
    }

    /// Finds or makes the groups of picked rows. [`AggregateTable::take_in`] follows.
    pub fn assign(&mut self, rows: &RecordBatch) -> Result<()> {
        let keys = self.layout.keys(rows);
        self.assign_keys(&keys, rows.num_rows())
    }

    fn assign_keys(&mut self, keys: &[ArrayRef], num_rows: usize) -> Result<()> {
        self.groups.assign(keys, num_rows, &mut self.row_groups)?;
        self.accumulators.resize(self.groups.capacity());
        Ok(())
    }

    /// Makes the one group of a table without keys.
    pub fn assign_single(&mut self) -> Result<()> {
        self.assign_keys(&[], 1)
    }

    /// Takes in the rows that were assigned last.
    pub fn take_in(&mut self, rows: &RecordBatch, adds: Option<&BooleanArray>) -> Result<()> {
        self.changes.mark(&self.row_groups, self.groups.capacity());
        self.accumulators.take_in(&self.row_groups, rows, adds)
    }

    /// Forgets groups, and those of the rows assigned last that are not `kept`.
    pub fn forget(&mut self, groups: &[u32], kept: &BooleanArray) {
        self.changes.mark(&self.row_groups, self.groups.capacity());
        self.accumulators.clear(groups);
        let mut is_kept = kept.values().iter();
        self.row_groups.retain(|_| is_kept.next() == Some(true));
    }

    /// Takes in the partial states of some calls and counts, of rows that were assigned last.
    pub fn take_in_some(&mut self, rows: &RecordBatch, columns: &PartialColumns) -> Result<()> {
        self.changes.mark(&self.row_groups, self.groups.capacity());
        let states = &rows.columns()[self.layout.num_keys()..];
        self.accumulators
            .merge_some(&self.row_groups, states, columns)
    }

    /// Assigns and merges columns of keys and partial states.
    pub fn merge_columns(&mut self, columns: &[ArrayRef], num_rows: usize) -> Result<()> {
        let (keys, states) = columns.split_at(self.layout.num_keys());
        self.assign_keys(keys, num_rows)?;
        self.changes.mark(&self.row_groups, self.groups.capacity());
        self.accumulators.merge(&self.row_groups, states)
    }

    /// Merges all groups of another table of the same layout.
    pub fn merge_table(&mut self, other: &Self) -> Result<()> {
        let groups = other.groups.groups();
        self.merge_columns(&other.key_states(&groups)?, groups.len())
    }

    /// Keys and partial states of these groups.
    pub fn key_states(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = self.groups.keys(groups)?;
        columns.extend(self.accumulators.states(groups)?);
        Ok(columns)
    }

    /// Keys and results of these groups.
    pub fn key_results(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = self.groups.keys(groups)?;
        columns.extend(self.accumulators.results(groups)?);
        Ok(columns)
    }

    pub fn key_groups(&self, groups: &[u32], max_parallelism: usize) -> ArrayRef {
        let of = groups.iter();
        let of = of.map(|&g| self.groups.key_group(g, max_parallelism));
        Arc::new(UInt16Array::from_iter_values(of))
    }

    /// Removes groups; the next snapshot tells of it.
    pub fn remove(&mut self, groups: &[u32], max_parallelism: usize) -> Result<()> {
        if groups.is_empty() {
            return Ok(());
        }
        if self.changes.is_on() {
            let keys = self.state_keys(groups, max_parallelism)?;
            let keys = state_batch(keys, groups.len())?;
            self.changes.remove(groups, keys, self.groups.len());
        }
        self.accumulators.clear(groups);
        self.groups.remove(groups);
        Ok(())
    }

    /// The key groups and keys of these groups.
    fn state_keys(&self, groups: &[u32], max_parallelism: usize) -> Result<Vec<ArrayRef>> {
        let mut columns = vec![self.key_groups(groups, max_parallelism)];
        columns.extend(self.groups.keys(groups)?);
        Ok(columns)
    }

    /// Whether changes are known, so that a snapshot need not say everything.
    pub fn knows_changes(&self) -> bool {
        self.changes.is_on()
    }

    /// The groups that a snapshot has to tell: the changed, or all when changes are not known.
    pub fn groups_to_tell(&self) -> Vec<u32> {
        match self.changes.is_on() {
            true => self.changes.changed(),
            false => self.groups.groups(),
        }
    }

    /// All has been told, now or by a restore: changes count from here. Gives the keys of groups
    /// removed since the last time.
    pub fn told(&mut self) -> StateRows {
        let removed = self.changes.take_removed();
        self.changes.begin();
        removed
    }

    /// The next snapshot has to say everything.
    pub fn forget_changes(&mut self) {
        self.changes.stop();
    }

    /// Removes all groups and keeps the room for as many.
    pub fn clear(&mut self) {
        let all: Vec<u32> = (0..self.groups.capacity() as u32).collect();
        self.accumulators.clear(&all);
        self.groups.clear();
        self.changes.stop();
    }

    pub fn groups(&self) -> &GroupTable {
        &self.groups
    }

    pub fn row_groups(&self) -> &[u32] {
        &self.row_groups
    }

    pub fn accumulators(&self) -> &Accumulators {
        &self.accumulators
    }

    pub fn accumulators_mut(&mut self) -> &mut Accumulators {
        &mut self.accumulators
    }

    /// The groups that have rows.
    pub fn shown_groups(&self) -> Vec<u32> {
        let mut groups = self.groups.groups();
        groups.retain(|&g| self.accumulators.has_rows(g));
        groups
    }

    pub fn size_bytes(&self) -> usize {
        self.groups.size_bytes() + self.accumulators.size_bytes() + self.changes.size_bytes()
    }
}

/// A batch of columns for a snapshot under their names.
pub(crate) fn named_batch(
    names: Vec<String>,
    columns: Vec<ArrayRef>,
    num_rows: usize,
) -> Result<RecordBatch> {
    let fields = names.into_iter().zip(&columns);
    let fields = fields.map(|(name, c)| Field::new(name, c.data_type().clone(), true));
    let schema = ArrowSchema::new(fields.collect::<Vec<_>>());
    batch_of(Arc::new(schema), columns, num_rows)
}

/// How a table of keys and partial states holds the columns of the operator's state; `None` of
/// the parts of a split aggregation.
pub(crate) fn state_layout(
    table: &'static str,
    layout: &AggregateLayout,
    has_ttl: bool,
) -> Result<Option<StateLayout>> {
    if layout.num_counts > 1 {
        return Ok(None);
    }
    let parts = Part::all(&layout.calls, layout.counts_rows)?;
    let table = TableLayout::Aggregates {
        table,
        names: StateNames::AGGREGATES,
        keys: layout.key_types.clone(),
        parts: parts.into_iter().map(Part::layout).collect::<Result<_>>()?,
    };
    Ok(Some(StateLayout {
        tables: vec![table],
        refuses_new: layout.counts_rows.then_some(
            "the input takes rows back, among them rows that a new call would never have seen",
        ),
        has_ttl,
        ..StateLayout::default()
    }))
}

/// A batch of columns for a snapshot, named by their places.
pub(crate) fn state_batch(columns: Vec<ArrayRef>, num_rows: usize) -> Result<RecordBatch> {
    let fields = columns.iter().enumerate();
    let fields = fields.map(|(i, c)| Field::new(format!("c{i}"), c.data_type().clone(), true));
    let schema = ArrowSchema::new(fields.collect::<Vec<_>>());
    batch_of(Arc::new(schema), columns, num_rows)
}
