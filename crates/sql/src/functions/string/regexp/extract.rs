//! `REGEXP_EXTRACT`, `REGEXP_EXTRACT_ALL`.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::Int32Type;
use flott_core::Result;
use flott_core::types::LogicalType;

use super::pattern::{Patterns, for_each_match};
use super::pattern_kernel;
use crate::functions::collection::build::ListsBuilder;
use crate::functions::kernel::{Args, Text};
use crate::functions::string::parts::{self, PartsBuilder};
use crate::functions::string::signature::{Kind, expect};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static REGEXP_EXTRACT: FunctionDef = FunctionDef {
    name: "REGEXP_EXTRACT",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "REGEXP_EXTRACT(string, regex[, group])",
    doc: "What a group of the regular expression matches first; group 0, the default, is the whole \
          match. NULL when there is no match or no such group, and for an invalid expression.",
    examples: &[("REGEXP_EXTRACT('foothebar', 'foo(.*?)(bar)', 2)", "bar")],
    is_deterministic: true,
    bind: bind_extract,
};

pub static REGEXP_EXTRACT_ALL: FunctionDef = FunctionDef {
    name: "REGEXP_EXTRACT_ALL",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "REGEXP_EXTRACT_ALL(string, regex[, group])",
    doc: "All that a group of the regular expression matches, as an array; the group is 1 when it is \
          not given. NULL when there is no such group, and for an invalid expression.",
    examples: &[("REGEXP_EXTRACT_ALL('a1b22', '[0-9]+', 0)", "[1, 22]")],
    is_deterministic: true,
    bind: bind_extract_all,
};

const KINDS: [Kind; 3] = [Kind::Text, Kind::Text, Kind::Integer];

fn bind_extract(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = expect(ctx, 2, &KINDS)?;
    let kernel = pattern_kernel(ctx, extract)?;
    Ok(BoundFunction::new(
        types,
        LogicalType::STRING.nullable(),
        kernel,
    ))
}

fn extract(args: &Args, patterns: &mut Patterns) -> Result<ArrayRef> {
    let pattern = args.column::<Text>(1)?;
    let group = (args.len() > 2)
        .then(|| args.column::<Int32Type>(2))
        .transpose()?;
    if let Some(guided) = patterns.guided() {
        return parts::collect(args, 0, |row, text| {
            let group = group.as_ref().map_or(Some(0), |g| g.get(row));
            let group = group.and_then(|g| usize::try_from(g).ok());
            let group = group.filter(|&g| g < guided.num_groups());
            Ok(group.and_then(|group| guided.find(text, group)))
        });
    }
    let mut locations = None;
    parts::collect(args, 0, |row, text| {
        let group = group.as_ref().map_or(Some(0), |g| g.get(row));
        let (Some(pattern), Some(group)) = (pattern.get(row), group) else {
            return Ok(None);
        };
        let (Some(regex), Ok(group)) = (patterns.get(pattern)?, usize::try_from(group)) else {
            return Ok(None);
        };
        if group == 0 {
            return Ok(regex.find(text).map(|found| found.as_str()));
        }
        if !args.is_constant(1) {
            locations = None;
        }
        // The groups' places are written into the same memory for all rows.
        let locations = locations.get_or_insert_with(|| regex.capture_locations());
        if group >= locations.len() || regex.captures_read(locations, text).is_none() {
            return Ok(None);
        }
        Ok(locations.get(group).map(|(start, end)| &text[start..end]))
    })
}

fn bind_extract_all(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = expect(ctx, 2, &KINDS)?;
    let kernel = pattern_kernel(ctx, extract_all)?;
    let item = Arc::new(LogicalType::STRING.nullable());
    Ok(BoundFunction::new(
        types,
        LogicalType::Array(item).nullable(),
        kernel,
    ))
}

fn extract_all(args: &Args, patterns: &mut Patterns) -> Result<ArrayRef> {
    let (text, pattern) = (args.column::<Text>(0)?, args.column::<Text>(1)?);
    let group = (args.len() > 2)
        .then(|| args.column::<Int32Type>(2))
        .transpose()?;
    let mut items = PartsBuilder::new(parts::text_array(args, 0)?, args.num_rows());
    let mut lists = ListsBuilder::with_capacity(args.num_rows());
    for row in 0..args.num_rows() {
        let group = group.as_ref().map_or(Some(1), |g| g.get(row));
        let (Some(text), Some(pattern), Some(group)) = (text.get(row), pattern.get(row), group)
        else {
            lists.append_null();
            continue;
        };
        let (Some(regex), Ok(group)) = (patterns.get(pattern)?, usize::try_from(group)) else {
            lists.append_null();
            continue;
        };
        if group >= regex.captures_len() {
            lists.append_null();
            continue;
        }
        let source_row = if args.is_constant(0) { 0 } else { row };
        let mut num_items = 0;
        for_each_match(regex, text, |captures| {
            num_items += 1;
            match captures.get(group) {
                Some(found) => items.append(source_row, text, found.as_str()),
                None => {
                    items.append_null();
                    Ok(())
                }
            }
        })?;
        lists.append(num_items);
    }
    lists.finish(&LogicalType::STRING.nullable(), items.finish())
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::super::super::testing::{call, call_rows, call_text, int, text, texts};
    use super::*;

    fn extract(value: &str, pattern: &str, group: i32) -> Option<String> {
        call_text(&REGEXP_EXTRACT, &[text(value), text(pattern), int(group)])
    }

    #[test]
    fn groups_are_extracted() {
        assert_eq!(
            extract("foothebar", "foo(.*?)(bar)", 2).as_deref(),
            Some("bar")
        );
        assert_eq!(
            extract("foothebar", "foo(.*?)(bar)", 0).as_deref(),
            Some("foothebar")
        );
        assert_eq!(extract("x", "y", 0), None);
        assert_eq!(extract("a", "(b)?a", 1), None);
        assert_eq!(extract("abc", "(", 1), None);
        assert_eq!(extract("abc", "(a)", 5), None);
        assert_eq!(extract("abc", "(a)", -1), None);
    }

    #[test]
    fn nexmark_channel_is_found() {
        let rows = [
            Some("https://x/item.htm?query=1&channel_id=0123456789abcdef"),
            Some("https://x/item.htm?query=1"),
            Some("channel_id=7"),
            None,
        ];
        let pattern = [text("(&|^)channel_id=([^&]*)"), int(2)];
        let found = call_rows(&REGEXP_EXTRACT, &rows, &pattern);
        assert_eq!(
            texts(&found),
            [Some("0123456789abcdef"), None, Some("7"), None]
        );
    }

    #[test]
    fn all_matches_make_an_array() {
        let rows = [Some("a1b22"), Some("x"), None];
        let found = call_rows(
            &REGEXP_EXTRACT_ALL,
            &rows,
            &[text("([a-z])([0-9]+)"), int(2)],
        );
        assert_eq!(
            texts(&found.as_list::<i32>().value(0)),
            [Some("1"), Some("22")]
        );
        assert_eq!(found.as_list::<i32>().value_length(1), 0);
        assert!(found.is_null(2));
        let wrong = [text("a"), text("a"), int(3)];
        assert!(
            call(&REGEXP_EXTRACT_ALL, &wrong)
                .expect("a value")
                .is_null()
        );
    }

    #[test]
    fn what_is_not_supported_is_an_error_when_bound() {
        let error = call(&REGEXP_EXTRACT, &[text("a"), text("(?<=x)a")]).expect_err("refused");
        assert_eq!(error.code(), "UNSUPPORTED_REGEX");
    }
}
