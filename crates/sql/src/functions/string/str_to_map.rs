//! `STR_TO_MAP`.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewBuilder};
use flott_core::Result;
use flott_core::java_map::{JavaTable, string_hash};
use flott_core::types::LogicalType;

use super::regexp::pattern::{Patterns, java_split};
use crate::functions::collection::build::ListsBuilder;
use crate::functions::kernel::{Args, Text, columns};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static STR_TO_MAP: FunctionDef = FunctionDef {
    name: "STR_TO_MAP",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "STR_TO_MAP(string[, pair_delimiter, key_value_delimiter])",
    doc: "The map of the key-value pairs in a string. The delimiters are regular expressions and \
          are ',' and '=' when they are not given. A key without a value has NULL; of equal keys \
          the last counts.",
    examples: &[("STR_TO_MAP('k1=v1,k2=v2')", "{k1=v1, k2=v2}")],
    is_deterministic: true,
    bind,
};

fn bind(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(1..=3)?;
    if ctx.len() == 2 {
        return Err(ctx.wrong_count());
    }
    let string = Arc::new(LogicalType::STRING.nullable());
    let map = LogicalType::Map(string.clone(), string);
    Ok(BoundFunction::new(
        types,
        ctx.returns(map),
        columns("STR_TO_MAP", str_to_map),
    ))
}

fn str_to_map(args: &Args) -> Result<ArrayRef> {
    let text = args.column::<Text>(0)?;
    let delimiter = |index| {
        (args.len() > 1)
            .then(|| args.column::<Text>(index))
            .transpose()
    };
    let (pair_delimiters, value_delimiters) = (delimiter(1)?, delimiter(2)?);
    let (mut pair_patterns, mut value_patterns) = (Patterns::new(), Patterns::new());
    let (mut keys, mut values) = (StringViewBuilder::new(), StringViewBuilder::new());
    let mut maps = ListsBuilder::with_capacity(args.num_rows());
    for row in 0..args.num_rows() {
        let pair_delimiter = pair_delimiters.as_ref().map_or(Some(","), |d| d.get(row));
        let value_delimiter = value_delimiters.as_ref().map_or(Some("="), |d| d.get(row));
        let (Some(text), Some(pair_delimiter), Some(value_delimiter)) =
            (text.get(row), pair_delimiter, value_delimiter)
        else {
            maps.append_null();
            continue;
        };
        let pairs = java_split(pair_patterns.required(pair_delimiter)?, text);
        let value_pattern = value_patterns.required(value_delimiter)?;
        let mut entries = entries(&pairs, value_pattern);
        sort_entries(&mut entries, pairs.len());
        for (key, value) in &entries {
            keys.append_value(key);
            values.append_option(*value);
        }
        maps.append(entries.len());
    }
    let string = LogicalType::STRING.nullable();
    maps.finish_map(
        &string,
        &string,
        Arc::new(keys.finish()),
        Arc::new(values.finish()),
    )
}

/// Keys with their values, each key once.
fn entries<'a>(pairs: &[&'a str], delimiter: &regex::Regex) -> Vec<(&'a str, Option<&'a str>)> {
    let mut entries: Vec<(&str, Option<&str>)> = Vec::new();
    for &pair in pairs {
        let (key, value) = match delimiter.find(pair) {
            Some(found) => (&pair[..found.start()], Some(&pair[found.end()..])),
            None => (pair, None),
        };
        match entries.iter_mut().find(|(known, _)| *known == key) {
            Some(entry) => entry.1 = value,
            None => entries.push((key, value)),
        }
    }
    entries
}

/// Into the order of the hash map that Flink makes for so many pairs.
fn sort_entries(entries: &mut [(&str, Option<&str>)], num_pairs: usize) {
    let table = JavaTable::with_room_for(num_pairs, entries.len());
    entries.sort_by_cached_key(|(key, _)| table.bucket(string_hash(key)));
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::super::testing::{call_rows, text, texts};
    use super::*;

    #[test]
    fn pairs_become_entries() {
        let rows = [Some("a=1,b,c=2=3,a=4"), None, Some("")];
        let maps = call_rows(&STR_TO_MAP, &rows, &[]);
        let maps = maps.as_map();
        assert_eq!(texts(maps.keys()), [Some("a"), Some("b"), Some("c")]);
        assert_eq!(texts(maps.values()), [Some("4"), None, Some("2=3")]);
        assert!(maps.is_null(1));
        assert_eq!(maps.value_length(2), 0);
        let maps = call_rows(
            &STR_TO_MAP,
            &[Some("a:1;; b:2;")],
            &[text(";\\s*"), text(":")],
        );
        assert_eq!(
            texts(maps.as_map().keys()),
            [Some(""), Some("a"), Some("b")]
        );
    }
}
