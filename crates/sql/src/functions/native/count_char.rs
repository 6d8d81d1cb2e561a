//! `com.github.nexmark.flink.udf.CountChar`: Nexmark's own function, for its query 14.

use arrow::array::ArrayRef;
use arrow::datatypes::Int64Type;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use crate::functions::kernel::{Args, Text, collect, columns};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static COUNT_CHAR: FunctionDef = FunctionDef {
    name: "COUNT_CHAR",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "COUNT_CHAR(string, character)",
    doc: "How often a character stands in a string; 0 when the string is NULL. Bytes are compared, \
          so the character should be an ASCII one.",
    examples: &[],
    is_deterministic: true,
    bind,
};

fn bind(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(2..=2)?;
    Ok(BoundFunction::new(
        types,
        LogicalType::BigInt.not_null(),
        columns("COUNT_CHAR", count),
    ))
}

fn count(args: &Args) -> Result<ArrayRef> {
    let (text, sought) = (args.column::<Text>(0)?, args.column::<Text>(1)?);
    collect::<Int64Type>(args.num_rows(), |row| {
        let Some(text) = text.get(row) else {
            return Ok(Some(0));
        };
        let sought = sought.get(row).and_then(|s| s.as_bytes().first().copied());
        let sought = sought.ok_or_else(|| {
            let message = "the second argument of COUNT_CHAR must have a character";
            Error::user("INVALID_ARGUMENT", message)
        })?;
        let found = text.bytes().filter(|byte| *byte == sought);
        Ok(Some(found.count() as i64))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, StringViewArray};

    use super::*;

    fn counted(texts: Vec<Option<&str>>, sought: Vec<Option<&str>>) -> Result<Vec<i64>> {
        let num_rows = texts.len();
        let arrays = [texts, sought].map(|c| Arc::new(StringViewArray::from(c)) as ArrayRef);
        let counts = count(&Args::of_columns(arrays.to_vec(), num_rows))?;
        Ok(counts.as_primitive::<Int64Type>().values().to_vec())
    }

    #[test]
    fn the_first_byte_is_counted() {
        let texts = vec![Some("abcabc"), Some(""), None, Some("xx")];
        let sought = vec![Some("c"), Some("c"), None, Some("xy")];
        assert_eq!(counted(texts, sought).unwrap(), vec![2, 0, 0, 2]);
    }

    #[test]
    fn nothing_to_count_is_an_error() {
        assert!(counted(vec![Some("a")], vec![Some("")]).is_err());
        assert!(counted(vec![Some("a")], vec![None]).is_err());
    }
}
