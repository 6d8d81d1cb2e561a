//! Holds a sink's NOT NULL columns to their word.

use arrow::array::BooleanArray;
use arrow::compute::{and, is_not_null};
use arrow::datatypes::SchemaRef;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{Operator, OperatorFactory, Output};
use flott_core::{Error, Result};

/// What becomes of a row with NULL where there may be none
/// (`table.exec.sink.not-null-enforcer`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotNullEnforcer {
    /// The job fails.
    Error,
    /// The row is left out and counted as an error.
    Drop,
}

/// Looks for NULL in columns that are declared NOT NULL, on the way to a sink.
#[derive(Debug, Clone)]
pub struct NotNullConfig {
    pub columns: Vec<usize>,
    pub enforcer: NotNullEnforcer,
    pub schema: SchemaRef,
}

impl OperatorFactory for NotNullConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(NotNull {
            config: self.clone(),
        }))
    }
}

struct NotNull {
    config: NotNullConfig,
}

impl NotNull {
    fn fault(&self, column: usize) -> Error {
        let name = self.config.schema.field(column).name();
        Error::user(
            "NOT_NULL",
            format!(
                "column '{name}' is NOT NULL, but a NULL is being written into it; set \
                 'table.exec.sink.not-null-enforcer' = 'DROP' to leave such rows out"
            ),
        )
    }

    fn without_nulls(&self, batch: &ChangelogBatch) -> Result<ChangelogBatch> {
        let mut keep = BooleanArray::from(vec![true; batch.num_rows()]);
        for column in &self.config.columns {
            keep = and(&keep, &is_not_null(batch.column(*column))?)?;
        }
        Ok(batch.filter(&keep)?)
    }
}

impl Operator for NotNull {
    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        let has_null = |c: &&usize| batch.column(**c).logical_null_count() > 0;
        match self.config.columns.iter().find(has_null) {
            None => out.emit(batch),
            Some(column) if self.config.enforcer == NotNullEnforcer::Error => {
                Err(self.fault(*column))
            }
            Some(_) => out.emit(self.without_nulls(&batch)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use flott_core::schema::{Column, Schema};
    use flott_core::types::LogicalType;
    use flott_engine::testing::Harness;

    use super::*;

    fn run(enforcer: NotNullEnforcer) -> Result<Vec<String>> {
        let schema = Schema::new(vec![Column::new("a", LogicalType::BigInt.not_null())]);
        let config = NotNullConfig {
            columns: vec![0],
            enforcer,
            schema: schema.to_arrow(),
        };
        let mut harness = Harness::new(Arc::new(config))
            .input(schema.clone())
            .output(schema)
            .open()?;
        harness.process(0, "1\nNULL\n2")?;
        Ok(harness.drain_rows())
    }

    #[test]
    fn a_null_fails_the_job_or_is_left_out() {
        let error = run(NotNullEnforcer::Error).unwrap_err();
        assert_eq!(error.code(), "NOT_NULL");
        assert_eq!(run(NotNullEnforcer::Drop).unwrap(), ["+I | 1", "+I | 2"]);
    }
}
