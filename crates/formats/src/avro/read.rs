//! Runs a [`Program`] over Avro's binary encoding.

use arrow::buffer::Buffer;
use flott_core::Error;

use super::program::{Program, RecordPlan, Skip, Step, Value};
use crate::column::{ColumnBuilder, Views};

/// Named types may contain themselves only so deep.
const MAX_DEPTH: usize = 256;
/// The most array items in a message or block that take no bytes, so that a few bytes cannot ask for all
/// the memory there is.
const MAX_EMPTY_ITEMS: u64 = 1 << 16;

/// Why a datum cannot be read.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The bytes are not of the schema: what was expected there.
    Malformed(&'static str),
    /// Well-formed, but of no use for its column.
    Value(String),
    Other(Error),
}

pub(crate) type Read<T> = Result<T, Box<Fault>>;

#[cold]
fn malformed(expected: &'static str) -> Box<Fault> {
    Box::new(Fault::Malformed(expected))
}

/// A place in encoded bytes.
pub(crate) struct Cursor<'a> {
    pub data: &'a [u8],
    pub at: usize,
    /// The buffer that `data` is the whole of, for strings to point into.
    pub block: Option<&'a Buffer>,
    /// Items read so far that took no bytes.
    num_empty: u64,
}

impl<'a> Cursor<'a> {
    pub fn new(data: &'a [u8], block: Option<&'a Buffer>) -> Self {
        Self {
            data,
            at: 0,
            block,
            num_empty: 0,
        }
    }

    /// An unsigned number of variable length.
    #[inline(always)]
    fn varint(&mut self) -> Read<u64> {
        match self.data.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    /// Eight bytes at a time where there are so many: the sevens of bits are pushed together.
    #[inline]
    fn long_varint(&mut self) -> Read<u64> {
        if let Some(head) = self.data.get(self.at..).and_then(|d| d.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*head);
            let stops = !word & 0x8080_8080_8080_8080;
            if stops != 0 {
                let bits = stops.trailing_zeros() + 1;
                self.at += bits as usize / 8;
                let kept = word & (u64::MAX >> (64 - bits)) & 0x7f7f_7f7f_7f7f_7f7f;
                let pairs = (kept & 0x007f_007f_007f_007f) | ((kept & 0x7f00_7f00_7f00_7f00) >> 1);
                let fours =
                    (pairs & 0x0000_3fff_0000_3fff) | ((pairs & 0x3fff_0000_3fff_0000) >> 2);
                return Ok((fours & 0x0fff_ffff) | ((fours & 0x0fff_ffff_0000_0000) >> 4));
            }
        }
        self.any_varint()
    }

    #[cold]
    fn any_varint(&mut self) -> Read<u64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = *self
                .data
                .get(self.at)
                .ok_or_else(|| malformed("a number"))?;
            self.at += 1;
            value |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(malformed("a number of at most ten bytes"))
    }

    /// A signed number.
    #[inline(always)]
    pub fn long(&mut self) -> Read<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    #[inline]
    pub fn take(&mut self, size: usize) -> Read<&'a [u8]> {
        let end = self.at.checked_add(size);
        let bytes = end.and_then(|end| self.data.get(self.at..end));
        let bytes = bytes.ok_or_else(|| malformed("more bytes than there are"))?;
        self.at += size;
        Ok(bytes)
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Read<[u8; N]> {
        let chunk = self.data.get(self.at..).and_then(|d| d.first_chunk::<N>());
        let chunk = chunk.ok_or_else(|| malformed("more bytes than there are"))?;
        self.at += N;
        Ok(*chunk)
    }

    /// Bytes with their length before them.
    #[inline]
    pub fn bytes(&mut self) -> Read<&'a [u8]> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| malformed("a length"))?;
        self.take(length)
    }

    /// The branch of a union that has `count` of them.
    #[inline]
    fn branch(&mut self, count: usize) -> Read<usize> {
        let branch = self.varint()?;
        let branch = (branch >> 1) as usize | ((branch & 1) as usize) << 32;
        match branch < count {
            true => Ok(branch),
            false => Err(malformed("a branch of a union")),
        }
    }

    /// The number of items in the next piece of an array or map, 0 at its end.
    fn items(&mut self) -> Read<u64> {
        let count = self.long()?;
        if count >= 0 {
            return Ok(count as u64);
        }
        // The size in bytes follows, for those who want to step over the piece.
        self.long()?;
        Ok(count.unsigned_abs())
    }
}

impl Program {
    /// Reads one datum; false when it is null, and no row.
    pub fn row(&self, cursor: &mut Cursor<'_>, columns: &mut [ColumnBuilder]) -> Read<bool> {
        if let Some(branches) = &self.root_branches {
            let branch = cursor.branch(branches.len())?;
            if !branches[branch] {
                return Ok(false);
            }
        }
        self.record(&self.root, cursor, columns)?;
        Ok(true)
    }

    fn record(
        &self,
        plan: &RecordPlan,
        cursor: &mut Cursor<'_>,
        columns: &mut [ColumnBuilder],
    ) -> Read<()> {
        for step in &plan.steps {
            match step {
                Step::Read { column, value } => self.value(value, cursor, &mut columns[*column])?,
                Step::Skip(skip) => self.skip(skip, cursor, 0)?,
                Step::Several {
                    outputs,
                    parts,
                    skip,
                } => {
                    let start = cursor.at;
                    for (column, value) in outputs {
                        cursor.at = start;
                        self.value(value, cursor, &mut columns[*column])?;
                    }
                    for part in parts {
                        cursor.at = start;
                        let is_record = match &part.branches {
                            Some(branches) => branches[cursor.branch(branches.len())?],
                            None => true,
                        };
                        match is_record {
                            true => self.record(&part.plan, cursor, columns)?,
                            false => part.leaves.iter().for_each(|c| columns[*c].push_null()),
                        }
                    }
                    cursor.at = start;
                    self.skip(skip, cursor, 0)?;
                }
            }
        }
        plan.absent.iter().for_each(|c| columns[*c].push_null());
        Ok(())
    }

    #[inline]
    fn value(
        &self,
        value: &Value,
        cursor: &mut Cursor<'_>,
        column: &mut ColumnBuilder,
    ) -> Read<()> {
        match value {
            Value::Integer => return push_integer(cursor.long()?, column),
            Value::Bytes => {
                let bytes = cursor.bytes()?;
                push_bytes(bytes, cursor, column);
            }
            Value::Nullable(null, inner) => {
                let branch = cursor.branch(2)?;
                match branch == usize::from(*null) {
                    true => column.push_null(),
                    false => return self.value(inner, cursor, column),
                }
            }
            Value::Double => push_double(f64::from_le_bytes(cursor.chunk()?), column),
            Value::Float => push_double(f64::from(f32::from_le_bytes(cursor.chunk()?)), column),
            Value::Boolean => {
                let byte = cursor.chunk::<1>()?[0];
                if let ColumnBuilder::Boolean(column) = column {
                    column.push(byte != 0);
                }
            }
            Value::Scaled { multiply, divide } => {
                let value = cursor.long()?;
                let value = match divide {
                    1 => value.checked_mul(*multiply),
                    _ => Some(value.div_euclid(*divide)),
                };
                let value = value.ok_or_else(|| {
                    Box::new(Fault::Value("a timestamp out of the column's range".into()))
                })?;
                return push_integer(value, column);
            }
            _ => return self.rare_value(value, cursor, column),
        }
        Ok(())
    }

    fn rare_value(
        &self,
        value: &Value,
        cursor: &mut Cursor<'_>,
        column: &mut ColumnBuilder,
    ) -> Read<()> {
        match (value, column) {
            (Value::Null, column) => column.push_null(),
            (Value::Fixed(size), column) => {
                let bytes = cursor.take(*size)?;
                push_bytes(bytes, cursor, column);
            }
            (Value::Enum(symbols), column) => {
                let place = usize::try_from(cursor.long()?).ok();
                let symbol = place.and_then(|p| symbols.get(p));
                let symbol = symbol.ok_or_else(|| malformed("a symbol of an enum"))?;
                if let ColumnBuilder::Text(column) = column {
                    column.push_copied(symbol.as_bytes());
                }
            }
            (Value::Decimal { size, scale }, ColumnBuilder::Decimal(column, precision, to)) => {
                let bytes = match size {
                    Some(size) => cursor.take(*size)?,
                    None => cursor.bytes()?,
                };
                let value = integer_of(bytes).and_then(|v| rescaled(v, *scale, u32::from(*to)));
                let fits = |v: &i128| v.unsigned_abs() < 10u128.pow(u32::from(*precision));
                match value.filter(fits) {
                    Some(value) => column.push(value),
                    None => column.push_null(),
                }
            }
            (Value::Array(item), ColumnBuilder::Array(column)) => {
                self.items(cursor, |cursor| self.value(item, cursor, &mut column.items))?;
                column.push().map_err(|e| Box::new(Fault::Other(e)))?;
            }
            (Value::Map(item), ColumnBuilder::Map(column)) => {
                self.items(cursor, |cursor| {
                    let key = cursor.bytes()?;
                    push_bytes(key, cursor, &mut column.keys);
                    self.value(item, cursor, &mut column.values)
                })?;
                column.push().map_err(|e| Box::new(Fault::Other(e)))?;
            }
            (Value::Row(plan), ColumnBuilder::Row(column)) => {
                self.record(plan, cursor, &mut column.children)?;
                column.push();
            }
            (Value::Union(branches), column) => {
                let branch = cursor.branch(branches.len())?;
                return self.value(&branches[branch], cursor, column);
            }
            (Value::Unfit(why), _) => return Err(Box::new(Fault::Value(why.clone()))),
            (value, _) => {
                let message = format!("the column of {value:?} is of another type");
                return Err(Box::new(Fault::Other(Error::internal(message))));
            }
        }
        Ok(())
    }

    /// Calls `read` for each item of an array or map.
    fn items(
        &self,
        cursor: &mut Cursor<'_>,
        mut read: impl FnMut(&mut Cursor<'_>) -> Read<()>,
    ) -> Read<()> {
        loop {
            let count = cursor.items()?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                let before = cursor.at;
                read(cursor)?;
                if cursor.at == before {
                    cursor.num_empty += 1;
                    if cursor.num_empty > MAX_EMPTY_ITEMS {
                        return Err(malformed("fewer items that take no bytes"));
                    }
                }
            }
        }
    }

    fn skip(&self, skip: &Skip, cursor: &mut Cursor<'_>, depth: usize) -> Read<()> {
        match skip {
            Skip::Nothing => {}
            Skip::Varints(count) => {
                for _ in 0..*count {
                    cursor.varint()?;
                }
            }
            Skip::Fixed(size) => drop(cursor.take(*size)?),
            Skip::Bytes => drop(cursor.bytes()?),
            Skip::Array(item) => {
                self.skip_items(cursor, |cursor| self.skip(item, cursor, depth))?
            }
            Skip::Map(item) => self.skip_items(cursor, |cursor| {
                cursor.bytes()?;
                self.skip(item, cursor, depth)
            })?,
            Skip::Union(branches) => {
                let branch = cursor.branch(branches.len())?;
                self.skip(&branches[branch], cursor, depth)?;
            }
            Skip::Record(fields) => {
                for field in fields {
                    self.skip(field, cursor, depth)?;
                }
            }
            Skip::Named(place) => {
                if depth >= MAX_DEPTH {
                    return Err(malformed("records nested less deeply"));
                }
                self.skip(&self.named[*place], cursor, depth + 1)?;
            }
        }
        Ok(())
    }

    fn skip_items(
        &self,
        cursor: &mut Cursor<'_>,
        mut skip: impl FnMut(&mut Cursor<'_>) -> Read<()>,
    ) -> Read<()> {
        loop {
            let count = cursor.long()?;
            if count < 0 {
                cursor.bytes()?;
                continue;
            }
            for _ in 0..count {
                let before = cursor.at;
                skip(cursor)?;
                if cursor.at == before {
                    // The rest takes no bytes either.
                    break;
                }
            }
            if count == 0 {
                return Ok(());
            }
        }
    }
}

/// The number that big-endian bytes stand for, where it fits.
fn integer_of(bytes: &[u8]) -> Option<i128> {
    let is_negative = bytes.first().is_some_and(|b| *b >= 0x80);
    let sign = if is_negative { 0xff } else { 0 };
    let (head, tail) = bytes.split_at(bytes.len().saturating_sub(16));
    let mut whole = [sign; 16];
    whole[16 - tail.len()..].copy_from_slice(tail);
    let value = i128::from_be_bytes(whole);
    (head.iter().all(|b| *b == sign) && (value < 0) == is_negative).then_some(value)
}

/// A decimal's unscaled value at another scale, rounded half up.
fn rescaled(value: i128, from: u32, to: u32) -> Option<i128> {
    if from <= to {
        return value.checked_mul(10i128.checked_pow(to - from)?);
    }
    let Some(unit) = 10i128.checked_pow(from - to) else {
        return Some(0);
    };
    let (whole, rest) = (value / unit, value % unit);
    let rounds = rest.unsigned_abs() >= unit.unsigned_abs().div_ceil(2);
    Some(whole + if rounds { value.signum() } else { 0 })
}

#[inline]
fn push_integer(value: i64, column: &mut ColumnBuilder) -> Read<()> {
    match column {
        ColumnBuilder::BigInt(column) => column.push(value),
        ColumnBuilder::Timestamp(column, ..) => column.push(value),
        ColumnBuilder::Int(column) => column.push(narrow(value)?),
        ColumnBuilder::Date(column) => column.push(narrow(value)?),
        ColumnBuilder::Time(column, _) => column.push(narrow(value)?),
        ColumnBuilder::SmallInt(column) => column.push(narrow(value)?),
        ColumnBuilder::TinyInt(column) => column.push(narrow(value)?),
        ColumnBuilder::Double(column) => column.push(value as f64),
        ColumnBuilder::Float(column) => column.push(value as f32),
        _ => {
            return Err(Box::new(Fault::Other(Error::internal(
                "a number for another column",
            ))));
        }
    }
    Ok(())
}

fn narrow<T: TryFrom<i64>>(value: i64) -> Read<T> {
    let too_large = || format!("{value}, which is out of the column's range");
    T::try_from(value).map_err(|_| Box::new(Fault::Value(too_large())))
}

#[inline]
fn push_double(value: f64, column: &mut ColumnBuilder) {
    match column {
        ColumnBuilder::Double(column) => column.push(value),
        ColumnBuilder::Float(column) => column.push(value as f32),
        _ => {}
    }
}

/// The last bytes that the cursor gave, into a column of text or bytes.
#[inline]
fn push_bytes(bytes: &[u8], cursor: &Cursor<'_>, column: &mut ColumnBuilder) {
    let push = |column: &mut Views| match cursor.block {
        Some(block) => column.push_shared(block, cursor.at - bytes.len(), bytes.len()),
        None => column.push_copied(bytes),
    };
    match column {
        ColumnBuilder::Text(column) => {
            if bytes.is_ascii() || simdutf8::basic::from_utf8(bytes).is_ok() {
                push(column);
            } else {
                // As Java does.
                column.push_copied(String::from_utf8_lossy(bytes).as_bytes());
            }
        }
        ColumnBuilder::Bytes(column) => push(column),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zigzag(value: i64) -> Vec<u8> {
        let mut rest = ((value << 1) ^ (value >> 63)) as u64;
        let mut out = Vec::new();
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
        out
    }

    #[test]
    fn numbers_of_every_length_are_read_with_and_without_bytes_behind() {
        for shift in 0..64 {
            for value in [
                1i64 << shift,
                -(1i64 << shift.min(62)),
                (1i64 << shift).wrapping_sub(1),
            ] {
                let mut bytes = zigzag(value);
                let length = bytes.len();
                assert_eq!(Cursor::new(&bytes, None).long().unwrap(), value);
                bytes.extend([0xff; 8]);
                let mut cursor = Cursor::new(&bytes, None);
                assert_eq!(cursor.long().unwrap(), value);
                assert_eq!(cursor.at, length);
            }
        }
        assert!(Cursor::new(&[0xff; 11], None).long().is_err());
        assert!(Cursor::new(&[0xff; 3], None).long().is_err());
    }

    #[test]
    fn decimals_keep_sign_and_scale() {
        assert_eq!(integer_of(&[0xff]), Some(-1));
        assert_eq!(integer_of(&[]), Some(0));
        assert_eq!(integer_of(&[0, 0x80]), Some(128));
        assert_eq!(integer_of(&[0xff; 20]), Some(-1));
        assert_eq!(integer_of(&[1; 17]), None);
        assert_eq!(
            integer_of(&[0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            None
        );
        assert_eq!(rescaled(125, 2, 1), Some(13));
        assert_eq!(rescaled(-125, 2, 1), Some(-13));
        assert_eq!(rescaled(7, 0, 3), Some(7000));
        assert_eq!(rescaled(i128::MAX, 0, 1), None);
    }
}
