//! What binding functions share: checks of arguments, their errors, results that are NULL when an
//! argument is.

use std::ops::RangeInclusive;
use std::sync::Arc;

use datafusion_common::ScalarValue;
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

use super::{Argument, BindContext, BoundFunction, Kernel};

impl BoundFunction {
    pub fn new(
        argument_types: Vec<DataType>,
        return_type: DataType,
        kernel: Arc<dyn Kernel>,
    ) -> Self {
        Self {
            argument_types,
            return_type,
            kernel,
        }
    }
}

impl Argument {
    /// The text of a character constant that is not NULL.
    pub fn literal_text(&self) -> Option<&str> {
        self.literal.as_ref().and_then(scalar_text)
    }

    /// The value of an integer constant that is not NULL.
    pub fn literal_integer(&self) -> Option<i64> {
        self.literal.as_ref().and_then(scalar_integer)
    }

    pub fn logical(&self) -> &LogicalType {
        &self.data_type.logical
    }
}

/// The text of a character constant that is not NULL.
pub fn scalar_text(value: &ScalarValue) -> Option<&str> {
    match value {
        ScalarValue::Utf8View(text) | ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) => {
            text.as_deref()
        }
        _ => None,
    }
}

/// The value of an integer constant, or of an interval in its unit, that is not NULL.
pub fn scalar_integer(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int8(v) => v.map(i64::from),
        ScalarValue::Int16(v) => v.map(i64::from),
        ScalarValue::Int32(v) | ScalarValue::IntervalYearMonth(v) => v.map(i64::from),
        ScalarValue::Int64(v) | ScalarValue::DurationMillisecond(v) => *v,
        _ => None,
    }
}

impl<'a> BindContext<'a> {
    /// The number of arguments.
    pub fn len(&self) -> usize {
        self.arguments.len()
    }

    pub fn is_empty(&self) -> bool {
        self.arguments.is_empty()
    }

    /// An argument that [`Self::expect_count`] has promised.
    pub fn argument(&self, index: usize) -> Result<&'a Argument> {
        self.arguments.get(index).ok_or_else(|| self.wrong_count())
    }

    pub fn logical(&self, index: usize) -> Result<&'a LogicalType> {
        Ok(&self.argument(index)?.data_type.logical)
    }

    /// Whether any argument may be NULL; the usual nullability of a result.
    pub fn any_nullable(&self) -> bool {
        self.arguments.iter().any(|a| a.data_type.nullable)
    }

    /// This type, nullable when any argument is.
    pub fn returns(&self, logical: LogicalType) -> DataType {
        DataType {
            logical,
            nullable: self.any_nullable(),
        }
    }

    /// These types for the arguments, each nullable when its argument is.
    pub fn casts(&self, types: impl IntoIterator<Item = LogicalType>) -> Vec<DataType> {
        let types = types.into_iter().zip(self.arguments);
        types
            .map(|(logical, a)| DataType {
                logical,
                nullable: a.data_type.nullable,
            })
            .collect()
    }

    /// The arguments' types as they are.
    pub fn own_types(&self) -> Vec<DataType> {
        self.arguments.iter().map(|a| a.data_type.clone()).collect()
    }

    /// # Errors
    /// A user error when the number of arguments is not in the range.
    pub fn expect_count(&self, counts: RangeInclusive<usize>) -> Result<()> {
        if counts.contains(&self.len()) {
            Ok(())
        } else {
            Err(self.wrong_count())
        }
    }

    fn syntax(&self) -> &'static str {
        let native = super::native::LIST.iter().map(|f| f.function);
        let mut native = native.filter(|f| f.name == self.name);
        let found = super::find(self.name).or_else(|| native.next());
        found.map_or("", |f| f.syntax)
    }

    /// The error for a wrong number of arguments.
    pub fn wrong_count(&self) -> Error {
        let (name, given, syntax) = (self.name, self.len(), self.syntax());
        let message = format!("invalid number of arguments to '{name}': {given}; write {syntax}");
        Error::user("INVALID_ARGUMENT_COUNT", message)
    }

    /// The error for arguments of types that the function does not take.
    pub fn wrong_types(&self) -> Error {
        let types: Vec<_> = self
            .arguments
            .iter()
            .map(|a| format!("<{}>", a.logical()))
            .collect();
        let (name, syntax) = (self.name, self.syntax());
        let types = types.join(", ");
        let message = format!("cannot apply '{name}' to arguments of type {types}; write {syntax}");
        Error::user("INVALID_ARGUMENT_TYPES", message)
    }

    /// # Errors
    /// [`Self::wrong_types`] unless `holds`.
    pub fn expect_types(&self, holds: bool) -> Result<()> {
        if holds {
            Ok(())
        } else {
            Err(self.wrong_types())
        }
    }

    /// Whether this argument can be taken as text: a character string or NULL.
    pub fn is_text(&self, index: usize) -> bool {
        self.is_type(index, LogicalType::is_character)
    }

    pub fn is_numeric(&self, index: usize) -> bool {
        self.is_type(index, LogicalType::is_numeric)
    }

    /// Whether an argument has such a type; a NULL has every type.
    pub fn is_type(&self, index: usize, holds: impl Fn(&LogicalType) -> bool) -> bool {
        let logical = self.arguments.get(index).map(Argument::logical);
        logical.is_some_and(|t| matches!(t, LogicalType::Null) || holds(t))
    }

    /// A function of character strings: as many arguments as `counts` allows, all cast to STRING.
    pub fn expect_text(&self, counts: RangeInclusive<usize>) -> Result<Vec<DataType>> {
        self.expect_count(counts)?;
        self.expect_types((0..self.len()).all(|i| self.is_text(i)))?;
        Ok(self.casts(std::iter::repeat_n(LogicalType::STRING, self.len())))
    }
}
