//! Common types and implicit casts, by Calcite's and Flink's rules.

use std::sync::Arc;

use flott_core::types::{DataType, LogicalType, MAX_DECIMAL_PRECISION, RowField};

use LogicalType as T;

/// The precision and scale of an exact number as a decimal.
pub fn decimal_digits(logical: &LogicalType) -> Option<(u8, u8)> {
    match logical {
        T::TinyInt => Some((3, 0)),
        T::SmallInt => Some((5, 0)),
        T::Int => Some((10, 0)),
        T::BigInt => Some((19, 0)),
        T::Decimal(precision, scale) => Some((*precision, *scale)),
        _ => None,
    }
}

/// The least restrictive type that holds values of all these types: of CASE, COALESCE, UNION,
/// arrays. NULLs adapt to the others. `None` when there is none.
pub fn common_type(types: &[DataType]) -> Option<DataType> {
    let nullable = types.iter().any(|t| t.nullable || t.logical == T::Null);
    let mut known = types.iter().map(|t| &t.logical).filter(|t| **t != T::Null);
    let Some(first) = known.next() else {
        return types.first().map(|_| T::Null.nullable());
    };
    let logical = known.try_fold(first.clone(), |a, b| common_logical(&a, b))?;
    Some(DataType { logical, nullable })
}

/// The type in which values of these types are compared: their common type, or for a string and a
/// date or time the latter.
pub fn comparison_type(types: &[DataType]) -> Option<DataType> {
    if let Some(common) = common_type(types) {
        return Some(common);
    }
    let others: Vec<_> = types
        .iter()
        .filter(|t| !t.logical.is_character())
        .cloned()
        .collect();
    let nullable = types.iter().any(|t| t.nullable);
    let common = common_type(&others)?;
    common
        .logical
        .is_datetime()
        .then(|| common.with_nullable(nullable))
}

fn common_logical(a: &LogicalType, b: &LogicalType) -> Option<LogicalType> {
    if a == b {
        return Some(a.clone());
    }
    if a.is_numeric() && b.is_numeric() {
        return Some(common_number(a, b));
    }
    Some(match (a, b) {
        (T::Char(m) | T::VarChar(m), T::Char(n) | T::VarChar(n)) => T::VarChar(*m.max(n)),
        (T::Binary(m) | T::VarBinary(m), T::Binary(n) | T::VarBinary(n)) => T::VarBinary(*m.max(n)),
        (T::Time(p), T::Time(q)) => T::Time(*p.max(q)),
        (T::Timestamp(p), T::Timestamp(q)) => T::Timestamp(*p.max(q)),
        (T::Timestamp(p), T::Date) | (T::Date, T::Timestamp(p)) => T::Timestamp(*p),
        (T::TimestampLtz(p), T::Date) | (T::Date, T::TimestampLtz(p)) => T::TimestampLtz(*p),
        (T::TimestampLtz(p), T::TimestampLtz(q) | T::Timestamp(q))
        | (T::Timestamp(p), T::TimestampLtz(q)) => T::TimestampLtz(*p.max(q)),
        (T::Array(x), T::Array(y)) => T::Array(common_item(x, y)?),
        (T::Multiset(x), T::Multiset(y)) => T::Multiset(common_item(x, y)?),
        (T::Map(k, v), T::Map(l, w)) => T::Map(common_item(k, l)?, common_item(v, w)?),
        (T::Row(x), T::Row(y)) if x.len() == y.len() => {
            let fields = x.iter().zip(y.iter()).map(|(f, g)| {
                let pair = [f.data_type.clone(), g.data_type.clone()];
                common_type(&pair).map(|t| RowField::new(&f.name, t))
            });
            T::Row(fields.collect::<Option<Arc<[_]>>>()?)
        }
        _ => return None,
    })
}

fn common_item(a: &DataType, b: &DataType) -> Option<Arc<DataType>> {
    common_type(&[a.clone(), b.clone()]).map(Arc::new)
}

/// How wide a number is among those of its kind.
fn width(logical: &LogicalType) -> u8 {
    match logical {
        T::TinyInt => 0,
        T::SmallInt => 1,
        T::Int => 2,
        T::BigInt => 3,
        T::Float => 4,
        _ => 5,
    }
}

/// The common type of two numbers.
pub fn common_number(a: &LogicalType, b: &LogicalType) -> LogicalType {
    match (a, b) {
        (T::Decimal(..), f) | (f, T::Decimal(..)) if f.is_approximate_numeric() => T::Double,
        (T::Decimal(..), _) | (_, T::Decimal(..)) => {
            let (p, s) = decimal_digits(a).unwrap_or((MAX_DECIMAL_PRECISION, 0));
            let (q, t) = decimal_digits(b).unwrap_or((MAX_DECIMAL_PRECISION, 0));
            let scale = s.max(t);
            let whole = (p - s).max(q - t);
            let precision = (whole + scale).min(MAX_DECIMAL_PRECISION);
            T::Decimal(precision, scale.min(precision))
        }
        _ if width(a) >= width(b) => a.clone(),
        _ => b.clone(),
    }
}

/// Whether a value of one type is taken for another without a cast being written: what INSERT
/// accepts for a column.
pub fn is_implicit_cast_allowed(from: &LogicalType, to: &LogicalType) -> bool {
    if from == to || *from == T::Null {
        return true;
    }
    match (from, to) {
        (_, T::Decimal(..) | T::Double) => from.is_numeric(),
        (_, T::Float) => from.is_exact_numeric(),
        (_, T::SmallInt | T::Int | T::BigInt) => from.is_integer() && width(from) <= width(to),
        (T::Char(_), T::Char(_)) => true,
        (_, T::VarChar(_)) => from.is_character(),
        (_, T::Binary(_) | T::VarBinary(_)) => from.is_binary(),
        (T::Timestamp(_), T::Date | T::Time(_)) | (T::Time(_), T::Time(_)) => true,
        (_, T::Timestamp(_) | T::TimestampLtz(_)) => from.is_timestamp(),
        (T::Array(a), T::Array(b)) | (T::Multiset(a), T::Multiset(b)) => is_assignable(a, b),
        (T::Map(k, v), T::Map(l, w)) => is_assignable(k, l) && is_assignable(v, w),
        (T::Row(a), T::Row(b)) => {
            let fields = || a.iter().zip(b.iter());
            a.len() == b.len() && fields().all(|(f, g)| is_assignable(&f.data_type, &g.data_type))
        }
        _ => false,
    }
}

/// Whether INSERT takes a column of one type for another. A NULL that meets NOT NULL is found at
/// run time.
pub fn is_assignable(from: &DataType, to: &DataType) -> bool {
    is_implicit_cast_allowed(&from.logical, &to.logical)
}

/// Whether values of one type are values of the other as they stand, so that no cast is needed.
pub fn is_same_representation(from: &LogicalType, to: &LogicalType) -> bool {
    match (from, to) {
        _ if from == to => true,
        (T::Char(m) | T::VarChar(m), T::VarChar(n))
        | (T::Binary(m) | T::VarBinary(m), T::VarBinary(n)) => m <= n,
        (T::Array(a), T::Array(b)) | (T::Multiset(a), T::Multiset(b)) => {
            is_same_representation(&a.logical, &b.logical)
        }
        (T::Map(k, v), T::Map(l, w)) => {
            is_same_representation(&k.logical, &l.logical)
                && is_same_representation(&v.logical, &w.logical)
        }
        (T::Row(a), T::Row(b)) => {
            a.len() == b.len()
                && a.iter().zip(b.iter()).all(|(f, g)| {
                    f.name == g.name
                        && is_same_representation(&f.data_type.logical, &g.data_type.logical)
                })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_type_is_the_least_restrictive() {
        let common = |a: LogicalType, b: LogicalType| {
            common_type(&[a.not_null(), b.not_null()]).map(|t| t.logical)
        };
        assert_eq!(common(T::Int, T::BigInt), Some(T::BigInt));
        assert_eq!(common(T::Float, T::BigInt), Some(T::Float));
        assert_eq!(common(T::Decimal(5, 2), T::Double), Some(T::Double));
        assert_eq!(common(T::Decimal(5, 2), T::Int), Some(T::Decimal(12, 2)));
        assert_eq!(common(T::Char(3), T::Char(5)), Some(T::VarChar(5)));
        assert_eq!(common(T::Null, T::Date), Some(T::Date));
        assert_eq!(common(T::STRING, T::Int), None);
    }

    #[test]
    fn insert_accepts_what_flink_accepts() {
        assert!(is_implicit_cast_allowed(
            &T::Decimal(4, 3),
            &T::Decimal(10, 2)
        ));
        assert!(is_implicit_cast_allowed(&T::Char(3), &T::STRING));
        assert!(!is_implicit_cast_allowed(&T::Int, &T::STRING));
        assert!(!is_implicit_cast_allowed(&T::BigInt, &T::Int));
    }
}
