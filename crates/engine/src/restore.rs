//! Dividing the state of a checkpoint among the subtasks of a restored operator, whose parallelism
//! may be another than before.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;

use flott_core::Result;
use flott_core::key_group::key_groups_of;
use flott_core::operator::{StateRows, StateScope, StateSnapshot, StateTable};
use flott_state::chain::KeyGroupRows;

/// The part of `snapshots` (one for each former subtask, in order; whole tables) that `subtask` of
/// `parallelism` gets back. Rows that lie elsewhere are not read yet.
///
/// # Errors
/// A defect: keyed state without a key-group column, changes in the place of whole tables.
pub fn redistribute(
    snapshots: &[StateSnapshot],
    subtask: usize,
    parallelism: usize,
    max_parallelism: usize,
) -> Result<StateSnapshot> {
    let mut tables: Vec<StateTable> = Vec::new();
    for table in snapshots.iter().flat_map(|s| &s.tables) {
        if !tables.iter().any(|t| t.name == table.name) {
            let parts = parts_of(snapshots, &table.name)?;
            let rows = match table.scope {
                StateScope::Union => all_of(&parts),
                StateScope::Keyed if parts.len() == parallelism => parts[subtask].clone(),
                StateScope::Keyed => {
                    let groups = key_groups_of(subtask, parallelism, max_parallelism);
                    KeyGroupRows::new(Arc::new(all_of(&parts)), groups).rows()
                }
                StateScope::Split if parts.len() == parallelism => parts[subtask].clone(),
                StateScope::Split => dealt(&all_of(&parts), subtask, parallelism)?,
            };
            tables.push(StateTable::full(&table.name, table.scope, rows));
        }
    }
    Ok(StateSnapshot { tables })
}

/// A table's rows by former subtask.
fn parts_of(snapshots: &[StateSnapshot], name: &str) -> Result<Vec<StateRows>> {
    let parts = snapshots.iter().map(|snapshot| {
        let table = snapshot.tables.iter().find(|t| t.name == name);
        table.map_or(Ok(StateRows::default()), |t| t.rows().cloned())
    });
    parts.collect()
}

fn all_of(parts: &[StateRows]) -> StateRows {
    let mut all = StateRows::default();
    parts.iter().for_each(|rows| all.append(rows.clone()));
    all
}

/// Every n-th row.
fn dealt(rows: &StateRows, subtask: usize, parallelism: usize) -> Result<StateRows> {
    let mut first = 0;
    let batches = rows.read().map(|batch| {
        let batch = batch?;
        let part = rows_where(&batch, |row| (first + row) % parallelism == subtask);
        first += batch.num_rows();
        part
    });
    batches.collect()
}

/// The items of former subtasks that `subtask` of `parallelism` gets: its own where the parallelism
/// is the same, else every n-th.
pub fn deal<T>(
    former: impl ExactSizeIterator<Item = Vec<T>>,
    subtask: usize,
    parallelism: usize,
) -> Vec<T> {
    if former.len() == parallelism {
        return former.into_iter().nth(subtask).unwrap_or_default();
    }
    let items = former.flatten().skip(subtask);
    items.step_by(parallelism).collect()
}

fn rows_where(batch: &RecordBatch, keep: impl Fn(usize) -> bool) -> Result<RecordBatch> {
    let mask: BooleanArray = (0..batch.num_rows()).map(|row| Some(keep(row))).collect();
    Ok(filter_record_batch(batch, &mask)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, Int64Array, UInt16Array};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn snapshot(scope: StateScope, groups: Vec<u16>) -> StateSnapshot {
        let values: Vec<i64> = groups.iter().map(|&g| i64::from(g) * 10).collect();
        let schema = Arc::new(Schema::new(vec![
            Field::new("g", DataType::UInt16, true),
            Field::new("v", DataType::Int64, true),
        ]));
        let columns: Vec<Arc<dyn Array>> = vec![
            Arc::new(UInt16Array::from(groups)),
            Arc::new(Int64Array::from(values)),
        ];
        let batches = vec![RecordBatch::try_new(schema, columns).unwrap()];
        StateSnapshot {
            tables: vec![StateTable::full("t", scope, batches)],
        }
    }

    fn num_rows(snapshot: &StateSnapshot) -> usize {
        snapshot.table("t").map(|b| b.unwrap().num_rows()).sum()
    }

    #[test]
    fn every_row_finds_exactly_one_subtask_whatever_the_parallelism() {
        for scope in [StateScope::Keyed, StateScope::Split] {
            let old = [
                snapshot(scope, (0..64).collect()),
                snapshot(scope, (64..128).collect()),
            ];
            for parallelism in 1..9 {
                let parts =
                    (0..parallelism).map(|s| redistribute(&old, s, parallelism, 128).unwrap());
                assert_eq!(parts.map(|p| num_rows(&p)).sum::<usize>(), 128);
            }
        }
    }

    #[test]
    fn union_state_goes_to_everyone() {
        let old = [
            snapshot(StateScope::Union, vec![1, 2]),
            snapshot(StateScope::Union, vec![3]),
        ];
        for subtask in 0..3 {
            assert_eq!(num_rows(&redistribute(&old, subtask, 3, 128).unwrap()), 3);
        }
    }
}
