//! Dividing the state of a checkpoint among the subtasks of a restored operator, whose parallelism
//! may be another than before.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::UInt16Type;

use flott_core::key_group::key_groups_of;
use flott_core::operator::{StateScope, StateSnapshot, StateTable};
use flott_core::{Error, Result};

/// The part of `snapshots` (one for each former subtask, in order) that `subtask` of `parallelism`
/// gets back.
///
/// # Errors
/// A defect: keyed state without a key-group column.
pub fn redistribute(
    snapshots: &[StateSnapshot],
    subtask: usize,
    parallelism: usize,
    max_parallelism: usize,
) -> Result<StateSnapshot> {
    let mut tables: Vec<StateTable> = Vec::new();
    for table in snapshots.iter().flat_map(|s| &s.tables) {
        if !tables.iter().any(|t| t.name == table.name) {
            tables.push(StateTable {
                name: table.name.clone(),
                scope: table.scope,
                batches: Vec::new(),
            });
        }
    }
    let groups = key_groups_of(subtask, parallelism, max_parallelism);
    for target in &mut tables {
        let mut next_row = 0;
        for (former, snapshot) in snapshots.iter().enumerate() {
            for batch in snapshot.table(&target.name) {
                let kept = match target.scope {
                    StateScope::Union => batch.clone(),
                    StateScope::Keyed => rows_of_groups(batch, &groups, &target.name)?,
                    StateScope::Split if snapshots.len() == parallelism => batch.slice(
                        0,
                        if former == subtask {
                            batch.num_rows()
                        } else {
                            0
                        },
                    ),
                    StateScope::Split => {
                        let first = next_row;
                        next_row += batch.num_rows();
                        rows_where(batch, |row| (first + row) % parallelism == subtask)?
                    }
                };
                if kept.num_rows() > 0 {
                    target.batches.push(kept);
                }
            }
        }
    }
    Ok(StateSnapshot { tables })
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

fn rows_of_groups(
    batch: &RecordBatch,
    groups: &std::ops::Range<usize>,
    table: &str,
) -> Result<RecordBatch> {
    let column = batch.columns().first();
    let Some(key_groups) = column.and_then(|c| c.as_primitive_opt::<UInt16Type>()) else {
        return Err(Error::internal(format!(
            "the keyed state table '{table}' does not begin with a key group (UInt16)"
        )));
    };
    let values = key_groups.values();
    if key_groups.null_count() == 0 && values.iter().all(|&g| groups.contains(&usize::from(g))) {
        return Ok(batch.clone());
    }
    rows_where(batch, |row| groups.contains(&usize::from(values[row])))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, UInt16Array};
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
            tables: vec![StateTable {
                name: "t".into(),
                scope,
                batches,
            }],
        }
    }

    fn num_rows(snapshot: &StateSnapshot) -> usize {
        snapshot.table("t").iter().map(|b| b.num_rows()).sum()
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
