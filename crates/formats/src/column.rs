//! Column builders that decoders write into: typed, truncatable, and for strings able to point
//! into the block that is being decoded instead of copying.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::take;
use arrow::datatypes::*;
use flott_core::changelog::ChangelogBatch;
use flott_core::java_map::{binary_string_hash, sort_as_java_map};
use flott_core::types::{DataType as FlinkType, LogicalType};
use flott_core::{Error, Result};

/// Copied strings of a column are gathered in buffers of about this many bytes.
const OWNED_BUFFER_BYTES: usize = 16 << 20;

/// The rows gathered in `columns`, of which there are none afterwards; `None` when there were none.
pub(crate) fn flush_columns(
    columns: &mut [ColumnBuilder],
    schema: &SchemaRef,
    num_rows: &mut usize,
) -> Result<Option<ChangelogBatch>> {
    let num_rows = std::mem::take(num_rows);
    if num_rows == 0 {
        return Ok(None);
    }
    let arrays = columns.iter_mut().map(ColumnBuilder::finish);
    let arrays = arrays.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(num_rows));
    let rows = RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?;
    Ok(Some(ChangelogBatch::insert_only(rows)))
}

/// Values of one fixed width and their validity.
pub(crate) struct Primitive<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    validity: NullBufferBuilder,
}

impl<T: ArrowPrimitiveType> Primitive<T> {
    fn new(capacity: usize) -> Self {
        Self {
            values: Vec::with_capacity(capacity),
            validity: NullBufferBuilder::new(capacity),
        }
    }

    #[inline]
    pub fn push(&mut self, value: T::Native) {
        self.values.push(value);
        self.validity.append_non_null();
    }

    /// Appends a NULL.
    pub fn push_null(&mut self) {
        self.values.push(T::Native::default());
        self.validity.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.validity.truncate(len);
    }

    fn finish(&mut self) -> PrimitiveArray<T> {
        let capacity = self.values.len();
        let values = std::mem::replace(&mut self.values, Vec::with_capacity(capacity));
        PrimitiveArray::new(ScalarBuffer::from(values), self.validity.finish())
    }
}

/// Truth values and their validity.
pub(crate) struct Booleans {
    values: BooleanBufferBuilder,
    validity: NullBufferBuilder,
}

impl Booleans {
    #[inline]
    pub fn push(&mut self, value: bool) {
        self.values.append(value);
        self.validity.append_non_null();
    }
}

/// Strings or bytes as views. A view points into a shared block where the value stands there
/// unchanged, else into memory of the column's own.
pub(crate) struct Views {
    views: Vec<u128>,
    validity: NullBufferBuilder,
    buffers: Vec<Buffer>,
    /// The place in `buffers` of the block being decoded.
    block: Option<u32>,
    owned: Vec<u8>,
    /// The place in `buffers` that `owned` will take.
    owned_place: Option<usize>,
}

impl Views {
    fn new(capacity: usize) -> Self {
        Self {
            views: Vec::with_capacity(capacity),
            validity: NullBufferBuilder::new(capacity),
            buffers: Vec::new(),
            block: None,
            owned: Vec::new(),
            owned_place: None,
        }
    }

    /// Appends `block[start..start + len]` without copying it (a value of up to 12 bytes lives in
    /// its view).
    #[inline]
    pub fn push_shared(&mut self, block: &Buffer, start: usize, len: usize) {
        let bytes = &block.as_slice()[start..start + len];
        let view = if len <= 12 {
            make_view(bytes, 0, 0)
        } else {
            let Ok(offset) = u32::try_from(start) else {
                return self.push_copied(bytes);
            };
            let place = match self.block {
                Some(place) => place,
                None => self.add_block(block),
            };
            make_view(bytes, place, offset)
        };
        self.views.push(view);
        self.validity.append_non_null();
    }

    #[cold]
    fn add_block(&mut self, block: &Buffer) -> u32 {
        let place = self.buffers.len() as u32;
        self.buffers.push(block.clone());
        self.block = Some(place);
        place
    }

    /// Appends a copy of `bytes`.
    pub fn push_copied(&mut self, bytes: &[u8]) {
        let view = if bytes.len() <= 12 {
            make_view(bytes, 0, 0)
        } else {
            if self.owned.len() + bytes.len() > OWNED_BUFFER_BYTES {
                self.seal_owned();
            }
            let place = *self.owned_place.get_or_insert_with(|| {
                self.buffers.push(Buffer::from_vec(Vec::<u8>::new()));
                self.buffers.len() - 1
            });
            let offset = self.owned.len() as u32;
            self.owned.extend_from_slice(bytes);
            make_view(bytes, place as u32, offset)
        };
        self.views.push(view);
        self.validity.append_non_null();
    }

    fn seal_owned(&mut self) {
        if let Some(place) = self.owned_place.take() {
            self.buffers[place] = Buffer::from_vec(std::mem::take(&mut self.owned));
        }
    }

    /// Appends a NULL.
    pub fn push_null(&mut self) {
        self.views.push(0);
        self.validity.append_null();
    }

    fn truncate(&mut self, len: usize) {
        self.views.truncate(len);
        self.validity.truncate(len);
    }

    fn take_parts(&mut self) -> (ScalarBuffer<u128>, Vec<Buffer>, Option<NullBuffer>) {
        self.seal_owned();
        self.block = None;
        let capacity = self.views.len();
        let views = std::mem::replace(&mut self.views, Vec::with_capacity(capacity));
        let buffers = std::mem::take(&mut self.buffers);
        (ScalarBuffer::from(views), buffers, self.validity.finish())
    }

    fn finish_text(&mut self) -> StringViewArray {
        let (views, buffers, nulls) = self.take_parts();
        // SAFETY: every view was made by `make_view` from a slice of the buffer that it names, and
        // decoders push only bytes of blocks that they have checked to be UTF-8, cut at ASCII
        // bytes, or text of their own making. Checking again costs a fifth of JSON decoding.
        unsafe { StringViewArray::new_unchecked(views, buffers, nulls) }
    }

    fn finish_bytes(&mut self) -> Result<BinaryViewArray> {
        let (views, buffers, nulls) = self.take_parts();
        Ok(BinaryViewArray::try_new(views, buffers, nulls)?)
    }
}

/// A `ROW` column: its fields' columns and which rows are not null.
pub(crate) struct Rows {
    pub children: Vec<ColumnBuilder>,
    fields: Fields,
    validity: NullBufferBuilder,
}

impl Rows {
    /// Ends a row whose fields have been pushed.
    pub fn push(&mut self) {
        self.validity.append_non_null();
    }
}

/// An `ARRAY` column.
pub(crate) struct Lists {
    pub items: ColumnBuilder,
    field: FieldRef,
    offsets: Vec<i32>,
    validity: NullBufferBuilder,
}

/// A `MAP` or `MULTISET` column.
pub(crate) struct Maps {
    pub keys: ColumnBuilder,
    pub values: ColumnBuilder,
    entries: FieldRef,
    offsets: Vec<i32>,
    validity: NullBufferBuilder,
}

fn next_offset(len: usize) -> Result<i32> {
    i32::try_from(len).map_err(|_| {
        let message = "a batch holds more than 2147483647 array elements; use smaller batches";
        Error::user("BATCH_TOO_LARGE", message)
    })
}

impl Lists {
    /// Ends a list whose items have been pushed.
    pub fn push(&mut self) -> Result<()> {
        self.offsets.push(next_offset(self.items.len())?);
        self.validity.append_non_null();
        Ok(())
    }
}

impl Maps {
    /// Ends a map whose keys and values have been pushed.
    pub fn push(&mut self) -> Result<()> {
        self.offsets.push(next_offset(self.keys.len())?);
        self.validity.append_non_null();
        Ok(())
    }
}

/// A column under construction, of any of Flink's types.
pub(crate) enum ColumnBuilder {
    Null(usize),
    Boolean(Booleans),
    TinyInt(Primitive<Int8Type>),
    SmallInt(Primitive<Int16Type>),
    Int(Primitive<Int32Type>),
    BigInt(Primitive<Int64Type>),
    Float(Primitive<Float32Type>),
    Double(Primitive<Float64Type>),
    Decimal(Primitive<Decimal128Type>, u8, u8),
    Text(Views),
    Bytes(Views),
    Date(Primitive<Date32Type>),
    Time(Primitive<Time32MillisecondType>, u8),
    /// Values in the unit of the precision.
    Timestamp(Primitive<Int64Type>, u8, TimestampKind),
    YearMonth(Primitive<IntervalYearMonthType>),
    DaySecond(Primitive<DurationMillisecondType>),
    Row(Box<Rows>),
    Array(Box<Lists>),
    Map(Box<Maps>),
}

/// With or without time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimestampKind {
    Plain,
    LocalZone,
}

macro_rules! for_each_column {
    ($self:expr, $c:ident => $simple:expr, $nested:ident => $other:expr) => {
        match $self {
            ColumnBuilder::TinyInt($c) => $simple,
            ColumnBuilder::SmallInt($c) => $simple,
            ColumnBuilder::Int($c) => $simple,
            ColumnBuilder::BigInt($c) => $simple,
            ColumnBuilder::Float($c) => $simple,
            ColumnBuilder::Double($c) => $simple,
            ColumnBuilder::Decimal($c, ..) => $simple,
            ColumnBuilder::Text($c) | ColumnBuilder::Bytes($c) => $simple,
            ColumnBuilder::Date($c) => $simple,
            ColumnBuilder::Time($c, _) => $simple,
            ColumnBuilder::Timestamp($c, ..) => $simple,
            ColumnBuilder::YearMonth($c) => $simple,
            ColumnBuilder::DaySecond($c) => $simple,
            $nested => $other,
        }
    };
}

impl ColumnBuilder {
    /// An empty column with room for `capacity` values.
    pub fn new(logical: &LogicalType, capacity: usize) -> Self {
        let boxed = |t: &FlinkType| Self::new(&t.logical, 0);
        let validity = || NullBufferBuilder::new(capacity);
        match logical {
            LogicalType::Null => Self::Null(0),
            LogicalType::Boolean => Self::Boolean(Booleans {
                values: BooleanBufferBuilder::new(capacity),
                validity: validity(),
            }),
            LogicalType::TinyInt => Self::TinyInt(Primitive::new(capacity)),
            LogicalType::SmallInt => Self::SmallInt(Primitive::new(capacity)),
            LogicalType::Int => Self::Int(Primitive::new(capacity)),
            LogicalType::BigInt => Self::BigInt(Primitive::new(capacity)),
            LogicalType::Float => Self::Float(Primitive::new(capacity)),
            LogicalType::Double => Self::Double(Primitive::new(capacity)),
            LogicalType::Decimal(p, s) => Self::Decimal(Primitive::new(capacity), *p, *s),
            LogicalType::Char(_) | LogicalType::VarChar(_) => Self::Text(Views::new(capacity)),
            LogicalType::Binary(_) | LogicalType::VarBinary(_) => Self::Bytes(Views::new(capacity)),
            LogicalType::Date => Self::Date(Primitive::new(capacity)),
            LogicalType::Time(p) => Self::Time(Primitive::new(capacity), *p),
            LogicalType::Timestamp(p) => {
                Self::Timestamp(Primitive::new(capacity), *p, TimestampKind::Plain)
            }
            LogicalType::TimestampLtz(p) => {
                Self::Timestamp(Primitive::new(capacity), *p, TimestampKind::LocalZone)
            }
            LogicalType::IntervalYearMonth => Self::YearMonth(Primitive::new(capacity)),
            LogicalType::IntervalDaySecond => Self::DaySecond(Primitive::new(capacity)),
            LogicalType::Array(item) => Self::Array(Box::new(Lists {
                items: boxed(item),
                field: item.to_field("item"),
                offsets: vec![0],
                validity: validity(),
            })),
            LogicalType::Map(key, value) => {
                Self::new_map(logical, boxed(key), boxed(value), validity())
            }
            LogicalType::Multiset(item) => {
                let counts = Self::Int(Primitive::new(0));
                Self::new_map(logical, boxed(item), counts, validity())
            }
            LogicalType::Row(fields) => Self::Row(Box::new(Rows {
                children: fields.iter().map(|f| boxed(&f.data_type)).collect(),
                fields: fields
                    .iter()
                    .map(|f| f.data_type.to_field(&f.name))
                    .collect(),
                validity: validity(),
            })),
        }
    }

    fn new_map(
        logical: &LogicalType,
        keys: Self,
        values: Self,
        validity: NullBufferBuilder,
    ) -> Self {
        let entries = match logical.to_arrow() {
            DataType::Map(entries, _) => entries,
            other => Arc::new(Field::new("entries", other, false)),
        };
        Self::Map(Box::new(Maps {
            keys,
            values,
            entries,
            offsets: vec![0],
            validity,
        }))
    }

    #[inline]
    pub fn len(&self) -> usize {
        for_each_column!(self, c => c.validity.len(), nested => match nested {
            Self::Null(len) => *len,
            Self::Boolean(c) => c.validity.len(),
            Self::Row(c) => c.validity.len(),
            Self::Array(c) => c.validity.len(),
            Self::Map(c) => c.validity.len(),
            _ => 0,
        })
    }

    pub fn push_null(&mut self) {
        for_each_column!(self, c => c.push_null(), nested => match nested {
            Self::Null(len) => *len += 1,
            Self::Boolean(c) => {
                c.values.append(false);
                c.validity.append_null();
            }
            Self::Row(c) => {
                c.children.iter_mut().for_each(Self::push_null);
                c.validity.append_null();
            }
            Self::Array(c) => {
                c.offsets.push(c.offsets.last().copied().unwrap_or(0));
                c.validity.append_null();
            }
            Self::Map(c) => {
                c.offsets.push(c.offsets.last().copied().unwrap_or(0));
                c.validity.append_null();
            }
            _ => {}
        })
    }

    /// Takes back what was pushed after the first `len` values, half-built nested values included.
    pub fn truncate(&mut self, len: usize) {
        for_each_column!(self, c => c.truncate(len), nested => match nested {
            Self::Null(held) => *held = len.min(*held),
            Self::Boolean(c) => {
                c.values.truncate(len);
                c.validity.truncate(len);
            }
            Self::Row(c) => {
                c.children.iter_mut().for_each(|child| child.truncate(len));
                c.validity.truncate(len);
            }
            Self::Array(c) => {
                c.offsets.truncate(len + 1);
                c.validity.truncate(len);
                c.items.truncate(c.offsets.last().copied().unwrap_or(0) as usize);
            }
            Self::Map(c) => {
                c.offsets.truncate(len + 1);
                c.validity.truncate(len);
                let entries = c.offsets.last().copied().unwrap_or(0) as usize;
                c.keys.truncate(entries);
                c.values.truncate(entries);
            }
            _ => {}
        })
    }

    /// Another block begins: strings that follow point into it.
    pub fn begin_block(&mut self) {
        match self {
            Self::Text(c) | Self::Bytes(c) => c.block = None,
            Self::Row(c) => c.children.iter_mut().for_each(Self::begin_block),
            Self::Array(c) => c.items.begin_block(),
            Self::Map(c) => {
                c.keys.begin_block();
                c.values.begin_block();
            }
            _ => {}
        }
    }

    /// The column as an array; the builder is empty again.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Self::Null(len) => Arc::new(NullArray::new(std::mem::take(len))),
            Self::Boolean(c) => Arc::new(BooleanArray::new(c.values.finish(), c.validity.finish())),
            Self::TinyInt(c) => Arc::new(c.finish()),
            Self::SmallInt(c) => Arc::new(c.finish()),
            Self::Int(c) => Arc::new(c.finish()),
            Self::BigInt(c) => Arc::new(c.finish()),
            Self::Float(c) => Arc::new(c.finish()),
            Self::Double(c) => Arc::new(c.finish()),
            Self::Decimal(c, precision, scale) => Arc::new(
                c.finish()
                    .with_data_type(DataType::Decimal128(*precision, *scale as i8)),
            ),
            Self::Text(c) => Arc::new(c.finish_text()),
            Self::Bytes(c) => Arc::new(c.finish_bytes()?),
            Self::Date(c) => Arc::new(c.finish()),
            Self::Time(c, _) => Arc::new(c.finish()),
            Self::Timestamp(c, precision, kind) => finish_timestamps(c, *precision, *kind),
            Self::YearMonth(c) => Arc::new(c.finish()),
            Self::DaySecond(c) => Arc::new(c.finish()),
            Self::Row(c) => finish_rows(c)?,
            Self::Array(c) => {
                let offsets = std::mem::replace(&mut c.offsets, vec![0]);
                Arc::new(ListArray::try_new(
                    c.field.clone(),
                    OffsetBuffer::new(offsets.into()),
                    c.items.finish()?,
                    c.validity.finish(),
                )?)
            }
            Self::Map(c) => finish_maps(c)?,
        })
    }
}

fn finish_timestamps(
    column: &mut Primitive<Int64Type>,
    precision: u8,
    kind: TimestampKind,
) -> ArrayRef {
    let has_zone = kind == TimestampKind::LocalZone;
    let unit = flott_core::types::arrow_time_unit(precision);
    timestamp_array(&column.finish(), unit, has_zone)
}

/// Numbers of this unit since 1970 as timestamps, in UTC when they are points in time.
pub(crate) fn timestamp_array(values: &Int64Array, unit: TimeUnit, has_zone: bool) -> ArrayRef {
    fn of<T: ArrowTimestampType>(values: &Int64Array, zone: Option<Arc<str>>) -> ArrayRef {
        Arc::new(values.reinterpret_cast::<T>().with_timezone_opt(zone))
    }
    let zone = has_zone.then(|| Arc::from("UTC"));
    match unit {
        TimeUnit::Nanosecond => of::<TimestampNanosecondType>(values, zone),
        TimeUnit::Microsecond => of::<TimestampMicrosecondType>(values, zone),
        TimeUnit::Millisecond => of::<TimestampMillisecondType>(values, zone),
        TimeUnit::Second => of::<TimestampSecondType>(values, zone),
    }
}

fn finish_rows(column: &mut Rows) -> Result<ArrayRef> {
    let len = column.validity.len();
    let children = column
        .children
        .iter_mut()
        .map(ColumnBuilder::finish)
        .collect::<Result<Vec<_>>>()?;
    let nulls = column.validity.finish();
    Ok(Arc::new(StructArray::try_new_with_length(
        column.fields.clone(),
        children,
        nulls,
        len,
    )?))
}

/// Keys and values with each map's entries in the order in which Flink has them, whose maps are
/// Java's when they are read.
fn in_java_order(offsets: &[i32], keys: ArrayRef, values: ArrayRef) -> Result<[ArrayRef; 2]> {
    if offsets.windows(2).all(|ends| ends[1] - ends[0] < 2) {
        return Ok([keys, values]);
    }
    let mut order: Vec<usize> = (0..keys.len()).collect();
    for ends in offsets.windows(2) {
        let entries = &mut order[ends[0] as usize..ends[1] as usize];
        sort_as_java_map(&keys, entries, binary_string_hash);
    }
    let order = UInt32Array::from_iter_values(order.into_iter().map(|p| p as u32));
    Ok([take(&keys, &order, None)?, take(&values, &order, None)?])
}

fn finish_maps(column: &mut Maps) -> Result<ArrayRef> {
    let keys = column.keys.finish()?;
    let values = column.values.finish()?;
    let DataType::Struct(fields) = column.entries.data_type().clone() else {
        return Err(Error::internal("the entries of a map are not a struct"));
    };
    let offsets = std::mem::replace(&mut column.offsets, vec![0]);
    let [keys, values] = in_java_order(&offsets, keys, values)?;
    let entries = StructArray::try_new(fields, vec![keys, values], None)?;
    Ok(Arc::new(MapArray::try_new(
        column.entries.clone(),
        OffsetBuffer::new(offsets.into()),
        entries,
        column.validity.finish(),
        false,
    )?))
}
