//! Bound functions, casts and row fields as DataFusion physical expressions.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, make_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType as ArrowType, Schema as ArrowSchema};
use arrow::record_batch::RecordBatch;
use datafusion_common::{DataFusionError, Result as DfResult, ScalarValue};
use datafusion_expr::ColumnarValue;
use datafusion_physical_expr_common::physical_expr::PhysicalExpr;

use crate::functions::Kernel;

/// A call of a bound function or cast.
#[derive(Debug)]
pub struct KernelExpr {
    name: String,
    kernel: Arc<dyn Kernel>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    return_type: ArrowType,
}

impl KernelExpr {
    /// `return_type` is the Arrow type of what the kernel gives.
    pub fn new(
        name: impl Into<String>,
        kernel: Arc<dyn Kernel>,
        arguments: Vec<Arc<dyn PhysicalExpr>>,
        return_type: ArrowType,
    ) -> Self {
        Self {
            name: name.into(),
            kernel,
            arguments,
            return_type,
        }
    }
}

impl fmt::Display for KernelExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (i, argument) in self.arguments.iter().enumerate() {
            write!(f, "{}{argument}", if i == 0 { "" } else { ", " })?;
        }
        write!(f, ")")
    }
}

impl PartialEq for KernelExpr {
    /// Two kernels are the same when they print the same: constants are part of what they print.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.return_type == other.return_type
            && self.arguments.len() == other.arguments.len()
            && self
                .arguments
                .iter()
                .zip(&other.arguments)
                .all(|(a, b)| a.eq(b))
            && format!("{:?}", self.kernel) == format!("{:?}", other.kernel)
    }
}

impl Eq for KernelExpr {}

impl Hash for KernelExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.arguments.hash(state);
    }
}

impl PhysicalExpr for KernelExpr {
    fn data_type(&self, _input_schema: &ArrowSchema) -> DfResult<ArrowType> {
        Ok(self.return_type.clone())
    }

    fn nullable(&self, _input_schema: &ArrowSchema) -> DfResult<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> DfResult<ColumnarValue> {
        let arguments = self
            .arguments
            .iter()
            .map(|a| a.evaluate(batch))
            .collect::<DfResult<Vec<_>>>()?;
        self.kernel
            .evaluate(&arguments, batch.num_rows())
            .map_err(|error| DataFusionError::External(Box::new(error)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.arguments.iter().collect()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> DfResult<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self {
            name: self.name.clone(),
            kernel: self.kernel.clone(),
            arguments: children,
            return_type: self.return_type.clone(),
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A field of a row; NULL where the row is NULL.
#[derive(Debug)]
pub struct FieldExpr {
    row: Arc<dyn PhysicalExpr>,
    index: usize,
    return_type: ArrowType,
}

impl FieldExpr {
    pub fn new(row: Arc<dyn PhysicalExpr>, index: usize, return_type: ArrowType) -> Self {
        Self {
            row,
            index,
            return_type,
        }
    }
}

impl PartialEq for FieldExpr {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && self.row.eq(&other.row)
    }
}

impl Eq for FieldExpr {}

impl Hash for FieldExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.index.hash(state);
        self.row.hash(state);
    }
}

impl fmt::Display for FieldExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.row, self.index)
    }
}

/// The child of a struct with the struct's own nulls put over it.
fn field_of(row: &dyn Array, index: usize) -> DfResult<ArrayRef> {
    let Some(row) = row.as_struct_opt() else {
        return Err(DataFusionError::Internal(format!(
            "{} is not a row",
            row.data_type()
        )));
    };
    let field = row.column(index);
    let Some(row_nulls) = row.nulls().filter(|n| n.null_count() > 0) else {
        return Ok(field.clone());
    };
    let nulls = NullBuffer::union(Some(row_nulls), field.nulls());
    let data = field.to_data().into_builder().nulls(nulls).build()?;
    Ok(make_array(data))
}

impl PhysicalExpr for FieldExpr {
    fn data_type(&self, _input_schema: &ArrowSchema) -> DfResult<ArrowType> {
        Ok(self.return_type.clone())
    }

    fn nullable(&self, _input_schema: &ArrowSchema) -> DfResult<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &RecordBatch) -> DfResult<ColumnarValue> {
        match self.row.evaluate(batch)? {
            ColumnarValue::Array(rows) => {
                Ok(ColumnarValue::Array(field_of(rows.as_ref(), self.index)?))
            }
            ColumnarValue::Scalar(row) => {
                let field = field_of(row.to_array()?.as_ref(), self.index)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                    &field, 0,
                )?))
            }
        }
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.row]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> DfResult<Arc<dyn PhysicalExpr>> {
        let row = children.pop().unwrap_or_else(|| self.row.clone());
        Ok(Arc::new(Self {
            row,
            index: self.index,
            return_type: self.return_type.clone(),
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error of an expression as ours: an error of a kernel travels through unchanged.
pub fn expression_error(error: DataFusionError) -> flott_core::Error {
    match error {
        DataFusionError::External(source) => match source.downcast::<flott_core::Error>() {
            Ok(error) => *error,
            Err(source) => flott_core::Error::internal(source.to_string()),
        },
        DataFusionError::ArrowError(error, _) => (*error).into(),
        DataFusionError::Context(_, inner) => expression_error(*inner),
        other => flott_core::Error::internal(other.to_string()),
    }
}
