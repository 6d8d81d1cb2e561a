//! Reads messages in protobuf's wire format straight into columns.
//!
//! A first pass notes where each wanted field stands, since fields may come in any order and the
//! last one counts; then the fields are read in the order of the columns.

use super::plan::{Absent, Element, FieldPlan, MessagePlan, Scalar, Shape};
use super::wire::{BYTES, Cursor, FIXED32, FIXED64, Read, VARINT};
use crate::column::ColumnBuilder;

/// Where a field stands in the message in hand.
#[derive(Clone, Copy, Default)]
pub(super) struct Slot {
    count: u32,
    /// The tag of the first occurrence.
    first: usize,
    /// The value of the last one.
    last: usize,
    wire: u8,
}

/// Reads messages; keeps its memory between them.
#[derive(Default)]
pub(super) struct MessageReader {
    slots: Vec<Slot>,
}

impl MessageReader {
    /// Appends a value to each column of the plan.
    ///
    /// # Errors
    /// What was expected where the bytes are wrong; columns may be half filled then.
    pub fn message(
        &mut self,
        plan: &MessagePlan,
        data: &[u8],
        columns: &mut [ColumnBuilder],
    ) -> Read<()> {
        let base = self.slots.len();
        self.slots.resize(base + plan.fields.len(), Slot::default());
        let result = self.note(plan, data, base).and_then(|()| {
            plan.fields
                .iter()
                .enumerate()
                .try_for_each(|(place, field)| {
                    let slot = self.slots[base + place];
                    self.field(field, slot, data, columns)
                })
        });
        self.slots.truncate(base);
        result
    }

    fn note(&mut self, plan: &MessagePlan, data: &[u8], base: usize) -> Read<()> {
        let mut cursor = Cursor::new(data);
        // Fields mostly come in the order of their numbers, as the columns often do.
        let mut guess = 0;
        while !cursor.is_done() {
            let first = cursor.at;
            let (number, wire) = cursor.tag()?;
            let last = cursor.at;
            cursor.skip(wire, 0)?;
            let is_it = |place: &usize| plan.fields.get(*place).is_some_and(|f| f.number == number);
            let found = Some(guess).filter(is_it);
            let found = found.or_else(|| plan.fields.iter().position(|f| f.number == number));
            if let Some(place) = found {
                let slot = &mut self.slots[base + place];
                if slot.count == 0 {
                    slot.first = first;
                }
                *slot = Slot {
                    count: slot.count.saturating_add(1),
                    first: slot.first,
                    last,
                    wire,
                };
                guess = place + 1;
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        field: &FieldPlan,
        slot: Slot,
        data: &[u8],
        columns: &mut [ColumnBuilder],
    ) -> Read<()> {
        for output in &field.outputs {
            self.whole(field, slot, data, &mut columns[*output])?;
        }
        if let Some((plan, leaves)) = &field.nested {
            match (slot.count, &field.absent) {
                (0, Absent::Null) => leaves.iter().for_each(|c| columns[*c].push_null()),
                (0, _) => self.message(plan, &[], columns)?,
                _ => self.merged(field.number, slot, data, |reader, message| {
                    reader.message(plan, message, columns)
                })?,
            }
        }
        Ok(())
    }

    fn whole(
        &mut self,
        field: &FieldPlan,
        slot: Slot,
        data: &[u8],
        column: &mut ColumnBuilder,
    ) -> Read<()> {
        if slot.count == 0 && field.absent == Absent::Null {
            column.push_null();
            return Ok(());
        }
        match (&field.shape, column) {
            (Shape::One(Element::Scalar(scalar)), column) => {
                if slot.count == 0 {
                    return push_absent(scalar, &field.absent, column);
                }
                let mut cursor = Cursor {
                    data,
                    at: slot.last,
                };
                check_wire(scalar, slot.wire)?;
                push_scalar(scalar, &mut cursor, column)
            }
            (Shape::One(Element::Message(plan)), ColumnBuilder::Row(rows)) => {
                match slot.count {
                    0 => self.message(plan, &[], &mut rows.children)?,
                    _ => self.merged(field.number, slot, data, |reader, message| {
                        reader.message(plan, message, &mut rows.children)
                    })?,
                }
                rows.push();
                Ok(())
            }
            (Shape::List { element, .. }, ColumnBuilder::Array(lists)) => {
                if slot.count > 0 {
                    self.items(element, field.number, slot, data, &mut lists.items)?;
                }
                lists.push().map_err(|_| "fewer items in a batch")
            }
            (Shape::Map { key, value }, ColumnBuilder::Map(maps)) => {
                each(field.number, slot, data, |cursor, wire| {
                    let entry = bytes_of(cursor, wire)?;
                    self.entry(key, value, entry, &mut maps.keys, &mut maps.values)
                })?;
                maps.push().map_err(|_| "fewer entries in a batch")
            }
            _ => Err("a column of the field's shape"),
        }
    }

    /// The message that a field holds: several occurrences are one message, joined.
    fn merged(
        &mut self,
        number: u32,
        slot: Slot,
        data: &[u8],
        read: impl FnOnce(&mut Self, &[u8]) -> Read<()>,
    ) -> Read<()> {
        let mut cursor = Cursor {
            data,
            at: slot.last,
        };
        if slot.count == 1 {
            return read(self, bytes_of(&mut cursor, slot.wire)?);
        }
        let mut joined = Vec::new();
        each(number, slot, data, |cursor, wire| {
            joined.extend_from_slice(bytes_of(cursor, wire)?);
            Ok(())
        })?;
        read(self, &joined)
    }

    fn items(
        &mut self,
        element: &Element,
        number: u32,
        slot: Slot,
        data: &[u8],
        items: &mut ColumnBuilder,
    ) -> Read<()> {
        each(number, slot, data, |cursor, wire| match element {
            Element::Message(plan) => {
                let message = bytes_of(cursor, wire)?;
                let ColumnBuilder::Row(rows) = &mut *items else {
                    return Err("a column of rows");
                };
                self.message(plan, message, &mut rows.children)?;
                rows.push();
                Ok(())
            }
            Element::Scalar(scalar) if wire == BYTES && !is_bytes(scalar) => {
                let mut packed = Cursor::new(cursor.bytes()?);
                while !packed.is_done() {
                    push_scalar(scalar, &mut packed, items)?;
                }
                Ok(())
            }
            Element::Scalar(scalar) => {
                check_wire(scalar, wire)?;
                push_scalar(scalar, cursor, items)
            }
        })
    }

    fn entry(
        &mut self,
        key: &Scalar,
        value: &Element,
        entry: &[u8],
        keys: &mut ColumnBuilder,
        values: &mut ColumnBuilder,
    ) -> Read<()> {
        let (mut key_at, mut value_at) = (None, Slot::default());
        let mut cursor = Cursor::new(entry);
        while !cursor.is_done() {
            let first = cursor.at;
            let (number, wire) = cursor.tag()?;
            match number {
                1 => key_at = Some((cursor.at, wire)),
                2 => {
                    value_at = Slot {
                        count: 1,
                        first,
                        last: cursor.at,
                        wire,
                    }
                }
                _ => {}
            }
            cursor.skip(wire, 0)?;
        }
        match key_at {
            Some((at, wire)) => {
                check_wire(key, wire)?;
                push_scalar(key, &mut Cursor { data: entry, at }, keys)?;
            }
            None => push_absent(key, &Absent::Empty, keys)?,
        }
        let mut cursor = Cursor {
            data: entry,
            at: value_at.last,
        };
        match (value, value_at.count) {
            (Element::Scalar(scalar), 0) => push_absent(scalar, &Absent::Empty, values),
            (Element::Scalar(scalar), _) => {
                check_wire(scalar, value_at.wire)?;
                push_scalar(scalar, &mut cursor, values)
            }
            (Element::Message(plan), count) => {
                let message = match count {
                    0 => &[],
                    _ => bytes_of(&mut cursor, value_at.wire)?,
                };
                let ColumnBuilder::Row(rows) = values else {
                    return Err("a column of rows");
                };
                self.message(plan, message, &mut rows.children)?;
                rows.push();
                Ok(())
            }
        }
    }
}

/// Calls `read` at each value of a field.
fn each<'a>(
    number: u32,
    slot: Slot,
    data: &'a [u8],
    mut read: impl FnMut(&mut Cursor<'a>, u8) -> Read<()>,
) -> Read<()> {
    let mut cursor = Cursor {
        data,
        at: slot.first,
    };
    let mut left = slot.count;
    while left > 0 {
        let (found, wire) = cursor.tag()?;
        let mut value = cursor;
        cursor.skip(wire, 0)?;
        if found == number {
            read(&mut value, wire)?;
            left -= 1;
        }
    }
    Ok(())
}

fn bytes_of<'a>(cursor: &mut Cursor<'a>, wire: u8) -> Read<&'a [u8]> {
    match wire {
        BYTES => cursor.bytes(),
        _ => Err("a message behind its length"),
    }
}

fn is_bytes(scalar: &Scalar) -> bool {
    matches!(scalar, Scalar::String | Scalar::Bytes)
}

/// The wire type of a scalar.
pub(super) fn wire_of(scalar: &Scalar) -> u8 {
    match scalar {
        Scalar::Varint { .. } | Scalar::Zigzag | Scalar::Bool | Scalar::Enum(_) => VARINT,
        Scalar::Fixed32 | Scalar::Float => FIXED32,
        Scalar::Fixed64 | Scalar::Double => FIXED64,
        Scalar::String | Scalar::Bytes => BYTES,
    }
}

fn check_wire(scalar: &Scalar, wire: u8) -> Read<()> {
    match wire == wire_of(scalar) {
        true => Ok(()),
        false => Err("the field's wire type"),
    }
}

#[inline]
fn push_scalar(scalar: &Scalar, cursor: &mut Cursor<'_>, column: &mut ColumnBuilder) -> Read<()> {
    let integer = match scalar {
        Scalar::Varint { is_32: true } => i64::from(cursor.varint()? as i32),
        Scalar::Varint { is_32: false } => cursor.varint()? as i64,
        Scalar::Zigzag => {
            let value = cursor.varint()?;
            (value >> 1) as i64 ^ -((value & 1) as i64)
        }
        Scalar::Fixed32 => i64::from(i32::from_le_bytes(cursor.chunk()?)),
        Scalar::Fixed64 => i64::from_le_bytes(cursor.chunk()?),
        Scalar::Bool => i64::from(cursor.varint()? != 0),
        Scalar::Float => {
            return push_double(f64::from(f32::from_le_bytes(cursor.chunk()?)), column);
        }
        Scalar::Double => return push_double(f64::from_le_bytes(cursor.chunk()?), column),
        Scalar::String | Scalar::Bytes => return push_bytes(cursor.bytes()?, column),
        Scalar::Enum(_) => i64::from(cursor.varint()? as i32),
    };
    push_integer(scalar, integer, column)
}

fn push_integer(scalar: &Scalar, value: i64, column: &mut ColumnBuilder) -> Read<()> {
    match (column, scalar) {
        (ColumnBuilder::BigInt(column), _) => column.push(value),
        (ColumnBuilder::Int(column), _) => column.push(value as i32),
        (ColumnBuilder::Boolean(column), _) => column.push(value != 0),
        (ColumnBuilder::Text(column), Scalar::Enum(names)) => {
            let name = names
                .by_number
                .get(&value)
                .map_or("UNRECOGNIZED", String::as_str);
            column.push_copied(name.as_bytes());
        }
        _ => return Err("a column for a number"),
    }
    Ok(())
}

fn push_double(value: f64, column: &mut ColumnBuilder) -> Read<()> {
    match column {
        ColumnBuilder::Double(column) => column.push(value),
        ColumnBuilder::Float(column) => column.push(value as f32),
        _ => return Err("a column for a number"),
    }
    Ok(())
}

fn push_bytes(bytes: &[u8], column: &mut ColumnBuilder) -> Read<()> {
    match column {
        ColumnBuilder::Bytes(column) => column.push_copied(bytes),
        ColumnBuilder::Text(column) => match simdutf8::basic::from_utf8(bytes) {
            Ok(_) => column.push_copied(bytes),
            // As Java does.
            Err(_) => column.push_copied(String::from_utf8_lossy(bytes).as_bytes()),
        },
        _ => return Err("a column for text or bytes"),
    }
    Ok(())
}

/// The value of an absent field; [`Absent::Empty`] is the zero of the type.
fn push_absent(scalar: &Scalar, absent: &Absent, column: &mut ColumnBuilder) -> Read<()> {
    match (absent, scalar) {
        (Absent::Integer(value), _) => push_integer(scalar, *value, column),
        (Absent::Double(value), _) => push_double(*value, column),
        (Absent::Bytes(bytes), _) => push_bytes(bytes, column),
        (_, Scalar::Float | Scalar::Double) => push_double(0.0, column),
        (_, Scalar::String | Scalar::Bytes) => push_bytes(&[], column),
        (_, Scalar::Enum(names)) => {
            let first = names.by_number.keys().next().copied().unwrap_or(0);
            let zero = if names.by_number.contains_key(&0) {
                0
            } else {
                first
            };
            push_integer(scalar, zero, column)
        }
        _ => push_integer(scalar, 0, column),
    }
}
