//! Flink's expressions and table expressions for sqlparser.

use std::any::TypeId;

use flott_core::types::LogicalType;
use sqlparser::ast::{
    self, CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, TrimWhereField, TypedString, Value, WindowSpec,
    WindowType,
};
use sqlparser::dialect::{Dialect, GenericDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Span, Token};

use super::words::{Words, is_word};
use super::{hints, json, types};

type PResult<T> = Result<T, ParserError>;

/// The call that `(a - b) DAY` is held in; its arguments are `'MILLISECOND'` or `'MONTH'`, `b`, `a`.
pub const INTERVAL_BETWEEN: &str = "INTERVAL_BETWEEN";

/// Flink SQL for sqlparser's tokenizer and parser.
#[derive(Debug, Clone, Copy, Default)]
pub struct FlinkDialect;

impl Dialect for FlinkDialect {
    /// sqlparser asks for a dialect by its type in places; the generic one is nearest.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn identifier_quote_style(&self, _identifier: &str) -> Option<char> {
        Some('`')
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || matches!(ch, '_' | '$')
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_match_recognize(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }

    fn supports_comment_optimizer_hint(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_left_associative_joins_without_parens(&self) -> bool {
        true
    }

    fn supports_select_expr_star(&self) -> bool {
        true
    }

    fn supports_string_literal_concatenation_with_newline(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    fn is_table_alias(&self, kw: &Keyword, _parser: &mut Parser<'_>) -> bool {
        // Words that end a table in other dialects are plain names in Flink.
        let free = matches!(
            kw,
            Keyword::SORT
                | Keyword::TOP
                | Keyword::VIEW
                | Keyword::CLUSTER
                | Keyword::DISTRIBUTE
                | Keyword::ANALYZE
                | Keyword::OUTPUT
                | Keyword::PREWHERE
                | Keyword::SETTINGS
                | Keyword::FORMAT
                | Keyword::SAMPLE
                | Keyword::MATCH_CONDITION
        );
        free || !sqlparser::keywords::RESERVED_FOR_TABLE_ALIAS.contains(kw)
    }

    fn is_column_alias(&self, kw: &Keyword, _parser: &mut Parser<'_>) -> bool {
        let free = matches!(
            kw,
            Keyword::SORT
                | Keyword::TOP
                | Keyword::VIEW
                | Keyword::CLUSTER
                | Keyword::DISTRIBUTE
                | Keyword::ANALYZE
                | Keyword::RETURNING
                | Keyword::EXCLUDE
        );
        free || !sqlparser::keywords::RESERVED_FOR_COLUMN_ALIAS.contains(kw)
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<PResult<Expr>> {
        let Token::Word(word) = &parser.peek_token_ref().token else {
            return None;
        };
        if word.quote_style.is_some() {
            return None;
        }
        let word = word.value.to_ascii_uppercase();
        let next = &parser.peek_nth_token_ref(1).token;
        match (word.as_str(), next) {
            ("CAST" | "TRY_CAST", Token::LParen) => Some(cast(parser, word == "TRY_CAST")),
            ("TABLE", _) => Some(table_argument(parser)),
            ("MAP" | "MULTISET", Token::LBracket) => Some(bracket_constructor(parser, &word)),
            ("TIMESTAMP_LTZ", Token::SingleQuotedString(_)) => Some(timestamp_ltz(parser)),
            ("MODEL", Token::Word(w)) if w.keyword == Keyword::NoKeyword => {
                Some(model_argument(parser))
            }
            ("TRIM", Token::LParen) => trim_of_blanks(parser),
            ("FINAL" | "RUNNING", Token::Word(_)) => final_or_running(parser, &word),
            (_, Token::LParen) => json::parse_call(&word, parser),
            _ => None,
        }
    }

    /// A unit of time behind a parenthesis binds to it: `(a - b) DAY TO SECOND`.
    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<PResult<u8>> {
        let is_difference = parser.get_current_token().token == Token::RParen && at_unit(parser);
        is_difference.then(|| Ok(self.prec_value(Precedence::DoubleColon)))
    }

    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        expr: &Expr,
        _precedence: u8,
    ) -> Option<PResult<Expr>> {
        if at_unit(parser) {
            return Some(difference(parser, expr));
        }
        let negated = parser.at_word("NOT");
        let offset = usize::from(negated);
        let is = |p: &Parser<'_>, i: usize, w: &str| is_word(&p.peek_nth_token_ref(i).token, w);
        if !is(parser, offset, "BETWEEN") {
            return None;
        }
        let symmetric = is(parser, offset + 1, "SYMMETRIC");
        if !symmetric && !is(parser, offset + 1, "ASYMMETRIC") {
            return None;
        }
        (0..offset + 2).for_each(|_| parser.advance_token());
        Some(between(self, parser, expr, negated, symmetric))
    }
}

fn at_unit(parser: &Parser<'_>) -> bool {
    let units = ["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"];
    units.iter().any(|unit| parser.at_word(unit))
}

/// `(a - b) unit [TO unit]`: a call [`INTERVAL_BETWEEN`]`(unit, b, a)`.
fn difference(parser: &mut Parser<'_>, expr: &Expr) -> PResult<Expr> {
    let difference = match expr {
        Expr::Nested(inner) => inner.as_ref(),
        other => other,
    };
    let Expr::BinaryOp {
        left,
        op: ast::BinaryOperator::Minus,
        right,
    } = difference
    else {
        return parser.unexpected("an operator; an interval is written (a - b) DAY TO SECOND");
    };
    let span = parser.peek_token_ref().span;
    let unit = match types::interval_units(parser)? {
        LogicalType::IntervalYearMonth => "MONTH",
        _ => "MILLISECOND",
    };
    let args = [string(unit), (**right).clone(), (**left).clone()];
    let args = args.into_iter().map(unnamed).collect();
    Ok(Expr::Function(call(INTERVAL_BETWEEN, span, args)))
}

/// `x BETWEEN SYMMETRIC a AND b` is `x BETWEEN a AND b OR x BETWEEN b AND a`.
fn between(
    dialect: &FlinkDialect,
    parser: &mut Parser<'_>,
    expr: &Expr,
    negated: bool,
    symmetric: bool,
) -> PResult<Expr> {
    let precedence = dialect.prec_value(Precedence::Between);
    let low = Box::new(parser.parse_subexpr(precedence)?);
    parser.expect_word("AND")?;
    let high = Box::new(parser.parse_subexpr(precedence)?);
    let test = |low: &Expr, high: &Expr| Expr::Between {
        expr: Box::new(expr.clone()),
        negated,
        low: Box::new(low.clone()),
        high: Box::new(high.clone()),
    };
    if !symmetric {
        return Ok(test(&low, &high));
    }
    let either = Expr::BinaryOp {
        left: Box::new(test(&low, &high)),
        op: match negated {
            true => ast::BinaryOperator::And,
            false => ast::BinaryOperator::Or,
        },
        right: Box::new(test(&high, &low)),
    };
    Ok(Expr::Nested(Box::new(either)))
}

/// `CAST(x AS type)`, the type by Flink's grammar.
fn cast(parser: &mut Parser<'_>, is_try: bool) -> PResult<Expr> {
    parser.advance_token();
    parser.expect_token(&Token::LParen)?;
    let expr = Box::new(parser.parse_expr()?);
    parser.expect_word("AS")?;
    let data_type = types::carry(&types::data_type(parser)?);
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Cast {
        kind: match is_try {
            true => CastKind::TryCast,
            false => CastKind::Cast,
        },
        expr,
        data_type,
        format: None,
    })
}

/// `TABLE t [PARTITION BY …] [ORDER BY …]` or `TABLE (query) …`, an argument of a table function.
fn table_argument(parser: &mut Parser<'_>) -> PResult<Expr> {
    let span = parser.peek_token_ref().span;
    parser.advance_token();
    let mut args = vec![if parser.consume_token(&Token::LParen) {
        let query = parser.parse_query()?;
        parser.expect_token(&Token::RParen)?;
        Expr::Subquery(query)
    } else {
        table_name(parser)?
    }];
    if let Some(hint) = hints::eat_hint(parser) {
        args.push(string(&hint));
    }
    let mut spec = WindowSpec {
        window_name: None,
        partition_by: vec![],
        order_by: vec![],
        window_frame: None,
    };
    if parser.eat_words(&["PARTITION", "BY"]) {
        spec.partition_by = optionally_parenthesized(parser, |p| p.parse_expr())?;
    }
    if parser.eat_words(&["ORDER", "BY"]) {
        spec.order_by = optionally_parenthesized(parser, |p| p.parse_order_by_expr())?;
    }
    let is_plain = spec.partition_by.is_empty() && spec.order_by.is_empty();
    let mut call = call("TABLE", span, args.into_iter().map(unnamed).collect());
    call.over = (!is_plain).then_some(WindowType::WindowSpec(spec));
    Ok(Expr::Function(call))
}

/// Items with or without parentheses around them. In an argument list only the first of several
/// bare items belongs to the clause, unless no named argument or function follows; so, as in
/// Flink, several items want parentheses.
fn optionally_parenthesized<T>(
    parser: &mut Parser<'_>,
    mut item: impl FnMut(&mut Parser<'_>) -> PResult<T>,
) -> PResult<Vec<T>> {
    if parser.peek_token_ref().token == Token::LParen {
        return parser.list(|p| item(p));
    }
    Ok(vec![item(parser)?])
}

fn table_name(parser: &mut Parser<'_>) -> PResult<Expr> {
    let mut parts = vec![parser.parse_identifier()?];
    while parser.consume_token(&Token::Period) {
        parts.push(parser.parse_identifier()?);
    }
    Ok(match parts.len() {
        1 => Expr::Identifier(parts.remove(0)),
        _ => Expr::CompoundIdentifier(parts),
    })
}

/// `MODEL m`, an argument of `ML_PREDICT`: a call `MODEL(m)`.
fn model_argument(parser: &mut Parser<'_>) -> PResult<Expr> {
    let span = parser.peek_token_ref().span;
    parser.advance_token();
    let name = table_name(parser)?;
    Ok(Expr::Function(call("MODEL", span, vec![unnamed(name)])))
}

/// `MAP['k', 1]`, `MULTISET[1, 2]`: calls `MAP('k', 1)`, `MULTISET(1, 2)`.
fn bracket_constructor(parser: &mut Parser<'_>, name: &str) -> PResult<Expr> {
    let span = parser.peek_token_ref().span;
    parser.advance_token();
    parser.expect_token(&Token::LBracket)?;
    let mut args = Vec::new();
    if !parser.consume_token(&Token::RBracket) {
        args = parser.parse_comma_separated(|p| p.parse_expr())?;
        parser.expect_token(&Token::RBracket)?;
    }
    let args = args.into_iter().map(unnamed).collect();
    Ok(Expr::Function(call(name, span, args)))
}

/// `TRIM(LEADING FROM s)`, which sqlparser does not read: blanks are trimmed.
fn trim_of_blanks(parser: &mut Parser<'_>) -> Option<PResult<Expr>> {
    let side = [
        ("LEADING", TrimWhereField::Leading),
        ("TRAILING", TrimWhereField::Trailing),
        ("BOTH", TrimWhereField::Both),
    ]
    .into_iter()
    .find(|(w, _)| is_word(&parser.peek_nth_token_ref(2).token, w));
    let (_, side) = side.filter(|_| is_word(&parser.peek_nth_token_ref(3).token, "FROM"))?;
    (0..4).for_each(|_| parser.advance_token());
    let trimmed = parser.parse_expr().and_then(|expr| {
        parser.expect_token(&Token::RParen)?;
        Ok(Expr::Trim {
            expr: Box::new(expr),
            trim_where: Some(side),
            trim_what: None,
            trim_characters: None,
        })
    });
    Some(trimmed)
}

/// `FINAL LAST(x)`, `RUNNING LAST(x)`: calls `FINAL(LAST(x))`, `RUNNING(LAST(x))`.
fn final_or_running(parser: &mut Parser<'_>, word: &str) -> Option<PResult<Expr>> {
    if parser.peek_nth_token_ref(2).token != Token::LParen {
        return None;
    }
    let span = parser.peek_token_ref().span;
    parser.advance_token();
    let inner = parser.parse_prefix();
    Some(inner.map(|inner| Expr::Function(call(word, span, vec![unnamed(inner)]))))
}

fn timestamp_ltz(parser: &mut Parser<'_>) -> PResult<Expr> {
    parser.advance_token();
    let name = ObjectName::from(vec![Ident::new("TIMESTAMP_LTZ")]);
    Ok(Expr::TypedString(TypedString {
        data_type: ast::DataType::Custom(name, vec![]),
        value: parser.parse_value()?,
        uses_odbc_syntax: false,
    }))
}

/// A string constant.
pub(crate) fn string(text: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.to_string()).into())
}

pub(crate) fn unnamed(expr: Expr) -> FunctionArg {
    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
}

/// A call that the parser makes up.
pub(crate) fn call(name: &str, span: Span, args: Vec<FunctionArg>) -> Function {
    Function {
        name: ObjectName::from(vec![Ident::with_span(span, name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    }
}
