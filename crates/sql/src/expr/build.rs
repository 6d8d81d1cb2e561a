//! Constructors and small questions of expressions.

use datafusion_common::ScalarValue;
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

use super::{Expr, ExprKind};

impl Expr {
    /// The input's column of this position.
    pub fn column(index: usize, data_type: DataType) -> Self {
        Self {
            kind: ExprKind::Column(index),
            data_type,
        }
    }

    /// A constant; `value` has the Arrow type of `data_type`.
    pub fn literal(value: ScalarValue, data_type: DataType) -> Self {
        Self {
            kind: ExprKind::Literal(value),
            data_type,
        }
    }

    /// `TRUE` or `FALSE`.
    pub fn boolean(value: bool) -> Self {
        Self::literal(
            ScalarValue::Boolean(Some(value)),
            LogicalType::Boolean.not_null(),
        )
    }

    /// `NULL` of a type.
    ///
    /// # Errors
    /// Where Arrow has no NULL of this type.
    pub fn null(data_type: &DataType) -> Result<Self> {
        let data_type = data_type.with_nullable(true);
        let value = ScalarValue::try_new_null(&data_type.to_arrow())
            .map_err(|e| Error::internal(e.to_string()))?;
        Ok(Self::literal(value, data_type))
    }

    /// The conjunction; nested ones are flattened and `TRUE`s left out.
    pub fn and(parts: impl IntoIterator<Item = Expr>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            flat.extend(part.conjuncts());
        }
        match flat.len() {
            0 => Self::boolean(true),
            1 => flat.swap_remove(0),
            _ => Self::logical(flat, ExprKind::And),
        }
    }

    /// The disjunction; nested ones are flattened.
    pub fn or(parts: impl IntoIterator<Item = Expr>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            match part.kind {
                ExprKind::Or(inner) => flat.extend(inner),
                _ => flat.push(part),
            }
        }
        match flat.len() {
            0 => Self::boolean(false),
            1 => flat.swap_remove(0),
            _ => Self::logical(flat, ExprKind::Or),
        }
    }

    fn logical(parts: Vec<Expr>, kind: fn(Vec<Expr>) -> ExprKind) -> Self {
        let nullable = parts.iter().any(|p| p.data_type.nullable);
        Self {
            kind: kind(parts),
            data_type: LogicalType::Boolean.nullable().with_nullable(nullable),
        }
    }

    /// `NOT self`.
    pub fn negate(self) -> Self {
        let data_type = self.data_type.clone();
        Self {
            kind: ExprKind::Not(Box::new(self)),
            data_type,
        }
    }

    /// `self IS NULL`.
    pub fn is_null(self) -> Self {
        Self {
            kind: ExprKind::IsNull(Box::new(self)),
            data_type: LogicalType::Boolean.not_null(),
        }
    }

    /// `self IS NOT NULL`.
    pub fn is_not_null(self) -> Self {
        Self {
            kind: ExprKind::IsNotNull(Box::new(self)),
            data_type: LogicalType::Boolean.not_null(),
        }
    }

    /// `CASE WHEN condition THEN then ELSE otherwise END`; the branches' types are equal but for
    /// nullability.
    pub fn case(branches: Vec<(Expr, Expr)>, otherwise: Expr) -> Self {
        let nullable =
            otherwise.data_type.nullable || branches.iter().any(|(_, t)| t.data_type.nullable);
        let data_type = otherwise.data_type.with_nullable(nullable);
        Self {
            kind: ExprKind::Case {
                branches,
                otherwise: Box::new(otherwise),
            },
            data_type,
        }
    }

    /// The parts of a conjunction; none for `TRUE`.
    pub fn conjuncts(self) -> Vec<Expr> {
        match self.kind {
            ExprKind::And(parts) => parts.into_iter().flat_map(Expr::conjuncts).collect(),
            ExprKind::Literal(ScalarValue::Boolean(Some(true))) => Vec::new(),
            _ => vec![self],
        }
    }

    pub fn as_column(&self) -> Option<usize> {
        match self.kind {
            ExprKind::Column(index) => Some(index),
            _ => None,
        }
    }

    pub fn as_literal(&self) -> Option<&ScalarValue> {
        match &self.kind {
            ExprKind::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// The arguments of a call of the function of this name.
    pub fn as_call(&self, name: &str) -> Option<&[Expr]> {
        match &self.kind {
            ExprKind::Call { function, args, .. } if function.name == name => Some(args),
            _ => None,
        }
    }

    pub fn is_true(&self) -> bool {
        matches!(
            self.kind,
            ExprKind::Literal(ScalarValue::Boolean(Some(true)))
        )
    }

    /// A field of a row, by position: nullable where the row is.
    pub fn field(self, index: usize) -> Self {
        let data_type = match &self.data_type.logical {
            LogicalType::Row(fields) if index < fields.len() => {
                let inner = &fields[index].data_type;
                inner.with_nullable(inner.nullable || self.data_type.nullable)
            }
            _ => self.data_type.clone(),
        };
        Self {
            kind: ExprKind::Field {
                expr: Box::new(self),
                index,
            },
            data_type,
        }
    }

    /// Text that is equal for expressions that compute the same in the same way.
    pub fn key(&self) -> String {
        format!("{:?}", self.kind)
    }

    /// Whether equal rows always give equal values.
    pub fn is_deterministic(&self) -> bool {
        !self.any(&|e| match &e.kind {
            ExprKind::Call { function, .. } => !function.is_deterministic,
            _ => false,
        })
    }
}
