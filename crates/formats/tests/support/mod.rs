//! Random tables for the tests of formats, and formats by their public face.
#![allow(dead_code)]

pub mod registry;
pub mod shop;

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::*;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{DecodeRequest, EncodeRequest, FileInput, FileScan, FormatFactory};
use flott_core::java_map::{binary_string_hash, sort_as_java_map};
use flott_core::options::Options;
use flott_core::schema::{Column, Schema};
use flott_core::source::FieldPath;
use flott_core::types::{DataType as FlinkType, LogicalType as T, RowField};
use flott_core::{Error, Result};

/// The format of this name.
pub fn format(name: &str) -> Arc<dyn FormatFactory> {
    let all = flott_formats::all();
    all.into_iter().find(|f| f.identifier() == name).unwrap()
}

pub fn options(pairs: &[(&str, &str)]) -> Options {
    let pairs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    pairs.collect()
}

pub fn schema(columns: &[(&str, T)]) -> Schema {
    let columns = columns
        .iter()
        .map(|(n, t)| Column::new(*n, t.clone().nullable()));
    columns.collect()
}

/// A request for all columns.
pub fn request(schema: &Schema, options: &Options) -> DecodeRequest {
    DecodeRequest {
        schema: schema.clone(),
        fields: (0..schema.len()).map(FieldPath::column).collect(),
        options: options.clone(),
        batch_size: 1000,
    }
}

/// A file in memory.
pub struct Memory(pub Buffer);

impl FileInput for Memory {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_range(&self, offset: u64, length: usize) -> Result<Buffer> {
        let end = offset.checked_add(length as u64);
        match end.is_some_and(|end| end <= self.size_bytes()) {
            true => Ok(self.0.slice_with_length(offset as usize, length)),
            false => Err(Error::user("MALFORMED_FILE", "the file ends before")),
        }
    }
}

pub fn scan(file: &[u8], start: u64, end: u64, position: Option<u64>) -> FileScan {
    FileScan {
        input: Arc::new(Memory(Buffer::from(file))),
        start,
        end,
        position,
        predicates: Vec::new(),
    }
}

/// All rows of a file's piece.
pub fn read_file(name: &str, request: &DecodeRequest, scan: FileScan) -> Result<Vec<RecordBatch>> {
    let mut reader = format(name).create_file_reader(request, scan)?;
    let mut batches = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        batches.push(batch.rows().clone());
    }
    Ok(batches)
}

/// The batches as a file.
pub fn write_file(
    name: &str,
    schema: &Schema,
    options: &Options,
    batches: &[RecordBatch],
) -> Vec<u8> {
    let request = EncodeRequest {
        schema: schema.clone(),
        options: options.clone(),
    };
    let mut encoder = format(name).create_encoder(&request).unwrap();
    let mut out = Vec::new();
    for batch in batches {
        let batch = ChangelogBatch::insert_only(batch.clone());
        encoder.encode_block(&batch, &mut out).unwrap();
    }
    encoder.finish_file(&mut out).unwrap();
    out
}

/// The rows as messages.
pub fn write_messages(
    name: &str,
    schema: &Schema,
    options: &Options,
    batch: &ChangelogBatch,
) -> Vec<Vec<u8>> {
    let request = EncodeRequest {
        schema: schema.clone(),
        options: options.clone(),
    };
    let mut encoder = format(name).create_encoder(&request).unwrap();
    let (mut out, mut ends) = (Vec::new(), Vec::new());
    encoder.encode_messages(batch, &mut out, &mut ends).unwrap();
    let mut from = 0;
    let messages = ends.into_iter().map(|end| {
        let message = out[from..end].to_vec();
        from = end;
        message
    });
    messages.collect()
}

/// The rows that messages hold.
pub fn read_messages(
    name: &str,
    request: &DecodeRequest,
    messages: &[Vec<u8>],
) -> Result<Option<ChangelogBatch>> {
    let mut decoder = format(name).create_decoder(request)?;
    for message in messages {
        decoder.decode_message(message)?;
    }
    decoder.flush()
}

/// Numbers that look random and are the same for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^ (mixed >> 29)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Of any size, small ones as often as large ones.
    pub fn long(&mut self) -> i64 {
        let shift = self.below(64);
        (self.next() as i64) >> shift
    }

    fn text(&mut self) -> String {
        let length = self.below(30);
        let letters = ['a', 'Z', '0', ' ', 'é', '😀', '"', '\\', '\n', ',', '_'];
        (0..length)
            .map(|_| letters[self.below(11) as usize])
            .collect()
    }
}

/// A type that `allows` lets pass, nested up to `depth` times.
pub fn random_type(random: &mut Random, depth: u32, allows: &dyn Fn(&T) -> bool) -> T {
    loop {
        let found = any_type(random, depth, allows);
        if allows(&found) {
            return found;
        }
    }
}

fn any_type(random: &mut Random, depth: u32, allows: &dyn Fn(&T) -> bool) -> T {
    let inner = |random: &mut Random| Arc::new(random_type(random, depth - 1, allows).nullable());
    let digits = random.below(10) as u8;
    match random.below(if depth == 0 { 16 } else { 21 }) {
        0 => T::Boolean,
        1 => T::TinyInt,
        2 => T::SmallInt,
        3 => T::Int,
        4 => T::BigInt,
        5 => T::Float,
        6 => T::Double,
        7 => {
            let precision = 1 + random.below(38) as u8;
            T::Decimal(precision, random.below(u64::from(precision) + 1) as u8)
        }
        8 | 9 => T::STRING,
        10 | 11 => T::BYTES,
        12 => T::Date,
        13 => T::Time(digits.min(3)),
        14 => T::Timestamp(digits),
        15 => T::TimestampLtz(digits),
        16 | 17 => T::Array(inner(random)),
        18 => T::Map(Arc::new(T::STRING.not_null()), inner(random)),
        _ => {
            let count = 1 + random.below(3);
            let field = |i, random: &mut Random| {
                RowField::new(format!("f{i}"), inner(random).as_ref().clone())
            };
            T::Row((0..count).map(|i| field(i, random)).collect())
        }
    }
}

/// A table of some columns named `c0`, `c1` …
pub fn random_schema(random: &mut Random, allows: &dyn Fn(&T) -> bool) -> Schema {
    let count = 1 + random.below(6);
    let columns = (0..count).map(|i| {
        let logical = random_type(random, 2, allows);
        Column::new(format!("c{i}"), logical.nullable())
    });
    columns.collect()
}

pub fn random_batch(random: &mut Random, schema: &Schema, num_rows: usize) -> RecordBatch {
    let columns = schema.columns().iter();
    let arrays = columns.map(|c| random_array(random, &c.data_type, num_rows));
    let options = RecordBatchOptions::new().with_row_count(Some(num_rows));
    RecordBatch::try_new_with_options(schema.to_arrow(), arrays.collect(), &options).unwrap()
}

fn nulls(random: &mut Random, data_type: &FlinkType, num_rows: usize) -> Vec<bool> {
    let valid = |_| !data_type.nullable || random.below(4) > 0;
    (0..num_rows).map(valid).collect()
}

fn primitive<P: ArrowPrimitiveType>(
    valid: &[bool],
    mut next: impl FnMut() -> P::Native,
) -> PrimitiveArray<P> {
    valid.iter().map(|v| v.then(&mut next)).collect()
}

fn random_array(random: &mut Random, data_type: &FlinkType, num_rows: usize) -> ArrayRef {
    let valid = nulls(random, data_type, num_rows);
    let arrow = data_type.to_arrow();
    match &data_type.logical {
        T::Boolean => {
            let values: BooleanArray = valid
                .iter()
                .map(|v| v.then(|| random.below(2) == 1))
                .collect();
            Arc::new(values)
        }
        T::TinyInt => Arc::new(primitive::<Int8Type>(&valid, || random.long() as i8)),
        T::SmallInt => Arc::new(primitive::<Int16Type>(&valid, || random.long() as i16)),
        T::Int => Arc::new(primitive::<Int32Type>(&valid, || random.long() as i32)),
        T::BigInt => Arc::new(primitive::<Int64Type>(&valid, || random.long())),
        T::Float => Arc::new(primitive::<Float32Type>(&valid, || {
            random.long() as f32 / 8.0
        })),
        T::Double => Arc::new(primitive::<Float64Type>(&valid, || {
            random.long() as f64 / 8.0
        })),
        T::Decimal(precision, _) => {
            let limit = 10i128.pow(u32::from(*precision));
            let next = || (i128::from(random.long()) << (random.below(63) as u32)) % limit;
            Arc::new(primitive::<Decimal128Type>(&valid, next).with_data_type(arrow))
        }
        T::Char(_) | T::VarChar(_) => {
            let values: StringViewArray = valid.iter().map(|v| v.then(|| random.text())).collect();
            Arc::new(values)
        }
        T::Binary(_) | T::VarBinary(_) => {
            let values: BinaryViewArray = valid
                .iter()
                .map(|v| v.then(|| random.next().to_le_bytes().repeat(random.below(3) as usize)))
                .collect();
            Arc::new(values)
        }
        T::Date => Arc::new(primitive::<Date32Type>(&valid, || {
            random.below(2_000_000) as i32 - 700_000
        })),
        T::Time(precision) => {
            let unit = 10i32.pow(3 - u32::from((*precision).min(3)));
            let next = || random.below(86_400_000) as i32 / unit * unit;
            Arc::new(primitive::<Time32MillisecondType>(&valid, next))
        }
        T::Timestamp(precision) | T::TimestampLtz(precision) => {
            let unit = 10i64.pow(match precision {
                0..=3 => 3 - u32::from(*precision),
                4..=6 => 6 - u32::from(*precision),
                _ => 9 - u32::from(*precision),
            });
            let per_second = match precision {
                0..=3 => 1_000i64,
                4..=6 => 1_000_000,
                _ => 1_000_000_000,
            };
            let next = || {
                let seconds = random.below(8_000_000_000) as i64 - 4_000_000_000;
                (seconds * per_second + random.below(per_second as u64) as i64) / unit * unit
            };
            let values = primitive::<Int64Type>(&valid, next);
            arrow::array::make_array(
                values
                    .to_data()
                    .into_builder()
                    .data_type(arrow)
                    .build()
                    .unwrap(),
            )
        }
        T::Array(item) => {
            let (offsets, total) = random_offsets(random, &valid);
            let items = random_array(random, item, total);
            Arc::new(ListArray::new(
                item.to_field("item"),
                offsets,
                items,
                Some(NullBuffer::from(valid)),
            ))
        }
        T::Map(_, value) => random_map(random, &valid, value, arrow),
        T::Row(fields) => {
            let children = fields
                .iter()
                .map(|f| random_array(random, &f.data_type, num_rows));
            let children: Vec<_> = children.collect();
            let DataType::Struct(fields) = arrow else {
                panic!("a row that is no struct");
            };
            // What a NULL row holds is NULL, as decoders leave it.
            let nulls = NullBuffer::from(valid);
            let children = children.into_iter().map(|child| {
                let all = NullBuffer::union(Some(&nulls), child.logical_nulls().as_ref());
                make_array(child.to_data().into_builder().nulls(all).build().unwrap())
            });
            Arc::new(StructArray::new(fields, children.collect(), Some(nulls)))
        }
        other => panic!("no random values of {other}"),
    }
}

fn random_offsets(random: &mut Random, valid: &[bool]) -> (OffsetBuffer<i32>, usize) {
    let lengths = valid.iter().map(|v| match v {
        true => random.below(4) as usize,
        false => 0,
    });
    let lengths: Vec<usize> = lengths.collect();
    let total = lengths.iter().sum();
    (OffsetBuffer::from_lengths(lengths), total)
}

fn random_map(random: &mut Random, valid: &[bool], value: &FlinkType, arrow: DataType) -> ArrayRef {
    let (offsets, total) = random_offsets(random, valid);
    // Keys that differ within a map, in the order in which decoders leave them.
    let keys: StringViewArray = (0..total).map(|i| Some(format!("key {i}"))).collect();
    let mut order: Vec<usize> = (0..total).collect();
    for ends in offsets.windows(2) {
        let entries = &mut order[ends[0] as usize..ends[1] as usize];
        sort_as_java_map(&keys, entries, binary_string_hash);
    }
    let keys: StringViewArray = order.iter().map(|&i| Some(keys.value(i))).collect();
    let values = random_array(random, value, total);
    let DataType::Map(entries, _) = arrow else {
        panic!("a map that is no map");
    };
    let DataType::Struct(fields) = entries.data_type().clone() else {
        panic!("entries that are no struct");
    };
    let rows = StructArray::new(fields, vec![Arc::new(keys), values], None);
    Arc::new(MapArray::new(
        entries,
        offsets,
        rows,
        Some(NullBuffer::from(valid.to_vec())),
        false,
    ))
}

/// Changes some bytes, cuts some off, or doubles some.
pub fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len() as u64) as usize;
        match random.below(5) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = [0, 0xff, 0x80, 0x7f, b'"', b'{'][random.below(6) as usize],
            3 => drop(bytes.remove(at)),
            _ => {
                let piece: Vec<u8> = bytes[at..].iter().take(9).copied().collect();
                bytes.splice(at..at, piece);
            }
        }
    }
}
