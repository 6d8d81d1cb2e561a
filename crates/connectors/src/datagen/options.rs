//! Options of the generator.

use flott_core::error::did_you_mean;
use flott_core::options::{OptionDef, OptionType, Options};
use flott_core::schema::Schema;
use flott_core::{Error, Result};

pub const ROWS_PER_SECOND: OptionDef = OptionDef::new(
    "rows-per-second",
    OptionType::Integer,
    "rows per second in all",
)
.default("10000");
pub const NUMBER_OF_ROWS: OptionDef = OptionDef::new(
    "number-of-rows",
    OptionType::Integer,
    "rows in all; without it, no end",
);
pub const PARALLELISM: OptionDef = OptionDef::new(
    "scan.parallelism",
    OptionType::Integer,
    "parallelism of the source",
);

const KIND: OptionType = OptionType::Enum(&["random", "sequence"]);

/// Every option of the connector.
pub const OPTIONS: &[OptionDef] = &[
    ROWS_PER_SECOND,
    NUMBER_OF_ROWS,
    PARALLELISM,
    OptionDef::new("fields.#.kind", KIND, "'random' or 'sequence'")
        .example_of("fields.id.kind", "sequence")
        .default("random"),
    OptionDef::new("fields.#.min", OptionType::String, "least random value")
        .example_of("fields.amount.min", "1"),
    OptionDef::new("fields.#.max", OptionType::String, "greatest random value")
        .example_of("fields.amount.max", "99"),
    OptionDef::new(
        "fields.#.max-past",
        OptionType::Duration,
        "how far back random times reach",
    )
    .example_of("fields.ordered.max-past", "1 d"),
    OptionDef::new(
        "fields.#.length",
        OptionType::Integer,
        "length of text, bytes or collections",
    )
    .example_of("fields.item.length", "1"),
    OptionDef::new(
        "fields.#.var-len",
        OptionType::Boolean,
        "lengths vary up to 'length'",
    )
    .example_of("fields.item.var-len", "true"),
    OptionDef::new(
        "fields.#.start",
        OptionType::Integer,
        "first value of a sequence",
    )
    .example_of("fields.id.start", "1"),
    OptionDef::new(
        "fields.#.end",
        OptionType::Integer,
        "last value of a sequence",
    )
    .example_of("fields.id.end", "1000"),
    OptionDef::new(
        "fields.#.null-rate",
        OptionType::Double,
        "share of NULLs, 0 to 1",
    )
    .example_of("fields.item.null-rate", "0.5"),
];

/// The value of `fields.<path>.<key>`.
pub fn field_option<'a>(options: &'a Options, path: &str, key: &str) -> Option<&'a str> {
    options.get(&format!("fields.{path}.{key}"))
}

/// `fields.<path>.<key>` as a number, or `default`.
pub fn field_number<T>(options: &Options, path: &str, key: &str, default: T) -> Result<T>
where
    T: std::str::FromStr,
{
    let Some(text) = field_option(options, path, key) else {
        return Ok(default);
    };
    text.trim().parse().map_err(|_| {
        let message = format!("option 'fields.{path}.{key}' is '{text}'; it takes a number");
        Error::user("INVALID_OPTION", message)
    })
}

/// Refuses `fields.x.…` where the table has no column `x`.
pub fn check_fields(options: &Options, table: &Schema) -> Result<()> {
    for (key, _) in options.iter() {
        let Some(rest) = key.strip_prefix("fields.") else {
            continue;
        };
        let is_known = table.columns().iter().any(|c| {
            rest.strip_prefix(c.name.as_str())
                .is_some_and(|after| after.starts_with('.'))
        });
        if !is_known {
            let name = rest.rsplit_once('.').map_or(rest, |(name, _)| name);
            let hint = did_you_mean(name, table.columns().iter().map(|c| c.name.as_str()));
            let message = format!("option '{key}' is for a column that the table lacks{hint}");
            return Err(Error::user("UNKNOWN_OPTION", message));
        }
    }
    Ok(())
}
