//! Checks of what operators send: on in tests and simulation.

use arrow::datatypes::SchemaRef;

use flott_core::changelog::ChangelogBatch;
use flott_core::time::MIN_WATERMARK;
use flott_core::{Error, Result};

/// Checks that a batch's columns have the types of `expected`; names may differ.
///
/// # Errors
/// A defect that shows both.
pub fn check_schema(expected: &SchemaRef, batch: &ChangelogBatch) -> Result<()> {
    let actual = batch.rows().schema_ref();
    let is_equal = actual.fields().len() == expected.fields().len()
        && actual
            .fields()
            .iter()
            .zip(expected.fields())
            .all(|(a, e)| a.data_type() == e.data_type());
    if is_equal {
        return Ok(());
    }
    let types = |schema: &SchemaRef| {
        let types = schema.fields().iter().map(|f| f.data_type().to_string());
        types.collect::<Vec<_>>().join(", ")
    };
    let (actual, expected) = (types(actual), types(expected));
    Err(Error::internal(format!(
        "a batch of ({actual}) was sent where ({expected}) is declared"
    )))
}

/// Follows the output of one subtask.
#[derive(Debug)]
pub struct OutputCheck {
    schema: SchemaRef,
    watermark: i64,
    has_ended: bool,
}

impl OutputCheck {
    pub fn new(schema: SchemaRef) -> Self {
        Self {
            schema,
            watermark: MIN_WATERMARK,
            has_ended: false,
        }
    }

    /// # Errors
    /// A batch of other types, or after the end.
    pub fn batch(&self, batch: &ChangelogBatch) -> Result<()> {
        if self.has_ended {
            return Err(Error::internal("a batch was sent after the end"));
        }
        check_schema(&self.schema, batch)
    }

    /// # Errors
    /// A watermark below the last.
    pub fn watermark(&mut self, watermark: i64) -> Result<()> {
        if watermark < self.watermark {
            let message = format!(
                "the watermark went back from {} to {watermark}",
                self.watermark
            );
            return Err(Error::internal(message));
        }
        self.watermark = watermark;
        Ok(())
    }

    pub fn end(&mut self) {
        self.has_ended = true;
    }
}
