//! Encodes rows with their kinds: an update as a deletion and an insertion, as Flink does.

use arrow::datatypes::SchemaRef;
use flott_core::Result;
use flott_core::changelog::{ChangelogBatch, adds};

use super::Dialect;
use crate::json::write::{RowWriter, WriteRules};
use crate::records::RowEncoder;

/// What stands around a row.
struct Envelope {
    before_row: &'static [u8],
    after_row: &'static [u8],
}

const fn envelope(before_row: &'static str, after_row: &'static str) -> Envelope {
    Envelope {
        before_row: before_row.as_bytes(),
        after_row: after_row.as_bytes(),
    }
}

pub(super) struct ChangeEncoder {
    insert: Envelope,
    delete: Envelope,
    /// Names the fields: a query may name its columns otherwise.
    schema: SchemaRef,
    rules: WriteRules,
}

impl ChangeEncoder {
    pub fn new(dialect: Dialect, schema: SchemaRef, rules: WriteRules) -> Self {
        let omits_nulls = rules.ignore_null_fields;
        let (insert, delete) = match (dialect, omits_nulls) {
            (Dialect::Debezium, false) => (
                envelope("{\"before\":null,\"after\":", ",\"op\":\"c\"}"),
                envelope("{\"before\":", ",\"after\":null,\"op\":\"d\"}"),
            ),
            (Dialect::Debezium, true) => (
                envelope("{\"after\":", ",\"op\":\"c\"}"),
                envelope("{\"before\":", ",\"op\":\"d\"}"),
            ),
            (Dialect::Canal, _) => (
                envelope("{\"data\":[", "],\"type\":\"INSERT\"}"),
                envelope("{\"data\":[", "],\"type\":\"DELETE\"}"),
            ),
            (Dialect::Maxwell, _) => (
                envelope("{\"data\":", ",\"type\":\"insert\"}"),
                envelope("{\"data\":", ",\"type\":\"delete\"}"),
            ),
            (Dialect::Ogg, false) => (
                envelope("{\"before\":null,\"after\":", ",\"op_type\":\"I\"}"),
                envelope("{\"before\":", ",\"after\":null,\"op_type\":\"D\"}"),
            ),
            (Dialect::Ogg, true) => (
                envelope("{\"after\":", ",\"op_type\":\"I\"}"),
                envelope("{\"before\":", ",\"op_type\":\"D\"}"),
            ),
        };
        Self {
            insert,
            delete,
            schema,
            rules,
        }
    }
}

impl RowEncoder for ChangeEncoder {
    fn rows(
        &mut self,
        batch: &ChangelogBatch,
        out: &mut Vec<u8>,
        mut after_row: impl FnMut(&mut Vec<u8>),
    ) -> Result<()> {
        let writer = RowWriter::new(self.schema.fields(), batch.rows().columns(), self.rules)?;
        for row in 0..batch.num_rows() {
            let is_addition = batch.kinds().is_none_or(|kinds| adds(kinds[row]));
            let envelope = if is_addition {
                &self.insert
            } else {
                &self.delete
            };
            out.extend_from_slice(envelope.before_row);
            writer.write(row, out);
            out.extend_from_slice(envelope.after_row);
            after_row(out);
        }
        Ok(())
    }
}
