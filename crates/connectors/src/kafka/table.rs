//! What the options of a table say of its messages: formats, and which columns stand in the key
//! and in the value.

use std::sync::Arc;

use flott_core::connector::TableContext;
use flott_core::format::FormatFactory;
use flott_core::options::{OptionDef, Options};
use flott_core::schema::{Column, Schema};
use flott_core::{Error, Result};

use super::options::{
    FORMAT, KEY_FIELDS, KEY_FIELDS_PREFIX, KEY_FORMAT, VALUE_FIELDS_INCLUDE, VALUE_FORMAT,
};

/// One half of a message: how it is written, and the columns in it.
#[derive(Clone)]
pub(super) struct Part {
    pub format: Arc<dyn FormatFactory>,
    /// Without prefix.
    pub options: Options,
    /// The places of the columns among the table's physical ones.
    pub columns: Vec<usize>,
    /// The columns as the part names them.
    pub schema: Schema,
}

/// How a table's rows stand in messages.
#[derive(Clone)]
pub(super) struct MessageLayout {
    pub key: Option<Part>,
    pub value: Part,
    /// `upsert-kafka`: a message is the latest row of its key.
    pub is_upsert: bool,
}

fn wrong(code: &'static str, message: impl Into<String>) -> Error {
    Error::user(code, message)
}

fn missing(connector: &str, def: &OptionDef) -> Error {
    let message = format!(
        "connector '{connector}' needs the option '{}' ({})",
        def.key, def.doc
    );
    wrong("MISSING_OPTION", message)
}

/// A format and the prefix of its options.
struct NamedFormat {
    format: Arc<dyn FormatFactory>,
    prefix: String,
}

impl NamedFormat {
    fn find(
        context: &TableContext<'_>,
        def: &OptionDef,
        before: &str,
    ) -> Result<Option<NamedFormat>> {
        let Some(name) = context.options.get(def.key) else {
            return Ok(None);
        };
        let format = context.registry.format(name)?.clone();
        let prefix = format!("{before}{}.", format.identifier());
        Ok(Some(NamedFormat { format, prefix }))
    }
}

impl MessageLayout {
    /// Reads the layout and refuses options that neither the connector nor the formats know.
    ///
    /// # Errors
    /// A user error that names the option.
    pub fn new(
        context: &TableContext<'_>,
        connector: &str,
        known: &'static [OptionDef],
    ) -> Result<Self> {
        let is_upsert = connector == "upsert-kafka";
        let key = NamedFormat::find(context, &KEY_FORMAT, "key.")?;
        let value = match NamedFormat::find(context, &VALUE_FORMAT, "value.")? {
            Some(value) => value,
            None if is_upsert => return Err(missing(connector, &VALUE_FORMAT)),
            None => NamedFormat::find(context, &FORMAT, "")?
                .ok_or_else(|| missing(connector, &FORMAT))?,
        };
        let prefixes: Vec<&str> = [Some(&value), key.as_ref()]
            .into_iter()
            .flatten()
            .map(|f| f.prefix.as_str())
            .collect();
        let own: Options = context
            .options
            .iter()
            .filter(|(k, _)| !prefixes.iter().any(|p| k.starts_with(p)))
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        own.check(&format!("connector '{connector}'"), &[known])?;
        let physical = context.table.physical_schema();
        let key_columns = key_columns(context, &physical, is_upsert)?;
        let prefix = context
            .options
            .text(&KEY_FIELDS_PREFIX)
            .unwrap_or_default()
            .to_string();
        let key = match key {
            Some(key) if key_columns.is_empty() => {
                let message = format!(
                    "option 'key.format' is '{}' but 'key.fields' names no column",
                    key.format.identifier()
                );
                return Err(wrong("MISSING_OPTION", message));
            }
            Some(key) => Some(Part {
                schema: unprefixed(&physical, &key_columns, &prefix)?,
                options: context.options.with_prefix_removed(&key.prefix),
                columns: key_columns.clone(),
                format: key.format,
            }),
            None if is_upsert || !key_columns.is_empty() => {
                return Err(missing(connector, &KEY_FORMAT));
            }
            None => None,
        };
        let columns = value_columns(context, &physical, &key_columns, &prefix)?;
        Ok(Self {
            value: Part {
                schema: physical.project(&columns),
                options: context.options.with_prefix_removed(&value.prefix),
                columns,
                format: value.format,
            },
            key,
            is_upsert,
        })
    }

    /// For EXPLAIN.
    pub fn describe(&self) -> String {
        let value = self.value.format.identifier();
        match &self.key {
            Some(key) => format!("key={}, value={value}", key.format.identifier()),
            None => format!("format={value}"),
        }
    }
}

/// The places of the columns that make the key: `key.fields`, or the primary key of an upsert
/// table.
fn key_columns(
    context: &TableContext<'_>,
    physical: &Schema,
    is_upsert: bool,
) -> Result<Vec<usize>> {
    let primary_key = context.table.primary_key.as_ref();
    let names: Vec<String> = match (is_upsert, primary_key) {
        (true, Some(key)) => key.columns.clone(),
        (true, None) => {
            return Err(wrong(
                "PRIMARY_KEY_NEEDED",
                "connector 'upsert-kafka' needs a PRIMARY KEY (…) NOT ENFORCED: \
                 it is the key of the messages",
            ));
        }
        (false, _) => {
            let fields = context.options.get(KEY_FIELDS.key).unwrap_or_default();
            let fields = fields.split(';').map(str::trim).filter(|f| !f.is_empty());
            fields.map(str::to_string).collect()
        }
    };
    let find = |name: &String| {
        physical.index_of(name).ok_or_else(|| {
            let known = physical.columns().iter().map(|c| c.name.as_str());
            let hint = flott_core::error::did_you_mean(name, known);
            let message =
                format!("option 'key.fields' names '{name}', no column of the table{hint}");
            wrong("UNKNOWN_COLUMN", message)
        })
    };
    names.iter().map(find).collect()
}

/// The key's columns without the prefix that tells them from the value's.
fn unprefixed(physical: &Schema, columns: &[usize], prefix: &str) -> Result<Schema> {
    let column = |&index: &usize| {
        let column = physical.column(index);
        match column.name.strip_prefix(prefix) {
            Some(name) => Ok(Column::new(name, column.data_type.clone())),
            None => Err(wrong(
                "INVALID_OPTION",
                format!(
                    "all key columns begin with 'key.fields-prefix' = '{prefix}', but '{}' does not",
                    column.name
                ),
            )),
        }
    };
    columns
        .iter()
        .map(column)
        .collect::<Result<Vec<_>>>()
        .map(Schema::new)
}

fn value_columns(
    context: &TableContext<'_>,
    physical: &Schema,
    key: &[usize],
    prefix: &str,
) -> Result<Vec<usize>> {
    let include = context.options.text(&VALUE_FIELDS_INCLUDE);
    let is_all = include.is_none_or(|text| text.eq_ignore_ascii_case("ALL"));
    if is_all && !prefix.is_empty() {
        return Err(wrong(
            "INVALID_OPTION",
            format!(
                "option 'key.fields-prefix' is '{prefix}': \
                 it needs 'value.fields-include' = 'EXCEPT_KEY'"
            ),
        ));
    }
    let all = 0..physical.len();
    Ok(all.filter(|c| is_all || !key.contains(c)).collect())
}
