//! Damaged input for every format: no panic, no endless loop, and no more memory than a limit.
//!
//! Samples are made by the formats' own encoders or checked in; each case damages one of them by
//! its own seed. Without variables a short and always equal run. `FLOTT_FUZZ_ROUNDS=100` runs a
//! hundred times as many cases, `FLOTT_FUZZ_SEED=7` others, `FLOTT_FUZZ_CASE=123` one alone. The
//! case in hand stands in a file of the temporary folder, so that it is known even when the process
//! dies of it.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::buffer::Buffer;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{DecodeRequest, Decoder, FileReader};
use flott_core::options::Options;
use flott_core::schema::Schema;
use flott_core::types::LogicalType as T;
use prost_reflect::prost::Message;
use support::registry::TestRegistry;
use support::*;

/// The most memory that a case may hold at once. Samples are of some kilobytes; an ORC chunk or a
/// Parquet page may say that it has some megabytes once it is decompressed.
const MAX_BYTES: usize = 192 << 20;
/// No sample holds so many batches.
const MAX_BATCHES: usize = 100_000;
/// A request for more than this is refused at once, which ends the process.
const MAX_REQUEST: usize = 8 << 30;

/// Counts what the thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends has no counters any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every request goes to the system's allocator unchanged, or is refused with a null pointer.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > MAX_REQUEST {
            return std::ptr::null_mut();
        }
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > MAX_REQUEST {
            return std::ptr::null_mut();
        }
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > MAX_REQUEST {
            return std::ptr::null_mut();
        }
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Something to be damaged, and how it is read.
struct Sample {
    bytes: Vec<u8>,
    request: DecodeRequest,
}

/// How a format is read.
enum Reading {
    Blocks,
    Messages,
    Files,
    /// By one decoder for all cases, since making one asks a registry; the first bytes, which name
    /// a schema, stay as they are.
    Registry(Box<dyn Decoder>),
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs `num_cases` cases, or as the variables say.
fn fuzz(name: &str, num_cases: u64, samples: &[Sample], mut reading: Reading) {
    let seed = number("FLOTT_FUZZ_SEED").unwrap_or(1);
    let rounds = number("FLOTT_FUZZ_ROUNDS").unwrap_or(1);
    let trace = std::env::temp_dir().join(format!("flott-fuzz-{name}-{}", std::process::id()));
    let mut file = std::fs::File::create(&trace).unwrap();
    let mut run = |case: u64| {
        use std::os::unix::fs::FileExt;
        let _ = file.write_all_at(format!("FLOTT_FUZZ_CASE={case:<20}\n").as_bytes(), 0);
        one_case(name, case, samples, &mut reading);
    };
    match number("FLOTT_FUZZ_CASE") {
        Some(case) => run(case),
        None => (0..num_cases * rounds).for_each(|place| run(Random(seed ^ place << 20).next())),
    }
    let _ = file.flush();
    let _ = std::fs::remove_file(&trace);
}

fn one_case(name: &str, case: u64, samples: &[Sample], reading: &mut Reading) {
    let mut random = Random(case);
    let sample = &samples[random.below(samples.len() as u64) as usize];
    let other = &samples[random.below(samples.len() as u64) as usize];
    let mut bytes = sample.bytes.clone();
    let kept = if matches!(reading, Reading::Registry(_)) {
        5
    } else {
        0
    };
    let mut rest = bytes.split_off(kept.min(bytes.len()));
    damage(&mut random, &mut rest, &other.bytes);
    bytes.append(&mut rest);
    // At times with the columns of another table.
    let mut request = sample.request.clone();
    if random.below(4) == 0 {
        request.schema = other.request.schema.clone();
        request.fields = other.request.fields.clone();
    }
    request.batch_size = [1, 7, 1000][random.below(3) as usize];
    let before = HELD.get();
    PEAK.set(before);
    let result = catch_unwind(AssertUnwindSafe(|| read(name, reading, &request, &bytes)));
    let held = PEAK.get() - before;
    let replay = format!(
        "replay: FLOTT_FUZZ_CASE={case} cargo test --release -p flott-formats --test fuzz {}",
        name.replace('-', "_")
    );
    match result {
        Err(_) => panic!("format '{name}' panicked on damaged input; {replay}"),
        Ok(Outcome::Stuck(what)) => panic!("format '{name}' {what}; {replay}"),
        Ok(Outcome::Read) => {}
    }
    assert!(
        held <= MAX_BYTES as isize,
        "format '{name}' held {held} bytes for input of {}; {replay}",
        bytes.len()
    );
}

enum Outcome {
    Read,
    Stuck(&'static str),
}

fn read(name: &str, reading: &mut Reading, request: &DecodeRequest, bytes: &[u8]) -> Outcome {
    let all = match reading {
        Reading::Blocks => blocks(name, request, bytes),
        Reading::Messages => messages(name, request, bytes),
        Reading::Files => file(name, request, bytes),
        Reading::Registry(decoder) => {
            let _ = decoder.decode_message(bytes);
            let _ = decoder.flush().map(check);
            Ok(Outcome::Read)
        }
    };
    all.unwrap_or(Outcome::Read)
}

/// What is given must be what Arrow allows.
fn check(batch: Option<ChangelogBatch>) {
    for column in batch.iter().flat_map(|b| b.rows().columns()) {
        column
            .to_data()
            .validate_full()
            .expect("a well-formed column");
    }
}

fn blocks(name: &str, request: &DecodeRequest, bytes: &[u8]) -> Result<Outcome> {
    let mut decoder = format(name).create_decoder(request)?;
    let block = Buffer::from(bytes);
    let mut at = 0;
    // Half of it first, as when the rest is still to come.
    let half = block.slice_with_length(0, block.len() / 2);
    at += decoder.decode_block(&half, false)?;
    check(decoder.flush()?);
    while at < block.len() {
        let used = decoder.decode_block(&block.slice(at), true)?;
        at += used;
        let is_full = decoder.num_rows() > 0;
        check(decoder.flush()?);
        if used == 0 && !is_full {
            return Ok(Outcome::Stuck("reads nothing on"));
        }
    }
    Ok(Outcome::Read)
}

fn messages(name: &str, request: &DecodeRequest, bytes: &[u8]) -> Result<Outcome> {
    let mut decoder = format(name).create_decoder(request)?;
    let result = decoder.decode_message(bytes);
    check(decoder.flush()?);
    result.map(|()| Outcome::Read)
}

fn file(name: &str, request: &DecodeRequest, bytes: &[u8]) -> Result<Outcome> {
    let scan = scan(bytes, 0, u64::MAX, None);
    let mut reader: Box<dyn FileReader> = format(name).create_file_reader(request, scan)?;
    for _ in 0..MAX_BATCHES {
        match reader.next_batch()? {
            None => return Ok(Outcome::Read),
            batch => check(batch),
        }
    }
    Ok(Outcome::Stuck("gives rows without end"))
}

/// Damages in some places: bits, lengths, cuts, pieces of another sample, nesting.
fn damage(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = place(random, bytes.len());
        match random.below(9) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes.truncate(at),
            3 => overwrite(random, &mut bytes[at..]),
            4 => {
                let end = at + (random.below(20) as usize).min(bytes.len() - at);
                drop(bytes.drain(at..end));
            }
            5 => {
                let piece: Vec<u8> = bytes[at..].iter().take(64).copied().collect();
                drop(bytes.splice(at..at, piece));
            }
            6 if !other.is_empty() => {
                let from = place(random, other.len());
                let piece = other[from..].iter().take(1 + random.below(300) as usize);
                let piece: Vec<u8> = piece.copied().collect();
                let end = at + (random.below(40) as usize).min(bytes.len() - at);
                drop(bytes.splice(at..end, piece));
            }
            7 => {
                let tokens: [&[u8]; 10] = [
                    b"[",
                    b"{\"a\":",
                    b"\"",
                    b"\\",
                    b"\\u",
                    b",",
                    b"\n",
                    b"-",
                    b"\xff\xff",
                    b"9",
                ];
                let token = tokens[random.below(10) as usize];
                let piece = token.repeat(1 + random.below(2000) as usize);
                drop(bytes.splice(at..at, piece));
            }
            _ => {
                let to = place(random, bytes.len());
                bytes.swap(at, to);
            }
        }
    }
}

/// Anywhere; often near the begin or the end, where headers and footers are.
fn place(random: &mut Random, length: usize) -> usize {
    let near = length.min(200) as u64;
    match random.below(4) {
        0 => random.below(near) as usize,
        1 => length - 1 - random.below(near) as usize,
        _ => random.below(length as u64) as usize,
    }
}

/// Writes a number that lengths and counts should not be.
fn overwrite(random: &mut Random, bytes: &mut [u8]) {
    let numbers = [
        0,
        1,
        -1,
        i64::MAX,
        i64::MIN,
        1 << 31,
        (1 << 31) - 1,
        1 << 40,
        1000,
    ];
    let number = numbers[random.below(9) as usize];
    let mut encoded = match random.below(4) {
        0 => (number as i32).to_le_bytes().to_vec(),
        1 => number.to_le_bytes().to_vec(),
        2 => (number as i32).to_be_bytes().to_vec(),
        _ => varint(number as u64),
    };
    encoded.truncate(bytes.len());
    bytes[..encoded.len()].copy_from_slice(&encoded);
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn anything(_: &T) -> bool {
    true
}

/// Types that the format's own writer takes.
fn plain(logical: &T) -> bool {
    !matches!(logical, T::Map(..))
}

fn requests(schema: &Schema, choices: &[&[(&str, &str)]], seed: u64) -> DecodeRequest {
    let chosen = choices[seed as usize % choices.len()];
    request(schema, &options(chosen))
}

/// Samples of random tables, written with and read by one of these options each.
fn written(
    name: &str,
    allows: &dyn Fn(&T) -> bool,
    choices: &[&[(&str, &str)]],
    num_rows: usize,
) -> Vec<Sample> {
    let samples = (0..24).map(|seed| {
        let mut random = Random(seed);
        let schema = random_schema(&mut random, allows);
        let batch = random_batch(&mut random, &schema, num_rows);
        let request = requests(&schema, choices, seed);
        Sample {
            bytes: write_file(name, &schema, &request.options, &[batch]),
            request,
        }
    });
    samples.collect()
}

const LENIENT: &[&[(&str, &str)]] = &[&[], &[("ignore-parse-errors", "true")]];

#[test]
fn json() {
    let samples = written("json", &anything, LENIENT, 5);
    fuzz("json", 1500, &samples, Reading::Blocks);
    fuzz("json", 500, &samples, Reading::Messages);
}

#[test]
fn csv() {
    let choices: &[&[(&str, &str)]] = &[
        &[],
        &[("ignore-parse-errors", "true")],
        &[("escape-character", "\\"), ("allow-comments", "true")],
        &[
            ("field-delimiter", "|"),
            ("null-literal", "n/a"),
            ("ignore-parse-errors", "true"),
        ],
    ];
    let samples = written("csv", &plain, choices, 5);
    fuzz("csv", 1500, &samples, Reading::Blocks);
    fuzz("csv", 500, &samples, Reading::Messages);
}

#[test]
fn raw() {
    let types = [
        T::STRING,
        T::BYTES,
        T::BigInt,
        T::SmallInt,
        T::Double,
        T::Boolean,
    ];
    let samples = types.into_iter().zip([
        &[][..],
        &[("endianness", "little-endian")],
        &[("charset", "UTF-16LE")],
        &[("charset", "ISO-8859-1")],
        &[],
        &[],
    ]);
    let samples = samples.map(|(logical, pairs)| Sample {
        bytes: b"some text\nand \xc3\xa9 more\n12345678\n\n".to_vec(),
        request: request(&schema(&[("c", logical)]), &options(pairs)),
    });
    let samples: Vec<_> = samples.collect();
    fuzz("raw", 1000, &samples, Reading::Blocks);
    fuzz("raw", 500, &samples, Reading::Messages);
}

/// Envelopes of the other ends' own making: with `old` values, schemas and lists.
const CHANGES: [(&str, &str); 4] = [
    (
        "debezium-json",
        r#"{"before":null,"after":{"id":1,"s":"a","d":1.5},"source":{"db":"x","table":"t","ts_ms":5},"op":"c","ts_ms":1589362330904}
{"before":{"id":1,"s":"a","d":1.5},"after":{"id":1,"s":"b","d":2},"op":"u"}
{"schema":{"type":"struct"},"payload":{"before":{"id":1,"s":"b","d":2},"after":null,"op":"d"}}
"#,
    ),
    (
        "canal-json",
        r#"{"data":[{"id":"1","s":"a","d":"1.5"},{"id":"2","s":null,"d":"2"}],"database":"x","es":1589373515000,"old":null,"pkNames":["id"],"sqlType":{"id":4},"table":"t","ts":1589373515477,"type":"INSERT"}
{"data":[{"id":"1","s":"b","d":"1.5"}],"old":[{"s":"a"}],"database":"x","table":"t","type":"UPDATE"}
{"data":[{"id":"1","s":"b","d":"1.5"}],"old":null,"type":"DELETE"}
{"data":null,"type":"CREATE","database":"x"}
"#,
    ),
    (
        "maxwell-json",
        r#"{"database":"x","table":"t","type":"insert","ts":1596684904,"xid":7201,"commit":true,"data":{"id":1,"s":"a","d":1.5},"primary_key_columns":["id"]}
{"type":"update","data":{"id":1,"s":"b","d":1.5},"old":{"s":"a"}}
{"type":"delete","data":{"id":1,"s":"b","d":1.5}}
"#,
    ),
    (
        "ogg-json",
        r#"{"table":"X.T","op_type":"I","op_ts":"2020-05-13 13:39:35.766000","current_ts":"2020-05-13 13:39:35.766000","pos":"1","primary_keys":["id"],"after":{"id":1,"s":"a","d":1.5}}
{"op_type":"U","before":{"id":1,"s":"a","d":1.5},"after":{"id":1,"s":"b","d":2}}
{"op_type":"D","before":{"id":1,"s":"b","d":2}}
"#,
    ),
];

fn change(place: usize) {
    let (name, text) = CHANGES[place];
    let mut samples = written(name, &anything, LENIENT, 4);
    let table = schema(&[("id", T::Int), ("s", T::STRING), ("d", T::Decimal(10, 2))]);
    for pairs in LENIENT {
        samples.push(Sample {
            bytes: text.as_bytes().to_vec(),
            request: request(&table, &options(pairs)),
        });
    }
    fuzz(name, 800, &samples, Reading::Blocks);
}

#[test]
fn debezium_json() {
    change(0);
}

#[test]
fn canal_json() {
    change(1);
}

#[test]
fn maxwell_json() {
    change(2);
}

#[test]
fn ogg_json() {
    change(3);
}

/// Types that Avro's schema can be derived from.
fn in_avro(logical: &T) -> bool {
    match logical {
        T::Timestamp(precision) | T::TimestampLtz(precision) => *precision <= 3,
        _ => true,
    }
}

#[test]
fn avro() {
    let choices: &[&[(&str, &str)]] = &[
        &[("codec", "null")],
        &[("codec", "null")],
        &[("codec", "deflate")],
        &[("codec", "snappy")],
        &[("codec", "zstandard")],
    ];
    let avro = |logical: &T| in_avro(logical) && !matches!(logical, T::TimestampLtz(_));
    let samples = written("avro", &avro, choices, 20);
    fuzz("avro", 1000, &samples, Reading::Files);
    let messages = message_samples("avro", &avro, &options(&[]));
    fuzz("avro", 500, &messages, Reading::Messages);
}

fn message_samples(name: &str, allows: &dyn Fn(&T) -> bool, options: &Options) -> Vec<Sample> {
    let samples = (0..12).flat_map(|seed| {
        let mut random = Random(seed);
        let schema = random_schema(&mut random, allows);
        let batch = ChangelogBatch::insert_only(random_batch(&mut random, &schema, 3));
        let messages = write_messages(name, &schema, options, &batch);
        messages.into_iter().map(move |bytes| Sample {
            bytes,
            request: request(&schema, &Options::default()),
        })
    });
    samples.collect()
}

fn confluent(name: &str) {
    let registry = TestRegistry::start();
    let table = schema(&[
        ("id", T::BigInt),
        ("name", T::STRING),
        ("price", T::Decimal(10, 2)),
        ("tags", T::Array(Arc::new(T::STRING.nullable()))),
    ]);
    let options = registry.options(&[("subject", "fuzz")]);
    let batch = ChangelogBatch::insert_only(random_batch(&mut Random(5), &table, 10));
    let request = request(&table, &options);
    let messages = write_messages(name, &table, &options, &batch).into_iter();
    let samples = messages.map(|bytes| Sample {
        bytes,
        request: request.clone(),
    });
    let samples: Vec<_> = samples.collect();
    let decoder = format(name).create_decoder(&request).unwrap();
    fuzz(name, 1000, &samples, Reading::Registry(decoder));
}

#[test]
fn avro_confluent() {
    confluent("avro-confluent");
}

#[test]
fn debezium_avro_confluent() {
    confluent("debezium-avro-confluent");
}

#[test]
fn protobuf() {
    let folder = tempfile::tempdir().unwrap();
    let mut samples = Vec::new();
    for (syntax, defaults) in [("proto2", "false"), ("proto3", "true")] {
        let path = folder.path().join(syntax);
        std::fs::write(&path, support::shop::descriptors(syntax).encode_to_vec()).unwrap();
        let mut options = options(&[("read-default-values", defaults)]);
        options.set("descriptor-file", path.to_string_lossy());
        options.set("message-class-name", "com.example.MyShop$Order");
        let table = support::shop::table();
        let mut batch = random_batch(&mut Random(2), &table, 10);
        // The enum's column takes its symbols only.
        let mut columns = batch.columns().to_vec();
        columns[7] = Arc::new(arrow::array::StringViewArray::from_iter_values(
            ["PAID"; 10],
        ));
        batch = arrow::record_batch::RecordBatch::try_new(batch.schema(), columns).unwrap();
        let batch = ChangelogBatch::insert_only(batch);
        for bytes in write_messages("protobuf", &table, &options, &batch) {
            samples.push(Sample {
                bytes,
                request: request(&table, &options),
            });
        }
    }
    fuzz("protobuf", 1500, &samples, Reading::Messages);
}

#[test]
fn parquet() {
    // Where the library panics, the reader gives an error: it is not to be heard.
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() != Some("parquet") {
            loud(panic);
        }
    }));
    let choices: &[&[(&str, &str)]] = &[
        &[("compression", "UNCOMPRESSED")],
        &[("compression", "UNCOMPRESSED"), ("writer.version", "v2")],
        &[("compression", "SNAPPY")],
        &[("compression", "ZSTD"), ("page.size", "500")],
        &[("compression", "GZIP")],
        &[("compression", "LZ4_RAW")],
    ];
    let samples = written("parquet", &anything, choices, 40);
    fuzz("parquet", 700, &samples, Reading::Files);
}

#[test]
fn orc() {
    let inner = schema(&[("n", T::Int), ("s", T::STRING), ("d", T::Double)]);
    let list = T::Array(Arc::new(T::Int.nullable()));
    let map = T::Map(
        Arc::new(T::STRING.not_null()),
        Arc::new(T::BigInt.nullable()),
    );
    let fields = inner.columns().iter();
    let fields = fields.map(|c| flott_core::types::RowField::new(&c.name, c.data_type.clone()));
    let outer = schema(&[
        ("n", T::Int),
        ("rnd", T::BigInt),
        ("patched", T::BigInt),
        ("flag", T::Boolean),
        ("s", T::STRING),
        ("dict", T::STRING),
        ("bin", T::BYTES),
        ("dec38", T::Decimal(38, 10)),
        ("ts9", T::Timestamp(9)),
        ("arr", list),
        ("m", map),
        ("r", T::Row(fields.collect())),
    ]);
    let mut samples = Vec::new();
    for name in [
        "flink_none",
        "flink_v11",
        "flink_zlib",
        "flink_lz4",
        "arrow_zstd",
    ] {
        let path = [env!("CARGO_MANIFEST_DIR"), "/tests/data/orc/", name, ".orc"].concat();
        let bytes = std::fs::read(path).unwrap();
        for schema in [&outer, &inner] {
            samples.push(Sample {
                bytes: bytes.clone(),
                request: request(schema, &options(&[])),
            });
        }
    }
    fuzz("orc", 250, &samples, Reading::Files);
}
