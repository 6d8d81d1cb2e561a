//! Hints: `/*+ OPTIONS('k'='v') */` after a table and `/*+ STATE_TTL('t'='1d') */` after SELECT.
//!
//! sqlparser drops comments, so a table's hint is put where its tree has room: as a made-up
//! `PARTITION` of the table whose name begins with `/*+`.

use flott_core::{Error, Result};
use sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments};
use sqlparser::ast::{Ident, Select, TableFactor, Value};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::dialect::FlinkDialect;
use super::words::Words;

/// One hint: its name in upper case, and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    pub name: String,
    /// `'k' = 'v'`; for a plain list (`BROADCAST(t1, t2)`), the names with empty values.
    pub pairs: Vec<(String, String)>,
}

/// How a hint's identifier begins in a table's made-up partitions.
pub(crate) const MARK: &str = "/*+";

/// The hints behind a table's name.
///
/// # Errors
/// A user error when a hint cannot be read.
pub fn table_hints(table: &TableFactor) -> Result<Vec<Hint>> {
    let TableFactor::Table { partitions, .. } = table else {
        return Ok(vec![]);
    };
    let marked = partitions.iter().filter(|p| p.value.starts_with(MARK));
    let parsed = marked.map(|p| parse_hints(&p.value));
    Ok(parsed.collect::<Result<Vec<_>>>()?.concat())
}

/// The hints of a `TABLE t` argument: see [`super`] for how such an argument is held.
///
/// # Errors
/// A user error when a hint cannot be read.
pub fn table_argument_hints(table: &Function) -> Result<Vec<Hint>> {
    let FunctionArguments::List(list) = &table.args else {
        return Ok(vec![]);
    };
    match list.args.get(1) {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(v)))) => match &v.value {
            Value::SingleQuotedString(text) => parse_hints(text),
            _ => Ok(vec![]),
        },
        _ => Ok(vec![]),
    }
}

/// The hints behind SELECT.
///
/// # Errors
/// A user error when a hint cannot be read.
pub fn select_hints(select: &Select) -> Result<Vec<Hint>> {
    let parsed = select.optimizer_hints.iter().map(|h| parse_hints(&h.text));
    Ok(parsed.collect::<Result<Vec<_>>>()?.concat())
}

/// Takes the hint at the cursor, if one stands there.
pub(crate) fn eat_hint(parser: &mut Parser<'_>) -> Option<String> {
    let is_hint = |token: &Token| matches!(token, Token::Word(w) if w.value.starts_with(MARK));
    if !parser.at_word("PARTITION") || !is_hint(&parser.peek_nth_token_ref(2).token) {
        return None;
    }
    let text = match &parser.peek_nth_token_ref(2).token {
        Token::Word(word) => word.value.clone(),
        _ => String::new(),
    };
    (0..4).for_each(|_| parser.advance_token());
    Some(text)
}

/// Parses the text of a hint comment: `NAME('k'='v', …), NAME(t1, t2)`.
pub(crate) fn parse_hints(text: &str) -> Result<Vec<Hint>> {
    let inner = text.strip_prefix(MARK).unwrap_or(text);
    let inner = inner.strip_suffix("*/").unwrap_or(inner);
    let read = || -> Result<Vec<Hint>, ParserError> {
        let mut parser = Parser::new(&FlinkDialect).try_with_sql(inner)?;
        let mut hints = vec![hint(&mut parser)?];
        while parser.consume_token(&Token::Comma) || parser.peek_token_ref().token != Token::EOF {
            hints.push(hint(&mut parser)?);
        }
        Ok(hints)
    };
    read().map_err(|e| {
        let message = format!(
            "cannot read the hint '{}': {}",
            inner.trim(),
            super::error::plain(&e)
        );
        Error::user("INVALID_HINT", message)
    })
}

fn hint(parser: &mut Parser<'_>) -> Result<Hint, ParserError> {
    let name = parser.identifier()?.value.to_ascii_uppercase();
    let mut pairs = Vec::new();
    if parser.consume_token(&Token::LParen) && !parser.consume_token(&Token::RParen) {
        loop {
            pairs.push(pair(parser)?);
            if !parser.consume_token(&Token::Comma) {
                break;
            }
        }
        parser.expect_token(&Token::RParen)?;
    }
    Ok(Hint { name, pairs })
}

fn pair(parser: &mut Parser<'_>) -> Result<(String, String), ParserError> {
    let key = text(parser)?;
    let value = match parser.consume_token(&Token::Eq) {
        true => text(parser)?,
        false => String::new(),
    };
    Ok((key, value))
}

fn text(parser: &mut Parser<'_>) -> Result<String, ParserError> {
    match &parser.peek_token_ref().token {
        Token::Word(_) => Ok(parser.name()?.to_string()),
        Token::Number(..) => parser.number().map(|n| n.to_string()),
        _ => parser.string(),
    }
}

/// The identifier that carries a table's hint.
pub(crate) fn carrier(comment: &str) -> Ident {
    Ident::with_quote('`', format!("/*{comment}*/"))
}
