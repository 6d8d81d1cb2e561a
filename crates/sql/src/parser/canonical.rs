//! The text of a declaration's expression as Flink shows it: identifiers in backticks, words in
//! upper case, one blank where blanks belong.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Visit, Visitor,
};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan};

/// The canonical text of `tokens`, which were parsed to `expr`.
pub(crate) fn text(expr: &Expr, tokens: &[TokenWithSpan]) -> String {
    let mut names = Names::default();
    let _ = expr.visit(&mut names);
    let mut out = String::new();
    let mut previous: Option<&Token> = None;
    let solid = tokens
        .iter()
        .filter(|t| !matches!(t.token, Token::Whitespace(_)));
    for token in solid {
        if let Some(previous) = previous
            && is_spaced(previous, &token.token)
        {
            out.push(' ');
        }
        let start = token.span.start;
        let is_name = names.found.contains(&(start.line, start.column));
        out.push_str(&token_text(&token.token, is_name));
        previous = Some(&token.token);
    }
    out
}

fn token_text(token: &Token, is_name: bool) -> String {
    match token {
        Token::Word(word) if is_name || word.quote_style.is_some() => {
            format!("`{}`", word.value.replace('`', "``"))
        }
        Token::Word(word) => word.value.to_uppercase(),
        Token::SingleQuotedString(text) => format!("'{}'", text.replace('\'', "''")),
        other => other.to_string(),
    }
}

fn is_spaced(left: &Token, right: &Token) -> bool {
    let opens = |t: &Token| matches!(t, Token::LParen | Token::LBracket | Token::Period);
    let closes = |t: &Token| {
        matches!(
            t,
            Token::RParen | Token::RBracket | Token::Comma | Token::Period
        )
    };
    if opens(left) || closes(right) {
        return false;
    }
    match (left, right) {
        // A call's parenthesis, but not that behind AND, IN and the like.
        (Token::Word(word), Token::LParen) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::IN
                | Keyword::WHEN
                | Keyword::THEN
                | Keyword::ELSE
                | Keyword::CASE
                | Keyword::BETWEEN
                | Keyword::LIKE
                | Keyword::AS
        ),
        (_, Token::LBracket) => false,
        _ => true,
    }
}

/// Where identifiers that name columns stand.
#[derive(Default)]
struct Names {
    found: BTreeSet<(u64, u64)>,
    units: BTreeSet<(u64, u64)>,
}

impl Names {
    fn add(&mut self, name: &Ident) {
        let Location { line, column } = name.span.start;
        if !self.units.contains(&(line, column)) {
            self.found.insert((line, column));
        }
    }
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) if !is_niladic(name) => self.add(name),
            Expr::CompoundIdentifier(parts) => parts.iter().for_each(|p| self.add(p)),
            Expr::CompoundFieldAccess { access_chain, .. } => {
                for access in access_chain {
                    if let AccessExpr::Dot(Expr::Identifier(name)) = access {
                        self.add(name);
                    }
                }
            }
            Expr::Function(function) => {
                let name = function.name.to_string().to_ascii_uppercase();
                if matches!(name.as_str(), "TIMESTAMPADD" | "TIMESTAMPDIFF")
                    && let FunctionArguments::List(list) = &function.args
                    && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(unit)))) =
                        list.args.first()
                {
                    let start = unit.span.start;
                    self.units.insert((start.line, start.column));
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Functions that are called without parentheses and look like names.
fn is_niladic(name: &Ident) -> bool {
    name.quote_style.is_none()
        && [
            "CURRENT_DATE",
            "CURRENT_TIME",
            "CURRENT_TIMESTAMP",
            "CURRENT_ROW_TIMESTAMP",
            "LOCALTIME",
            "LOCALTIMESTAMP",
        ]
        .iter()
        .any(|n| n.eq_ignore_ascii_case(&name.value))
}
