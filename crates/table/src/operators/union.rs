//! UNION ALL, and the removal of `-U` rows.

use arrow::array::BooleanArray;
use arrow::datatypes::SchemaRef;
use flott_core::Result;
use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::operator::{Operator, OperatorFactory, Output};

use super::evaluate::batch_of;

/// Passes on the rows of all its inputs under one schema.
#[derive(Debug, Clone)]
pub struct UnionConfig {
    /// The output's columns; inputs have the same types and perhaps other names.
    pub schema: SchemaRef,
}

impl OperatorFactory for UnionConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Union(self.schema.clone())))
    }
}

struct Union(SchemaRef);

impl Operator for Union {
    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        let (rows, kinds) = batch.into_parts();
        let num_rows = rows.num_rows();
        let (_, columns, _) = rows.into_parts();
        let rows = batch_of(self.0.clone(), columns, num_rows)?;
        out.emit(ChangelogBatch::new(rows, kinds))
    }
}

/// Leaves out `-U` rows, for consumers that know the key.
#[derive(Debug, Clone, Default)]
pub struct DropUpdateBeforeConfig;

impl OperatorFactory for DropUpdateBeforeConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(DropUpdateBefore))
    }
}

struct DropUpdateBefore;

impl Operator for DropUpdateBefore {
    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        const UPDATE_BEFORE: u8 = RowKind::UpdateBefore as u8;
        match batch.kinds() {
            Some(kinds) if kinds.contains(&UPDATE_BEFORE) => {
                let keep = kinds.iter().map(|&kind| kind != UPDATE_BEFORE);
                let keep = BooleanArray::from(keep.collect::<Vec<_>>());
                out.emit(batch.filter(&keep)?)
            }
            _ => out.emit(batch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::collect::{Collected, batch, ints, names};

    #[test]
    fn inputs_take_the_output_s_names() {
        let schema = names(&["z"], &[ints([])]);
        let config = UnionConfig {
            schema: schema.clone(),
        };
        let mut collected = Collected::default();
        let mut operator = config.create().unwrap();
        let input = batch("+I -D", vec![("a", ints([1, 2]))]);
        operator.process(1, input, &mut collected).unwrap();
        assert_eq!(collected.batches[0].schema(), schema);
        assert_eq!(collected.take(), ["+I 1", "-D 2"]);
    }

    #[test]
    fn updates_lose_their_first_half() {
        let mut collected = Collected::default();
        let mut operator = DropUpdateBeforeConfig.create().unwrap();
        let input = batch("+I -U +U -D", vec![("a", ints([1, 1, 2, 2]))]);
        operator.process(0, input, &mut collected).unwrap();
        assert_eq!(collected.take(), ["+I 1", "+U 2", "-D 2"]);
    }
}
