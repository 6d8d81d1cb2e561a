//! What the aggregating operators share: groups with the accumulators of an operator's calls.

use flott_core::Result;
use flott_core::schema::{Column, Schema};
use flott_core::types::LogicalType;

use crate::aggregates::AggregateCallConfig;

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
    for (i, call) in calls.iter().enumerate() {
        let accumulator = (call.function.create)(&call.types, counts_rows)?;
        let types = accumulator.state_types().into_iter().enumerate();
        columns.extend(types.map(|(j, t)| Column::new(format!("$agg{i}_{j}"), t)));
    }
    if counts_rows {
        columns.push(Column::new("$count", LogicalType::BigInt.not_null()));
    }
    Ok(Schema::new(columns))
}
