//! Dead letters: records that a source cannot read, on their way to a table of their own.
//!
//! A source that is asked for them ([`crate::source::ScanRequest::dead_letters`]) has one column
//! more, the last: a row for a record that could not be read, NULL for all others. In a batch the
//! letters stand behind the rows, with NULL in every other column and `+I` as their kind.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryViewArray, Int32Array, Int64Array, RecordBatchOptions, StringViewArray,
    StructArray, TimestampMillisecondArray, new_null_array,
};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType as ArrowType, Fields, Schema as ArrowSchema, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::changelog::{ChangelogBatch, RowKind};
use crate::error::Result;
use crate::options::{OptionDef, OptionType};
use crate::schema::{Column, Schema};
use crate::types::{LogicalType, MAX_LENGTH, RowField};

/// The option of a source's table that names the table for them.
pub const DEAD_LETTER_TABLE: OptionDef = OptionDef::new(
    "dead-letter.table",
    OptionType::String,
    "the table that takes records which cannot be read, in place of failing the job",
)
.example("letters");

/// What is known of a letter; the columns that a table for letters may have, by name.
pub fn fields() -> Vec<RowField> {
    let string = || LogicalType::STRING.nullable();
    let bytes = || LogicalType::VarBinary(MAX_LENGTH).nullable();
    vec![
        RowField::new("source", string()),
        RowField::new("topic", string()),
        RowField::new("partition", LogicalType::Int.nullable()),
        RowField::new("file", string()),
        RowField::new("line", LogicalType::BigInt.nullable()),
        RowField::new("offset", LogicalType::BigInt.nullable()),
        RowField::new("raw_key", bytes()),
        RowField::new("raw", bytes()),
        RowField::new("reason", string()),
        RowField::new("time", LogicalType::TimestampLtz(3).nullable()),
    ]
}

/// The column of letters behind a source's own columns.
pub fn column() -> Column {
    let row = LogicalType::Row(fields().into());
    Column::new("dead_letter", row.nullable())
}

/// A schema with the column of letters.
pub fn with_column(schema: &Schema) -> Schema {
    schema.columns().iter().cloned().chain([column()]).collect()
}

/// A record that could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetter {
    /// The table that was read.
    pub source: Arc<str>,
    pub topic: Option<Arc<str>>,
    pub partition: Option<i32>,
    pub file: Option<Arc<str>>,
    /// Counted from 1.
    pub line: Option<i64>,
    /// Of a message in its partition, or of a record's first byte in its file.
    pub offset: Option<i64>,
    pub raw_key: Option<Vec<u8>>,
    pub raw: Option<Vec<u8>>,
    pub reason: String,
    pub time_ms: i64,
}

/// Gathers the letters of a reader and puts them behind its rows.
pub struct DeadLetters {
    letters: Vec<DeadLetter>,
    schema: SchemaRef,
    /// For batches without any letter.
    nulls: ArrayRef,
}

impl DeadLetters {
    /// For a source whose own columns are these.
    pub fn new(schema: &SchemaRef) -> Self {
        let column = column();
        let field = column.data_type.to_field(&column.name);
        let fields = schema.fields().iter().cloned();
        Self {
            letters: Vec::new(),
            nulls: new_null_array(field.data_type(), 0),
            schema: Arc::new(ArrowSchema::new(fields.chain([field]).collect::<Vec<_>>())),
        }
    }

    pub fn push(&mut self, letter: DeadLetter) {
        self.letters.push(letter);
    }

    pub fn len(&self) -> usize {
        self.letters.len()
    }

    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    fn nulls(&mut self, count: usize) -> ArrayRef {
        if self.nulls.len() < count {
            self.nulls = new_null_array(self.nulls.data_type(), count);
        }
        self.nulls.slice(0, count)
    }

    /// The rows with the column of letters, and the letters gathered since the last call behind
    /// them; `None` when there is neither.
    ///
    /// # Errors
    /// Arrow's, when the rows are not of the source's columns.
    pub fn complete(&mut self, rows: Option<ChangelogBatch>) -> Result<Option<ChangelogBatch>> {
        let num_rows = rows.as_ref().map_or(0, ChangelogBatch::num_rows);
        let letters = std::mem::take(&mut self.letters);
        if num_rows + letters.len() == 0 {
            return Ok(None);
        }
        let nulls = self.nulls(num_rows);
        let last = match letters.is_empty() {
            true => nulls,
            false => concat(&[&nulls, &array_of(&letters)?])?,
        };
        let num_own = self.schema.fields().len() - 1;
        let mut columns = Vec::with_capacity(num_own + 1);
        for (index, field) in self.schema.fields().iter().take(num_own).enumerate() {
            let own = rows.as_ref().map(|rows| rows.column(index));
            columns.push(match (own, letters.is_empty()) {
                (Some(own), true) => own.clone(),
                (own, _) => {
                    let missing = new_null_array(field.data_type(), letters.len());
                    own.map_or(Ok(missing.clone()), |own| concat(&[own, &missing]))?
                }
            });
        }
        columns.push(last);
        let options = RecordBatchOptions::new().with_row_count(Some(num_rows + letters.len()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        let kinds = rows.filter(|rows| rows.kinds().is_some()).map(|rows| {
            let own = (0..num_rows).map(|row| rows.kind(row) as u8);
            let added = letters.iter().map(|_| RowKind::Insert as u8);
            own.chain(added).collect::<Vec<u8>>().into()
        });
        Ok(Some(ChangelogBatch::new(batch, kinds)))
    }
}

/// A row for each letter.
fn array_of(letters: &[DeadLetter]) -> Result<ArrayRef> {
    let all = || letters.iter();
    let texts = |of: fn(&DeadLetter) -> Option<&str>| -> ArrayRef {
        Arc::new(all().map(of).collect::<StringViewArray>())
    };
    let numbers = |of: fn(&DeadLetter) -> Option<i64>| -> ArrayRef {
        Arc::new(all().map(of).collect::<Int64Array>())
    };
    let bytes = |of: fn(&DeadLetter) -> Option<&[u8]>| -> ArrayRef {
        Arc::new(all().map(of).collect::<BinaryViewArray>())
    };
    let times = TimestampMillisecondArray::from_iter_values(all().map(|l| l.time_ms));
    let columns: Vec<ArrayRef> = vec![
        texts(|l| Some(&l.source)),
        texts(|l| l.topic.as_deref()),
        Arc::new(all().map(|l| l.partition).collect::<Int32Array>()),
        texts(|l| l.file.as_deref()),
        numbers(|l| l.line),
        numbers(|l| l.offset),
        bytes(|l| l.raw_key.as_deref()),
        bytes(|l| l.raw.as_deref()),
        texts(|l| Some(&l.reason)),
        Arc::new(times),
    ];
    let declared: Fields = match column().data_type.to_arrow() {
        ArrowType::Struct(fields) => fields,
        _ => Fields::empty(),
    };
    let columns = columns.iter().zip(&declared);
    let columns = columns
        .map(|(column, field)| Ok(cast(column, field.data_type())?))
        .collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StructArray::try_new(declared, columns, None)?))
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Field, Int64Type};

    use super::*;

    fn num_letters(batch: &ChangelogBatch) -> usize {
        let last = batch.rows().columns().last();
        last.map_or(0, |column| column.len() - column.null_count())
    }

    #[test]
    fn letters_stand_behind_the_rows() {
        let field = Field::new("n", ArrowType::Int64, true);
        let schema: SchemaRef = Arc::new(ArrowSchema::new(vec![field]));
        let mut letters = DeadLetters::new(&schema);
        assert!(letters.complete(None).unwrap().is_none());
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let rows = RecordBatch::try_new(schema, vec![numbers]).unwrap();
        let rows = ChangelogBatch::new(rows, Some(vec![RowKind::Delete as u8; 2].into()));
        let whole = letters.complete(Some(rows.clone())).unwrap().unwrap();
        assert_eq!((whole.num_rows(), num_letters(&whole)), (2, 0));
        let letter = DeadLetter {
            raw: Some(b"bad".to_vec()),
            reason: "why".into(),
            ..DeadLetter::default()
        };
        letters.push(letter.clone());
        let whole = letters.complete(Some(rows)).unwrap().unwrap();
        assert_eq!((whole.num_rows(), num_letters(&whole)), (3, 1));
        assert_eq!(
            (whole.kind(1), whole.kind(2)),
            (RowKind::Delete, RowKind::Insert)
        );
        assert!(whole.column(0).as_primitive::<Int64Type>().is_null(2));
        let row = whole.column(1).as_struct();
        assert_eq!(
            row.column_by_name("raw").unwrap().as_binary_view().value(2),
            b"bad"
        );
        letters.push(letter);
        let alone = letters.complete(None).unwrap().unwrap();
        assert_eq!((alone.num_rows(), num_letters(&alone)), (1, 1));
    }
}
