//! The options of `parquet`, and what of them the library's writer is told.

use arrow::datatypes::{Schema, TimeUnit};
use flott_core::options::{OptionDef, OptionType, Options};
use flott_core::{Error, Result};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion,
};
use parquet::schema::types::ColumnPath;

use super::int96::stands_for_int96;
use crate::json::flag;

pub(super) const UTC_TIMEZONE: OptionDef = OptionDef::new(
    "utc-timezone",
    OptionType::Boolean,
    "timestamps in files are what a clock in UTC shows; otherwise one in this machine's time zone",
)
.default("false");
const TIME_UNIT: OptionDef = OptionDef::new(
    "timestamp.time.unit",
    OptionType::Enum(&["nanos", "micros", "millis"]),
    "the unit of timestamps that are written as INT64",
)
.default("micros");
const WRITE_INT64: OptionDef = OptionDef::new(
    "write.int64.timestamp",
    OptionType::Boolean,
    "write timestamps as INT64 rather than INT96",
)
.default("false");
const COMPRESSION: OptionDef = OptionDef::new(
    "compression",
    OptionType::Enum(&["UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4", "LZ4_RAW"]),
    "how pages are compressed",
)
.default("SNAPPY");
const ZSTD_LEVEL: OptionDef = OptionDef::new(
    "compression.codec.zstd.level",
    OptionType::Integer,
    "how hard ZSTD tries, from 1 to 22",
)
.default("3");
const GZIP_LEVEL: OptionDef = OptionDef::new(
    "compression.codec.gzip.level",
    OptionType::Integer,
    "how hard GZIP tries, from 0 to 9",
)
.default("6");
const BLOCK_SIZE: OptionDef = OptionDef::new(
    "block.size",
    OptionType::MemorySize,
    "about how many bytes a row group takes before another begins",
)
.default("128mb");
const BLOCK_ROWS: OptionDef = OptionDef::new(
    "block.row.count.limit",
    OptionType::Integer,
    "the most rows of a row group",
)
.default("1048576");
const PAGE_SIZE: OptionDef = OptionDef::new(
    "page.size",
    OptionType::MemorySize,
    "about how many bytes a page takes",
)
.default("1mb");
const PAGE_ROWS: OptionDef = OptionDef::new(
    "page.row.count.limit",
    OptionType::Integer,
    "the most rows of a page",
)
.default("20000");
const DICTIONARY_PAGE_SIZE: OptionDef = OptionDef::new(
    "dictionary.page.size",
    OptionType::MemorySize,
    "the most bytes of a column's dictionary",
)
.default("1mb");
const DICTIONARY: OptionDef = OptionDef::new(
    "enable.dictionary",
    OptionType::Boolean,
    "write values that come again and again as numbers of a dictionary; a '#' and a column's name behind the key stand for that column",
)
.default("true");
const COLUMN_DICTIONARY: OptionDef = OptionDef::new(
    "enable.dictionary#*",
    OptionType::Boolean,
    "the same for one column",
)
.example_of("enable.dictionary#item", "false");
const WRITER_VERSION: OptionDef = OptionDef::new(
    "writer.version",
    OptionType::Enum(&["PARQUET_1_0", "v1", "PARQUET_2_0", "v2"]),
    "the version of the pages",
)
.default("PARQUET_1_0");
const INDEX_LENGTH: OptionDef = OptionDef::new(
    "columnindex.truncate.length",
    OptionType::Integer,
    "the most bytes of a value in the index of pages",
)
.default("64");
const STATISTICS_LENGTH: OptionDef = OptionDef::new(
    "statistics.truncate.length",
    OptionType::Integer,
    "the most bytes of a value in the statistics of a row group; without it values are whole",
)
.example("64");
const STATISTICS: OptionDef = OptionDef::new(
    "statistics.enabled",
    OptionType::Boolean,
    "write least and greatest values, by which readers leave row groups and pages out",
)
.default("true");
const COLUMN_STATISTICS: OptionDef = OptionDef::new(
    "statistics.enabled#*",
    OptionType::Boolean,
    "the same for one column",
)
.example_of("statistics.enabled#item", "false");
const BLOOM_FILTER: OptionDef = OptionDef::new(
    "bloom.filter.enabled",
    OptionType::Boolean,
    "write bloom filters; a '#' and a column's name behind the key stand for that column",
)
.default("false");
const COLUMN_BLOOM_FILTER: OptionDef = OptionDef::new(
    "bloom.filter.enabled#*",
    OptionType::Boolean,
    "the same for one column",
)
.example_of("bloom.filter.enabled#id", "true");
const COLUMN_BLOOM_NDV: OptionDef = OptionDef::new(
    "bloom.filter.expected.ndv#*",
    OptionType::Integer,
    "how many different values a column's bloom filter is made for",
)
.example_of("bloom.filter.expected.ndv#id", "1000");
const BLOOM_FPP: OptionDef = OptionDef::new(
    "bloom.filter.fpp",
    OptionType::Double,
    "how often a bloom filter may be wrong about a value that is not there",
)
.default("0.01");

/// Settings of how Java's writer uses memory, threads and blocks of HDFS, or of what it adds for its
/// own readers. What is read is the same without them.
macro_rules! of_java {
    ($($key:literal),*) => {
        [$(OptionDef::new(
            $key,
            OptionType::String,
            "taken for Flink's sake and without effect: a detail of Java's writer, not of what is read",
        )
        .example("1")),*]
    };
}
const OF_JAVA: [OptionDef; 16] = of_java![
    "validation",
    "writer.max-padding",
    "memory.pool.ratio",
    "memory.min.chunk.size",
    "page.size.row.check.min",
    "page.size.row.check.max",
    "page.size.check.estimate",
    "page.value.count.threshold",
    "block.size.row.check.min",
    "block.size.row.check.max",
    "compression.codec.zstd.workers",
    "bloom.filter.max.bytes",
    "bloom.filter.adaptive.enabled",
    "bloom.filter.candidates.number",
    "size.statistics.enabled",
    "page.write-checksum.enabled"
];

const OWN: [OptionDef; 22] = [
    UTC_TIMEZONE,
    WRITE_INT64,
    TIME_UNIT,
    COMPRESSION,
    ZSTD_LEVEL,
    GZIP_LEVEL,
    BLOCK_SIZE,
    BLOCK_ROWS,
    PAGE_SIZE,
    PAGE_ROWS,
    DICTIONARY_PAGE_SIZE,
    DICTIONARY,
    COLUMN_DICTIONARY,
    WRITER_VERSION,
    INDEX_LENGTH,
    STATISTICS_LENGTH,
    STATISTICS,
    COLUMN_STATISTICS,
    BLOOM_FILTER,
    COLUMN_BLOOM_FILTER,
    COLUMN_BLOOM_NDV,
    BLOOM_FPP,
];

const fn all() -> [OptionDef; OWN.len() + OF_JAVA.len()] {
    let mut all = [UTC_TIMEZONE; OWN.len() + OF_JAVA.len()];
    let mut place = 0;
    while place < all.len() {
        all[place] = match place < OWN.len() {
            true => OWN[place],
            false => OF_JAVA[place - OWN.len()],
        };
        place += 1;
    }
    all
}

const ALL: [OptionDef; OWN.len() + OF_JAVA.len()] = all();

/// Every option of the format. Others are refused: Flink passes them on to Hadoop, where some would
/// say what must not be ignored, such as a key to encrypt with.
pub(super) const OPTIONS: &[OptionDef] = &ALL;

/// How timestamps are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WrittenTimestamps {
    Int96,
    Int64(TimeUnit),
}

impl WrittenTimestamps {
    /// # Errors
    /// A user error for a wrong value of an option.
    pub fn new(options: &Options) -> Result<Self> {
        if !flag(options, &WRITE_INT64)? {
            return Ok(Self::Int96);
        }
        let unit = options.text(&TIME_UNIT).unwrap_or_default();
        Ok(Self::Int64(match unit.to_lowercase().as_str() {
            "nanos" => TimeUnit::Nanosecond,
            "millis" => TimeUnit::Millisecond,
            _ => TimeUnit::Microsecond,
        }))
    }
}

/// A positive number.
fn count(options: &Options, def: &OptionDef) -> Result<Option<usize>> {
    let Some(number) = options.integer(def)? else {
        return Ok(None);
    };
    match usize::try_from(number) {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(wrong(def.key, &number.to_string(), "a positive number")),
    }
}

fn wrong(key: &str, value: &str, wanted: &str) -> Error {
    let message = format!("option '{key}' is '{value}'; it takes {wanted}");
    Error::user("INVALID_OPTION", message)
}

fn compression(options: &Options) -> Result<Compression> {
    let name = options.text(&COMPRESSION).unwrap_or_default();
    Ok(match name.to_uppercase().as_str() {
        "UNCOMPRESSED" => Compression::UNCOMPRESSED,
        "GZIP" => {
            let level = options.integer(&GZIP_LEVEL)?.unwrap_or(6);
            let valid = u32::try_from(level).ok().map(GzipLevel::try_new);
            let valid = valid.and_then(std::result::Result::ok);
            let refused = || wrong(GZIP_LEVEL.key, &level.to_string(), "0 to 9");
            Compression::GZIP(valid.ok_or_else(refused)?)
        }
        "ZSTD" => {
            let level = options.integer(&ZSTD_LEVEL)?.unwrap_or(3);
            let valid = i32::try_from(level).ok().map(ZstdLevel::try_new);
            let valid = valid.and_then(std::result::Result::ok);
            let refused = || wrong(ZSTD_LEVEL.key, &level.to_string(), "1 to 22");
            Compression::ZSTD(valid.ok_or_else(refused)?)
        }
        "LZ4" => Compression::LZ4,
        "LZ4_RAW" => Compression::LZ4_RAW,
        _ => Compression::SNAPPY,
    })
}

fn statistics(are_wanted: bool) -> EnabledStatistics {
    match are_wanted {
        true => EnabledStatistics::Page,
        false => EnabledStatistics::None,
    }
}

fn version(options: &Options) -> WriterVersion {
    let version = options.text(&WRITER_VERSION).unwrap_or_default();
    match version.to_lowercase().as_str() {
        "parquet_2_0" | "v2" => WriterVersion::PARQUET_2_0,
        _ => WriterVersion::PARQUET_1_0,
    }
}

/// What the library's writer is told of the options, for files of this schema.
///
/// # Errors
/// A user error for a wrong value.
pub(super) fn properties(options: &Options, schema: &Schema) -> Result<WriterProperties> {
    let size = |def| -> Result<usize> {
        let bytes = options.memory_size(def)?.unwrap_or(u64::MAX);
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX).max(1))
    };
    let fpp = options.double(&BLOOM_FPP)?.unwrap_or(0.01);
    if !(fpp > 0.0 && fpp < 1.0) {
        let wanted = "a number between 0 and 1";
        return Err(wrong(BLOOM_FPP.key, &fpp.to_string(), wanted));
    }
    let builder = WriterProperties::builder()
        .set_compression(compression(options)?)
        .set_writer_version(version(options))
        .set_max_row_group_bytes(Some(size(&BLOCK_SIZE)?))
        .set_max_row_group_row_count(count(options, &BLOCK_ROWS)?)
        .set_data_page_size_limit(size(&PAGE_SIZE)?)
        .set_data_page_row_count_limit(count(options, &PAGE_ROWS)?.unwrap_or(usize::MAX))
        .set_dictionary_page_size_limit(size(&DICTIONARY_PAGE_SIZE)?)
        .set_dictionary_enabled(flag(options, &DICTIONARY)?)
        .set_statistics_enabled(statistics(flag(options, &STATISTICS)?))
        .set_column_index_truncate_length(count(options, &INDEX_LENGTH)?)
        .set_statistics_truncate_length(count(options, &STATISTICS_LENGTH)?)
        // A rate alone would enable them, too.
        .set_bloom_filter_fpp(fpp)
        .set_bloom_filter_enabled(flag(options, &BLOOM_FILTER)?)
        .set_created_by(concat!("flott version ", env!("CARGO_PKG_VERSION")).into())
        // Names inside lists and maps as the standard has them.
        .set_coerce_types(true);
    let builder = of_columns(builder, options, fpp)?;
    Ok(of_int96(builder, schema)?.build())
}

/// The options that name a column.
fn of_columns(
    mut builder: WriterPropertiesBuilder,
    options: &Options,
    fpp: f64,
) -> Result<WriterPropertiesBuilder> {
    for (key, value) in options.iter() {
        let Some((option, column)) = key.split_once('#') else {
            continue;
        };
        let has_filter = match options.get(&format!("{}#{column}", BLOOM_FILTER.key)) {
            Some(own) => own.eq_ignore_ascii_case("true"),
            None => flag(options, &BLOOM_FILTER)?,
        };
        let column = ColumnPath::new(column.split('.').map(String::from).collect());
        let boolean = || match value.to_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(wrong(key, value, "true or false")),
        };
        builder = match option {
            "enable.dictionary" => builder.set_column_dictionary_enabled(column, boolean()?),
            "statistics.enabled" => {
                builder.set_column_statistics_enabled(column, statistics(boolean()?))
            }
            "bloom.filter.enabled" if boolean()? => builder
                .set_column_bloom_filter_enabled(column.clone(), true)
                .set_column_bloom_filter_fpp(column, fpp),
            "bloom.filter.enabled" => builder.set_column_bloom_filter_enabled(column, false),
            _ => {
                let number = value.parse::<u64>().ok().filter(|number| *number > 0);
                let number = number.ok_or_else(|| wrong(key, value, "a positive number"))?;
                match has_filter {
                    true => builder.set_column_bloom_filter_max_ndv(column, number),
                    false => builder,
                }
            }
        };
    }
    Ok(builder)
}

/// Columns that stand for INT96 are written plainly and without statistics, whose order they have
/// not.
fn of_int96(
    mut builder: WriterPropertiesBuilder,
    schema: &Schema,
) -> Result<WriterPropertiesBuilder> {
    let converter = ArrowSchemaConverter::new().with_coerce_types(true);
    let written = converter.convert(schema);
    let written = written.map_err(|error| Error::internal(format!("a Parquet schema: {error}")))?;
    for leaf in written.columns() {
        if stands_for_int96(leaf.self_type()) {
            builder = builder
                .set_column_encoding(leaf.path().clone(), Encoding::PLAIN)
                .set_column_statistics_enabled(leaf.path().clone(), EnabledStatistics::None);
        }
    }
    Ok(builder)
}
