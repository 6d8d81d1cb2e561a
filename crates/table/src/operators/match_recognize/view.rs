//! Expressions over the rows that are mapped to a pattern.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion_physical_expr_common::physical_expr::PhysicalExpr;
use flott_core::Result;

use super::matcher::{KeyRuns, Mapping};
use crate::aggregates::{Accumulator, AggregateCallConfig};
use crate::operators::evaluate::{batch_of, evaluate_all, timestamps};
use crate::operators::rows::RowStore;

/// A value that a match, complete or in the making, gives to expressions.
#[derive(Debug, Clone)]
pub enum ViewColumn {
    /// A column of one of the rows mapped to a variable: NULL where there are not so many.
    Row {
        row: RowPlace,
        /// The position in the input.
        column: usize,
    },
    /// An aggregate over the rows mapped to a variable (`None`: to any); neither distinct nor
    /// filtered.
    Aggregate {
        variable: Option<usize>,
        call: AggregateCallConfig,
    },
    /// The time of the match.
    Time,
}

/// One of the rows mapped to a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPlace {
    /// The variable's position in the pattern; `None` is all variables together.
    pub variable: Option<usize>,
    /// Counted from the first row, or from the last.
    pub is_from_first: bool,
    pub offset: u64,
}

impl RowPlace {
    fn find(&self, mapping: &Mapping) -> Option<u64> {
        let (first, len) = mapping.rows(self.variable);
        let is_there = self.offset < len;
        is_there.then(|| match self.is_from_first {
            true => first + self.offset,
            false => first + len - 1 - self.offset,
        })
    }
}

/// Expressions, and the columns that they are compiled over.
#[derive(Debug, Clone)]
pub struct View {
    pub columns: Vec<ViewColumn>,
    pub schema: SchemaRef,
    pub exprs: Vec<Arc<dyn PhysicalExpr>>,
}

/// A mapping of a key's rows to look at.
pub(super) struct Viewed<'a> {
    pub key: u32,
    pub mapping: &'a Mapping,
    pub time: i64,
}

/// A view with the accumulators of its aggregates, which are empty between two calls.
pub(super) struct Viewer {
    view: View,
    accumulators: Vec<Option<Box<dyn Accumulator>>>,
}

impl Viewer {
    pub fn new(view: &View) -> Result<Self> {
        let accumulators = view.columns.iter().map(|column| match column {
            ViewColumn::Aggregate { call, .. } => {
                (call.function.create)(&call.types, false).map(Some)
            }
            _ => Ok(None),
        });
        Ok(Self {
            accumulators: accumulators.collect::<Result<_>>()?,
            view: view.clone(),
        })
    }

    /// The values of the expressions for each of these.
    pub fn evaluate(
        &mut self,
        viewed: &[Viewed<'_>],
        keys: &[KeyRuns],
        store: &RowStore,
    ) -> Result<Vec<ArrayRef>> {
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.view.columns.len()];
        for index in 0..columns.len() {
            if columns[index].is_some() {
                continue;
            }
            match &self.view.columns[index] {
                ViewColumn::Row { row, .. } => {
                    let row = *row;
                    self.read_rows(row, viewed, (keys, store), &mut columns)?;
                }
                ViewColumn::Aggregate { .. } => {
                    columns[index] = Some(self.aggregate(index, viewed, (keys, store))?);
                }
                ViewColumn::Time => {
                    let times = viewed.iter().map(|v| v.time).collect();
                    let to = self.view.schema.field(index).data_type();
                    columns[index] = Some(timestamps(times, to)?);
                }
            }
        }
        let columns = columns.into_iter().flatten().collect();
        let rows: RecordBatch = batch_of(self.view.schema.clone(), columns, viewed.len())?;
        evaluate_all(&self.view.exprs, &rows)
    }

    /// Reads all columns that are taken from the same row.
    fn read_rows(
        &self,
        place: RowPlace,
        viewed: &[Viewed<'_>],
        (keys, store): (&[KeyRuns], &RowStore),
        columns: &mut [Option<ArrayRef>],
    ) -> Result<()> {
        let (mut wanted, mut positions) = (Vec::new(), Vec::new());
        for (index, column) in self.view.columns.iter().enumerate() {
            if let ViewColumn::Row { row, column } = column
                && *row == place
            {
                wanted.push(index);
                positions.push(*column);
            }
        }
        let mut slots = Vec::with_capacity(viewed.len());
        let indices = viewed.iter().map(|v| {
            let slot = slot_of(&keys[v.key as usize], place.find(v.mapping)?)?;
            slots.push(slot);
            Some(slots.len() as u32 - 1)
        });
        let indices: Vec<Option<u32>> = indices.collect();
        let read = store.columns(&slots, &positions)?;
        let has_nulls = slots.len() < viewed.len();
        let indices = has_nulls.then(|| UInt32Array::from(indices));
        for (index, array) in wanted.into_iter().zip(read) {
            columns[index] = Some(match &indices {
                Some(indices) => take(&array, indices, None)?,
                None => array,
            });
        }
        Ok(())
    }

    fn aggregate(
        &mut self,
        index: usize,
        viewed: &[Viewed<'_>],
        (keys, store): (&[KeyRuns], &RowStore),
    ) -> Result<ArrayRef> {
        let (ViewColumn::Aggregate { variable, call }, Some(accumulator)) =
            (&self.view.columns[index], &mut self.accumulators[index])
        else {
            return Err(flott_core::Error::internal("no aggregate to compute"));
        };
        let (mut groups, mut slots) = (Vec::new(), Vec::new());
        for (group, viewed) in viewed.iter().enumerate() {
            let key = &keys[viewed.key as usize];
            let (first, len) = viewed.mapping.rows(*variable);
            slots.extend((first..first + len).filter_map(|row| slot_of(key, row)));
            groups.resize(slots.len(), group as u32);
        }
        let arguments = store.columns(&slots, &call.args)?;
        let all: Vec<u32> = (0..viewed.len() as u32).collect();
        accumulator.resize(viewed.len());
        accumulator.update(&groups, &arguments, None, None)?;
        let results = accumulator.evaluate(&all);
        accumulator.clear(&all);
        results
    }
}

fn slot_of(key: &KeyRuns, row: u64) -> Option<u32> {
    let position = row.checked_sub(key.first_row)?;
    key.rows.get(position as usize).map(|row| row.slot)
}
