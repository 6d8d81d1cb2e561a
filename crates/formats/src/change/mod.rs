//! Change formats: `debezium-json`, `canal-json`, `maxwell-json`, `ogg-json`.
//!
//! Each is JSON with an envelope around the rows before and after a change. Decoding reads the
//! envelope as columns of its own (see [`envelope`]) and then turns each record into rows with row
//! kinds. Encoding writes an update as its two halves, as Flink does.

mod decoder;
mod encoder;
pub(crate) mod envelope;
pub(crate) mod metadata;

use flott_core::changelog::ChangelogMode;
use flott_core::connector::MetadataColumn;
use flott_core::format::{DecodeRequest, Decoder, EncodeRequest, Encoder, FormatFactory};
use flott_core::options::{OptionDef, OptionType, Options};
use flott_core::schema::Column;
use flott_core::{Error, Result};
use regex::Regex;

use crate::json::{
    self, DECIMAL_AS_PLAIN, IGNORE_NULL_FIELDS, IGNORE_PARSE_ERRORS, JsonDecoder,
    MAP_NULL_KEY_LITERAL, MAP_NULL_KEY_MODE, TIMESTAMP_STANDARD, flag,
};
use crate::records::Records;
pub(crate) use decoder::{ChangeDecoder, EnvelopeDecoder, Included};
use encoder::ChangeEncoder;
use metadata::Metadata;

const SCHEMA_INCLUDE: OptionDef = OptionDef::new(
    "schema-include",
    OptionType::Boolean,
    "records carry a schema, and the change in 'payload'; refused for a table that is written, as in Flink",
)
.default("false");
const DATABASE_INCLUDE: OptionDef = OptionDef::new(
    "database.include",
    OptionType::String,
    "read only changes of the databases whose whole names match this regular expression",
)
.example("shop");
const TABLE_INCLUDE: OptionDef = OptionDef::new(
    "table.include",
    OptionType::String,
    "read only changes of the tables whose whole names match this regular expression",
)
.example("orders");

/// The names that an option lets pass, from their begin to their end.
fn name_pattern(options: &Options, option: &OptionDef) -> Result<Option<Regex>> {
    let Some(text) = options.get(option.key) else {
        return Ok(None);
    };
    Regex::new(&format!(r"\A(?:{text})\z"))
        .map(Some)
        .map_err(|error| {
            let message = format!(
                "option '{}' is '{text}', no regular expression: {error}",
                option.key
            );
            Error::user("INVALID_OPTION", message)
        })
}

const DEBEZIUM_OPTIONS: &[OptionDef] = &[
    SCHEMA_INCLUDE,
    IGNORE_PARSE_ERRORS,
    TIMESTAMP_STANDARD,
    MAP_NULL_KEY_MODE,
    MAP_NULL_KEY_LITERAL,
    DECIMAL_AS_PLAIN,
    IGNORE_NULL_FIELDS,
];
const CANAL_OPTIONS: &[OptionDef] = &[
    DATABASE_INCLUDE,
    TABLE_INCLUDE,
    IGNORE_PARSE_ERRORS,
    TIMESTAMP_STANDARD,
    MAP_NULL_KEY_MODE,
    MAP_NULL_KEY_LITERAL,
    DECIMAL_AS_PLAIN,
    IGNORE_NULL_FIELDS,
];
const PLAIN_OPTIONS: &[OptionDef] = &[
    IGNORE_PARSE_ERRORS,
    TIMESTAMP_STANDARD,
    MAP_NULL_KEY_MODE,
    MAP_NULL_KEY_LITERAL,
    DECIMAL_AS_PLAIN,
    IGNORE_NULL_FIELDS,
];

/// Whose envelope it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Debezium,
    Canal,
    Maxwell,
    Ogg,
}

/// A format whose records are changes.
pub struct ChangeFormat {
    dialect: Dialect,
}

impl ChangeFormat {
    /// `debezium-json`.
    pub const DEBEZIUM: Self = Self {
        dialect: Dialect::Debezium,
    };
    /// `canal-json`.
    pub const CANAL: Self = Self {
        dialect: Dialect::Canal,
    };
    /// `maxwell-json`.
    pub const MAXWELL: Self = Self {
        dialect: Dialect::Maxwell,
    };
    /// `ogg-json`.
    pub const OGG: Self = Self {
        dialect: Dialect::Ogg,
    };
}

impl FormatFactory for ChangeFormat {
    fn identifier(&self) -> &'static str {
        match self.dialect {
            Dialect::Debezium => "debezium-json",
            Dialect::Canal => "canal-json",
            Dialect::Maxwell => "maxwell-json",
            Dialect::Ogg => "ogg-json",
        }
    }

    fn options(&self) -> &'static [OptionDef] {
        match self.dialect {
            Dialect::Debezium => DEBEZIUM_OPTIONS,
            Dialect::Canal => CANAL_OPTIONS,
            Dialect::Maxwell | Dialect::Ogg => PLAIN_OPTIONS,
        }
    }

    fn doc(&self) -> &'static str {
        match self.dialect {
            Dialect::Debezium => "changes as Debezium writes them, in JSON",
            Dialect::Canal => "changes as Canal writes them, in JSON",
            Dialect::Maxwell => "changes as Maxwell writes them, in JSON",
            Dialect::Ogg => "changes as Oracle GoldenGate writes them, in JSON",
        }
    }

    fn create_decoder(&self, request: &DecodeRequest) -> Result<Box<dyn Decoder>> {
        self.create_metadata_decoder(request, &[])
    }

    fn metadata_columns(&self) -> Vec<MetadataColumn> {
        metadata::columns(self.dialect)
    }

    fn create_metadata_decoder(
        &self,
        request: &DecodeRequest,
        metadata: &[Column],
    ) -> Result<Box<dyn Decoder>> {
        self.check(&request.options)?;
        let rules = json::read_rules(&request.options)?;
        let includes_schema =
            self.dialect == Dialect::Debezium && flag(&request.options, &SCHEMA_INCLUDE)?;
        let included = Included {
            database: name_pattern(&request.options, &DATABASE_INCLUDE)?,
            table: name_pattern(&request.options, &TABLE_INCLUDE)?,
        };
        let format = self.identifier();
        let decoder = ChangeDecoder::new(
            self.dialect,
            format,
            request,
            included,
            Metadata::new(self.dialect, format, metadata)?,
            rules.ignore_parse_errors,
            |envelopes| {
                let envelopes = match includes_schema {
                    true => envelopes.in_payload(),
                    false => envelopes.request,
                };
                let mut inner = JsonDecoder::new(&envelopes, rules, format)?;
                inner.keep_lines();
                Ok(Box::new(inner))
            },
        )?;
        Ok(Box::new(decoder))
    }

    fn create_encoder(&self, request: &EncodeRequest) -> Result<Box<dyn Encoder>> {
        self.check(&request.options)?;
        if flag(&request.options, &SCHEMA_INCLUDE)? {
            return Err(Error::user(
                "INVALID_OPTION",
                "'debezium-json.schema-include' is for reading only; leave it out for a table that is written",
            ));
        }
        for column in request.schema.columns() {
            json::plan::check_writable(&column.data_type.logical, self.identifier())?;
        }
        let rules = json::write_rules(&request.options)?;
        let schema = request.schema.to_arrow();
        let encoder = ChangeEncoder::new(self.dialect, schema, rules);
        Ok(Box::new(Records(encoder)))
    }

    fn decoded_mode(&self, _options: &Options) -> ChangelogMode {
        ChangelogMode::RETRACT
    }

    fn encoded_mode(&self) -> ChangelogMode {
        ChangelogMode::RETRACT
    }

    fn is_splittable(&self) -> bool {
        true
    }
}

impl ChangeFormat {
    fn check(&self, options: &Options) -> Result<()> {
        options.check(
            &format!("format '{}'", self.identifier()),
            &[self.options()],
        )
    }
}
