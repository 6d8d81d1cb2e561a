//! What a format of text writes it reads: random tables through files in pieces and through
//! messages. (Avro, Parquet and Protobuf have the same in their own tests.)

mod support;

use arrow::array::Array;
use arrow::buffer::Buffer;
use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::options::Options;
use flott_core::schema::Schema;
use flott_core::types::LogicalType as T;
use proptest::prelude::*;
use support::*;

/// The rows that come back from a file that is read in two pieces, and their kinds.
fn through_file(
    name: &str,
    schema: &Schema,
    options: &Options,
    batch: &ChangelogBatch,
    cut: u64,
) -> (RecordBatch, Vec<RowKind>) {
    let request = flott_core::format::EncodeRequest {
        schema: schema.clone(),
        options: options.clone(),
    };
    let mut encoder = format(name).create_encoder(&request).unwrap();
    let mut file = Vec::new();
    encoder.encode_block(batch, &mut file).unwrap();
    encoder.finish_file(&mut file).unwrap();
    let mut request = self::request(schema, options);
    request.batch_size = 7;
    let mut decoder = format(name).create_decoder(&request).unwrap();
    let cut = (cut % (file.len() as u64 + 1)) as usize;
    let mut read = Vec::new();
    let first = Buffer::from(&file[..cut]);
    let mut at = decoder.decode_block(&first, false).unwrap();
    read.extend(decoder.flush().unwrap());
    while at < file.len() {
        at += decoder
            .decode_block(&Buffer::from(&file[at..]), true)
            .unwrap();
        read.extend(decoder.flush().unwrap());
    }
    joined(schema, read)
}

fn joined(schema: &Schema, batches: Vec<ChangelogBatch>) -> (RecordBatch, Vec<RowKind>) {
    let kinds = batches
        .iter()
        .flat_map(|b| (0..b.num_rows()).map(|row| b.kind(row)));
    let kinds = kinds.collect();
    let rows = batches.iter().map(ChangelogBatch::rows);
    (concat_batches(&schema.to_arrow(), rows).unwrap(), kinds)
}

fn through_messages(
    name: &str,
    schema: &Schema,
    options: &Options,
    batch: &ChangelogBatch,
) -> (RecordBatch, Vec<RowKind>) {
    let messages = write_messages(name, schema, options, batch);
    let read = read_messages(name, &request(schema, options), &messages).unwrap();
    joined(schema, read.into_iter().collect())
}

fn anything(_: &T) -> bool {
    true
}

fn is_cell(logical: &T) -> bool {
    !logical.is_nested()
}

fn in_raw(logical: &T) -> bool {
    let is_number = logical.is_integer() || logical.is_approximate_numeric();
    is_number || logical.is_character() || logical.is_binary() || *logical == T::Boolean
}

/// Inserts, deletions and updates as a random changelog might have them.
fn random_kinds(random: &mut Random, num_rows: usize) -> Vec<RowKind> {
    let mut kinds = Vec::new();
    while kinds.len() < num_rows {
        match random.below(3) {
            0 => kinds.push(RowKind::Insert),
            1 => kinds.push(RowKind::Delete),
            _ => kinds.extend([RowKind::UpdateBefore, RowKind::UpdateAfter]),
        }
    }
    kinds.truncate(num_rows);
    kinds
}

/// Updates travel as a deletion and an insertion.
fn as_written(kind: &RowKind) -> RowKind {
    match kind {
        RowKind::Insert | RowKind::UpdateAfter => RowKind::Insert,
        RowKind::Delete | RowKind::UpdateBefore => RowKind::Delete,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn json(seed: u64, cut: u64, standard in 0usize..2, plain: bool, omits: bool) {
        let mut random = Random(seed);
        let schema = random_schema(&mut random, &anything);
        let batch = ChangelogBatch::insert_only(random_batch(&mut random, &schema, 20));
        let options = options(&[
            ("timestamp-format.standard", ["SQL", "ISO-8601"][standard]),
            ("encode.decimal-as-plain-number", if plain { "true" } else { "false" }),
            ("encode.ignore-null-fields", if omits { "true" } else { "false" }),
        ]);
        let (read, _) = through_file("json", &schema, &options, &batch, cut);
        prop_assert_eq!(&read, batch.rows());
        let (read, _) = through_messages("json", &schema, &options, &batch);
        prop_assert_eq!(&read, batch.rows());
    }

    #[test]
    fn csv(seed: u64, cut: u64, delimiter in 0usize..4, escapes: bool, plain: bool) {
        let mut random = Random(seed);
        let schema = random_schema(&mut random, &is_cell);
        let batch = ChangelogBatch::insert_only(random_batch(&mut random, &schema, 20));
        let mut options = options(&[
            ("field-delimiter", [",", ";", "\\t", "\\u0001"][delimiter]),
            // A text that no value has.
            ("null-literal", "\u{2}"),
            ("write-bigdecimal-in-scientific-notation", if plain { "false" } else { "true" }),
        ]);
        if escapes {
            options.set("escape-character", "\\");
        }
        let (read, _) = through_file("csv", &schema, &options, &batch, cut);
        prop_assert_eq!(&read, batch.rows());
        // One empty cell alone makes an empty message, which is no row.
        if schema.len() > 1 {
            let (read, _) = through_messages("csv", &schema, &options, &batch);
            prop_assert_eq!(&read, batch.rows());
        }
    }

    #[test]
    fn raw(seed: u64, little: bool, charset in 0usize..4) {
        let mut random = Random(seed);
        let logical = random_type(&mut random, 0, &in_raw);
        let schema = schema(&[("c", logical)]);
        let batch = random_batch(&mut random, &schema, 20);
        // A NULL is written as nothing, which is read as an empty text.
        let valid = arrow::compute::is_not_null(batch.column(0)).unwrap();
        let batch = arrow::compute::filter_record_batch(&batch, &valid).unwrap();
        let options = options(&[
            ("endianness", if little { "little-endian" } else { "big-endian" }),
            ("charset", ["UTF-8", "UTF-16", "UTF-16BE", "UTF-16LE"][charset]),
        ]);
        let batch = ChangelogBatch::insert_only(batch);
        let (read, _) = through_messages("raw", &schema, &options, &batch);
        prop_assert_eq!(&read, batch.rows());
    }

    #[test]
    fn changes(seed: u64, cut: u64, dialect in 0usize..4) {
        let name = ["debezium-json", "canal-json", "maxwell-json", "ogg-json"][dialect];
        let mut random = Random(seed);
        let schema = random_schema(&mut random, &anything);
        let rows = random_batch(&mut random, &schema, 20);
        let kinds = random_kinds(&mut random, 20);
        let codes: Vec<u8> = kinds.iter().map(|k| *k as u8).collect();
        let batch = ChangelogBatch::new(rows, Some(codes.into()));
        let written: Vec<RowKind> = kinds.iter().map(as_written).collect();
        let options = options(&[]);
        let (read, found) = through_file(name, &schema, &options, &batch, cut);
        prop_assert_eq!(&read, batch.rows());
        prop_assert_eq!(&found, &written);
        let (read, found) = through_messages(name, &schema, &options, &batch);
        prop_assert_eq!(&read, batch.rows());
        prop_assert_eq!(&found, &written);
    }
}

#[test]
fn nothing_is_nothing() {
    for name in ["json", "csv", "debezium-json"] {
        let table = schema(&[("a", T::Int)]);
        let empty = ChangelogBatch::insert_only(RecordBatch::new_empty(table.to_arrow()));
        let (read, _) = through_file(name, &table, &options(&[]), &empty, 0);
        assert_eq!(read.column(0).len(), 0);
    }
}
