//! Tokens of Flink's syntax that sqlparser has no hook for, rewritten to what it parses.
//!
//! - A hint after a table becomes a made-up `PARTITION (…)` (see [`super::hints`]).
//! - `PATTERN (…) WITHIN INTERVAL … DEFINE …` loses its WITHIN, which becomes the first definition
//!   of the made-up symbol [`WITHIN_SYMBOL`].
//! - `VALUES 1, 2` gets its parentheses: a row of one value needs none in Flink.
//! - `STATE OF job OPERATOR o` becomes the name of a table (see [`super::states`]).
//! - `(query) MATCH_RECOGNIZE (…)` becomes a call of the made-up table function
//!   [`QUERY_CARRIER`] with the query.
//! - `UNIQUE`, `::` and the like that Flink does not have are left to fail where they stand.

use flott_core::{Error, Result};
use sqlparser::ast::ObjectName;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer, Whitespace, Word};

use super::dialect::FlinkDialect;
use super::hints;
use super::split::Piece;
use super::states;
use super::words::{is_word, location, word_token};

/// The symbol whose "definition" is the interval of MATCH_RECOGNIZE's WITHIN.
pub const WITHIN_SYMBOL: &str = "/*WITHIN*/";

/// The table function whose argument is the query before MATCH_RECOGNIZE.
pub const QUERY_CARRIER: &str = "/*QUERY*/";

/// Whether a table's name is [`QUERY_CARRIER`].
pub fn is_query_carrier(name: &ObjectName) -> bool {
    matches!(name.0.as_slice(), [part] if part.as_ident().is_some_and(|i| i.value == QUERY_CARRIER))
}

/// A statement's tokens, placed where they stand in the script.
pub(crate) fn tokens(piece: &Piece<'_>) -> Result<Vec<TokenWithSpan>> {
    let shifted = |l: sqlparser::tokenizer::Location| shift(l, piece);
    let mut tokens = Tokenizer::new(&FlinkDialect, piece.text)
        .tokenize_with_location()
        .map_err(|e| {
            let message = lowercase_first(&e.message);
            Error::user("SYNTAX_ERROR", message).at(location(shifted(e.location)))
        })?;
    for token in &mut tokens {
        token.span = Span::new(shifted(token.span.start), shifted(token.span.end));
    }
    refuse_foreign(&tokens)?;
    let tokens = move_within(carry_queries(mark_hints(tokens)));
    Ok(states::name_states(enclose_values(tokens)))
}

fn lowercase_first(message: &str) -> String {
    let mut chars = message.chars();
    let first = chars.next().map(|c| c.to_lowercase().to_string());
    format!("{}{}", first.unwrap_or_default(), chars.as_str())
}

fn shift(at: sqlparser::tokenizer::Location, piece: &Piece<'_>) -> sqlparser::tokenizer::Location {
    let column = match at.line {
        1 => at.column + piece.location.column - 1,
        _ => at.column,
    };
    sqlparser::tokenizer::Location::new(at.line + piece.location.line - 1, column)
}

/// Syntax of other dialects that sqlparser would take.
fn refuse_foreign(tokens: &[TokenWithSpan]) -> Result<()> {
    for token in tokens {
        let advice = match &token.token {
            Token::DoubleColon => "'::' is no operator of Flink SQL; use CAST(x AS type)",
            Token::DoubleQuotedString(_) => {
                "double quotes have no meaning in Flink SQL; write names in `backticks` and \
                 strings in 'single quotes'"
            }
            _ => continue,
        };
        return Err(Error::user("SYNTAX_ERROR", advice).at(location(token.span.start)));
    }
    Ok(())
}

/// Hints anywhere but behind SELECT, where sqlparser keeps them itself.
fn mark_hints(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut follows_select = false;
    for token in tokens {
        match &token.token {
            Token::Whitespace(Whitespace::MultiLineComment(comment))
                if comment.starts_with('+') && !follows_select =>
            {
                let carrier = hints::carrier(comment);
                out.push(word_token("PARTITION", Keyword::PARTITION, &token));
                out.push(TokenWithSpan::new(Token::LParen, token.span));
                out.push(word_token(&carrier.value, Keyword::NoKeyword, &token));
                out.push(TokenWithSpan::new(Token::RParen, token.span));
                continue;
            }
            Token::Whitespace(_) => {}
            other => follows_select = is_word(other, "SELECT"),
        }
        out.push(token);
    }
    out
}

/// Words that end a list of VALUES.
const AFTER_VALUES: &[&str] = &[
    "UNION",
    "INTERSECT",
    "EXCEPT",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "FETCH",
];

/// Puts parentheses around the rows of VALUES that have none.
fn enclose_values(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out = Vec::with_capacity(tokens.len());
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        let is_values = is_word(&token.token, "VALUES");
        out.push(token);
        if is_values {
            enclose_rows(&mut rest, &mut out);
        }
    }
    out
}

/// Moves the rows of one VALUES over.
fn enclose_rows(
    rest: &mut std::iter::Peekable<impl Iterator<Item = TokenWithSpan>>,
    out: &mut Vec<TokenWithSpan>,
) {
    loop {
        while let Some(space) = rest.next_if(|t| is_space(&t.token)) {
            out.push(space);
        }
        enclose_row(rest, out);
        match rest.next_if(|t| t.token == Token::Comma) {
            Some(comma) => out.push(comma),
            None => return,
        }
    }
}

fn is_space(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
}

/// Moves one row of VALUES over, up to the comma or the end of the list.
fn enclose_row(
    rest: &mut std::iter::Peekable<impl Iterator<Item = TokenWithSpan>>,
    out: &mut Vec<TokenWithSpan>,
) {
    let Some(first) = rest.peek() else { return };
    let is_row = first.token == Token::LParen || is_word(&first.token, "ROW");
    let span = first.span;
    let ends = |t: &Token| match t {
        Token::Comma | Token::RParen | Token::SemiColon | Token::EOF => true,
        word => AFTER_VALUES.iter().any(|end| is_word(word, end)),
    };
    let start = out.len();
    let mut depth = 0usize;
    while let Some(token) = rest.next_if(|t| depth > 0 || !ends(&t.token)) {
        match token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            _ => {}
        }
        out.push(token);
    }
    if !is_row && out.len() > start {
        out.insert(start, TokenWithSpan::new(Token::LParen, span));
        out.push(TokenWithSpan::new(Token::RParen, span));
    }
}

/// sqlparser knows MATCH_RECOGNIZE behind a table's name only.
fn carry_queries(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens {
        if is_word(&token.token, "MATCH_RECOGNIZE")
            && let Some((open, close)) = query_before(&out)
        {
            // Without a place it is no name of a table that stands in the text.
            let at = |t: Token| TokenWithSpan::new(t, Span::empty());
            out.insert(close + 1, at(Token::RParen));
            out.insert(open, at(Token::LParen));
            out.insert(open, at(quoted(QUERY_CARRIER)));
        }
        out.push(token);
    }
    out
}

/// Where the parentheses of a query at the end stand, whether it has an alias or not.
fn query_before(tokens: &[TokenWithSpan]) -> Option<(usize, usize)> {
    let is_space = |i: &usize| matches!(tokens[*i].token, Token::Whitespace(_));
    let mut back = (0..tokens.len()).rev().filter(|i| !is_space(i));
    let mut close = back.next()?;
    if matches!(tokens[close].token, Token::Word(_)) {
        close = back.next()?;
        if is_word(&tokens[close].token, "AS") {
            close = back.next()?;
        }
    }
    let mut depth = 0;
    let open = (0..=close).rev().find(|&i| {
        depth += match tokens[i].token {
            Token::RParen => 1,
            Token::LParen => -1,
            _ => 0,
        };
        depth <= 0
    })?;
    let before = (0..open).rev().find(|i| !is_space(i))?;
    let first = (open + 1..close).find(|i| !is_space(i))?;
    let is_any = |i: usize, words: &[&str]| words.iter().any(|w| is_word(&tokens[i].token, w));
    let is_table = tokens[before].token == Token::Comma || is_any(before, &["FROM", "JOIN"]);
    (is_table && is_any(first, &["SELECT", "WITH", "VALUES"])).then_some((open, close))
}

fn quoted(name: &str) -> Token {
    Token::Word(Word {
        value: name.to_string(),
        quote_style: Some('`'),
        keyword: Keyword::NoKeyword,
    })
}

fn move_within(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut rest = tokens.into_iter().peekable();
    let mut in_pattern = false;
    while let Some(token) = rest.next() {
        in_pattern |= is_word(&token.token, "PATTERN");
        let is_within = in_pattern && is_word(&token.token, "WITHIN");
        if !is_within {
            in_pattern &= !is_word(&token.token, "DEFINE");
            out.push(token);
            continue;
        }
        in_pattern = false;
        let mut interval = Vec::new();
        let mut define = None;
        for next in rest.by_ref() {
            if is_word(&next.token, "DEFINE") {
                define = Some(next);
                break;
            }
            interval.push(next);
        }
        let Some(define) = define else {
            out.push(token);
            out.append(&mut interval);
            continue;
        };
        let span = token.span;
        let at = |t: Token| TokenWithSpan::new(t, span);
        out.push(define);
        out.push(at(quoted(WITHIN_SYMBOL)));
        out.push(word_token("AS", Keyword::AS, &token));
        out.append(&mut interval);
        out.push(at(Token::Comma));
    }
    out
}
