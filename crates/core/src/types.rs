//! Flink's data types and how each is held in Arrow.
//!
//! | Flink | Arrow |
//! |---|---|
//! | `CHAR`, `VARCHAR`, `STRING` | `Utf8View` |
//! | `BINARY`, `VARBINARY`, `BYTES` | `BinaryView` |
//! | `BOOLEAN` | `Boolean` |
//! | `TINYINT` … `BIGINT` | `Int8` … `Int64` |
//! | `FLOAT`, `DOUBLE` | `Float32`, `Float64` |
//! | `DECIMAL(p, s)` | `Decimal128(p, s)` |
//! | `DATE` | `Date32` |
//! | `TIME(p)` | `Time32(Millisecond)` |
//! | `TIMESTAMP(p)` | `Timestamp(unit, None)`: milliseconds to p = 3, microseconds to 6, nanoseconds to 9 |
//! | `TIMESTAMP_LTZ(p)` | the same with time zone `UTC` |
//! | `INTERVAL` year-month | `Interval(YearMonth)` |
//! | `INTERVAL` day-second | `Duration(Millisecond)` |
//! | `ARRAY<t>` | `List` (item field `item`) |
//! | `MAP<k, v>`, `MULTISET<t>` | `Map` (entries `key`, `value`); a multiset maps element to `Int32` count |
//! | `ROW<…>` | `Struct` |
//! | `NULL` | `Null` |

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{
    DataType as ArrowType, Field, FieldRef, Fields, IntervalUnit, TimeUnit as ArrowTimeUnit,
};

/// The length that Flink gives `STRING` and `BYTES`.
pub const MAX_LENGTH: u32 = i32::MAX as u32;
/// The largest precision of a `DECIMAL`.
pub const MAX_DECIMAL_PRECISION: u8 = 38;

/// A Flink data type without its nullability.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogicalType {
    Null,
    Boolean,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    Float,
    Double,
    /// Precision 1 to 38, scale 0 to precision.
    Decimal(u8, u8),
    /// Length in characters.
    Char(u32),
    /// Largest length in characters; [`MAX_LENGTH`] is `STRING`.
    VarChar(u32),
    /// Length in bytes.
    Binary(u32),
    /// Largest length in bytes; [`MAX_LENGTH`] is `BYTES`.
    VarBinary(u32),
    Date,
    /// Fractional digits of a second, 0 to 9; values are held in milliseconds.
    Time(u8),
    /// Wall-clock time; fractional digits of a second, 0 to 9.
    Timestamp(u8),
    /// A point in time, shown in the session's time zone; fractional digits of a second, 0 to 9.
    TimestampLtz(u8),
    IntervalYearMonth,
    IntervalDaySecond,
    Array(Arc<DataType>),
    Map(Arc<DataType>, Arc<DataType>),
    Multiset(Arc<DataType>),
    Row(Arc<[RowField]>),
}

/// A Flink data type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DataType {
    pub logical: LogicalType,
    pub nullable: bool,
}

/// A named field of a `ROW`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowField {
    pub name: String,
    pub data_type: DataType,
}

impl RowField {
    pub fn new(name: impl Into<String>, data_type: DataType) -> Self {
        Self {
            name: name.into(),
            data_type,
        }
    }
}

impl LogicalType {
    pub const STRING: LogicalType = LogicalType::VarChar(MAX_LENGTH);
    pub const BYTES: LogicalType = LogicalType::VarBinary(MAX_LENGTH);

    pub fn nullable(self) -> DataType {
        DataType {
            logical: self,
            nullable: true,
        }
    }

    pub fn not_null(self) -> DataType {
        DataType {
            logical: self,
            nullable: false,
        }
    }

    pub fn is_integer(&self) -> bool {
        matches!(
            self,
            Self::TinyInt | Self::SmallInt | Self::Int | Self::BigInt
        )
    }

    /// Integers and decimals: arithmetic on them is exact.
    pub fn is_exact_numeric(&self) -> bool {
        self.is_integer() || matches!(self, Self::Decimal(..))
    }

    pub fn is_approximate_numeric(&self) -> bool {
        matches!(self, Self::Float | Self::Double)
    }

    pub fn is_numeric(&self) -> bool {
        self.is_exact_numeric() || self.is_approximate_numeric()
    }

    pub fn is_character(&self) -> bool {
        matches!(self, Self::Char(_) | Self::VarChar(_))
    }

    pub fn is_binary(&self) -> bool {
        matches!(self, Self::Binary(_) | Self::VarBinary(_))
    }

    pub fn is_timestamp(&self) -> bool {
        matches!(self, Self::Timestamp(_) | Self::TimestampLtz(_))
    }

    pub fn is_datetime(&self) -> bool {
        self.is_timestamp() || matches!(self, Self::Date | Self::Time(_))
    }

    pub fn is_interval(&self) -> bool {
        matches!(self, Self::IntervalYearMonth | Self::IntervalDaySecond)
    }

    /// `ARRAY`, `MAP`, `MULTISET` and `ROW`.
    pub fn is_nested(&self) -> bool {
        matches!(
            self,
            Self::Array(_) | Self::Map(..) | Self::Multiset(_) | Self::Row(_)
        )
    }

    /// The Arrow type that holds values of this type.
    pub fn to_arrow(&self) -> ArrowType {
        match self {
            Self::Null => ArrowType::Null,
            Self::Boolean => ArrowType::Boolean,
            Self::TinyInt => ArrowType::Int8,
            Self::SmallInt => ArrowType::Int16,
            Self::Int => ArrowType::Int32,
            Self::BigInt => ArrowType::Int64,
            Self::Float => ArrowType::Float32,
            Self::Double => ArrowType::Float64,
            Self::Decimal(precision, scale) => ArrowType::Decimal128(*precision, *scale as i8),
            Self::Char(_) | Self::VarChar(_) => ArrowType::Utf8View,
            Self::Binary(_) | Self::VarBinary(_) => ArrowType::BinaryView,
            Self::Date => ArrowType::Date32,
            Self::Time(_) => ArrowType::Time32(ArrowTimeUnit::Millisecond),
            Self::Timestamp(precision) => ArrowType::Timestamp(arrow_time_unit(*precision), None),
            Self::TimestampLtz(precision) => {
                ArrowType::Timestamp(arrow_time_unit(*precision), Some("UTC".into()))
            }
            Self::IntervalYearMonth => ArrowType::Interval(IntervalUnit::YearMonth),
            Self::IntervalDaySecond => ArrowType::Duration(ArrowTimeUnit::Millisecond),
            Self::Array(item) => ArrowType::List(item.to_field("item")),
            Self::Map(key, value) => map_type(key.to_field("key"), value.to_field("value")),
            Self::Multiset(item) => map_type(
                item.to_field("key"),
                LogicalType::Int.not_null().to_field("value"),
            ),
            Self::Row(fields) => ArrowType::Struct(
                fields
                    .iter()
                    .map(|f| f.data_type.to_field(&f.name))
                    .collect::<Fields>(),
            ),
        }
    }
}

/// The Arrow unit that holds a timestamp of this many fractional digits.
pub fn arrow_time_unit(precision: u8) -> ArrowTimeUnit {
    match precision {
        0..=3 => ArrowTimeUnit::Millisecond,
        4..=6 => ArrowTimeUnit::Microsecond,
        _ => ArrowTimeUnit::Nanosecond,
    }
}

fn map_type(key: FieldRef, value: FieldRef) -> ArrowType {
    // Arrow demands keys that are not null; Flink's null keys are refused where maps are made.
    let key = Arc::new(key.as_ref().clone().with_nullable(false));
    let entries = Field::new(
        "entries",
        ArrowType::Struct(Fields::from(vec![key, value])),
        false,
    );
    ArrowType::Map(Arc::new(entries), false)
}

impl DataType {
    pub fn with_nullable(&self, nullable: bool) -> Self {
        Self {
            logical: self.logical.clone(),
            nullable,
        }
    }

    pub fn to_arrow(&self) -> ArrowType {
        self.logical.to_arrow()
    }

    /// An Arrow field of this type. Fields are always nullable in Arrow: `NOT NULL` is what the
    /// planner knows, not what a kernel must check.
    pub fn to_field(&self, name: &str) -> FieldRef {
        Arc::new(Field::new(name, self.to_arrow(), true))
    }
}

impl fmt::Display for LogicalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => write!(f, "NULL"),
            Self::Boolean => write!(f, "BOOLEAN"),
            Self::TinyInt => write!(f, "TINYINT"),
            Self::SmallInt => write!(f, "SMALLINT"),
            Self::Int => write!(f, "INT"),
            Self::BigInt => write!(f, "BIGINT"),
            Self::Float => write!(f, "FLOAT"),
            Self::Double => write!(f, "DOUBLE"),
            Self::Decimal(precision, scale) => write!(f, "DECIMAL({precision}, {scale})"),
            Self::Char(length) => write!(f, "CHAR({length})"),
            Self::VarChar(MAX_LENGTH) => write!(f, "STRING"),
            Self::VarChar(length) => write!(f, "VARCHAR({length})"),
            Self::Binary(length) => write!(f, "BINARY({length})"),
            Self::VarBinary(MAX_LENGTH) => write!(f, "BYTES"),
            Self::VarBinary(length) => write!(f, "VARBINARY({length})"),
            Self::Date => write!(f, "DATE"),
            Self::Time(precision) => write!(f, "TIME({precision})"),
            Self::Timestamp(precision) => write!(f, "TIMESTAMP({precision})"),
            Self::TimestampLtz(precision) => write!(f, "TIMESTAMP_LTZ({precision})"),
            Self::IntervalYearMonth => write!(f, "INTERVAL YEAR TO MONTH"),
            Self::IntervalDaySecond => write!(f, "INTERVAL DAY TO SECOND(3)"),
            Self::Array(item) => write!(f, "ARRAY<{item}>"),
            Self::Map(key, value) => write!(f, "MAP<{key}, {value}>"),
            Self::Multiset(item) => write!(f, "MULTISET<{item}>"),
            Self::Row(fields) => {
                write!(f, "ROW<")?;
                for (i, field) in fields.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}`{}` {}", field.name, field.data_type)?;
                }
                write!(f, ">")
            }
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.logical)?;
        if self.nullable {
            Ok(())
        } else {
            write!(f, " NOT NULL")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_shown_as_flink_shows_them() {
        let row = LogicalType::Row(Arc::from([
            RowField::new("a", LogicalType::Int.nullable()),
            RowField::new("b", LogicalType::STRING.not_null()),
        ]));
        assert_eq!(
            row.nullable().to_string(),
            "ROW<`a` INT, `b` STRING NOT NULL>"
        );
        assert_eq!(
            LogicalType::Decimal(10, 2).not_null().to_string(),
            "DECIMAL(10, 2) NOT NULL"
        );
    }

    #[test]
    fn timestamps_use_the_coarsest_unit_that_holds_them() {
        assert_eq!(
            LogicalType::Timestamp(3).to_arrow(),
            ArrowType::Timestamp(ArrowTimeUnit::Millisecond, None)
        );
        assert_eq!(
            LogicalType::TimestampLtz(6).to_arrow(),
            ArrowType::Timestamp(ArrowTimeUnit::Microsecond, Some("UTC".into()))
        );
    }
}
