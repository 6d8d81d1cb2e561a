//! Functions and operators with syntax of their own, as calls of the list's functions: the values
//! of words (`YEAR`, `LEADING`) are passed as text constants.

use flott_core::{Error, Result};
use sqlparser::ast::{
    self, CastKind, CeilFloorKind, Function, FunctionArgumentClause, JsonNullClause,
    JsonPredicateType, Spanned, TrimWhereField,
};

use super::call::argument_clauses;
use super::scalar::{Clause, unsupported};
use super::scope::located;
use super::{Binder, coerce, literal};
use crate::expr::Expr;
use crate::functions;
use crate::parser;

impl Binder<'_> {
    /// CAST, EXTRACT, TRIM, LIKE and the like.
    pub(crate) fn special(&mut self, ast: &ast::Expr, clause: &mut Clause<'_>) -> Result<Expr> {
        use ast::Expr as E;
        match ast {
            E::Cast {
                kind,
                expr,
                data_type,
                ..
            } => self.cast(kind, expr, data_type, clause),
            E::Extract { field, expr, .. } => {
                let unit = literal::string(&field.to_string().to_ascii_uppercase());
                let expr = self.expr(expr, clause)?;
                self.call("EXTRACT", vec![unit, expr])
            }
            E::Ceil { expr, field } => self.round_to("CEIL", expr, field, clause),
            E::Floor { expr, field } => self.round_to("FLOOR", expr, field, clause),
            E::Position { expr, r#in } => self.call_of("POSITION", [expr, r#in], clause),
            E::Substring {
                expr,
                substring_from,
                substring_for,
                ..
            } => {
                let parts = [Some(expr), substring_from.as_ref(), substring_for.as_ref()];
                self.call_of("SUBSTRING", parts.into_iter().flatten(), clause)
            }
            E::Overlay {
                expr,
                overlay_what,
                overlay_from,
                overlay_for,
            } => {
                let parts = [
                    Some(expr),
                    Some(overlay_what),
                    Some(overlay_from),
                    overlay_for.as_ref(),
                ];
                self.call_of("OVERLAY", parts.into_iter().flatten(), clause)
            }
            E::Trim {
                trim_where,
                trim_what,
                expr,
                ..
            } => self.trim(trim_where.as_ref(), trim_what.as_deref(), expr, clause),
            E::Like {
                negated,
                any: false,
                expr,
                pattern,
                escape_char,
            } => self.matches("LIKE", *negated, [expr, pattern], escape_char, clause),
            E::SimilarTo {
                negated,
                expr,
                pattern,
                escape_char,
            } => self.matches("SIMILAR TO", *negated, [expr, pattern], escape_char, clause),
            E::Map(map) => {
                let parts = map.entries.iter().flat_map(|e| [&e.key, &e.value]);
                self.call_of("MAP", parts, clause)
            }
            E::IsJson {
                expr,
                kind,
                negated,
                ..
            } => {
                let kind = match kind {
                    None | Some(JsonPredicateType::Value) => "VALUE",
                    Some(JsonPredicateType::Scalar) => "SCALAR",
                    Some(JsonPredicateType::Array) => "ARRAY",
                    Some(JsonPredicateType::Object) => "OBJECT",
                };
                let expr = self.expr(expr, clause)?;
                let is_json = self.call("IS JSON", vec![expr, literal::string(kind)])?;
                Ok(if *negated { is_json.negate() } else { is_json })
            }
            E::Struct { values, .. } => {
                let values = self.exprs(values, clause)?;
                self.call("ROW", values)
            }
            other => Err(unsupported(other)),
        }
    }

    fn call_of<'e>(
        &mut self,
        name: &str,
        parts: impl IntoIterator<Item = &'e Box<ast::Expr>>,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let args = self.exprs(parts.into_iter().map(|p| p.as_ref()), clause)?;
        self.call(name, args)
    }

    fn cast(
        &mut self,
        kind: &CastKind,
        expr: &ast::Expr,
        data_type: &ast::DataType,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let is_try = match kind {
            CastKind::Cast => false,
            CastKind::TryCast => true,
            CastKind::SafeCast | CastKind::DoubleColon => return Err(unsupported(&"this cast")),
        };
        let to = parser::data_type_of(data_type)?;
        let expr = self.expr(expr, clause)?;
        coerce::explicit_cast(expr, &to, is_try, self.ctx.expr)
    }

    /// `FLOOR(x)` and `FLOOR(x TO unit)`.
    fn round_to(
        &mut self,
        name: &str,
        expr: &ast::Expr,
        field: &CeilFloorKind,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let mut args = vec![self.expr(expr, clause)?];
        match field {
            CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) => {}
            CeilFloorKind::DateTimeField(unit) => {
                args.push(literal::string(&unit.to_string().to_ascii_uppercase()));
            }
            CeilFloorKind::Scale(_) => return Err(unsupported(&format!("{name} with a scale"))),
        }
        self.call(name, args)
    }

    fn trim(
        &mut self,
        side: Option<&TrimWhereField>,
        what: Option<&ast::Expr>,
        expr: &ast::Expr,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let side = match side {
            None | Some(TrimWhereField::Both) => "BOTH",
            Some(TrimWhereField::Leading) => "LEADING",
            Some(TrimWhereField::Trailing) => "TRAILING",
        };
        let what = match what {
            Some(what) => self.expr(what, clause)?,
            None => literal::string(" "),
        };
        let expr = self.expr(expr, clause)?;
        self.call("TRIM", vec![literal::string(side), what, expr])
    }

    fn matches(
        &mut self,
        name: &str,
        negated: bool,
        parts: [&Box<ast::Expr>; 2],
        escape: &Option<Box<ast::Expr>>,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let parts = parts.into_iter().chain(escape.iter());
        let matched = self.call_of(name, parts, clause)?;
        Ok(if negated { matched.negate() } else { matched })
    }

    /// `(start, end-or-length) OVERLAPS (start, end-or-length)`.
    pub(crate) fn overlaps(
        &mut self,
        left: &ast::Expr,
        right: &ast::Expr,
        clause: &mut Clause<'_>,
    ) -> Result<Expr> {
        let (a, b) = self.period(left, clause)?;
        let (c, d) = self.period(right, clause)?;
        let starts = self.call("<=", vec![a, d])?;
        let ends = self.call("<=", vec![c, b])?;
        Ok(Expr::and([starts, ends]))
    }

    fn period(&mut self, ast: &ast::Expr, clause: &mut Clause<'_>) -> Result<(Expr, Expr)> {
        let parts = match ast {
            ast::Expr::Tuple(parts) if parts.len() == 2 => self.exprs(parts, clause)?,
            other => {
                let message = "OVERLAPS compares periods: (start, end) or (start, interval)";
                return Err(located(
                    Error::user("INVALID_ARGUMENT", message),
                    other.span(),
                ));
            }
        };
        let (start, end) = (parts[0].clone(), parts[1].clone());
        let end = match end.data_type.logical.is_interval() {
            true => self.call("+", vec![start.clone(), end])?,
            false => end,
        };
        // A period may be written backwards.
        let is_forward = self.call("<=", vec![start.clone(), end.clone()])?;
        let (both, _) = coerce::unify(vec![start, end], "OVERLAPS", self.ctx.expr)?;
        let first = Expr::case(vec![(is_forward.clone(), both[0].clone())], both[1].clone());
        let last = Expr::case(vec![(is_forward, both[1].clone())], both[0].clone());
        Ok((first, last))
    }

    /// A call of a named scalar function, with what its clauses add.
    pub(crate) fn named_call(
        &mut self,
        name: &str,
        function: &Function,
        mut args: Vec<Expr>,
    ) -> Result<Expr> {
        for added in argument_clauses(function) {
            match added {
                FunctionArgumentClause::JsonNullClause(null) => {
                    args.push(literal::string(match null {
                        JsonNullClause::NullOnNull => "NULL ON NULL",
                        JsonNullClause::AbsentOnNull => "ABSENT ON NULL",
                    }));
                }
                other => return Err(unsupported(other)),
            }
        }
        // YEAR(x) … SECOND(x) are EXTRACT.
        if functions::find(name).is_none()
            && let Some(unit) = extract_unit(name)
            && args.len() == 1
        {
            args.insert(0, literal::string(unit));
            return self.call("EXTRACT", args);
        }
        if name == "TRIM" && args.len() == 1 {
            args.insert(0, literal::string(" "));
            args.insert(0, literal::string("BOTH"));
        }
        self.call(name, args)
    }
}

/// The unit that a function of this name extracts.
fn extract_unit(name: &str) -> Option<&'static str> {
    Some(match name {
        "YEAR" => "YEAR",
        "QUARTER" => "QUARTER",
        "MONTH" => "MONTH",
        "WEEK" => "WEEK",
        "DAYOFYEAR" => "DOY",
        "DAYOFMONTH" => "DAY",
        "DAYOFWEEK" => "DOW",
        "HOUR" => "HOUR",
        "MINUTE" => "MINUTE",
        "SECOND" => "SECOND",
        _ => return None,
    })
}
