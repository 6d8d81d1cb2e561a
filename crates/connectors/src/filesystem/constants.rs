//! Columns that are the same for all rows of a file, beside those that stand in it.

use arrow::array::{ArrayRef, RecordBatchOptions};
use arrow::record_batch::RecordBatch;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::types::LogicalType;

use super::path::partition_values;
use super::reader::{Origin, ScanPlan};
use super::split::FileSplit;

/// The constant columns of a split, as long as the longest batch so far.
#[derive(Default)]
pub(super) struct Constants {
    columns: Vec<Option<ArrayRef>>,
    num_rows: usize,
}

impl Constants {
    /// The decoder's columns and the constant ones, in the order of the query.
    pub fn complete(
        &mut self,
        rows: ChangelogBatch,
        split: &FileSplit,
        plan: &ScanPlan,
        batch_size: usize,
    ) -> Result<ChangelogBatch> {
        let num_rows = rows.num_rows();
        if self.columns.is_empty() || self.num_rows < num_rows {
            self.num_rows = num_rows.max(batch_size.min(8192));
            let constants = plan.origins.iter().map(|o| self.column(o, split, plan));
            self.columns = constants.collect::<Result<_>>()?;
        }
        let columns = plan
            .origins
            .iter()
            .zip(&self.columns)
            .map(|(origin, constant)| match (origin, constant) {
                (_, Some(array)) => array.slice(0, num_rows),
                (Origin::Decoded(index), _) => rows.column(*index).clone(),
                _ => arrow::array::new_null_array(&arrow::datatypes::DataType::Null, num_rows),
            });
        let options = RecordBatchOptions::new().with_row_count(Some(num_rows));
        let columns = columns.collect();
        let batch = RecordBatch::try_new_with_options(plan.schema.clone(), columns, &options)?;
        Ok(rows.with_rows(batch))
    }

    fn column(
        &self,
        origin: &Origin,
        split: &FileSplit,
        plan: &ScanPlan,
    ) -> Result<Option<ArrayRef>> {
        let (text, logical) = match origin {
            Origin::Decoded(_) => return Ok(None),
            Origin::Partition(key, logical) => {
                let values =
                    partition_values(&split.path, &plan.partition_keys, &plan.default_name);
                let value = values.and_then(|mut v| v.swap_remove(*key));
                (value, logical.clone())
            }
            Origin::Path => (Some(split.path.clone()), LogicalType::STRING),
            Origin::Name => {
                let name = split.path.rsplit('/').next().unwrap_or_default();
                (Some(name.to_string()), LogicalType::STRING)
            }
            Origin::Size => (Some(split.size_bytes.to_string()), LogicalType::BigInt),
            Origin::Modified(logical) => {
                let column =
                    flott_formats::timestamp_column(split.modified_ms, logical, self.num_rows)?;
                return Ok(Some(column));
            }
        };
        flott_formats::constant_column(&logical, text.as_deref(), self.num_rows)
            .map(Some)
            .map_err(|error| error.context(format!("file '{}'", split.path)))
    }
}
