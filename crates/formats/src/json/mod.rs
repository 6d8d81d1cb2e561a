//! `json`: one object a line or a message.
//!
//! Decoding is one pass over the bytes straight into the requested columns: wanted keys are found
//! by the order in which they stood in the last record, everything else is skipped eight bytes at
//! a time, and strings without escapes stay where they are, in the block.

mod decoder;
pub(crate) mod fault;
pub(crate) mod plan;
pub(crate) mod read;
mod scan;
pub(crate) mod write;

use arrow::datatypes::SchemaRef;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{DecodeRequest, Decoder, EncodeRequest, Encoder, FormatFactory};
use flott_core::options::{OptionDef, OptionType, Options};

pub(crate) use decoder::{JsonDecoder, requested_columns};
use read::ReadRules;
use write::{RowWriter, WriteRules};

use crate::number::DecimalStyle;
use crate::records::{Records, RowEncoder};
use crate::temporal::TimestampStandard;

pub(crate) const FAIL_ON_MISSING_FIELD: OptionDef = OptionDef::new(
    "fail-on-missing-field",
    OptionType::Boolean,
    "fail when a record lacks a column's field; otherwise the column is NULL",
)
.default("false");
pub(crate) const IGNORE_PARSE_ERRORS: OptionDef = OptionDef::new(
    "ignore-parse-errors",
    OptionType::Boolean,
    "skip malformed records, and read values that do not fit their column as NULL",
)
.default("false");
pub(crate) const TIMESTAMP_STANDARD: OptionDef = OptionDef::new(
    "timestamp-format.standard",
    OptionType::Enum(&["SQL", "ISO-8601"]),
    "how timestamps are written: 'yyyy-MM-dd HH:mm:ss' or with 'T'",
)
.default("SQL");
pub(crate) const MAP_NULL_KEY_MODE: OptionDef = OptionDef::new(
    "map-null-key.mode",
    OptionType::Enum(&["FAIL", "DROP", "LITERAL"]),
    "what happens to a NULL key of a map that is written",
)
.default("FAIL");
pub(crate) const MAP_NULL_KEY_LITERAL: OptionDef = OptionDef::new(
    "map-null-key.literal",
    OptionType::String,
    "the key that stands for a NULL key in mode LITERAL",
)
.example("none")
.default("null");
pub(crate) const DECIMAL_AS_PLAIN: OptionDef = OptionDef::new(
    "encode.decimal-as-plain-number",
    OptionType::Boolean,
    "write decimals without an exponent",
)
.default("false");
pub(crate) const IGNORE_NULL_FIELDS: OptionDef = OptionDef::new(
    "encode.ignore-null-fields",
    OptionType::Boolean,
    "leave out fields that are NULL",
)
.default("false");
const PARSER_ENABLED: OptionDef = OptionDef::new(
    "decode.json-parser.enabled",
    OptionType::Boolean,
    "accepted; records are always decoded in one pass",
)
.default("true");

const OPTIONS: &[OptionDef] = &[
    FAIL_ON_MISSING_FIELD,
    IGNORE_PARSE_ERRORS,
    TIMESTAMP_STANDARD,
    MAP_NULL_KEY_MODE,
    MAP_NULL_KEY_LITERAL,
    DECIMAL_AS_PLAIN,
    IGNORE_NULL_FIELDS,
    PARSER_ENABLED,
];

/// The format `json`.
pub struct JsonFormat;

pub(crate) fn standard_of(options: &Options) -> TimestampStandard {
    match options.text(&TIMESTAMP_STANDARD) {
        Some(text) if text.eq_ignore_ascii_case("ISO-8601") => TimestampStandard::Iso8601,
        _ => TimestampStandard::Sql,
    }
}

pub(crate) fn flag(options: &Options, option: &OptionDef) -> Result<bool> {
    Ok(options.boolean(option)?.unwrap_or_default())
}

pub(crate) fn read_rules(options: &Options) -> Result<ReadRules> {
    Ok(ReadRules {
        fail_on_missing_field: flag(options, &FAIL_ON_MISSING_FIELD)?,
        ignore_parse_errors: flag(options, &IGNORE_PARSE_ERRORS)?,
        standard: standard_of(options),
    })
}

pub(crate) fn write_rules(options: &Options) -> Result<WriteRules> {
    Ok(WriteRules {
        standard: standard_of(options),
        decimals: match flag(options, &DECIMAL_AS_PLAIN)? {
            true => DecimalStyle::Exact,
            false => DecimalStyle::Scientific,
        },
        ignore_null_fields: flag(options, &IGNORE_NULL_FIELDS)?,
    })
}

impl FormatFactory for JsonFormat {
    fn identifier(&self) -> &'static str {
        "json"
    }

    fn options(&self) -> &'static [OptionDef] {
        OPTIONS
    }

    fn doc(&self) -> &'static str {
        "JSON objects, one a line or a message"
    }

    fn create_decoder(&self, request: &DecodeRequest) -> Result<Box<dyn Decoder>> {
        request.options.check("format 'json'", &[OPTIONS])?;
        let rules = read_rules(&request.options)?;
        if rules.fail_on_missing_field && rules.ignore_parse_errors {
            return Err(flott_core::Error::user(
                "INVALID_OPTION",
                "'json.fail-on-missing-field' and 'json.ignore-parse-errors' exclude each other; set one of them",
            ));
        }
        Ok(Box::new(JsonDecoder::new(request, rules, "json")?))
    }

    fn create_encoder(&self, request: &EncodeRequest) -> Result<Box<dyn Encoder>> {
        request.options.check("format 'json'", &[OPTIONS])?;
        for column in request.schema.columns() {
            plan::check_writable(&column.data_type.logical, "json")?;
        }
        Ok(Box::new(Records(JsonEncoder {
            schema: request.schema.to_arrow(),
            rules: write_rules(&request.options)?,
        })))
    }

    fn is_splittable(&self) -> bool {
        true
    }
}

struct JsonEncoder {
    /// Names the fields: a query may name its columns otherwise.
    schema: SchemaRef,
    rules: WriteRules,
}

impl RowEncoder for JsonEncoder {
    fn rows(
        &mut self,
        batch: &ChangelogBatch,
        out: &mut Vec<u8>,
        mut after_row: impl FnMut(&mut Vec<u8>),
    ) -> Result<()> {
        let writer = RowWriter::new(self.schema.fields(), batch.rows().columns(), self.rules)?;
        for row in 0..batch.num_rows() {
            writer.write(row, out);
            after_row(out);
        }
        Ok(())
    }
}
