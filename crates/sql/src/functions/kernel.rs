//! Kernels from closures: columns in, a column out, with nulls and constants taken care of.
//!
//! Pick the narrowest that fits:
//!
//! | adapter | the closure | nulls |
//! |---|---|---|
//! | [`unary`], [`binary`], [`ternary`] | `Fn(a, …) -> value` | NULL in any argument gives NULL |
//! | [`try_unary`], [`try_binary`], [`try_ternary`] | `Fn(a, …) -> Result<Option<value>>` | the same, and `None` is NULL |
//! | [`text_unary`], [`text_binary`], [`text_ternary`] | `Fn(a, …, &mut String) -> Result<bool>` | the same; writes the row's text, `false` is NULL |
//! | [`columns`] | `Fn(&Args) -> Result<ArrayRef>` | the closure's own affair |
//!
//! The types of arguments and results are named by Arrow's primitive types (`Int32Type`) and by
//! [`Text`], [`Bytes`] and [`Bool`].
//!
//! Every adapter takes a label: **it must hold every constant that the closure captures**, because
//! two calls are taken for the same when their kernels print the same.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryViewArray, BinaryViewBuilder, BooleanArray,
    BooleanBuilder, Datum, PrimitiveArray, PrimitiveBuilder, Scalar, StringViewArray,
    StringViewBuilder,
};
use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;
use flott_core::{Error, Result};

use super::Kernel;

/// The arguments of a call as arrays: a constant is an array of one row.
pub struct Args {
    arrays: Vec<(ArrayRef, bool)>,
    num_rows: usize,
}

impl Args {
    fn new(arguments: &[ColumnarValue], num_rows: usize) -> Result<Self> {
        let arrays = arguments
            .iter()
            .map(|argument| match argument {
                ColumnarValue::Array(array) => Ok((array.clone(), false)),
                ColumnarValue::Scalar(value) => Ok((scalar_array(value, 1)?, true)),
            })
            .collect::<Result<_>>()?;
        Ok(Self { arrays, num_rows })
    }

    /// Arguments that are all columns, for a kernel's own steps.
    pub fn of_columns(columns: Vec<ArrayRef>, num_rows: usize) -> Self {
        Self {
            arrays: columns.into_iter().map(|column| (column, false)).collect(),
            num_rows,
        }
    }

    /// The row of an argument's array that answers for a row of the result.
    pub fn row_of(&self, index: usize, row: usize) -> usize {
        if self.is_constant(index) { 0 } else { row }
    }

    /// The number of rows of the result.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// The number of arguments.
    pub fn len(&self) -> usize {
        self.arrays.len()
    }

    pub fn is_empty(&self) -> bool {
        self.arrays.is_empty()
    }

    /// Whether this argument is a constant, whose array has one row.
    pub fn is_constant(&self, index: usize) -> bool {
        self.arrays
            .get(index)
            .is_some_and(|(_, constant)| *constant)
    }

    /// The array of an argument; of a constant it has one row.
    pub fn array(&self, index: usize) -> Result<&ArrayRef> {
        let missing = || Error::internal(format!("a kernel without its argument {index}"));
        self.arrays
            .get(index)
            .map(|(array, _)| array)
            .ok_or_else(missing)
    }

    /// An argument for Arrow's own kernels, which know constants too.
    pub fn datum(&self, index: usize) -> Result<Box<dyn Datum>> {
        Ok(datum_of(
            self.array(index)?.clone(),
            self.is_constant(index),
        ))
    }

    /// The array of an argument with a row for each row of the result.
    pub fn full_array(&self, index: usize) -> Result<ArrayRef> {
        let array = self.array(index)?;
        if !self.is_constant(index) || self.num_rows == 1 {
            return Ok(array.clone());
        }
        scalar_array(&scalar_at(array, 0)?, self.num_rows)
    }

    /// A typed view of an argument.
    pub fn column<I: Input>(&self, index: usize) -> Result<Column<'_, I>> {
        let array = I::downcast(self.array(index)?.as_ref()).ok_or_else(|| {
            let found = self.arrays[index].0.data_type();
            Error::internal(format!("argument {index} of a kernel is a {found}"))
        })?;
        let mask = if self.is_constant(index) {
            0
        } else {
            usize::MAX
        };
        Ok(Column {
            array,
            mask,
            has_nulls: array.null_count() > 0,
        })
    }
}

/// An array, or a constant held in an array of one row, for Arrow's kernels.
pub fn datum_of(array: ArrayRef, is_constant: bool) -> Box<dyn Datum> {
    if is_constant {
        Box::new(Scalar::new(array))
    } else {
        Box::new(array)
    }
}

/// A constant as an array of `num_rows` equal rows.
pub fn scalar_array(value: &ScalarValue, num_rows: usize) -> Result<ArrayRef> {
    value
        .to_array_of_size(num_rows)
        .map_err(|e| Error::internal(e.to_string()))
}

/// The value of a row as a constant.
pub fn scalar_at(array: &dyn Array, row: usize) -> Result<ScalarValue> {
    ScalarValue::try_from_array(array, row).map_err(|e| Error::internal(e.to_string()))
}

/// A typed argument: a column, or a constant that answers for every row.
pub struct Column<'a, I: Input> {
    array: &'a I::Array,
    mask: usize,
    has_nulls: bool,
}

impl<'a, I: Input> Column<'a, I> {
    /// The value of a row; `None` is NULL.
    #[inline]
    pub fn get(&self, row: usize) -> Option<I::Value<'a>> {
        let row = row & self.mask;
        (!self.has_nulls || self.array.is_valid(row)).then(|| I::value(self.array, row))
    }

    /// Whether one value answers for every row.
    pub fn is_constant(&self) -> bool {
        self.mask == 0
    }
}

/// A type of argument.
pub trait Input: 'static {
    type Array: Array + 'static;
    type Value<'a>: Copy;
    /// `None` for an array of another type.
    fn downcast(array: &dyn Array) -> Option<&Self::Array>;
    fn value(array: &Self::Array, row: usize) -> Self::Value<'_>;
}

/// A type of result.
pub trait Output: 'static {
    type Value;
    type Builder;
    fn builder(num_rows: usize) -> Self::Builder;
    fn append(builder: &mut Self::Builder, value: Option<Self::Value>);
    fn finish(builder: Self::Builder) -> ArrayRef;
}

/// Character strings.
pub struct Text;
/// Byte strings.
pub struct Bytes;
/// Booleans.
pub struct Bool;

impl<T: ArrowPrimitiveType> Input for T {
    type Array = PrimitiveArray<T>;
    type Value<'a> = T::Native;
    fn downcast(array: &dyn Array) -> Option<&Self::Array> {
        array.as_any().downcast_ref()
    }
    #[inline]
    fn value(array: &Self::Array, row: usize) -> T::Native {
        array.value(row)
    }
}

impl Input for Text {
    type Array = StringViewArray;
    type Value<'a> = &'a str;
    fn downcast(array: &dyn Array) -> Option<&Self::Array> {
        array.as_string_view_opt()
    }
    #[inline]
    fn value(array: &Self::Array, row: usize) -> &str {
        array.value(row)
    }
}

impl Input for Bytes {
    type Array = BinaryViewArray;
    type Value<'a> = &'a [u8];
    fn downcast(array: &dyn Array) -> Option<&Self::Array> {
        array.as_binary_view_opt()
    }
    #[inline]
    fn value(array: &Self::Array, row: usize) -> &[u8] {
        array.value(row)
    }
}

impl Input for Bool {
    type Array = BooleanArray;
    type Value<'a> = bool;
    fn downcast(array: &dyn Array) -> Option<&Self::Array> {
        array.as_boolean_opt()
    }
    #[inline]
    fn value(array: &Self::Array, row: usize) -> bool {
        array.value(row)
    }
}

impl<T: ArrowPrimitiveType> Output for T {
    type Value = T::Native;
    type Builder = PrimitiveBuilder<T>;
    fn builder(num_rows: usize) -> Self::Builder {
        // `DATA_TYPE` lacks precision and scale of decimals and the zone of timestamps: kernels
        // that give those set the type afterwards.
        PrimitiveBuilder::with_capacity(num_rows)
    }
    #[inline]
    fn append(builder: &mut Self::Builder, value: Option<T::Native>) {
        builder.append_option(value);
    }
    fn finish(mut builder: Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

impl Output for Text {
    type Value = String;
    type Builder = StringViewBuilder;
    fn builder(num_rows: usize) -> Self::Builder {
        StringViewBuilder::with_capacity(num_rows)
    }
    fn append(builder: &mut Self::Builder, value: Option<String>) {
        builder.append_option(value);
    }
    fn finish(mut builder: Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

impl Output for Bytes {
    type Value = Vec<u8>;
    type Builder = BinaryViewBuilder;
    fn builder(num_rows: usize) -> Self::Builder {
        BinaryViewBuilder::with_capacity(num_rows)
    }
    fn append(builder: &mut Self::Builder, value: Option<Vec<u8>>) {
        builder.append_option(value);
    }
    fn finish(mut builder: Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

impl Output for Bool {
    type Value = bool;
    type Builder = BooleanBuilder;
    fn builder(num_rows: usize) -> Self::Builder {
        BooleanBuilder::with_capacity(num_rows)
    }
    #[inline]
    fn append(builder: &mut Self::Builder, value: Option<bool>) {
        builder.append_option(value);
    }
    fn finish(mut builder: Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
}

/// A kernel over whole columns; see [`columns`].
struct ColumnsKernel<F> {
    label: String,
    work: F,
}

impl<F> fmt::Debug for ColumnsKernel<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl<F> Kernel for ColumnsKernel<F>
where
    F: Fn(&Args) -> Result<ArrayRef> + Send + Sync,
{
    fn evaluate(&self, arguments: &[ColumnarValue], num_rows: usize) -> Result<ColumnarValue> {
        let is_constant = arguments
            .iter()
            .all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let args = Args::new(arguments, if is_constant { 1 } else { num_rows })?;
        let result = (self.work)(&args)?;
        if is_constant {
            return Ok(ColumnarValue::Scalar(scalar_at(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// A kernel over whole columns. When every argument is constant (or there is none) it is asked
/// for one row, which then answers for all: not for functions whose rows differ by chance.
pub fn columns<F>(label: impl Into<String>, work: F) -> Arc<dyn Kernel>
where
    F: Fn(&Args) -> Result<ArrayRef> + Send + Sync + 'static,
{
    Arc::new(ColumnsKernel {
        label: label.into(),
        work,
    })
}

/// Runs `value` for each row and collects the results.
pub fn collect<O: Output>(
    num_rows: usize,
    mut value: impl FnMut(usize) -> Result<Option<O::Value>>,
) -> Result<ArrayRef> {
    let mut builder = O::builder(num_rows);
    for row in 0..num_rows {
        O::append(&mut builder, value(row)?);
    }
    Ok(O::finish(builder))
}

/// Runs `write` for each row over one scratch string; `false` is NULL.
pub fn collect_text(
    num_rows: usize,
    mut write: impl FnMut(usize, &mut String) -> Result<bool>,
) -> Result<ArrayRef> {
    let mut builder = StringViewBuilder::with_capacity(num_rows);
    let mut scratch = String::new();
    for row in 0..num_rows {
        scratch.clear();
        if write(row, &mut scratch)? {
            builder.append_value(&scratch);
        } else {
            builder.append_null();
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// A function of one argument that cannot fail.
pub fn unary<A: Input, O: Output>(
    label: impl Into<String>,
    f: impl Fn(A::Value<'_>) -> O::Value + Send + Sync + 'static,
) -> Arc<dyn Kernel> {
    try_unary::<A, O>(label, move |a| Ok(Some(f(a))))
}

/// A function of one argument that may fail or give NULL.
pub fn try_unary<A: Input, O: Output>(
    label: impl Into<String>,
    f: impl Fn(A::Value<'_>) -> Result<Option<O::Value>> + Send + Sync + 'static,
) -> Arc<dyn Kernel> {
    columns(label, move |args| {
        let a = args.column::<A>(0)?;
        collect::<O>(args.num_rows(), |row| a.get(row).map_or(Ok(None), &f))
    })
}

/// A function of two arguments that cannot fail.
pub fn binary<A: Input, B: Input, O: Output>(
    label: impl Into<String>,
    f: impl Fn(A::Value<'_>, B::Value<'_>) -> O::Value + Send + Sync + 'static,
) -> Arc<dyn Kernel> {
    try_binary::<A, B, O>(label, move |a, b| Ok(Some(f(a, b))))
}

/// A function of two arguments that may fail or give NULL.
pub fn try_binary<A: Input, B: Input, O: Output>(
    label: impl Into<String>,
    f: impl Fn(A::Value<'_>, B::Value<'_>) -> Result<Option<O::Value>> + Send + Sync + 'static,
) -> Arc<dyn Kernel> {
    columns(label, move |args| {
        let (a, b) = (args.column::<A>(0)?, args.column::<B>(1)?);
        collect::<O>(args.num_rows(), |row| match (a.get(row), b.get(row)) {
            (Some(a), Some(b)) => f(a, b),
            _ => Ok(None),
        })
    })
}

/// A function of three arguments that cannot fail.
pub fn ternary<A: Input, B: Input, C: Input, O: Output>(
    label: impl Into<String>,
    f: impl Fn(A::Value<'_>, B::Value<'_>, C::Value<'_>) -> O::Value + Send + Sync + 'static,
) -> Arc<dyn Kernel> {
    try_ternary::<A, B, C, O>(label, move |a, b, c| Ok(Some(f(a, b, c))))
}

/// A function of three arguments that may fail or give NULL.
pub fn try_ternary<A: Input, B: Input, C: Input, O: Output>(
    label: impl Into<String>,
    f: impl Fn(A::Value<'_>, B::Value<'_>, C::Value<'_>) -> Result<Option<O::Value>>
    + Send
    + Sync
    + 'static,
) -> Arc<dyn Kernel> {
    columns(label, move |args| {
        let (a, b, c) = (
            args.column::<A>(0)?,
            args.column::<B>(1)?,
            args.column::<C>(2)?,
        );
        collect::<O>(args.num_rows(), |row| {
            match (a.get(row), b.get(row), c.get(row)) {
                (Some(a), Some(b), Some(c)) => f(a, b, c),
                _ => Ok(None),
            }
        })
    })
}

/// Text from one argument.
pub fn text_unary<A: Input>(
    label: impl Into<String>,
    f: impl Fn(A::Value<'_>, &mut String) -> Result<bool> + Send + Sync + 'static,
) -> Arc<dyn Kernel> {
    columns(label, move |args| {
        let a = args.column::<A>(0)?;
        collect_text(args.num_rows(), |row, out| {
            a.get(row).map_or(Ok(false), |a| f(a, out))
        })
    })
}

/// Text from two arguments.
pub fn text_binary<A: Input, B: Input>(
    label: impl Into<String>,
    f: impl Fn(A::Value<'_>, B::Value<'_>, &mut String) -> Result<bool> + Send + Sync + 'static,
) -> Arc<dyn Kernel> {
    columns(label, move |args| {
        let (a, b) = (args.column::<A>(0)?, args.column::<B>(1)?);
        collect_text(args.num_rows(), |row, out| match (a.get(row), b.get(row)) {
            (Some(a), Some(b)) => f(a, b, out),
            _ => Ok(false),
        })
    })
}

/// Text from three arguments.
pub fn text_ternary<A: Input, B: Input, C: Input>(
    label: impl Into<String>,
    f: impl Fn(A::Value<'_>, B::Value<'_>, C::Value<'_>, &mut String) -> Result<bool>
    + Send
    + Sync
    + 'static,
) -> Arc<dyn Kernel> {
    columns(label, move |args| {
        let (a, b, c) = (
            args.column::<A>(0)?,
            args.column::<B>(1)?,
            args.column::<C>(2)?,
        );
        collect_text(args.num_rows(), |row, out| {
            match (a.get(row), b.get(row), c.get(row)) {
                (Some(a), Some(b), Some(c)) => f(a, b, c, out),
                _ => Ok(false),
            }
        })
    })
}

/// A kernel asked anew for each batch, for results that differ from call to call.
struct VolatileKernel<F> {
    label: String,
    work: F,
}

impl<F> fmt::Debug for VolatileKernel<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl<F> Kernel for VolatileKernel<F>
where
    F: Fn(&Args) -> Result<ArrayRef> + Send + Sync,
{
    fn evaluate(&self, arguments: &[ColumnarValue], num_rows: usize) -> Result<ColumnarValue> {
        let args = Args::new(arguments, num_rows)?;
        Ok(ColumnarValue::Array((self.work)(&args)?))
    }
}

/// Like [`columns`], but asked for every row even when all arguments are constant: random numbers.
pub fn volatile<F>(label: impl Into<String>, work: F) -> Arc<dyn Kernel>
where
    F: Fn(&Args) -> Result<ArrayRef> + Send + Sync + 'static,
{
    Arc::new(VolatileKernel {
        label: label.into(),
        work,
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, Int64Array};
    use arrow::datatypes::{Int32Type, Int64Type};

    use super::*;

    #[test]
    fn nulls_and_constants_are_handled_by_the_adapter() {
        let add = binary::<Int32Type, Int64Type, Int64Type>("add", |a, b| i64::from(a) + b);
        let column = ColumnarValue::Array(Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])));
        let constant = ColumnarValue::Scalar(ScalarValue::Int64(Some(10)));
        let sum = add.evaluate(&[column, constant.clone()], 3);
        let ColumnarValue::Array(sum) = sum.expect("sum") else {
            panic!("a column")
        };
        assert_eq!(
            sum.as_primitive::<Int64Type>(),
            &Int64Array::from(vec![Some(11), None, Some(13)])
        );
        let one = ColumnarValue::Scalar(ScalarValue::Int32(Some(1)));
        let sum = add.evaluate(&[one, constant], 3).expect("sum");
        assert!(matches!(
            sum,
            ColumnarValue::Scalar(ScalarValue::Int64(Some(11)))
        ));
    }
}
