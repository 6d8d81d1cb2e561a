//! sqlparser's errors as ours: the place as a location, the offending token named, a suggestion
//! for a misspelt word.

use flott_core::error::nearest;
use flott_core::{Error, Location};
use sqlparser::keywords::Keyword;
use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::words::location;

/// Words that are often misspelt where sqlparser then takes them for a name.
const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "HAVING",
    "ORDER",
    "LIMIT",
    "UNION",
    "INTERSECT",
    "EXCEPT",
    "JOIN",
    "INNER",
    "LEFT",
    "RIGHT",
    "FULL",
    "OUTER",
    "CROSS",
    "VALUES",
    "INSERT",
    "INTO",
    "TABLE",
    "CREATE",
    "PRIMARY",
    "ENFORCED",
    "WATERMARK",
    "PARTITIONED",
    "PARTITION",
    "WITH",
    "BETWEEN",
    "DISTINCT",
    "WINDOW",
    "QUALIFY",
    "OFFSET",
    "FETCH",
    "LATERAL",
    "UNNEST",
    "INTERVAL",
    "METADATA",
    "CONSTRAINT",
    "COMMENT",
    "EXISTS",
    "TEMPORARY",
    "VIEW",
    "CATALOG",
    "DATABASE",
    "FUNCTION",
];

/// The message without its place.
pub(crate) fn plain(error: &ParserError) -> String {
    split(error).0
}

/// Turns an error of sqlparser's into ours. `tokens` are the statement's.
pub(crate) fn convert(error: &ParserError, tokens: &[TokenWithSpan]) -> Error {
    let (message, place) = split(error);
    let end = tokens.iter().rev().find(|t| is_solid(&t.token));
    let at = place.or_else(|| end.map(|t| location(t.span.end)));
    let place_to_look = place.filter(|_| !message.contains("did you mean"));
    let hint = place_to_look.map_or(String::new(), |l| suggestion(l, tokens));
    let error = Error::user("SYNTAX_ERROR", format!("{message}{hint}"));
    match at {
        Some(at) => error.at(at),
        None => error,
    }
}

fn is_solid(token: &Token) -> bool {
    !matches!(token, Token::Whitespace(_) | Token::EOF)
}

/// The message in our words, and the place at its end.
fn split(error: &ParserError) -> (String, Option<Location>) {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => {
            let message = "the statement is nested too deeply; break it up with WITH or a view";
            return (message.to_string(), None);
        }
    };
    let (message, place) = match text.rsplit_once(" at Line: ") {
        Some((message, place)) => (message, parse_place(place)),
        None => (text.as_str(), None),
    };
    (reworded(message), place)
}

fn parse_place(text: &str) -> Option<Location> {
    let (line, column) = text.split_once(", Column: ")?;
    let location = Location {
        line: line.trim().parse().ok()?,
        column: column.trim().parse().ok()?,
    };
    (location.line > 0).then_some(location)
}

/// `Expected: x, found: y` as a sentence that begins with what was found.
fn reworded(message: &str) -> String {
    let parts = message
        .strip_prefix("Expected: ")
        .and_then(|m| m.rsplit_once(", found: "));
    match parts {
        Some((wanted, "EOF")) => format!("the statement ends too early; expected {wanted}"),
        Some((wanted, found)) => format!("unexpected '{found}'; expected {wanted}"),
        None => {
            let mut chars = message.chars();
            let first = chars.next().map(|c| c.to_lowercase().to_string());
            format!("{}{}", first.unwrap_or_default(), chars.as_str())
        }
    }
}

/// A misspelt word at the place or just before it.
fn suggestion(at: Location, tokens: &[TokenWithSpan]) -> String {
    let solid = || tokens.iter().filter(|t| is_solid(&t.token));
    let index = solid().position(|t| location(t.span.start) == at);
    let Some(index) = index else {
        return String::new();
    };
    let near: Vec<_> = solid().take(index + 1).collect();
    for token in near.iter().rev().take(3) {
        let Token::Word(word) = &token.token else {
            continue;
        };
        let is_known = word.keyword != Keyword::NoKeyword;
        if word.quote_style.is_some() || is_known || word.value.len() < 4 {
            continue;
        }
        if let Some(word) = nearest(&word.value, WORDS.iter().copied()) {
            return format!("; did you mean '{word}'?");
        }
    }
    String::new()
}
