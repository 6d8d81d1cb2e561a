//! Parts a source's rows from its dead letters ([`flott_core::dead_letter`]).

use arrow::array::AsArray;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use flott_core::changelog::ChangelogBatch;
use flott_core::dead_letter::num_letters;
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
        let rows = batch.slice(0, batch.num_rows() - num_letters(batch));
        let mut columns = rows.rows().columns().to_vec();
        columns.pop();
        Ok(rows.with_rows(self.batch(columns, rows.num_rows())?))
    }

    fn letters(&self, batch: &ChangelogBatch, fields: &[usize]) -> Result<ChangelogBatch> {
        let num_letters = num_letters(batch);
        let last = batch.rows().columns().last();
        let letters = last.and_then(|column| column.as_struct_opt());
        let letters = letters.ok_or_else(|| Error::internal("a source without dead letters"))?;
        let letters = letters.slice(batch.num_rows() - num_letters, num_letters);
        let columns = fields.iter().map(|field| letters.column(*field).clone());
        let rows = self.batch(columns.collect(), num_letters)?;
        Ok(ChangelogBatch::insert_only(rows))
    }
}

impl Operator for DeadLetterSplit {
    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        match &self.letters {
            None => out.emit(self.rows(&batch)?),
            Some(_) if num_letters(&batch) == 0 => Ok(()),
            Some(fields) => out.emit(self.letters(&batch, fields)?),
        }
    }

    fn next_event_time(&self) -> Option<i64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
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
        let run = |config: DeadLetterSplit| {
            let mut collected = Collected::default();
            let mut operator = config.create().unwrap();
            operator.process(0, both.clone(), &mut collected).unwrap();
            collected.take()
        };
        let own = run(DeadLetterSplit {
            letters: None,
            schema: schema.to_arrow(),
        });
        assert_eq!(own, ["+I 1", "+I 2"]);
        let sent = run(DeadLetterSplit {
            letters: Some(vec![place("reason"), place("offset")]),
            schema: wanted.to_arrow(),
        });
        assert_eq!(sent, ["+I why 7"]);
    }
}
