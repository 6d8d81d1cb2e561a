//! Reads the columns of a stripe into Arrow arrays of the types that the file has.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::*;
use flott_core::text::zone::ZoneCursor;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use super::compression::Stream;
use super::damaged;
use super::run_length::{Booleans, Bytes, Integers, room_for};
use super::tail::{Encoding, Kind, StreamKind, Type};
use crate::column::ColumnBuilder;

/// Timestamps count from the begin of 2015 in the writer's zone.
const EPOCH_SECONDS: i64 = 1_420_070_400;
/// 10 to the power of a scale that still fits.
const MAX_SCALE: i64 = 38;

/// What the columns of a stripe are made from.
pub(super) struct StripeColumns<'a> {
    pub types: &'a [Type],
    /// By column: whether anything of it is wanted.
    pub wanted: &'a [bool],
    /// By column: the unit of timestamps.
    pub units: &'a [TimeUnit],
    pub encodings: &'a [Encoding],
    pub zone: Option<ZoneCursor>,
    /// A stream's bytes, decompressed as they are read; an empty stream where there is none.
    pub stream: &'a dyn Fn(usize, StreamKind) -> Result<Option<Stream>>,
}

/// A column of a stripe.
pub(super) struct ColumnReader {
    present: Option<Booleans>,
    values: Values,
}

enum Values {
    Boolean(Booleans),
    Byte(Bytes),
    Integer(Integers, Kind),
    Float(Stream),
    Double(Stream),
    Text {
        lengths: Integers,
        bytes: Stream,
        is_text: bool,
    },
    Dictionary {
        indexes: Integers,
        dictionary: Dictionary,
        is_text: bool,
    },
    Decimal {
        unscaled: Stream,
        scales: Integers,
        precision: u8,
        scale: u8,
    },
    Timestamp {
        seconds: Integers,
        nanos: Integers,
        clock: Clock,
    },
    List(Integers, Box<ColumnReader>),
    Map(Integers, Box<ColumnReader>, Box<ColumnReader>),
    Struct(Vec<(String, ColumnReader)>),
}

/// The words of a dictionary.
struct Dictionary {
    bytes: Buffer,
    ends: Vec<usize>,
    is_utf8: bool,
}

/// How a column's timestamps are brought to their unit.
struct Clock {
    unit: TimeUnit,
    /// Where the writer's clock stood; `None` for points in time, which are kept as they are.
    zone: Option<ZoneCursor>,
    has_zone: bool,
    base_seconds: i64,
}

impl StripeColumns<'_> {
    /// The reader of the column with this number.
    ///
    /// # Errors
    /// A user error when the file cannot be read so.
    pub fn reader(&self, column: usize) -> Result<ColumnReader> {
        let present = (self.stream)(column, StreamKind::Present)?.map(Booleans::new);
        let values = self.values(column)?;
        Ok(ColumnReader { present, values })
    }

    fn stream(&self, column: usize, kind: StreamKind) -> Result<Stream> {
        let stream = (self.stream)(column, kind)?;
        // A column that is NULL everywhere has no values to store.
        Ok(stream.unwrap_or_else(Stream::empty))
    }

    fn integers(&self, column: usize, kind: StreamKind, is_signed: bool) -> Result<Integers> {
        let is_v2 = self.encoding(column)?.is_v2;
        Ok(Integers::new(self.stream(column, kind)?, is_signed, is_v2))
    }

    fn encoding(&self, column: usize) -> Result<Encoding> {
        let encoding = self.encodings.get(column).copied();
        encoding.ok_or_else(|| damaged(format!("column {column} has no encoding")))
    }

    fn values(&self, column: usize) -> Result<Values> {
        use StreamKind::{Data, Length, Secondary};
        let kind = self.types[column].kind;
        Ok(match kind {
            Kind::Boolean => Values::Boolean(Booleans::new(self.stream(column, Data)?)),
            Kind::Byte => Values::Byte(Bytes::new(self.stream(column, Data)?)),
            Kind::Short | Kind::Int | Kind::Long | Kind::Date => {
                Values::Integer(self.integers(column, Data, true)?, kind)
            }
            Kind::Float => Values::Float(self.stream(column, Data)?),
            Kind::Double => Values::Double(self.stream(column, Data)?),
            Kind::String | Kind::Varchar | Kind::Char | Kind::Binary => {
                self.text(column, kind != Kind::Binary)?
            }
            Kind::Decimal => Values::Decimal {
                unscaled: self.stream(column, Data)?,
                scales: self.integers(column, Secondary, true)?,
                precision: self.types[column].precision,
                scale: self.types[column].scale,
            },
            Kind::Timestamp | Kind::TimestampInstant => Values::Timestamp {
                seconds: self.integers(column, Data, true)?,
                nanos: self.integers(column, Secondary, false)?,
                clock: self.clock(column),
            },
            Kind::List => {
                let items = self.reader(self.types[column].children[0])?;
                Values::List(self.integers(column, Length, false)?, Box::new(items))
            }
            Kind::Map => {
                let children = &self.types[column].children;
                let (keys, values) = (self.reader(children[0])?, self.reader(children[1])?);
                let lengths = self.integers(column, Length, false)?;
                Values::Map(lengths, Box::new(keys), Box::new(values))
            }
            Kind::Struct => Values::Struct(self.fields(column)?),
            Kind::Union => {
                let message = "a UNION of an ORC file cannot be read; leave the column out";
                return Err(Error::user("UNSUPPORTED_TYPE", message));
            }
        })
    }

    /// The wanted fields of a struct.
    pub fn fields(&self, column: usize) -> Result<Vec<(String, ColumnReader)>> {
        let parent = &self.types[column];
        let fields = parent.names.iter().zip(&parent.children);
        let wanted = fields.filter(|(_, child)| self.wanted[**child]);
        let readers = wanted.map(|(name, child)| Ok((name.clone(), self.reader(*child)?)));
        readers.collect()
    }

    fn text(&self, column: usize, is_text: bool) -> Result<Values> {
        let encoding = self.encoding(column)?;
        let mut lengths = self.integers(column, StreamKind::Length, false)?;
        if !encoding.is_dictionary {
            return Ok(Values::Text {
                lengths,
                bytes: self.stream(column, StreamKind::Data)?,
                is_text,
            });
        }
        let mut sizes = room_for(encoding.dictionary_size);
        lengths.read(encoding.dictionary_size, &mut sizes)?;
        let mut bytes = self.stream(column, StreamKind::DictionaryData)?;
        let (bytes, ends) = texts(&sizes, &mut bytes)?;
        Ok(Values::Dictionary {
            indexes: self.integers(column, StreamKind::Data, false)?,
            dictionary: Dictionary {
                is_utf8: is_text && are_utf8(&bytes, &ends),
                bytes,
                ends,
            },
            is_text,
        })
    }

    fn clock(&self, column: usize) -> Clock {
        let has_zone = self.types[column].kind == Kind::TimestampInstant;
        let mut zone = self.zone.clone().filter(|_| !has_zone);
        let to_utc = |zone: &mut ZoneCursor| zone.to_utc(EPOCH_SECONDS, 1);
        Clock {
            unit: self.units[column],
            base_seconds: zone.as_mut().map_or(EPOCH_SECONDS, to_utc),
            zone,
            has_zone,
        }
    }
}

impl ColumnReader {
    /// The next `num_rows` rows; where `parent` is NULL the column has no value.
    ///
    /// # Errors
    /// A user error when the column ends before or is damaged.
    pub fn read(&mut self, num_rows: usize, parent: Option<&NullBuffer>) -> Result<ArrayRef> {
        let nulls = self.nulls(num_rows, parent)?;
        let count = num_rows - nulls.as_ref().map_or(0, NullBuffer::null_count);
        let rows = Rows {
            num_rows,
            count,
            nulls,
        };
        self.values.read(rows)
    }

    fn nulls(
        &mut self,
        num_rows: usize,
        parent: Option<&NullBuffer>,
    ) -> Result<Option<NullBuffer>> {
        let own = match &mut self.present {
            None => return Ok(parent.cloned()),
            Some(present) => {
                let num_missing = parent.map_or(0, NullBuffer::null_count);
                present.read(num_rows - num_missing)?
            }
        };
        let valid = match parent {
            None => own,
            Some(parent) => {
                let mut all = BooleanBufferBuilder::new(num_rows);
                let mut own = own.iter();
                for is_valid in parent.iter() {
                    all.append(is_valid && own.next().unwrap_or_default());
                }
                all.finish()
            }
        };
        Ok(Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0))
    }
}

/// Which rows are read.
struct Rows {
    num_rows: usize,
    /// So many are not NULL.
    count: usize,
    nulls: Option<NullBuffer>,
}

impl Rows {
    /// Puts the values where the rows are that have one.
    fn spaced<T: Copy + Default>(&self, values: Vec<T>) -> Vec<T> {
        let Some(nulls) = &self.nulls else {
            return values;
        };
        let mut out = vec![T::default(); self.num_rows];
        for (place, value) in nulls.valid_indices().zip(values) {
            out[place] = value;
        }
        out
    }

    fn array<P: ArrowPrimitiveType>(self, values: Vec<P::Native>) -> PrimitiveArray<P>
    where
        P::Native: Default,
    {
        let values = self.spaced(values);
        PrimitiveArray::new(ScalarBuffer::from(values), self.nulls)
    }

    fn offsets(&self, lengths: Vec<i64>) -> Result<(OffsetBuffer<i32>, usize)> {
        let mut offsets = Vec::with_capacity(self.num_rows + 1);
        let mut end = 0i32;
        offsets.push(end);
        for length in self.spaced(lengths) {
            let next = i32::try_from(length).ok().filter(|l| *l >= 0);
            end = next.and_then(|l| end.checked_add(l)).ok_or_else(|| {
                damaged(format!("a list of {length} elements in one batch of rows"))
            })?;
            offsets.push(end);
        }
        Ok((OffsetBuffer::new(offsets.into()), end as usize))
    }
}

impl Values {
    fn read(&mut self, rows: Rows) -> Result<ArrayRef> {
        Ok(match self {
            Self::Boolean(values) => {
                let values = values.read(rows.count)?;
                let values = match &rows.nulls {
                    None => values,
                    Some(_) => BooleanBuffer::from(rows.spaced(values.iter().collect())),
                };
                Arc::new(BooleanArray::new(values, rows.nulls))
            }
            Self::Byte(values) => {
                let mut bytes = room_for(rows.count);
                values.read(rows.count, &mut bytes)?;
                let values = bytes.into_iter().map(|b| b as i8).collect();
                Arc::new(rows.array::<Int8Type>(values))
            }
            Self::Integer(values, kind) => integers(values, *kind, rows)?,
            Self::Float(stream) => {
                let values = numbers(stream, rows.count, f32::from_le_bytes)?;
                Arc::new(rows.array::<Float32Type>(values))
            }
            Self::Double(stream) => {
                let values = numbers(stream, rows.count, f64::from_le_bytes)?;
                Arc::new(rows.array::<Float64Type>(values))
            }
            Self::Text {
                lengths,
                bytes,
                is_text,
            } => {
                let lengths = read_integers(lengths, rows.count)?;
                let (bytes, ends) = texts(&lengths, bytes)?;
                let is_utf8 = *is_text && are_utf8(&bytes, &ends);
                let places = starts(&ends).zip(&ends).map(|(start, end)| (start, *end));
                views(&bytes, places, rows.nulls.as_ref(), *is_text, is_utf8)?
            }
            Self::Dictionary {
                indexes,
                dictionary,
                is_text,
            } => {
                let indexes = read_integers(indexes, rows.count)?;
                dictionary.check(&indexes)?;
                let places = indexes.iter().map(|&i| dictionary.place(i as usize));
                let (bytes, is_utf8) = (&dictionary.bytes, dictionary.is_utf8);
                views(bytes, places, rows.nulls.as_ref(), *is_text, is_utf8)?
            }
            Self::Decimal {
                unscaled,
                scales,
                precision,
                scale,
            } => {
                let scales = read_integers(scales, rows.count)?;
                let values = decimals(unscaled, &scales, *precision, *scale)?;
                let data_type = DataType::Decimal128(*precision, *scale as i8);
                Arc::new(
                    rows.array::<Decimal128Type>(values)
                        .with_data_type(data_type),
                )
            }
            Self::Timestamp {
                seconds,
                nanos,
                clock,
            } => {
                let seconds = read_integers(seconds, rows.count)?;
                let nanos = read_integers(nanos, rows.count)?;
                let values = clock.values(&seconds, &nanos)?;
                clock.array(rows.array::<Int64Type>(values))
            }
            Self::List(lengths, items) => {
                let lengths = read_integers(lengths, rows.count)?;
                let (offsets, total) = rows.offsets(lengths)?;
                let items = items.read(total, None)?;
                let field = Arc::new(Field::new("item", items.data_type().clone(), true));
                Arc::new(ListArray::try_new(field, offsets, items, rows.nulls)?)
            }
            Self::Map(lengths, keys, values) => {
                let lengths = read_integers(lengths, rows.count)?;
                let (offsets, total) = rows.offsets(lengths)?;
                map(
                    offsets,
                    keys.read(total, None)?,
                    values.read(total, None)?,
                    rows.nulls,
                )?
            }
            Self::Struct(fields) => {
                let (mut arrays, mut named) = (Vec::new(), Vec::new());
                for (name, reader) in fields {
                    let array = reader.read(rows.num_rows, rows.nulls.as_ref())?;
                    named.push(Field::new(name.as_str(), array.data_type().clone(), true));
                    arrays.push(array);
                }
                let (nulls, len) = (rows.nulls, rows.num_rows);
                Arc::new(StructArray::try_new_with_length(
                    named.into(),
                    arrays,
                    nulls,
                    len,
                )?)
            }
        })
    }
}

fn read_integers(integers: &mut Integers, count: usize) -> Result<Vec<i64>> {
    let mut values = room_for(count);
    integers.read(count, &mut values)?;
    Ok(values)
}

fn integers(values: &mut Integers, kind: Kind, rows: Rows) -> Result<ArrayRef> {
    let values = read_integers(values, rows.count)?;
    // As Java does: the bits that the type has.
    Ok(match kind {
        Kind::Short => {
            Arc::new(rows.array::<Int16Type>(values.iter().map(|v| *v as i16).collect()))
        }
        Kind::Int => Arc::new(rows.array::<Int32Type>(values.iter().map(|v| *v as i32).collect())),
        Kind::Date => {
            Arc::new(rows.array::<Date32Type>(values.iter().map(|v| *v as i32).collect()))
        }
        _ => Arc::new(rows.array::<Int64Type>(values)),
    })
}

/// Numbers as they stand in memory.
fn numbers<T, const N: usize>(
    stream: &mut Stream,
    count: usize,
    from: fn([u8; N]) -> T,
) -> Result<Vec<T>> {
    let mut bytes = room_for(count * N);
    stream.read(count * N, &mut bytes)?;
    let (chunks, _) = bytes.as_chunks::<N>();
    Ok(chunks.iter().map(|chunk| from(*chunk)).collect())
}

/// The bytes of texts of these lengths, and where each one ends.
fn texts(lengths: &[i64], stream: &mut Stream) -> Result<(Buffer, Vec<usize>)> {
    let mut total = 0usize;
    let mut ends = Vec::with_capacity(lengths.len());
    for &length in lengths {
        let length = usize::try_from(length).ok();
        total = length
            .and_then(|l| total.checked_add(l))
            .ok_or_else(|| damaged("a text of negative length"))?;
        ends.push(total);
    }
    Ok((stream.shared(total)?, ends))
}

fn starts(ends: &[usize]) -> impl Iterator<Item = usize> {
    std::iter::once(0).chain(ends.iter().copied())
}

/// Whether all the texts are UTF-8.
fn are_utf8(bytes: &Buffer, ends: &[usize]) -> bool {
    simdutf8::basic::from_utf8(bytes.as_slice())
        .is_ok_and(|text| text.is_ascii() || ends.iter().all(|end| text.is_char_boundary(*end)))
}

/// Pieces of `bytes` as a column; what is no UTF-8 in a text becomes U+FFFD.
fn views(
    bytes: &Buffer,
    mut places: impl Iterator<Item = (usize, usize)>,
    nulls: Option<&NullBuffer>,
    is_text: bool,
    is_utf8: bool,
) -> Result<ArrayRef> {
    let num_rows = nulls.map_or_else(|| places.size_hint().0, NullBuffer::len);
    let logical = match is_text {
        true => LogicalType::STRING,
        false => LogicalType::BYTES,
    };
    let mut builder = ColumnBuilder::new(&logical, num_rows);
    let (ColumnBuilder::Text(column) | ColumnBuilder::Bytes(column)) = &mut builder else {
        return Err(Error::internal("a text column of another kind"));
    };
    let mut push = |place: Option<(usize, usize)>| match place {
        None => column.push_null(),
        Some((start, end)) if is_utf8 || !is_text => column.push_shared(bytes, start, end - start),
        Some((start, end)) => {
            let text = String::from_utf8_lossy(&bytes.as_slice()[start..end]);
            column.push_copied(text.as_bytes());
        }
    };
    match nulls {
        None => places.for_each(|place| push(Some(place))),
        Some(nulls) => nulls.iter().for_each(|is_valid| {
            push(if is_valid { places.next() } else { None });
        }),
    }
    builder.finish()
}

impl Dictionary {
    fn check(&self, indexes: &[i64]) -> Result<()> {
        let size = self.ends.len();
        let outside = indexes.iter().find(|i| !(0..size as i64).contains(i));
        match outside {
            None => Ok(()),
            Some(index) => Err(damaged(format!(
                "no word {index} in a dictionary of {size}"
            ))),
        }
    }

    fn place(&self, index: usize) -> (usize, usize) {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        (start, self.ends[index])
    }
}

fn decimals(unscaled: &mut Stream, scales: &[i64], precision: u8, scale: u8) -> Result<Vec<i128>> {
    let mut values = Vec::with_capacity(scales.len());
    let limit = 10i128.pow(u32::from(precision));
    for &own in scales {
        let value = unscaled.varint()?;
        let value = (value >> 1) as i128 ^ -((value & 1) as i128);
        let shift = i64::from(scale) - own;
        let factor = match shift.unsigned_abs() {
            shift if shift <= MAX_SCALE as u64 => 10i128.pow(shift as u32),
            _ => return Err(damaged(format!("a decimal of scale {own}"))),
        };
        let value = match shift >= 0 {
            true => value.checked_mul(factor),
            false => Some(value / factor),
        };
        let value = value.filter(|v| v.unsigned_abs() < limit.unsigned_abs());
        values.push(
            value.ok_or_else(|| damaged(format!("a number with more than {precision} digits")))?,
        );
    }
    Ok(values)
}

impl Clock {
    fn values(&mut self, seconds: &[i64], nanos: &[i64]) -> Result<Vec<i64>> {
        let per_second = match self.unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000,
        };
        let mut values = Vec::with_capacity(seconds.len());
        for (&seconds, &nanos) in seconds.iter().zip(nanos) {
            let nanos = nanos_of(nanos);
            let value = self.seconds(seconds, nanos).and_then(|seconds| {
                let part = nanos / (1_000_000_000 / per_second);
                seconds.checked_mul(per_second)?.checked_add(part)
            });
            values.push(value.ok_or_else(|| {
                let message = format!(
                    "a timestamp of an ORC file is out of the range of {:?}s",
                    self.unit
                );
                Error::user("MALFORMED_RECORD", message)
            })?);
        }
        Ok(values)
    }

    /// Seconds since 1970 on the writer's clock.
    fn seconds(&mut self, seconds: i64, nanos: i64) -> Option<i64> {
        let mut seconds = seconds.checked_add(self.base_seconds)?;
        // Java's writer cuts towards zero; see ORC-763.
        if seconds < 0 && nanos > 999_999 {
            seconds -= 1;
        }
        match &mut self.zone {
            Some(zone) => Some(zone.to_local(seconds, 1)),
            None => Some(seconds),
        }
    }

    fn array(&self, values: Int64Array) -> ArrayRef {
        let zone = self.has_zone.then(|| Arc::<str>::from("UTC"));
        match self.unit {
            TimeUnit::Nanosecond => Arc::new(
                values
                    .reinterpret_cast::<TimestampNanosecondType>()
                    .with_timezone_opt(zone),
            ),
            TimeUnit::Microsecond => Arc::new(
                values
                    .reinterpret_cast::<TimestampMicrosecondType>()
                    .with_timezone_opt(zone),
            ),
            TimeUnit::Millisecond => Arc::new(
                values
                    .reinterpret_cast::<TimestampMillisecondType>()
                    .with_timezone_opt(zone),
            ),
            TimeUnit::Second => Arc::new(
                values
                    .reinterpret_cast::<TimestampSecondType>()
                    .with_timezone_opt(zone),
            ),
        }
    }
}

/// Nanoseconds as they are stored: the last three bits count the zeros that were left out, less one.
fn nanos_of(stored: i64) -> i64 {
    let digits = stored >> 3;
    match stored & 7 {
        0 => digits,
        zeros => digits.wrapping_mul(10i64.pow(zeros as u32 + 1)),
    }
    .clamp(0, 999_999_999)
}

fn map(
    offsets: OffsetBuffer<i32>,
    keys: ArrayRef,
    values: ArrayRef,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    if keys.null_count() > 0 {
        return Err(damaged("a key of a map is NULL"));
    }
    let fields = Fields::from(vec![
        Field::new("key", keys.data_type().clone(), false),
        Field::new("value", values.data_type().clone(), true),
    ]);
    let entries = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
    let field = Arc::new(Field::new("entries", DataType::Struct(fields), false));
    Ok(Arc::new(MapArray::try_new(
        field, offsets, entries, nulls, false,
    )?))
}
