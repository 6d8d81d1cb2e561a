//! Compiled patterns of rows, and Java's way through the matches of a text.

use std::sync::Arc;

use flott_core::Result;
use flott_core::hash::StableHashMap;
use regex::{Captures, Regex};

use super::guided::Guided;
use super::java::{PatternError, compile};

/// How many patterns of a column are kept compiled.
const MAX_KEPT: usize = 64;

/// A constant pattern, compiled when the call is bound.
#[derive(Debug, Clone)]
pub enum Constant {
    /// The compiled pattern, and the faster way if there is one.
    Valid(Regex, Option<Arc<Guided>>),
    /// Java refuses it too; functions say what that gives.
    Invalid,
}

impl Constant {
    /// # Errors
    /// A user error for what Java takes and `regex` does not.
    pub fn compile(pattern: &str) -> Result<Self> {
        match compile(pattern) {
            Ok(regex) => {
                let guided = Guided::of(regex.as_str()).map(Arc::new);
                Ok(Self::Valid(regex, guided))
            }
            Err(PatternError::Invalid(_)) => Ok(Self::Invalid),
            Err(error) => Err(error.into_error(pattern)),
        }
    }
}

/// Patterns that differ from row to row, compiled once each.
#[derive(Debug, Default)]
pub struct Patterns {
    constant: Option<Constant>,
    kept: StableHashMap<String, Constant>,
}

impl Patterns {
    pub fn new() -> Self {
        Self::default()
    }

    /// With one pattern for all rows.
    pub fn constant(pattern: Option<&Constant>) -> Self {
        Self {
            constant: pattern.cloned(),
            kept: StableHashMap::default(),
        }
    }

    /// The compiled pattern; `None` when it is invalid.
    ///
    /// # Errors
    /// A user error for what Java takes and `regex` does not.
    pub fn get(&mut self, pattern: &str) -> Result<Option<&Regex>> {
        let found = match self.constant {
            Some(ref constant) => constant,
            None => compiled(&mut self.kept, pattern)?,
        };
        Ok(match found {
            Constant::Valid(regex, _) => Some(regex),
            Constant::Invalid => None,
        })
    }

    /// The faster way through the constant pattern, if there is one.
    pub fn guided(&self) -> Option<Arc<Guided>> {
        match &self.constant {
            Some(Constant::Valid(_, guided)) => guided.clone(),
            _ => None,
        }
    }

    /// The compiled pattern.
    ///
    /// # Errors
    /// A user error when it is invalid or not supported.
    pub fn required(&mut self, pattern: &str) -> Result<&Regex> {
        match self.get(pattern)? {
            Some(regex) => Ok(regex),
            None => {
                let reason = PatternError::Invalid("it does not compile".to_string());
                Err(reason.into_error(pattern))
            }
        }
    }
}

/// The pattern from those kept, compiled when it is not there.
fn compiled<'a>(
    kept: &'a mut StableHashMap<String, Constant>,
    pattern: &str,
) -> Result<&'a Constant> {
    if !kept.contains_key(pattern) {
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(pattern.to_string(), Constant::compile(pattern)?);
    }
    Ok(&kept[pattern])
}

/// Calls `each` for every match, as Java finds them: an empty match may follow another match.
pub fn for_each_match<'t>(
    regex: &Regex,
    text: &'t str,
    mut each: impl FnMut(&Captures<'t>) -> Result<()>,
) -> Result<()> {
    let mut from = 0;
    while from <= text.len() {
        let Some(captures) = regex.captures_at(text, from) else {
            break;
        };
        let Some(whole) = captures.get(0) else {
            break;
        };
        each(&captures)?;
        from = next_start(text, whole.start(), whole.end());
    }
    Ok(())
}

/// Calls `each` with start and end of every match; cheaper than [`for_each_match`].
pub fn for_each_range(regex: &Regex, text: &str, mut each: impl FnMut(usize, usize)) {
    let mut from = 0;
    while from <= text.len() {
        let Some(found) = regex.find_at(text, from) else {
            break;
        };
        each(found.start(), found.end());
        from = next_start(text, found.start(), found.end());
    }
}

/// Where the search goes on after a match; after an empty one a character further.
fn next_start(text: &str, start: usize, end: usize) -> usize {
    if end > start {
        return end;
    }
    end + text[end..].chars().next().map_or(1, char::len_utf8)
}

/// The parts of `text` between the matches, as Java's `String.split` gives them: no empty ones at
/// the end, and no empty one before an empty match at the start.
pub fn java_split<'a>(regex: &Regex, text: &'a str) -> Vec<&'a str> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut parts = Vec::new();
    let mut end = 0;
    for_each_range(regex, text, |start, match_end| {
        let is_nothing = match_end == 0 || (start == match_end && start == text.len());
        if !is_nothing {
            parts.push(&text[end..start]);
            end = match_end;
        }
    });
    parts.push(&text[end..]);
    if parts.len() > 1 {
        while parts.last().is_some_and(|part| part.is_empty()) {
            parts.pop();
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_matches_follow_others() {
        let regex = Regex::new("b*").expect("a pattern");
        let mut found = Vec::new();
        for_each_range(&regex, "abc", |start, end| found.push((start, end)));
        assert_eq!(found, [(0, 0), (1, 2), (2, 2), (3, 3)]);
    }

    #[test]
    fn splitting_drops_empty_ends() {
        let regex = Regex::new(",").expect("a pattern");
        assert_eq!(java_split(&regex, ",a,,b,,"), ["", "a", "", "b"]);
        assert_eq!(java_split(&regex, "a"), ["a"]);
        let nothing = Regex::new("").expect("a pattern");
        assert_eq!(java_split(&nothing, "aö"), ["a", "ö"]);
    }

    #[test]
    fn many_patterns_are_compiled_as_they_come() {
        let mut patterns = Patterns::new();
        for number in 0..200 {
            let pattern = format!("^{number}$");
            let regex = patterns.get(&pattern).expect("supported").expect("valid");
            assert!(regex.is_match(&number.to_string()));
        }
        assert!(patterns.get("(").expect("supported").is_none());
        assert!(patterns.required("(").is_err());
    }
}
