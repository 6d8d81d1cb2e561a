//! The names of tables in a query's text.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use flott_core::Result;
use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query, Visit, Visitor,
};
use sqlparser::tokenizer::Span;

use super::split::Piece;
use super::statement::Cursor;
use super::words::location;

/// See [`super::rename_tables`].
pub(crate) fn rename(
    piece: &Piece<'_>,
    rename: impl Fn(&[String]) -> Option<String>,
) -> Result<String> {
    let mut cursor = Cursor::new(piece)?;
    let query = cursor.stored_query()?;
    let mut names = Names::default();
    let _ = query.visit(&mut names);
    let mut text = piece.text.to_string();
    names
        .found
        .sort_by_key(|n| std::cmp::Reverse((n.span.start.line, n.span.start.column)));
    for name in names.found {
        let is_cte = matches!(name.parts.as_slice(), [one] if names.ctes.contains(one));
        let start = cursor.offset(location(name.span.start));
        let end = cursor.offset(location(name.span.end));
        if !is_cte
            && let Some(path) = rename(&name.parts)
            && start < end
        {
            text.replace_range(start..end, &path);
        }
    }
    Ok(text)
}

struct Found {
    parts: Vec<String>,
    span: Span,
}

#[derive(Default)]
struct Names {
    found: Vec<Found>,
    ctes: BTreeSet<String>,
}

impl Names {
    fn add(&mut self, parts: &[&Ident]) {
        let span = parts
            .iter()
            .fold(Span::empty(), |all, p| all.union(&p.span));
        let parts = parts.iter().map(|p| p.value.clone()).collect();
        if span != Span::empty() {
            self.found.push(Found { parts, span });
        }
    }
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|w| &w.cte_tables) {
            self.ctes.insert(cte.alias.name.value.clone());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let parts: Vec<&Ident> = relation.0.iter().filter_map(|p| p.as_ident()).collect();
        self.add(&parts);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(call) = expr
            && call.name.to_string() == "TABLE"
            && let FunctionArguments::List(list) = &call.args
            && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(table))) = list.args.first()
        {
            match table {
                Expr::Identifier(name) => self.add(&[name]),
                Expr::CompoundIdentifier(parts) => self.add(&parts.iter().collect::<Vec<_>>()),
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }
}
