//! How many bytes of each format a core decodes and encodes in a second.

use std::hint::black_box;
use std::sync::Arc;

use arrow::buffer::Buffer;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{DecodeRequest, EncodeRequest, FileInput, FileScan, FormatFactory};
use flott_core::options::Options;
use flott_core::schema::{Column, Schema};
use flott_core::source::FieldPath;
use flott_core::types::LogicalType;
use flott_formats::{AvroFormat, ChangeFormat, CsvFormat, JsonFormat};

fn schema() -> Schema {
    let columns = [
        ("auction", LogicalType::BigInt),
        ("bidder", LogicalType::BigInt),
        ("price", LogicalType::BigInt),
        ("channel", LogicalType::STRING),
        ("url", LogicalType::STRING),
        ("dateTime", LogicalType::Timestamp(3)),
        ("extra", LogicalType::STRING),
    ];
    let columns = columns
        .into_iter()
        .map(|(n, t)| Column::new(n, t.nullable()));
    columns.collect()
}

/// About 4 MB of Nexmark bids.
fn bids() -> Vec<u8> {
    let mut text = String::new();
    for i in 0..20_000u64 {
        let (auction, bidder, price) = (1000 + i % 700, 2000 + i * 7 % 900, 100 + i * 31 % 100_000);
        let extra = "[_PQLyhX_Wmo`Z^gjqobfcb`LKWI\\\\TWgnhxpOSMOZYQN^ZdzdfxU`";
        text.push_str(&format!(
            "{{\"auction\":{auction},\"bidder\":{bidder},\"price\":{price},\"channel\":\"channel-{i}\",\"url\":\"https://www.nexmark.com/abo/vbl/item.htm?query=1&channel_id={i}\",\"dateTime\":\"2024-06-01 12:00:{:02}.{:03}\",\"extra\":\"{extra}\"}}\n",
            i / 1000 % 60,
            i % 1000,
        ));
    }
    text.into_bytes()
}

fn request(fields: &[usize]) -> DecodeRequest {
    DecodeRequest {
        schema: schema(),
        fields: fields.iter().map(|&f| FieldPath::column(f)).collect(),
        options: Options::default(),
        batch_size: 8192,
    }
}

fn decode(format: &dyn FormatFactory, fields: &[usize], block: &Buffer) -> Vec<ChangelogBatch> {
    let mut decoder = format.create_decoder(&request(fields)).expect("a decoder");
    let mut batches = Vec::new();
    let mut at = 0;
    while at < block.len() {
        at += decoder
            .decode_block(&block.slice(at), true)
            .expect("good rows");
        batches.extend(decoder.flush().expect("a batch"));
    }
    batches
}

fn encode(format: &dyn FormatFactory, batches: &[ChangelogBatch]) -> Vec<u8> {
    encode_with(format, &Options::default(), batches)
}

fn encode_with(
    format: &dyn FormatFactory,
    options: &Options,
    batches: &[ChangelogBatch],
) -> Vec<u8> {
    let request = EncodeRequest {
        schema: schema(),
        options: options.clone(),
    };
    let mut encoder = format.create_encoder(&request).expect("an encoder");
    let mut out = Vec::with_capacity(8 << 20);
    for batch in batches {
        encoder.encode_block(batch, &mut out).expect("good rows");
    }
    encoder.finish_file(&mut out).expect("a whole file");
    out
}

struct Memory(Buffer);

impl FileInput for Memory {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_range(&self, offset: u64, length: usize) -> Result<Buffer> {
        Ok(self.0.slice_with_length(offset as usize, length))
    }
}

fn read_file(format: &dyn FormatFactory, fields: &[usize], file: &Buffer) -> Vec<ChangelogBatch> {
    let scan = FileScan {
        input: Arc::new(Memory(file.clone())),
        start: 0,
        end: u64::MAX,
        position: None,
        predicates: Vec::new(),
    };
    let mut reader = format
        .create_file_reader(&request(fields), scan)
        .expect("a reader");
    let mut batches = Vec::new();
    while let Some(batch) = reader.next_batch().expect("good rows") {
        batches.push(batch);
    }
    batches
}

fn benches(criterion: &mut Criterion) {
    let json = Buffer::from_vec(bids());
    let all = [0, 1, 2, 3, 4, 5, 6];
    let batches = decode(&JsonFormat, &all, &json);
    let csv = Buffer::from_vec(encode(&CsvFormat, &batches));
    let mut group = criterion.benchmark_group("json");
    group.throughput(Throughput::Bytes(json.len() as u64));
    for (name, fields) in [
        ("one column", &[2][..]),
        ("three columns", &[0, 2, 5]),
        ("all columns", &all),
    ] {
        group.bench_function(format!("decode {name}"), |b| {
            b.iter(|| decode(&JsonFormat, fields, black_box(&json)));
        });
    }
    group.bench_function("encode", |b| {
        b.iter(|| encode(&JsonFormat, black_box(&batches)))
    });
    group.bench_function("decode and encode", |b| {
        b.iter(|| encode(&JsonFormat, &decode(&JsonFormat, &all, black_box(&json))));
    });
    group.finish();
    let mut group = criterion.benchmark_group("csv");
    group.throughput(Throughput::Bytes(csv.len() as u64));
    for (name, fields) in [("one column", &[2][..]), ("all columns", &all)] {
        group.bench_function(format!("decode {name}"), |b| {
            b.iter(|| decode(&CsvFormat, fields, black_box(&csv)));
        });
    }
    group.bench_function("encode", |b| {
        b.iter(|| encode(&CsvFormat, black_box(&batches)))
    });
    group.finish();
    let mut plain = Options::default();
    plain.set("codec", "null");
    let avro = Buffer::from_vec(encode_with(&AvroFormat, &plain, &batches));
    let mut group = criterion.benchmark_group("avro");
    group.throughput(Throughput::Bytes(avro.len() as u64));
    for (name, fields) in [("one column", &[2][..]), ("all columns", &all)] {
        group.bench_function(format!("decode {name}"), |b| {
            b.iter(|| read_file(&AvroFormat, fields, black_box(&avro)));
        });
    }
    group.bench_function("encode", |b| {
        b.iter(|| encode_with(&AvroFormat, &plain, black_box(&batches)))
    });
    group.finish();
    let debezium = Buffer::from_vec(encode(&ChangeFormat::DEBEZIUM, &batches));
    let mut group = criterion.benchmark_group("debezium-json");
    group.throughput(Throughput::Bytes(debezium.len() as u64));
    for (name, fields) in [("three columns", &[0, 2, 5][..]), ("all columns", &all)] {
        group.bench_function(format!("decode {name}"), |b| {
            b.iter(|| decode(&ChangeFormat::DEBEZIUM, fields, black_box(&debezium)));
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
