//! Reads the columns of a stripe into Arrow arrays of the types that the file has.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::*;
use flott_core::text::zone::ZoneCursor;
use flott_core::{Error, Result};

use super::clock::Clock;
use super::compression::Stream;
use super::damaged;
use super::run_length::{Booleans, Bytes, Integers, room_for};
use super::tail::{Encoding, Kind, StreamKind, Type};
use super::text::Texts;

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
        words: Texts,
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
        Ok(Values::Dictionary {
            indexes: self.integers(column, StreamKind::Data, false)?,
            words: Texts::read(&sizes, &mut bytes, is_text)?,
        })
    }

    fn clock(&self, column: usize) -> Clock {
        let has_zone = self.types[column].kind == Kind::TimestampInstant;
        Clock::new(self.units[column], self.zone.clone(), has_zone)
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
            Self::Boolean(values) => booleans(values, rows)?,
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
                let texts = Texts::read(&lengths, bytes, *is_text)?;
                texts.column(rows.nulls.as_ref())?
            }
            Self::Dictionary { indexes, words } => {
                let indexes = read_integers(indexes, rows.count)?;
                words.picked(&indexes, rows.nulls.as_ref())?
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
            Self::List(lengths, items) => list(lengths, items, rows)?,
            Self::Map(lengths, keys, values) => map(lengths, keys, values, rows)?,
            Self::Struct(fields) => record(fields, rows)?,
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

fn booleans(values: &mut Booleans, rows: Rows) -> Result<ArrayRef> {
    let values = values.read(rows.count)?;
    let values = match &rows.nulls {
        None => values,
        Some(_) => BooleanBuffer::from(rows.spaced(values.iter().collect())),
    };
    Ok(Arc::new(BooleanArray::new(values, rows.nulls)))
}

fn list(lengths: &mut Integers, items: &mut ColumnReader, rows: Rows) -> Result<ArrayRef> {
    let lengths = read_integers(lengths, rows.count)?;
    let (offsets, total) = rows.offsets(lengths)?;
    let items = items.read(total, None)?;
    let field = Arc::new(Field::new("item", items.data_type().clone(), true));
    Ok(Arc::new(ListArray::try_new(
        field, offsets, items, rows.nulls,
    )?))
}

fn map(
    lengths: &mut Integers,
    keys: &mut ColumnReader,
    values: &mut ColumnReader,
    rows: Rows,
) -> Result<ArrayRef> {
    let lengths = read_integers(lengths, rows.count)?;
    let (offsets, total) = rows.offsets(lengths)?;
    let (keys, values) = (keys.read(total, None)?, values.read(total, None)?);
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
        field, offsets, entries, rows.nulls, false,
    )?))
}

fn record(fields: &mut [(String, ColumnReader)], rows: Rows) -> Result<ArrayRef> {
    let (mut arrays, mut named) = (Vec::new(), Vec::new());
    for (name, reader) in fields {
        let array = reader.read(rows.num_rows, rows.nulls.as_ref())?;
        named.push(Field::new(name.as_str(), array.data_type().clone(), true));
        arrays.push(array);
    }
    let (nulls, len) = (rows.nulls, rows.num_rows);
    Ok(Arc::new(StructArray::try_new_with_length(
        named.into(),
        arrays,
        nulls,
        len,
    )?))
}
