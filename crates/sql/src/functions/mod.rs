//! Scalar functions: the one list, how they are bound and how they run.
//!
//! A function is bound once for each call: it sees its arguments' types and literal values, says
//! what its arguments are cast to and what it returns, and gives a kernel with everything constant
//! (a pattern, a format, a time zone) compiled. The kernel then works on columns.

/// Declares an entry of the list: `function!(STATIC, "NAME" | "ALIAS", Group, syntax, doc,
/// [(example, result)], bind)`; `volatile` at the end for what differs from call to call.
macro_rules! function {
    ($id:ident, $name:literal $(| $alias:literal)*, $group:ident, $syntax:literal, $doc:literal,
     [$($example:expr),* $(,)?], $bind:expr) => {
        function!(@ $id, $name, [$($alias),*], $group, $syntax, $doc, [$($example),*], $bind, true);
    };
    ($id:ident, $name:literal $(| $alias:literal)*, $group:ident, $syntax:literal, $doc:literal,
     [$($example:expr),* $(,)?], $bind:expr, volatile) => {
        function!(@ $id, $name, [$($alias),*], $group, $syntax, $doc, [$($example),*], $bind, false);
    };
    (@ $id:ident, $name:literal, [$($alias:literal),*], $group:ident, $syntax:literal, $doc:literal,
     [$($example:expr),*], $bind:expr, $deterministic:literal) => {
        #[doc = $doc]
        pub static $id: $crate::functions::FunctionDef = $crate::functions::FunctionDef {
            name: $name,
            aliases: &[$($alias),*],
            group: $crate::functions::FunctionGroup::$group,
            syntax: $syntax,
            doc: $doc,
            examples: &[$($example),*],
            is_deterministic: $deterministic,
            bind: $bind,
        };
    };
}

pub mod arithmetic;
pub mod bind;
pub mod cast;
pub mod coercion;
pub mod collection;
pub mod comparison;
pub mod conditional;
pub mod hash;
pub mod json;
pub mod kernel;
pub mod logical;
pub mod native;
pub mod string;
pub mod temporal;
#[cfg(test)]
pub mod testing;
pub mod user;

use std::fmt;
use std::sync::{Arc, LazyLock};

use chrono_tz::Tz;
use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;
use flott_core::Error;
use flott_core::Result;
use flott_core::clock::Clock;
use flott_core::error::did_you_mean;
use flott_core::hash::StableHashMap;
use flott_core::types::DataType;

/// The one list: each group folder lists its functions.
static GROUPS: &[&[&FunctionDef]] = &[
    comparison::LIST,
    logical::LIST,
    arithmetic::LIST,
    conditional::LIST,
    temporal::LIST,
    string::LIST,
    hash::LIST,
    collection::LIST,
    json::LIST,
];

static BY_NAME: LazyLock<StableHashMap<&'static str, &'static FunctionDef>> = LazyLock::new(|| {
    let names = |f: &'static FunctionDef| {
        std::iter::once(f.name)
            .chain(f.aliases.iter().copied())
            .map(move |name| (name, f))
    };
    all().flat_map(names).collect()
});

/// Every function, group by group.
pub fn all() -> impl Iterator<Item = &'static FunctionDef> {
    GROUPS.iter().flat_map(|group| group.iter().copied())
}

/// The function of this name or alias, in any case of letters.
pub fn find(name: &str) -> Option<&'static FunctionDef> {
    BY_NAME.get(name.to_ascii_uppercase().as_str()).copied()
}

/// The function of this name, or an error that suggests the nearest one.
pub fn resolve(name: &str) -> Result<&'static FunctionDef> {
    find(name).ok_or_else(|| unknown_function(name))
}

/// The error for a name that no function has.
pub fn unknown_function(name: &str) -> Error {
    let words = BY_NAME
        .keys()
        .copied()
        .filter(|n| n.starts_with(|c: char| c.is_alphabetic()));
    let mut words: Vec<_> = words.collect();
    words.sort_unstable();
    let hint = did_you_mean(name, words);
    Error::user(
        "UNKNOWN_FUNCTION",
        format!("there is no function '{name}'{hint}"),
    )
}

/// A function in the list of functions.
pub struct FunctionDef {
    /// SQL name, upper case; an operator's is its symbol (`+`, `=`).
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub group: FunctionGroup,
    /// `SUBSTRING(string, start[, length])`.
    pub syntax: &'static str,
    pub doc: &'static str,
    /// Expressions and what they give as text; run by a test.
    pub examples: &'static [(&'static str, &'static str)],
    /// Whether equal arguments always give equal results, so that calls are folded and shared.
    pub is_deterministic: bool,
    pub bind: fn(&BindContext<'_>) -> Result<BoundFunction>,
}

impl fmt::Debug for FunctionDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The groups of Flink's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionGroup {
    Comparison,
    Logical,
    Arithmetic,
    String,
    Temporal,
    Conditional,
    Conversion,
    Collection,
    Json,
    ValueConstruction,
    ValueAccess,
    Hash,
    Auxiliary,
}

/// An argument as the binder knows it.
#[derive(Debug, Clone)]
pub struct Argument {
    pub data_type: DataType,
    /// The value, where it is constant.
    pub literal: Option<ScalarValue>,
}

/// What a function may look at while it is bound.
#[derive(Clone, Copy)]
pub struct BindContext<'a> {
    /// The name that was called: the function's or an alias.
    pub name: &'a str,
    pub arguments: &'a [Argument],
    pub session: &'a ExprContext,
}

/// The session as expressions see it.
#[derive(Clone, Debug)]
pub struct ExprContext {
    /// `table.local-time-zone`.
    pub time_zone: Tz,
    pub clock: Arc<dyn Clock>,
    /// Batch: the current time is fixed at the query's start.
    pub query_start_ms: Option<i64>,
    pub current_catalog: String,
    pub current_database: String,
    /// `table.exec.legacy-cast-behaviour` is off: a failed CAST is an error.
    pub is_batch: bool,
}

/// A call, typed and ready to run.
#[derive(Clone, Debug)]
pub struct BoundFunction {
    /// What each argument is cast to.
    pub argument_types: Vec<DataType>,
    pub return_type: DataType,
    pub kernel: Arc<dyn Kernel>,
}

/// A bound function's work on columns.
pub trait Kernel: Send + Sync + fmt::Debug {
    /// `arguments` have the bound types; a scalar stands for a column of `num_rows` equal values.
    /// The result has the bound return type: a column of `num_rows`, or a scalar.
    fn evaluate(&self, arguments: &[ColumnarValue], num_rows: usize) -> Result<ColumnarValue>;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_function_is_documented_and_found_by_its_names() {
        let mut names = BTreeSet::new();
        for function in all() {
            for name in std::iter::once(&function.name).chain(function.aliases) {
                assert!(names.insert(*name), "{name} is listed twice");
                assert_eq!(
                    find(&name.to_lowercase()).map(|f| f.name),
                    Some(function.name)
                );
            }
            let name = function.name;
            assert!(
                function.doc.ends_with('.'),
                "the doc of {name} is a sentence"
            );
            assert!(!function.syntax.is_empty(), "the syntax of {name}");
            assert!(!function.examples.is_empty(), "an example of {name}");
        }
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        let error = resolve("DATE_FORMATT").expect_err("no such function");
        assert_eq!(error.code(), "UNKNOWN_FUNCTION");
        assert!(error.message().contains("DATE_FORMAT"), "{error}");
    }

    #[test]
    fn no_function_panics_on_a_strange_call() {
        use testing::values::{int, null, string};
        let strange = [vec![], vec![null()], vec![int(1)], vec![string("x")]];
        let pairs = [
            vec![null(), null()],
            vec![int(1), string("x")],
            vec![string("x"), int(-1)],
        ];
        let long = [
            vec![null(); 3],
            vec![string("x"); 3],
            vec![int(1); 4],
            vec![null(); 5],
        ];
        for arguments in strange.iter().chain(&pairs).chain(&long) {
            for function in all() {
                let _ = testing::call(function.name, arguments);
            }
        }
    }
}
