//! Every row several times, for grouping sets.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_physical_expr_common::physical_expr::PhysicalExpr;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{Operator, OperatorFactory, Output};

use super::evaluate::{batch_of, evaluate_all};

/// Sends each row once for each of several projections (grouping sets: columns outside the set are
/// NULL literals, and a literal tells the sets apart).
#[derive(Debug, Clone)]
pub struct ExpandConfig {
    /// All give the columns of `schema`.
    pub projections: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    pub schema: SchemaRef,
}

impl OperatorFactory for ExpandConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Expand(self.clone())))
    }
}

struct Expand(ExpandConfig);

impl Operator for Expand {
    /// A batch for each projection: the order of changes of one output row is kept, because it
    /// only ever comes from one projection.
    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        for projection in &self.0.projections {
            let columns = evaluate_all(projection, batch.rows())?;
            let rows = batch_of(self.0.schema.clone(), columns, batch.num_rows())?;
            out.emit(batch.with_rows(rows))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::collect::{Collected, batch, ints, names, texts};
    use datafusion_common::ScalarValue;
    use datafusion_physical_expr::expressions::{col, lit};

    #[test]
    fn each_row_comes_once_for_each_set() {
        let input = batch("+I -D", vec![("a", texts(["x", "y"])), ("b", ints([1, 2]))]);
        let column = |name: &str| col(name, &input.schema()).unwrap();
        let config = ExpandConfig {
            projections: vec![
                vec![column("a"), column("b"), lit(0)],
                vec![column("a"), lit(ScalarValue::Int32(None)), lit(1)],
            ],
            schema: names(&["a", "b", "set"], &[texts([]), ints([]), ints([])]),
        };
        let mut collected = Collected::default();
        let mut operator = config.create().unwrap();
        operator.process(0, input, &mut collected).unwrap();
        assert_eq!(
            collected.take(),
            ["+I x 1 0", "-D y 2 0", "+I x null 1", "-D y null 1"]
        );
    }
}
