//! The special forms of the JSON functions, as ordinary calls; [`super`] says how.

use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, FunctionArgOperator, Ident, Value};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::dialect::{call, string, unnamed};
use super::types;
use super::words::Words;

type PResult<T> = Result<T, ParserError>;

/// Parses a call of a JSON function with a syntax of its own; `None` for any other function.
pub(crate) fn parse_call(name: &str, parser: &mut Parser<'_>) -> Option<PResult<Expr>> {
    let arguments = match name {
        "JSON_VALUE" => value_arguments,
        "JSON_QUERY" => query_arguments,
        "JSON_EXISTS" => exists_arguments,
        "JSON_OBJECT" | "JSON_OBJECTAGG" => object_arguments,
        "JSON_ARRAY" | "JSON_ARRAYAGG" => array_arguments,
        _ => return None,
    };
    Some(whole_call(name, parser, arguments))
}

fn whole_call(
    name: &str,
    parser: &mut Parser<'_>,
    arguments: fn(&mut Parser<'_>) -> PResult<Vec<FunctionArg>>,
) -> PResult<Expr> {
    let span = parser.peek_token_ref().span;
    parser.advance_token();
    parser.expect_token(&Token::LParen)?;
    let mut args = arguments(parser)?;
    parser.expect_token(&Token::RParen)?;
    let default = match name {
        "JSON_OBJECT" | "JSON_OBJECTAGG" => "NULL",
        _ => "ABSENT",
    };
    let takes_on_null = !matches!(name, "JSON_VALUE" | "JSON_QUERY" | "JSON_EXISTS");
    if takes_on_null && !args.iter().any(|a| is_named(a, "ON_NULL")) {
        args.push(named("ON_NULL", string(default)));
    }
    let mut function = call(name, span, args);
    if name.ends_with("AGG") && parser.eat_word("FILTER") {
        parser.expect_token(&Token::LParen)?;
        parser.expect_word("WHERE")?;
        function.filter = Some(Box::new(parser.parse_expr()?));
        parser.expect_token(&Token::RParen)?;
    }
    Ok(Expr::Function(function))
}

fn is_named(arg: &FunctionArg, wanted: &str) -> bool {
    matches!(arg, FunctionArg::Named { name, .. } if name.value == wanted)
}

fn named(name: &str, value: Expr) -> FunctionArg {
    FunctionArg::Named {
        name: Ident::new(name),
        arg: FunctionArgExpr::Expr(value),
        operator: FunctionArgOperator::RightArrow,
    }
}

fn input_and_path(parser: &mut Parser<'_>) -> PResult<Vec<FunctionArg>> {
    let input = parser.parse_expr()?;
    parser.expect_token(&Token::Comma)?;
    let path = parser.parse_expr()?;
    Ok(vec![unnamed(input), unnamed(path)])
}

fn null() -> Expr {
    Expr::Value(Value::Null.into())
}

/// `RETURNING type` as the type's text.
fn returning(parser: &mut Parser<'_>) -> PResult<Expr> {
    match parser.eat_word("RETURNING") {
        true => Ok(string(&types::data_type(parser)?.to_string())),
        false => Ok(null()),
    }
}

/// What to do ON EMPTY and ON ERROR: a word, and DEFAULT's expression.
#[derive(Default)]
struct Behaviours {
    on_empty: Option<(&'static str, Option<Expr>)>,
    on_error: Option<(&'static str, Option<Expr>)>,
}

fn behaviours(parser: &mut Parser<'_>, words: &[&'static str]) -> PResult<Behaviours> {
    let mut found = Behaviours::default();
    loop {
        let behaviour = if parser.eat_word("DEFAULT") {
            ("DEFAULT", Some(parser.parse_expr()?))
        } else {
            let is_next = |w: &&&'static str| {
                let parts: Vec<_> = w.split(' ').collect();
                parser.at_words(&parts)
            };
            let Some(word) = words.iter().find(is_next) else {
                return Ok(found);
            };
            word.split(' ').for_each(|_| parser.advance_token());
            (*word, None)
        };
        parser.expect_word("ON")?;
        let place = match parser.eat_word("EMPTY") {
            true => &mut found.on_empty,
            false => {
                parser.expect_word("ERROR")?;
                &mut found.on_error
            }
        };
        if place.replace(behaviour).is_some() {
            return parser.unexpected("one clause ON EMPTY and one ON ERROR");
        }
    }
}

fn value_arguments(parser: &mut Parser<'_>) -> PResult<Vec<FunctionArg>> {
    let mut args = input_and_path(parser)?;
    if parser.peek_token_ref().token == Token::RParen {
        return Ok(args);
    }
    if let Some(rest) = written_out(parser)? {
        args.extend(rest);
        return Ok(args);
    }
    let returning = returning(parser)?;
    let found = behaviours(parser, &["NULL", "ERROR"])?;
    let (on_empty, empty_default) = found.on_empty.unwrap_or(("NULL", None));
    let (on_error, error_default) = found.on_error.unwrap_or(("NULL", None));
    args.extend([
        named("RETURNING", returning),
        named("ON_EMPTY", string(on_empty)),
        named("EMPTY_DEFAULT", empty_default.unwrap_or_else(null)),
        named("ON_ERROR", string(on_error)),
        named("ERROR_DEFAULT", error_default.unwrap_or_else(null)),
    ]);
    Ok(args)
}

/// The made-up arguments themselves, as a printed tree shows them.
fn written_out(parser: &mut Parser<'_>) -> PResult<Option<Vec<FunctionArg>>> {
    if !parser.consume_token(&Token::Comma) {
        return Ok(None);
    }
    parser
        .parse_comma_separated(|p| p.parse_function_args())
        .map(Some)
}

fn query_arguments(parser: &mut Parser<'_>) -> PResult<Vec<FunctionArg>> {
    let mut args = input_and_path(parser)?;
    if parser.peek_token_ref().token == Token::RParen {
        return Ok(args);
    }
    if let Some(rest) = written_out(parser)? {
        args.extend(rest);
        return Ok(args);
    }
    let returning = returning(parser)?;
    let wrapper = wrapper(parser)?;
    let found = behaviours(parser, &["NULL", "ERROR", "EMPTY ARRAY", "EMPTY OBJECT"])?;
    let word = |b: Option<(&'static str, _)>| string(b.map_or("NULL", |(w, _)| w));
    args.extend([
        named("RETURNING", returning),
        named("WRAPPER", string(wrapper)),
        named("ON_EMPTY", word(found.on_empty)),
        named("ON_ERROR", word(found.on_error)),
    ]);
    Ok(args)
}

fn wrapper(parser: &mut Parser<'_>) -> PResult<&'static str> {
    let wrapper = if parser.eat_word("WITHOUT") {
        "WITHOUT"
    } else if parser.eat_word("WITH") {
        match parser.eat_word("CONDITIONAL") {
            true => "CONDITIONAL",
            false => {
                parser.eat_word("UNCONDITIONAL");
                "UNCONDITIONAL"
            }
        }
    } else {
        return Ok("WITHOUT");
    };
    parser.eat_word("ARRAY");
    parser.expect_word("WRAPPER")?;
    Ok(wrapper)
}

fn exists_arguments(parser: &mut Parser<'_>) -> PResult<Vec<FunctionArg>> {
    let mut args = input_and_path(parser)?;
    if let Some(rest) = written_out(parser)? {
        args.extend(rest);
        return Ok(args);
    }
    let found = behaviours(parser, &["TRUE", "FALSE", "UNKNOWN", "ERROR"])?;
    if let Some((word, _)) = found.on_error {
        args.push(named("ON_ERROR", string(word)));
    }
    Ok(args)
}

/// `[NULL | ABSENT] ON NULL`.
fn on_null(parser: &mut Parser<'_>) -> Option<FunctionArg> {
    ["NULL", "ABSENT"]
        .into_iter()
        .find(|w| parser.eat_words(&[w, "ON", "NULL"]))
        .map(|w| named("ON_NULL", string(w)))
}

fn object_arguments(parser: &mut Parser<'_>) -> PResult<Vec<FunctionArg>> {
    let mut args = Vec::new();
    loop {
        if let Some(clause) = on_null(parser) {
            args.push(clause);
            return Ok(args);
        }
        if parser.peek_token_ref().token == Token::RParen {
            return Ok(args);
        }
        if !args.is_empty() {
            parser.expect_token(&Token::Comma)?;
        }
        if parser.peek_nth_token_ref(1).token == Token::RArrow {
            args.push(parser.parse_function_args()?);
            continue;
        }
        // KEY is a word of the syntax unless it is the key itself.
        if parser.at_word("KEY")
            && matches!(
                parser.peek_nth_token_ref(1).token,
                Token::Word(_) | Token::SingleQuotedString(_)
            )
            && !parser.at_words(&["KEY", "VALUE"])
        {
            parser.advance_token();
        }
        args.push(unnamed(parser.parse_expr()?));
        if !parser.eat_word("VALUE") && !parser.consume_token(&Token::Comma) {
            parser.expect_token(&Token::Colon)?;
        }
        args.push(unnamed(parser.parse_expr()?));
    }
}

fn array_arguments(parser: &mut Parser<'_>) -> PResult<Vec<FunctionArg>> {
    let mut args = Vec::new();
    loop {
        if let Some(clause) = on_null(parser) {
            args.push(clause);
            return Ok(args);
        }
        if parser.peek_token_ref().token == Token::RParen {
            return Ok(args);
        }
        if !args.is_empty() {
            parser.expect_token(&Token::Comma)?;
        }
        args.push(parser.parse_function_args()?);
    }
}
