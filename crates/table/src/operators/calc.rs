//! Filter and projection.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::Array;
use arrow::compute::FilterBuilder;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_physical_expr::utils::collect_columns;
use datafusion_physical_expr_common::physical_expr::PhysicalExpr;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::operator::{Operator, OperatorFactory, Output};
use flott_core::time::{MIN_WATERMARK, after_watermark};

use super::evaluate::{batch_of, evaluate_all, evaluate_predicate, move_columns};

/// Filters rows, then computes the output's columns; row kinds travel along.
///
/// The steps see different columns: `predicate` and `shared` the input's, `projection` the input's
/// and then one for each of `shared`. A projection that is a plain column costs nothing.
#[derive(Debug, Clone)]
pub struct CalcConfig {
    /// Rows for which this BOOLEAN is not true are left out.
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    /// Common sub-expressions of the projection: evaluated once a batch, after the filter, and
    /// appended to the input's columns.
    pub shared: Vec<Arc<dyn PhysicalExpr>>,
    /// An expression for each output column; `None` passes the input's columns on.
    pub projection: Option<Vec<Arc<dyn PhysicalExpr>>>,
    /// The output's columns.
    pub schema: SchemaRef,
}

impl OperatorFactory for CalcConfig {
    fn create(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Calc {
            config: self.clone(),
            narrowed: None,
            watermark: MIN_WATERMARK,
        }))
    }
}

struct Calc {
    config: CalcConfig,
    /// Made at the first batch, which tells how many columns there are.
    narrowed: Option<Narrowed>,
    /// Of the rows so far: expressions may ask for it.
    watermark: i64,
}

/// The steps after the filter, over only those columns that they use: others are not copied.
struct Narrowed {
    columns: Vec<usize>,
    shared: Vec<Arc<dyn PhysicalExpr>>,
    projection: Option<Vec<Arc<dyn PhysicalExpr>>>,
}

impl Narrowed {
    fn new(config: &CalcConfig, num_columns: usize) -> Result<Self> {
        let Some(projection) = &config.projection else {
            return Ok(Self {
                columns: (0..num_columns).collect(),
                shared: Vec::new(),
                projection: None,
            });
        };
        let used = config.shared.iter().chain(projection);
        let used: BTreeSet<usize> = used
            .flat_map(|e| collect_columns(e).into_iter().map(|c| c.index()))
            .collect();
        let columns: Vec<usize> = used.iter().copied().filter(|&c| c < num_columns).collect();
        let position = |old: usize| match columns.binary_search(&old) {
            Ok(new) => new,
            Err(_) => old - num_columns + columns.len(),
        };
        let moved = |exprs: &[Arc<dyn PhysicalExpr>]| -> Result<Vec<_>> {
            exprs.iter().map(|e| move_columns(e, position)).collect()
        };
        Ok(Self {
            shared: moved(&config.shared)?,
            projection: Some(moved(projection)?),
            columns,
        })
    }

    fn project(&self, rows: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        let num_rows = rows.num_rows();
        let Some(projection) = &self.projection else {
            let (_, columns, _) = rows.into_parts();
            return batch_of(schema.clone(), columns, num_rows);
        };
        let rows = append_columns(rows, &self.shared)?;
        batch_of(schema.clone(), evaluate_all(projection, &rows)?, num_rows)
    }
}

/// Appends a column for each expression. Each sees the columns before it.
fn append_columns(rows: RecordBatch, exprs: &[Arc<dyn PhysicalExpr>]) -> Result<RecordBatch> {
    exprs.iter().try_fold(rows, |rows, expr| {
        let num_rows = rows.num_rows();
        let column = super::evaluate::evaluate(expr.as_ref(), &rows)?;
        let (schema, mut columns, _) = rows.into_parts();
        let field = arrow::datatypes::Field::new("shared", column.data_type().clone(), true);
        let fields = schema.fields().iter().cloned().chain([Arc::new(field)]);
        columns.push(column);
        batch_of(
            Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            columns,
            num_rows,
        )
    })
}

impl Calc {
    fn evaluate(&mut self, batch: ChangelogBatch) -> Result<Option<ChangelogBatch>> {
        let narrowed = match self.narrowed.take() {
            Some(narrowed) => narrowed,
            None => Narrowed::new(&self.config, batch.rows().num_columns())?,
        };
        let narrowed = self.narrowed.insert(narrowed);
        let Some(kept) = filter(self.config.predicate.as_ref(), &narrowed.columns, batch)? else {
            return Ok(None);
        };
        let (rows, kinds) = kept.into_parts();
        let rows = narrowed.project(rows, &self.config.schema)?;
        Ok(Some(ChangelogBatch::new(rows, kinds)))
    }
}

impl Operator for Calc {
    fn process(&mut self, _: usize, batch: ChangelogBatch, out: &mut dyn Output) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        match after_watermark(self.watermark, || self.evaluate(batch))? {
            Some(batch) => out.emit(batch),
            None => Ok(()),
        }
    }

    fn watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<()> {
        self.watermark = watermark;
        out.watermark(watermark)
    }
}

/// These columns of the rows where the predicate is true; `None` when there are no such rows.
fn filter(
    predicate: Option<&Arc<dyn PhysicalExpr>>,
    columns: &[usize],
    batch: ChangelogBatch,
) -> Result<Option<ChangelogBatch>> {
    let Some(predicate) = predicate else {
        return Ok(Some(batch.project(columns)?));
    };
    let keep = evaluate_predicate(predicate.as_ref(), batch.rows())?;
    let num_kept = keep.true_count();
    if num_kept == 0 {
        return Ok(None);
    }
    let batch = batch.project(columns)?;
    if num_kept == keep.len() {
        return Ok(Some(batch));
    }
    let filter = FilterBuilder::new(&keep);
    let filter = if columns.len() > 1 {
        filter.optimize()
    } else {
        filter
    };
    let filter = filter.build();
    let (rows, kinds) = batch.into_parts();
    let kept = rows.columns().iter().map(|c| filter.filter(c));
    let kept = kept.collect::<Result<Vec<_>, _>>()?;
    let rows = batch_of(rows.schema(), kept, num_kept)?;
    let kinds = kinds.map(|kinds| {
        let kept = (0..keep.len()).filter(|&i| keep.is_valid(i) && keep.value(i));
        kept.map(|i| kinds[i]).collect::<Vec<_>>().into()
    });
    Ok(Some(ChangelogBatch::new(rows, kinds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::collect::{Collected, batch, ints, names, texts};
    use datafusion_expr::Operator as Op;
    use datafusion_physical_expr::expressions::{BinaryExpr, Column, col, lit};

    fn input() -> ChangelogBatch {
        batch(
            "+I -U +U -D",
            vec![
                ("a", ints([1, 2, 3, 4])),
                ("b", texts(["p", "q", "r", "s"])),
                ("c", ints([10, 20, 30, 40])),
            ],
        )
    }

    fn calc(limit: i32, output: &[&str]) -> CalcConfig {
        let schema = input().schema();
        let binary = |l, op, r| Arc::new(BinaryExpr::new(l, op, r)) as Arc<dyn PhysicalExpr>;
        let a = col("a", &schema).unwrap();
        let sum = binary(a.clone(), Op::Plus, col("c", &schema).unwrap());
        let shared = Arc::new(Column::new("shared", 3)) as Arc<dyn PhysicalExpr>;
        CalcConfig {
            predicate: Some(binary(a, Op::Gt, lit(limit))),
            shared: vec![sum],
            projection: Some(vec![shared.clone(), binary(shared, Op::Plus, lit(1))]),
            schema: names(output, &[ints([]), ints([])]),
        }
    }

    #[test]
    fn rows_are_filtered_and_shared_expressions_computed_once() {
        let mut collected = Collected::default();
        let mut operator = calc(2, &["x", "y"]).create().unwrap();
        operator.process(0, input(), &mut collected).unwrap();
        assert_eq!(collected.take(), ["+U 33 34", "-D 44 45"]);
    }

    #[test]
    fn nothing_is_sent_when_no_row_passes() {
        let mut collected = Collected::default();
        let mut operator = calc(9, &["x", "y"]).create().unwrap();
        operator.process(0, input(), &mut collected).unwrap();
        assert!(collected.batches.is_empty());
    }

    #[test]
    fn plain_columns_share_their_memory() {
        let schema = input().schema();
        let config = CalcConfig {
            predicate: None,
            shared: vec![],
            projection: Some(vec![col("c", &schema).unwrap()]),
            schema: names(&["z"], &[ints([])]),
        };
        let mut collected = Collected::default();
        let input = input();
        let mut operator = config.create().unwrap();
        operator.process(0, input.clone(), &mut collected).unwrap();
        assert!(Arc::ptr_eq(input.column(2), collected.batches[0].column(0)));
        assert_eq!(collected.take(), ["+I 10", "-U 20", "+U 30", "-D 40"]);
    }
}
