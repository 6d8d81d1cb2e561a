//! The columns that name a result row's window.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use flott_core::{Error, Result};

use super::WindowProperty;
use crate::operators::evaluate::{WallClock, timestamps};

/// The windows of result rows.
pub(crate) struct Bounds {
    /// In ms of wall-clock time.
    pub starts: Vec<i64>,
    pub ends: Vec<i64>,
    pub now_ms: i64,
    pub wall: WallClock,
}

impl Bounds {
    /// Appends the properties' columns, which are the last of `schema`.
    pub fn append(
        &self,
        properties: &[WindowProperty],
        schema: &SchemaRef,
        columns: &mut Vec<ArrayRef>,
    ) -> Result<()> {
        for property in properties {
            let field = schema.fields().get(columns.len());
            let field = field.ok_or_else(|| Error::internal("a window property has no column"))?;
            let is_point = matches!(
                field.data_type(),
                arrow::datatypes::DataType::Timestamp(_, Some(_))
            );
            let times = match property {
                WindowProperty::Start => self.starts.clone(),
                WindowProperty::End => self.ends.clone(),
                WindowProperty::Rowtime => {
                    let last = self.ends.iter().map(|&end| end - 1);
                    match is_point {
                        true => last.map(|t| self.wall.epoch(t)).collect(),
                        false => last.collect(),
                    }
                }
                WindowProperty::Proctime => {
                    let now = match is_point {
                        true => self.now_ms,
                        false => self.wall.local(self.now_ms),
                    };
                    vec![now; self.ends.len()]
                }
            };
            columns.push(timestamps(times, field.data_type())?);
        }
        Ok(())
    }
}
