//! SQL/JSON paths, compiled once, and what they find in JSON text.
//!
//! As in Flink a path without `lax` or `strict` is strict, and members are not looked for in the
//! items of arrays in either mode.

use flott_core::{Error, Result};

use super::scan::{Invalid, Scan, Scanner, unquote};

/// A step from a value to values in it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    /// From 0; negative from the end.
    Index(i64),
    Members(Vec<String>),
    Indices(Vec<i64>),
    /// From, to but without it.
    Slice(Option<i64>, Option<i64>),
    Wildcard,
    /// The step, from the value itself and from all that is in it.
    Anywhere(Box<Step>),
}

impl Step {
    fn is_definite(&self) -> bool {
        matches!(self, Step::Member(_) | Step::Index(_))
    }
}

/// A compiled path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Whether what is not there is empty rather than an error.
    pub is_lax: bool,
    steps: Vec<Step>,
    is_valid: bool,
}

/// What a path finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// The text is not JSON, or the path is none.
    Invalid,
    Missing,
    /// The text of a value.
    Value(&'a str),
    /// The texts of all values found by a path that may find several.
    Many(Vec<&'a str>),
}

impl Path {
    /// A path that is none is an error only when it is used, as in Flink.
    ///
    /// # Errors
    /// A user error for filters and functions in a path, which are not supported.
    pub fn compile(text: &str) -> Result<Self> {
        let trimmed = text.trim();
        let word = trimmed.split_whitespace().next().unwrap_or_default();
        let (is_lax, spec) = match word.to_ascii_lowercase().as_str() {
            "lax" => (true, trimmed[word.len()..].trim()),
            "strict" => (false, trimmed[word.len()..].trim()),
            _ => (false, trimmed),
        };
        if spec.contains("?(") || spec.ends_with("()") {
            let message = format!(
                "the JSON path '{text}' has a filter or function, which are not supported; select \
                 the members and filter in SQL"
            );
            return Err(Error::user("UNSUPPORTED_JSON_PATH", message));
        }
        let steps = parse_steps(spec);
        let is_valid = steps.is_some();
        Ok(Self {
            is_lax,
            steps: steps.unwrap_or_default(),
            is_valid,
        })
    }

    /// Looks for the path's values in `json`, all of which is checked.
    pub fn find<'a>(&self, json: &'a str) -> Found<'a> {
        if !self.is_valid {
            return Found::Invalid;
        }
        if self.steps.iter().all(Step::is_definite) {
            return match descend(&mut Scanner::new(json), &self.steps) {
                Ok(Some(value)) => Found::Value(value),
                Ok(None) => Found::Missing,
                Err(Invalid) => Found::Invalid,
            };
        }
        let Ok(root) = Scanner::new(json).value() else {
            return Found::Invalid;
        };
        let definite = self
            .steps
            .iter()
            .take_while(|step| step.is_definite())
            .count();
        let (lead, rest) = self.steps.split_at(definite);
        match descend(&mut Scanner::new(root), lead) {
            Ok(Some(start)) => {
                let found = rest.iter().fold(vec![start], |values, step| {
                    values
                        .into_iter()
                        .flat_map(|value| take_step(value, step))
                        .collect()
                });
                Found::Many(found)
            }
            Ok(None) => Found::Missing,
            Err(Invalid) => Found::Invalid,
        }
    }
}

/// Follows steps that lead to one value, checking everything else on the way.
fn descend<'a>(scanner: &mut Scanner<'a>, steps: &[Step]) -> Scan<Option<&'a str>> {
    let Some((step, rest)) = steps.split_first() else {
        return scanner.value().map(Some);
    };
    let mut found = None;
    match (step, scanner.peek()) {
        (Step::Member(name), Some(b'{')) => scanner.members(|scanner, key| {
            // Of equal keys the last counts.
            if is_key(key, name) {
                found = descend(scanner, rest)?;
            } else {
                scanner.value()?;
            }
            Ok(())
        })?,
        (Step::Index(wanted), Some(b'[')) if *wanted >= 0 => scanner.items(|scanner, index| {
            if index as i64 == *wanted {
                found = descend(scanner, rest)?;
            } else {
                scanner.value()?;
            }
            Ok(())
        })?,
        (Step::Index(_), Some(b'[')) => {
            let array = scanner.value()?;
            if let Some(item) = take_step(array, step).first() {
                found = descend(&mut Scanner::new(item), rest)?;
            }
        }
        _ => {
            scanner.value()?;
        }
    }
    Ok(found)
}

fn is_key(key: &str, name: &str) -> bool {
    key[1..key.len() - 1] == *name || (key.contains('\\') && unquote(key) == name)
}

/// The values in a checked value, with the keys of an object's.
fn children(value: &str) -> Vec<(Option<&str>, &str)> {
    let mut children = Vec::new();
    let mut scanner = Scanner::new(value);
    // The value was checked: nothing can fail.
    let _ = match scanner.peek() {
        Some(b'{') => scanner.members(|scanner, key| {
            children.push((Some(key), scanner.value()?));
            Ok(())
        }),
        Some(b'[') => scanner.items(|scanner, _| {
            children.push((None, scanner.value()?));
            Ok(())
        }),
        _ => Ok(()),
    };
    children
}

/// Where an index points in an array of `length` items.
fn place(index: i64, length: usize) -> Option<usize> {
    let index = if index < 0 {
        index + length as i64
    } else {
        index
    };
    usize::try_from(index).ok().filter(|index| *index < length)
}

fn take_step<'a>(value: &'a str, step: &Step) -> Vec<&'a str> {
    let children = children(value);
    let is_array = value.starts_with('[');
    let member = |name: &String| {
        let mut found = children.iter().rev();
        found
            .find(|(key, _)| key.is_some_and(|key| is_key(key, name)))
            .map(|(_, value)| *value)
    };
    let item = |index: &i64| {
        let place = place(*index, children.len()).filter(|_| is_array)?;
        Some(children[place].1)
    };
    match step {
        Step::Member(name) => member(name).into_iter().collect(),
        Step::Members(names) => names.iter().filter_map(member).collect(),
        Step::Index(index) => item(index).into_iter().collect(),
        Step::Indices(indices) => indices.iter().filter_map(item).collect(),
        Step::Slice(from, to) if is_array => {
            let length = children.len() as i64;
            let bound = |bound: &Option<i64>, default: i64| {
                let bound = bound.unwrap_or(default);
                (if bound < 0 { bound + length } else { bound }).clamp(0, length) as usize
            };
            let (from, to) = (bound(from, 0), bound(to, length));
            children
                .get(from..to)
                .unwrap_or_default()
                .iter()
                .map(|(_, value)| *value)
                .collect()
        }
        Step::Slice(..) => Vec::new(),
        Step::Wildcard => children.iter().map(|(_, value)| *value).collect(),
        Step::Anywhere(inner) => {
            let mut found = take_step(value, inner);
            found.extend(
                children
                    .iter()
                    .flat_map(|(_, child)| take_step(child, step)),
            );
            found
        }
    }
}

/// `None` when the text is no path.
fn parse_steps(spec: &str) -> Option<Vec<Step>> {
    let mut rest = spec.strip_prefix('$').unwrap_or(spec);
    let mut steps = Vec::new();
    if rest.len() == spec.len() {
        // A path may leave out `$.`.
        let (step, after) = parse_name(rest)?;
        steps.push(step);
        rest = after;
    }
    while !rest.is_empty() {
        let (is_anywhere, after) = match rest.strip_prefix("..") {
            Some(after) => (true, after),
            None => (false, rest.strip_prefix('.').unwrap_or(rest)),
        };
        let has_dot = after.len() < rest.len();
        let (step, after) = if after.starts_with('[') {
            if has_dot && !is_anywhere {
                return None;
            }
            parse_brackets(after)?
        } else if has_dot {
            parse_name(after)?
        } else {
            return None;
        };
        steps.push(if is_anywhere {
            Step::Anywhere(Box::new(step))
        } else {
            step
        });
        rest = after;
    }
    Some(steps)
}

/// A name after a dot, up to the next dot or bracket.
fn parse_name(text: &str) -> Option<(Step, &str)> {
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    match name.trim() {
        "" => None,
        "*" => Some((Step::Wildcard, rest)),
        name if name.contains(char::is_whitespace) => None,
        name => Some((Step::Member(name.to_string()), rest)),
    }
}

/// `['name', …]`, `[1, …]`, `[1:2]` or `[*]`.
fn parse_brackets(text: &str) -> Option<(Step, &str)> {
    let inner = text.strip_prefix('[')?.trim_start();
    if inner.starts_with(['\'', '"']) {
        return parse_quoted_names(inner);
    }
    let (inner, rest) = inner.split_once(']')?;
    let inner = inner.trim();
    if inner == "*" {
        return Some((Step::Wildcard, rest));
    }
    if let Some((from, to)) = inner.split_once(':') {
        let bound = |text: &str| match text.trim() {
            "" => Some(None),
            number => number.parse().ok().map(Some),
        };
        return Some((Step::Slice(bound(from)?, bound(to)?), rest));
    }
    let indices = inner.split(',').map(|index| index.trim().parse().ok());
    let indices: Vec<i64> = indices.collect::<Option<_>>()?;
    let step = match indices.as_slice() {
        [index] => Step::Index(*index),
        _ => Step::Indices(indices),
    };
    Some((step, rest))
}

fn parse_quoted_names(text: &str) -> Option<(Step, &str)> {
    let mut names = Vec::new();
    let mut rest = text;
    loop {
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let mut name = String::new();
        let mut chars = rest[1..].char_indices();
        let end = loop {
            match chars.next()? {
                (_, '\\') => name.push(chars.next()?.1),
                (at, c) if c == quote => break at,
                (_, c) => name.push(c),
            }
        };
        names.push(name);
        rest = rest[1 + end + 1..].trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None => break,
        }
    }
    let rest = rest.strip_prefix(']')?;
    let step = match names.len() {
        1 => Step::Member(names.remove(0)),
        _ => Step::Members(names),
    };
    Some((step, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"a": {"b": [1, {"c": "x"}, null]}, "k\u0065y": 2, "a.b": 3, "z": {}}"#;

    fn find(path: &str) -> Found<'static> {
        Path::compile(path).expect("supported").find(JSON)
    }

    #[test]
    fn one_value_is_found() {
        assert_eq!(find("$.a.b[0]"), Found::Value("1"));
        assert_eq!(find("lax $.a.b[1].c"), Found::Value("\"x\""));
        assert_eq!(find("strict $['a']['b'][-1]"), Found::Value("null"));
        assert_eq!(find("$.key"), Found::Value("2"));
        assert_eq!(find("$['a.b']"), Found::Value("3"));
        assert_eq!(find("$.a.c"), Found::Missing);
        assert_eq!(find("$.a.b.c"), Found::Missing);
        assert_eq!(find("$.a.b[7]"), Found::Missing);
        assert_eq!(find("$"), Found::Value(JSON));
        assert_eq!(find("$."), Found::Invalid);
        assert_eq!(find("$.a b"), Found::Invalid);
    }

    #[test]
    fn many_values_are_found() {
        assert_eq!(
            find("$.a.b[*]"),
            Found::Many(vec!["1", "{\"c\": \"x\"}", "null"])
        );
        assert_eq!(find("$..c"), Found::Many(vec!["\"x\""]));
        assert_eq!(find("$.a.b[0,2]"), Found::Many(vec!["1", "null"]));
        assert_eq!(
            find("$.a.b[1:]"),
            Found::Many(vec!["{\"c\": \"x\"}", "null"])
        );
        assert_eq!(find("$.z.*"), Found::Many(vec![]));
        assert_eq!(find("$['key','a.b']"), Found::Many(vec!["2", "3"]));
    }

    #[test]
    fn all_of_the_text_is_checked() {
        let path = Path::compile("lax $.a").expect("a path");
        assert!(path.is_lax);
        assert_eq!(path.find(r#"{"a":1,"b":}"#), Found::Invalid);
        assert_eq!(path.find(r#"{"a":1,"a":2} x"#), Found::Value("2"));
        assert_eq!(path.find(""), Found::Invalid);
        assert!(Path::compile("$.a[?(@.b > 1)]").is_err());
    }
}
