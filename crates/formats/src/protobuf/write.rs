//! Writes rows of Arrow columns as messages.

use arrow::array::*;
use arrow::datatypes::*;
use flott_core::{Error, Result};

use super::plan::{Element, FieldPlan, MessagePlan, Scalar, Shape};
use super::read::wire_of;

/// The wire type of what stands behind its length.
const BYTES: u8 = 2;

/// How NULLs inside lists and maps are written: protobuf has none.
pub(super) struct MessageWriter<'a> {
    pub plan: &'a MessagePlan,
    /// What a NULL string is written as.
    pub null_string: &'a str,
}

fn unfit(array: &dyn Array) -> Error {
    Error::internal(format!(
        "a column of {} for another field",
        array.data_type()
    ))
}

impl MessageWriter<'_> {
    /// Appends row `row` of `columns` as a message.
    ///
    /// # Errors
    /// A user error for a string that is no symbol of its enum.
    pub fn write(&self, columns: &[ArrayRef], row: usize, out: &mut Vec<u8>) -> Result<()> {
        self.message(self.plan, columns, row, out)
    }

    fn message(
        &self,
        plan: &MessagePlan,
        columns: &[ArrayRef],
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        for (field, column) in plan.fields.iter().zip(columns) {
            if column.is_valid(row) {
                self.field(field, column.as_ref(), row, out)?;
            }
        }
        Ok(())
    }

    fn field(
        &self,
        field: &FieldPlan,
        array: &dyn Array,
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        match &field.shape {
            Shape::One(Element::Scalar(scalar)) => {
                let start = out.len();
                write_tag(field.number, wire_of(scalar), out);
                let value = out.len();
                self.scalar(scalar, array, row, out)?;
                // What is the default says nothing where a field cannot be absent.
                if !field.has_presence && out[value..].iter().all(|b| *b == 0) {
                    out.truncate(start);
                }
                Ok(())
            }
            Shape::One(Element::Message(plan)) => {
                let rows = array.as_struct_opt().ok_or_else(|| unfit(array))?;
                write_tag(field.number, BYTES, out);
                write_sized(out, |out| self.message(plan, rows.columns(), row, out))
            }
            Shape::List { element, is_packed } => {
                let list = array.as_list_opt::<i32>().ok_or_else(|| unfit(array))?;
                let offsets = list.value_offsets();
                let items = offsets[row] as usize..offsets[row + 1] as usize;
                let values = list.values().as_ref();
                match element {
                    Element::Scalar(scalar) if *is_packed => {
                        if items.is_empty() {
                            return Ok(());
                        }
                        write_tag(field.number, BYTES, out);
                        write_sized(out, |out| {
                            items
                                .into_iter()
                                .try_for_each(|i| self.scalar(scalar, values, i, out))
                        })
                    }
                    element => items
                        .into_iter()
                        .try_for_each(|i| self.element(field.number, element, values, i, out)),
                }
            }
            Shape::Map { key, value } => {
                let map = array.as_map_opt().ok_or_else(|| unfit(array))?;
                let offsets = map.value_offsets();
                for entry in offsets[row] as usize..offsets[row + 1] as usize {
                    write_tag(field.number, BYTES, out);
                    write_sized(out, |out| {
                        write_tag(1, wire_of(key), out);
                        self.scalar(key, map.keys().as_ref(), entry, out)?;
                        self.element(2, value, map.values().as_ref(), entry, out)
                    })?;
                }
                Ok(())
            }
        }
    }

    /// A field's tag and one value; NULL is the zero of the type.
    fn element(
        &self,
        number: u32,
        element: &Element,
        array: &dyn Array,
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        match element {
            Element::Scalar(scalar) => {
                write_tag(number, wire_of(scalar), out);
                self.scalar(scalar, array, row, out)
            }
            Element::Message(plan) => {
                let rows = array.as_struct_opt().ok_or_else(|| unfit(array))?;
                write_tag(number, BYTES, out);
                write_sized(out, |out| match rows.is_valid(row) {
                    true => self.message(plan, rows.columns(), row, out),
                    false => Ok(()),
                })
            }
        }
    }

    fn scalar(
        &self,
        scalar: &Scalar,
        array: &dyn Array,
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let is_null = array.is_null(row);
        match scalar {
            Scalar::String => {
                let texts = array.as_string_view_opt().ok_or_else(|| unfit(array))?;
                let text = if is_null {
                    self.null_string
                } else {
                    texts.value(row)
                };
                write_bytes(text.as_bytes(), out);
            }
            Scalar::Bytes => {
                let values = array.as_binary_view_opt().ok_or_else(|| unfit(array))?;
                let bytes = if is_null { &[] } else { values.value(row) };
                write_bytes(bytes, out);
            }
            Scalar::Float => {
                let value = if is_null { 0.0 } else { double(array, row)? };
                out.extend_from_slice(&(value as f32).to_le_bytes());
            }
            Scalar::Double => {
                let value = if is_null { 0.0 } else { double(array, row)? };
                out.extend_from_slice(&value.to_le_bytes());
            }
            Scalar::Enum(names) => {
                let number = match array.as_string_view_opt() {
                    _ if is_null => 0,
                    None => integer(array, row)?,
                    Some(texts) => {
                        let name = texts.value(row);
                        *names.by_name.get(name).ok_or_else(|| {
                            let known = names.by_name.keys().map(String::as_str);
                            let hint = flott_core::error::did_you_mean(name, known);
                            let message =
                                format!("'{name}' is no symbol of the field's enum{hint}");
                            Error::user("MALFORMED_RECORD", message)
                        })?
                    }
                };
                write_varint(number as u64, out);
            }
            _ => {
                let value = if is_null { 0 } else { integer(array, row)? };
                write_integer(scalar, value, out);
            }
        }
        Ok(())
    }
}

fn write_integer(scalar: &Scalar, value: i64, out: &mut Vec<u8>) {
    match scalar {
        // 32 bits are enough to be read as 32; negative numbers take ten bytes all the same.
        Scalar::Varint { is_32: true } => write_varint(i64::from(value as i32) as u64, out),
        Scalar::Zigzag => write_varint(((value << 1) ^ (value >> 63)) as u64, out),
        Scalar::Fixed32 => out.extend_from_slice(&(value as i32).to_le_bytes()),
        Scalar::Fixed64 => out.extend_from_slice(&value.to_le_bytes()),
        _ => write_varint(value as u64, out),
    }
}

fn integer(array: &dyn Array, row: usize) -> Result<i64> {
    Ok(match array.data_type() {
        DataType::Int32 => i64::from(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row),
        DataType::Boolean => i64::from(array.as_boolean().value(row)),
        _ => return Err(unfit(array)),
    })
}

fn double(array: &dyn Array, row: usize) -> Result<f64> {
    Ok(match array.data_type() {
        DataType::Float32 => f64::from(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row),
        _ => return Err(unfit(array)),
    })
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn write_tag(number: u32, wire: u8, out: &mut Vec<u8>) {
    write_varint(u64::from(number) << 3 | u64::from(wire), out);
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends what `write` appends, with its length before it.
fn write_sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
    let start = out.len();
    write(out)?;
    let mut length = Vec::with_capacity(10);
    write_varint((out.len() - start) as u64, &mut length);
    out.splice(start..start, length);
    Ok(())
}
