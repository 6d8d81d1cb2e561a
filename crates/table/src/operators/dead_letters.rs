//! Parts a source's rows from its dead letters ([`flott_core::dead_letter`]).

use arrow::array::{Array, AsArray, StructArray, UInt32Array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{Operator, OperatorFactory, Output};
use flott_core::{Error, Result};

/// What is passed on of a source with dead letters; row kinds travel along with rows, and letters
/// are additions.
#[derive(Debug, Clone)]
pub struct DeadLetterSplit {
    /// The fields of letters that are wanted, in this order; `None` wants the rows.
    pub letters: Option<Vec<usize>>,
    /// The output's columns.
    pub schema: SchemaRef,
}

impl OperatorFactory for DeadLetterSplit {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(self.clone()))
    }
}

impl DeadLetterSplit {
    fn batch(&self, columns: Vec<arrow::array::ArrayRef>, num_rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(num_rows));
        let schema = self.schema.clone();
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }

    fn rows(&self, batch: &ChangelogBatch) -> Result<ChangelogBatch> {
        let rows = match positions(batch, false)? {
            Some(rows) => batch.take(&rows)?,
            None => batch.clone(),
        };
        let mut columns = rows.rows().columns().to_vec();
        columns.pop();
        Ok(rows.with_rows(self.batch(columns, rows.num_rows())?))
    }

    fn letters(&self, batch: &ChangelogBatch, fields: &[usize]) -> Result<Option<ChangelogBatch>> {
        let batch = match positions(batch, true)? {
            Some(letters) if letters.is_empty() => return Ok(None),
            Some(letters) => batch.take(&letters)?,
            None => batch.clone(),
        };
        let letters = letters_of(&batch)?;
        let columns = fields.iter().map(|field| letters.column(*field).clone());
        let rows = self.batch(columns.collect(), batch.num_rows())?;
        Ok(Some(ChangelogBatch::insert_only(rows)))
    }
}

fn letters_of(batch: &ChangelogBatch) -> Result<&StructArray> {
    let last = batch.rows().columns().last();
    let letters = last.and_then(|column| column.as_struct_opt());
    letters.ok_or_else(|| Error::internal("a source without dead letters"))
}

/// Where the letters are, or the rows; `None` when they are all. They stand in any order: batches
/// may have been put together.
fn positions(batch: &ChangelogBatch, are_letters: bool) -> Result<Option<UInt32Array>> {
    let letters = letters_of(batch)?;
    let num_letters = letters.len() - letters.null_count();
    let num_wanted = if are_letters {
        num_letters
    } else {
        letters.null_count()
    };
    if num_wanted == letters.len() {
        return Ok(None);
    }
    let rows = (0..letters.len()).filter(|&row| letters.is_valid(row) == are_letters);
    Ok(Some(rows.map(|row| row as u32).collect()))
}

impl Operator for DeadLetterSplit {
    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        match &self.letters {
            None => out.emit(self.rows(&batch)?),
            Some(fields) => match self.letters(&batch, fields)? {
                Some(letters) => out.emit(letters),
                None => Ok(()),
            },
        }
    }

    fn next_event_time(&self) -> Option<i64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::compute::concat_batches;
    use flott_core::dead_letter::{self, DeadLetter, DeadLetters};
    use flott_core::schema::{Column, Schema};
    use flott_core::types::LogicalType;
    use std::sync::Arc;

    use super::*;
    use crate::operators::collect::Collected;

    #[test]
    fn rows_and_letters_go_their_own_ways() {
        let schema = Schema::new(vec![Column::new("n", LogicalType::BigInt.nullable())]);
        let numbers = Arc::new(Int64Array::from(vec![1, 2]));
        let rows = RecordBatch::try_new(schema.to_arrow(), vec![numbers]).unwrap();
        let mut letters = DeadLetters::new(&schema.to_arrow());
        letters.push(DeadLetter {
            offset: Some(7),
            reason: "why".into(),
            ..DeadLetter::default()
        });
        let both = letters
            .complete(Some(ChangelogBatch::insert_only(rows)))
            .unwrap()
            .unwrap();
        let twice = concat_batches(&both.schema(), [both.rows(), both.rows()]).unwrap();
        let twice = ChangelogBatch::insert_only(twice);
        let place = |name: &str| {
            dead_letter::fields()
                .iter()
                .position(|f| f.name == name)
                .unwrap()
        };
        let wanted = Schema::new(vec![
            Column::new("reason", LogicalType::STRING.nullable()),
            Column::new("offset", LogicalType::BigInt.nullable()),
        ]);
        let run = |batch: &ChangelogBatch, config: &DeadLetterSplit| {
            let mut collected = Collected::default();
            let mut operator = config.create().unwrap();
            operator.process(0, batch.clone(), &mut collected).unwrap();
            collected.take()
        };
        let own = DeadLetterSplit {
            letters: None,
            schema: schema.to_arrow(),
        };
        assert_eq!(run(&both, &own), ["+I 1", "+I 2"]);
        assert_eq!(run(&twice, &own), ["+I 1", "+I 2", "+I 1", "+I 2"]);
        let sent = DeadLetterSplit {
            letters: Some(vec![place("reason"), place("offset")]),
            schema: wanted.to_arrow(),
        };
        assert_eq!(run(&both, &sent), ["+I why 7"]);
        assert_eq!(run(&twice, &sent), ["+I why 7", "+I why 7"]);
    }
}
