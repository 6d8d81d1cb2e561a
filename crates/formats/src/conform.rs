//! Brings columns that a file's reader gives to the table's types, by the names of fields.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::*;
use flott_core::format::DecodeRequest;
use flott_core::types::{DataType as FlinkType, LogicalType};
use flott_core::{Error, Result};

/// A field that is wanted from a file.
#[derive(Debug, Clone)]
pub(crate) struct WantedField {
    /// The column's name, then those of the fields inside that lead to it.
    pub names: Vec<String>,
    pub data_type: FlinkType,
}

/// The fields of a request by their names.
///
/// # Errors
/// An internal error for a path that leads nowhere.
pub(crate) fn wanted_fields(request: &DecodeRequest) -> Result<Vec<WantedField>> {
    let wanted = request.fields.iter().map(|path| {
        let nowhere = || Error::internal(format!("no field {:?} in {}", path.0, request.schema));
        let (first, rest) = path.0.split_first().ok_or_else(nowhere)?;
        let column = request.schema.columns().get(*first).ok_or_else(nowhere)?;
        let mut names = vec![column.name.clone()];
        let mut data_type = column.data_type.clone();
        for index in rest {
            let LogicalType::Row(fields) = &data_type.logical else {
                return Err(nowhere());
            };
            let field = fields.get(*index).ok_or_else(nowhere)?.clone();
            names.push(field.name);
            data_type = field.data_type;
        }
        Ok(WantedField { names, data_type })
    });
    wanted.collect()
}

impl WantedField {
    /// The field's values in a batch; NULL where the file does not know it or a row around it is
    /// NULL.
    ///
    /// # Errors
    /// A user error when the file's type is not the table's.
    pub fn of(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let column = self
            .names
            .first()
            .and_then(|name| batch.column_by_name(name));
        let mut found = column.cloned();
        for name in &self.names[1..] {
            let Some(rows) = found else { break };
            found = match rows.as_struct_opt() {
                Some(rows) => rows
                    .column_by_name(name)
                    .map(|inner| masked(inner, rows.nulls())),
                None => {
                    return Err(self.error(rows.data_type()));
                }
            }
            .transpose()?;
        }
        match found {
            Some(array) => conform(&array, &self.data_type.logical)
                .map_err(|error| error.context(format!("column '{}'", self.names.join(".")))),
            None => Ok(new_null_array(&self.data_type.to_arrow(), batch.num_rows())),
        }
    }

    fn error(&self, found: &DataType) -> Error {
        let name = self.names.join(".");
        Error::user(
            "MALFORMED_SCHEMA",
            format!(
                "column '{name}' is {} in the table, the file holds {found} around it",
                self.data_type
            ),
        )
    }
}

/// The values of `inner`, NULL also where `outer` is.
fn masked(inner: &ArrayRef, outer: Option<&NullBuffer>) -> Result<ArrayRef> {
    let Some(outer) = outer.filter(|n| n.null_count() > 0) else {
        return Ok(inner.clone());
    };
    let nulls = NullBuffer::union(Some(outer), inner.nulls());
    Ok(make_array(
        inner.to_data().into_builder().nulls(nulls).build()?,
    ))
}

/// An array of what Arrow holds for `logical`, from one of another reader.
///
/// # Errors
/// A user error when the types do not fit, or a value does not.
pub(crate) fn conform(array: &ArrayRef, logical: &LogicalType) -> Result<ArrayRef> {
    let wanted = logical.to_arrow();
    if *array.data_type() == wanted {
        return Ok(array.clone());
    }
    match (array.data_type(), logical) {
        (DataType::Null, _) => Ok(new_null_array(&wanted, array.len())),
        (DataType::Dictionary(_, values), _) => conform(&cast(array, values)?, logical),
        (DataType::Struct(_), LogicalType::Row(fields)) => {
            let rows = array.as_struct();
            let columns = fields
                .iter()
                .map(|field| match rows.column_by_name(&field.name) {
                    Some(column) => {
                        // What stands in a NULL row is of no interest, and NULL in this house.
                        let column = masked(column, rows.nulls())?;
                        conform(&column, &field.data_type.logical)
                            .map_err(|e| e.context(format!("field '{}'", field.name)))
                    }
                    None => Ok(new_null_array(&field.data_type.to_arrow(), rows.len())),
                });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let DataType::Struct(fields) = wanted else {
                return Err(refused(array.data_type(), logical));
            };
            let (nulls, len) = (rows.nulls().cloned(), rows.len());
            Ok(Arc::new(StructArray::try_new_with_length(
                fields, columns, nulls, len,
            )?))
        }
        (DataType::List(_), LogicalType::Array(item)) => {
            let list = array.as_list::<i32>();
            let items = conform(list.values(), &item.logical)?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(
                item.to_field("item"),
                offsets,
                items,
                nulls,
            )?))
        }
        (DataType::LargeList(inner) | DataType::FixedSizeList(inner, _), LogicalType::Array(_)) => {
            conform(&cast(array, &DataType::List(inner.clone()))?, logical)
        }
        (DataType::Map(..), LogicalType::Map(key, value)) => {
            conform_map(array.as_map(), &key.logical, &value.logical, &wanted)
        }
        (DataType::Map(..), LogicalType::Multiset(item)) => {
            conform_map(array.as_map(), &item.logical, &LogicalType::Int, &wanted)
        }
        (
            DataType::Timestamp(unit, _),
            LogicalType::Timestamp(_) | LogicalType::TimestampLtz(_),
        ) => conform_timestamp(array, *unit, &wanted),
        (DataType::FixedSizeBinary(_), _) if logical.is_binary() => {
            cast(&cast(array, &DataType::Binary)?, &wanted)
        }
        (found, _) if is_castable(found, logical) => cast(array, &wanted),
        (found, _) => Err(refused(found, logical)),
    }
}

fn refused(found: &DataType, logical: &LogicalType) -> Error {
    Error::user(
        "MALFORMED_SCHEMA",
        format!("the file's {found} cannot be read as {logical}"),
    )
}

fn conform_map(
    map: &MapArray,
    key: &LogicalType,
    value: &LogicalType,
    wanted: &DataType,
) -> Result<ArrayRef> {
    let (keys, values) = (conform(map.keys(), key)?, conform(map.values(), value)?);
    let entries = match wanted {
        DataType::Map(entries, _) => entries,
        other => return Err(Error::internal(format!("a map that is {other}"))),
    };
    let DataType::Struct(fields) = entries.data_type().clone() else {
        return Err(Error::internal("the entries of a map are no struct"));
    };
    if keys.null_count() > 0 {
        return Err(Error::user("MALFORMED_RECORD", "a key of a map is NULL"));
    }
    let rows = StructArray::try_new(fields, vec![keys, values], None)?;
    let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
    Ok(Arc::new(MapArray::try_new(
        entries.clone(),
        offsets,
        rows,
        nulls,
        false,
    )?))
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

fn conform_timestamp(array: &ArrayRef, unit: TimeUnit, wanted: &DataType) -> Result<ArrayRef> {
    let DataType::Timestamp(to_unit, _) = wanted else {
        return Err(Error::internal(format!("a timestamp that is {wanted}")));
    };
    let data = array
        .to_data()
        .into_builder()
        .data_type(DataType::Int64)
        .build()?;
    let values = Int64Array::from(data);
    let (from, to) = (per_second(unit), per_second(*to_unit));
    let values: Int64Array = match from > to {
        true => values.unary(|v| v.div_euclid(from / to)),
        false => values.try_unary(|v| {
            v.checked_mul(to / from).ok_or_else(|| {
                let message =
                    format!("a timestamp of {v} {unit:?}s is out of the range of {wanted}");
                Error::user("MALFORMED_RECORD", message)
            })
        })?,
    };
    let data = values.into_data().into_builder().data_type(wanted.clone());
    Ok(make_array(data.build()?))
}

/// Whether Arrow's cast means the same as Flink's reading.
fn is_castable(found: &DataType, logical: &LogicalType) -> bool {
    let is_text = matches!(
        found,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
    );
    match logical {
        LogicalType::Decimal(..) => {
            found.is_integer()
                || matches!(
                    found,
                    DataType::Decimal128(..)
                        | DataType::Decimal256(..)
                        | DataType::Decimal32(..)
                        | DataType::Decimal64(..)
                )
        }
        LogicalType::Time(_) => matches!(found, DataType::Time32(_) | DataType::Time64(_)),
        LogicalType::Date => matches!(found, DataType::Date64),
        _ if logical.is_integer() => found.is_integer(),
        _ if logical.is_approximate_numeric() => found.is_integer() || found.is_floating(),
        _ => is_text && (logical.is_character() || logical.is_binary()),
    }
}

/// A value that does not fit is an error; a decimal that does not is NULL, as in Flink.
fn cast(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    let options = CastOptions {
        safe: matches!(wanted, DataType::Decimal128(..)),
        ..CastOptions::default()
    };
    cast_with_options(array, wanted, &options).map_err(|error| {
        let message = format!("cannot read {} as {wanted}: {error}", array.data_type());
        Error::user("MALFORMED_RECORD", message)
    })
}

/// # Errors
/// A user error for a type that files in columns do not have.
pub(crate) fn check_type(logical: &LogicalType, format: &str) -> Result<()> {
    match logical {
        LogicalType::Array(item) => check_type(&item.logical, format),
        LogicalType::Multiset(item) => check_type(&item.logical, format),
        LogicalType::Map(key, value) => {
            check_type(&key.logical, format)?;
            check_type(&value.logical, format)
        }
        LogicalType::Row(fields) => fields
            .iter()
            .try_for_each(|field| check_type(&field.data_type.logical, format)),
        LogicalType::Null | LogicalType::IntervalYearMonth | LogicalType::IntervalDaySecond => {
            let message = format!("format '{format}' cannot hold a value of type {logical}");
            Err(Error::user("UNSUPPORTED_TYPE", message))
        }
        _ => Ok(()),
    }
}

/// The error for a connector of messages.
pub(crate) fn only_files(format: &str) -> Error {
    let message = format!("format '{format}' is for files; use it with connector 'filesystem'");
    Error::user("UNSUPPORTED_FORMAT", message)
}
