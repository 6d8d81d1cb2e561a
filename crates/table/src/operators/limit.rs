//! LIMIT without an order.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{
    Operator, OperatorFactory, Output, StateScope, StateSnapshot, StateTable,
};

use super::rank::{InputMode, SortLimitConfig};

/// `LIMIT … OFFSET …` without an order: the first rows that come; runs in one subtask. Where rows
/// are taken back, later ones take their place.
#[derive(Debug, Clone)]
pub struct LimitConfig {
    pub offset: u64,
    /// `None` is no end.
    pub limit: Option<u64>,
    pub input: InputMode,
    pub emits_update_before: bool,
    pub schema: SchemaRef,
}

impl OperatorFactory for LimitConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        if self.input == InputMode::Append {
            let end = self
                .limit
                .map_or(u64::MAX, |l| l.saturating_add(self.offset));
            return Ok(Box::new(FirstRows {
                range: (self.offset, end),
                num_seen: 0,
            }));
        }
        let by_arrival = SortLimitConfig {
            order: Vec::new(),
            offset: self.offset,
            limit: self.limit,
            input: self.input,
            emits_update_before: self.emits_update_before,
            schema: self.schema.clone(),
        };
        by_arrival.create()
    }
}

struct FirstRows {
    /// The first row to send, and the first after them, from 0.
    range: (u64, u64),
    num_seen: u64,
}

impl Operator for FirstRows {
    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        let num_rows = batch.num_rows() as u64;
        let position = |row: u64| row.saturating_sub(self.num_seen).min(num_rows) as usize;
        let (start, end) = (position(self.range.0), position(self.range.1));
        self.num_seen += num_rows;
        if end <= start {
            return Ok(());
        }
        if end - start == batch.num_rows() {
            return out.emit(batch);
        }
        out.emit(batch.slice(start, end - start))
    }

    fn snapshot(&mut self) -> Result<StateSnapshot> {
        let column: ArrayRef = Arc::new(UInt64Array::from(vec![self.num_seen]));
        let field = Field::new(NUM_SEEN, DataType::UInt64, true);
        let schema = Arc::new(Schema::new(vec![field]));
        Ok(StateSnapshot {
            tables: vec![StateTable::full(
                NUM_SEEN,
                StateScope::Union,
                RecordBatch::try_new(schema, vec![column])?,
            )],
        })
    }

    fn restore(&mut self, snapshot: StateSnapshot) -> Result<()> {
        for batch in snapshot.table(NUM_SEEN) {
            let batch = &batch?;
            let seen = batch.column(0).as_primitive::<UInt64Type>();
            self.num_seen += seen.iter().flatten().sum::<u64>();
        }
        Ok(())
    }
}

const NUM_SEEN: &str = "num_seen";

#[cfg(test)]
mod tests {
    use super::*;
    use flott_core::schema::{Column, Schema as TableSchema};
    use flott_core::types::LogicalType;
    use flott_engine::testing::{Harness, Step, crash_everywhere};

    fn harness(input: InputMode) -> Harness {
        let column = Column::new("n", LogicalType::Int.nullable());
        let schema = TableSchema::new(vec![column]);
        let config = LimitConfig {
            offset: 1,
            limit: Some(3),
            input,
            emits_update_before: true,
            schema: schema.to_arrow(),
        };
        Harness::new(Arc::new(config)).input(schema)
    }

    #[test]
    fn the_first_rows_after_the_offset_pass() {
        let mut open = harness(InputMode::Append).open().unwrap();
        for rows in ["1\n2", "3\n4\n5", "6"] {
            open.process(0, rows).unwrap();
        }
        assert_eq!(open.drain(), ["+I | 2", "+I | 3", "+I | 4"]);
    }

    #[test]
    fn rows_taken_back_are_made_up_for() {
        let mut open = harness(InputMode::Retract).open().unwrap();
        open.process(0, "1\n2\n3\n4\n5").unwrap();
        open.process(0, "-D | 3").unwrap();
        let lines = open.drain();
        assert_eq!(lines[..3], ["+I | 2", "+I | 3", "+I | 4"]);
        assert_eq!(lines[3..], ["-D | 3", "+I | 5"]);
    }

    #[test]
    fn crashes_change_nothing() {
        let script = ["1\n2", "3", "4\n5\n6"].map(|rows| Step::process(0, rows));
        for input in [InputMode::Append, InputMode::Retract] {
            crash_everywhere(&harness(input), &script, &[1]).unwrap();
        }
    }
}
