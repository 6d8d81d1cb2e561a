//! `PRINTF`: strings formatted as by Java's `Formatter`.

use std::fmt::Write;

use arrow::array::ArrayRef;
use datafusion_common::ScalarValue;
use flott_core::Result;
use flott_core::java_map::binary_string_hash;
use flott_core::text::number::write_double;
use flott_core::text::{TextOptions, format_value};
use flott_core::types::{DataType, LogicalType};

use super::repeat::check_made_bytes;
use crate::functions::kernel::{Args, Text, collect_text, columns, scalar_at};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static PRINTF: FunctionDef = FunctionDef {
    name: "PRINTF",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "PRINTF(format, value, ...)",
    doc: "The values in a format as C's printf and Java's Formatter take it; NULL when the format is \
          NULL or does not fit the values.",
    examples: &[(
        "PRINTF('%s has %05.1f', 'x', CAST(2.25 AS DOUBLE))",
        "x has 002.3",
    )],
    is_deterministic: true,
    bind,
};

fn bind(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(2..=usize::MAX)?;
    ctx.expect_types(ctx.is_text(0))?;
    let mut types = ctx.own_types();
    types[0].logical = LogicalType::STRING;
    let value_types = types.clone();
    let options = TextOptions {
        time_zone: ctx.session.time_zone,
        is_printing: false,
    };
    let label = format!("PRINTF {value_types:?} {:?}", ctx.session.time_zone);
    let kernel = columns(label, move |args| print_rows(args, &value_types, &options));
    Ok(BoundFunction::new(
        types,
        LogicalType::STRING.nullable(),
        kernel,
    ))
}

fn print_rows(args: &Args, types: &[DataType], options: &TextOptions) -> Result<ArrayRef> {
    let formats = args.column::<Text>(0)?;
    let mut values = Vec::with_capacity(args.len());
    collect_text(args.num_rows(), |row, out| {
        let Some(format) = formats.get(row) else {
            return Ok(false);
        };
        values.clear();
        for (index, data_type) in types.iter().enumerate().skip(1) {
            let array = args.array(index)?;
            let row = if args.is_constant(index) { 0 } else { row };
            values.push(value_at(array, row, data_type, options)?);
        }
        print(format, &values, out)
    })
}

/// A value as conversions look at it.
#[derive(Debug)]
enum Value {
    Null,
    Bool(bool),
    /// A number of so many bits.
    Integer(i64, u32),
    Float(f64),
    Text(String),
    /// What has no conversion but to text.
    Other(String),
}

impl Value {
    fn integer<T: Into<i64>>(value: T) -> Self {
        Self::Integer(value.into(), size_of::<T>() as u32 * 8)
    }
}

fn value_at(
    array: &ArrayRef,
    row: usize,
    data_type: &DataType,
    options: &TextOptions,
) -> Result<Value> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match scalar_at(array, row)? {
        ScalarValue::Boolean(Some(value)) => Value::Bool(value),
        ScalarValue::Int8(Some(value)) => Value::integer(value),
        ScalarValue::Int16(Some(value)) => Value::integer(value),
        ScalarValue::Int32(Some(value)) => Value::integer(value),
        ScalarValue::Int64(Some(value)) => Value::integer(value),
        // Flink hands over its own values: days, and milliseconds.
        ScalarValue::Date32(Some(days)) => Value::integer(days),
        ScalarValue::Time32Millisecond(Some(millis)) => Value::integer(millis),
        ScalarValue::Float32(Some(value)) => Value::Float(value.into()),
        ScalarValue::Float64(Some(value)) => Value::Float(value),
        ScalarValue::Utf8View(Some(value)) => Value::Text(value),
        _ => {
            let mut text = String::new();
            format_value(array, row, &data_type.logical, options, &mut text)?;
            Value::Other(match &data_type.logical {
                LogicalType::Timestamp(_) | LogicalType::TimestampLtz(_) => java_time(&text),
                _ => text,
            })
        }
    })
}

/// `2024-01-02 03:04:00.500` as Java writes it: without seconds where they are 0, and with
/// thousandths, millionths or billionths of them.
fn java_time(text: &str) -> String {
    let (moment, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    let moment = moment.replace(' ', "T");
    if !fraction.is_empty() {
        let width = fraction.len().next_multiple_of(3);
        return format!("{moment}.{fraction:0<width$}");
    }
    moment
        .strip_suffix(":00")
        .map(String::from)
        .unwrap_or(moment)
}

/// What stands between `%` and the conversion.
#[derive(Debug, Default)]
struct Spec {
    /// The number of the value, from 1.
    index: Option<usize>,
    flags: Vec<char>,
    width: usize,
    precision: Option<usize>,
}

impl Spec {
    fn has(&self, flag: char) -> bool {
        self.flags.contains(&flag)
    }

    /// Reads `[index$][flags][width][.precision]conversion`; gives the conversion and the rest.
    fn parse(text: &str) -> Option<(Self, char, &str)> {
        let mut spec = Self::default();
        let mut rest = text;
        let (number, after) = take_number(rest);
        if let (Some(number), Some(after)) = (number, after.strip_prefix('$')) {
            spec.index = Some(number);
            rest = after;
        }
        while let Some(flag) = rest.chars().next().filter(|c| "-#+ 0,(".contains(*c)) {
            spec.flags.push(flag);
            rest = &rest[1..];
        }
        let (width, after) = take_number(rest);
        spec.width = width.unwrap_or(0);
        rest = after;
        if let Some(after) = rest.strip_prefix('.') {
            let (precision, after) = take_number(after);
            spec.precision = Some(precision?);
            rest = after;
        }
        let conversion = rest.chars().next()?;
        Some((spec, conversion, &rest[conversion.len_utf8()..]))
    }
}

fn take_number(text: &str) -> (Option<usize>, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (text[..digits].parse().ok(), &text[digits..])
}

/// `false` when the format does not fit the values.
fn print(format: &str, values: &[Value], out: &mut String) -> Result<bool> {
    let (mut rest, mut next) = (format, 0);
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let Some((spec, conversion, after)) = Spec::parse(after) else {
            return Ok(false);
        };
        rest = after;
        check_made_bytes("PRINTF", spec.width.max(spec.precision.unwrap_or(0)))?;
        let text = match conversion {
            '%' => "%".to_string(),
            'n' => "\n".to_string(),
            _ => {
                let index = spec.index.unwrap_or_else(|| {
                    next += 1;
                    next
                });
                let value = index.checked_sub(1).and_then(|index| values.get(index));
                let Some(text) = value.and_then(|value| convert(value, conversion, &spec)) else {
                    return Ok(false);
                };
                text
            }
        };
        pad(&text, &spec, out);
    }
    out.push_str(rest);
    Ok(true)
}

fn pad(text: &str, spec: &Spec, out: &mut String) {
    let missing = spec.width.saturating_sub(text.chars().count());
    let spaces = std::iter::repeat_n(' ', missing);
    if spec.has('-') {
        out.push_str(text);
        out.extend(spaces);
    } else {
        out.extend(spaces);
        out.push_str(text);
    }
}

/// `None` when the conversion does not take such a value.
fn convert(value: &Value, conversion: char, spec: &Spec) -> Option<String> {
    let text = match (conversion.to_ascii_lowercase(), value) {
        ('b', Value::Null) => cut("false", spec),
        ('b', Value::Bool(value)) => cut(&value.to_string(), spec),
        ('b', _) => cut("true", spec),
        ('s' | 'h' | 'f' | 'e' | 'g', Value::Null) => cut("null", spec),
        (_, Value::Null) => "null".to_string(),
        ('s', value) => cut(&plain(value), spec),
        ('h', value) => cut(&format!("{:x}", hash(value)?), spec),
        ('c', Value::Integer(code, _)) => char::from_u32(u32::try_from(*code).ok()?)?.to_string(),
        ('d', Value::Integer(value, _)) => {
            signed(*value < 0, &value.unsigned_abs().to_string(), spec)
        }
        ('x', Value::Integer(value, bits)) => {
            radix(format!("{:x}", own_bits(*value, *bits)), "0x", spec)
        }
        ('o', Value::Integer(value, bits)) => {
            radix(format!("{:o}", own_bits(*value, *bits)), "0", spec)
        }
        ('f', Value::Float(value)) => float(*value, spec),
        ('e', Value::Float(value)) => exponent(*value, spec),
        ('g', Value::Float(value)) => general(*value, spec),
        _ => return None,
    };
    Some(if conversion.is_ascii_uppercase() {
        text.to_uppercase()
    } else {
        text
    })
}

/// No more characters than the precision says.
fn cut(text: &str, spec: &Spec) -> String {
    text.chars()
        .take(spec.precision.unwrap_or(usize::MAX))
        .collect()
}

/// The bits of a number of a type of so many.
fn own_bits(value: i64, bits: u32) -> u64 {
    value as u64 & (u64::MAX >> (64 - bits))
}

/// The hash of Flink's value.
fn hash(value: &Value) -> Option<i32> {
    let long = |bits: u64| (bits ^ (bits >> 32)) as i32;
    Some(match value {
        Value::Bool(value) => {
            if *value {
                1231
            } else {
                1237
            }
        }
        Value::Integer(value, 64) => long(*value as u64),
        Value::Integer(value, _) => *value as i32,
        Value::Float(value) => long(value.to_bits()),
        Value::Text(text) => binary_string_hash(text),
        Value::Null | Value::Other(_) => return None,
    })
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "null".to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Integer(value, _) => value.to_string(),
        Value::Float(value) => {
            let mut text = String::new();
            write_double(*value, &mut text);
            text
        }
        Value::Text(text) | Value::Other(text) => text.clone(),
    }
}

/// As `%f` where that takes few digits, otherwise as `%e`; the precision counts all digits.
fn general(value: f64, spec: &Spec) -> String {
    let precision = spec.precision.unwrap_or(6).max(1);
    let rounded = format!("{:.*e}", precision - 1, value.abs());
    let place = rounded.split_once('e').and_then(|(_, e)| e.parse().ok());
    let place: i32 = if value == 0.0 { 0 } else { place.unwrap_or(0) };
    let digits_behind = precision as i32 - 1 - place;
    let with = |precision: usize| Spec {
        precision: Some(precision),
        flags: spec.flags.clone(),
        ..*spec
    };
    match (-4..precision as i32).contains(&place) {
        true => float(value, &with(digits_behind.max(0) as usize)),
        false => exponent(value, &with(precision - 1)),
    }
}

fn radix(digits: String, prefix: &str, spec: &Spec) -> String {
    let prefix = if spec.has('#') { prefix } else { "" };
    let zeros = match spec.has('0') {
        true => spec.width.saturating_sub(digits.len() + prefix.len()),
        false => 0,
    };
    format!("{prefix}{}{digits}", "0".repeat(zeros))
}

fn float(value: f64, spec: &Spec) -> String {
    if !value.is_finite() {
        return plain(&Value::Float(value));
    }
    let digits = round_half_up(value.abs(), spec.precision.unwrap_or(6));
    signed(value.is_sign_negative(), &digits, spec)
}

/// Java rounds halves up in the decimal text, not in the binary value.
fn round_half_up(value: f64, precision: usize) -> String {
    let exact = value.to_string();
    let fraction = exact.split_once('.').map_or("", |(_, fraction)| fraction);
    let is_half = fraction.len() == precision + 1 && fraction.ends_with('5');
    if !is_half {
        return format!("{value:.precision$}");
    }
    // One more unit in the last place makes every rounding go up.
    let nudged = f64::from_bits(value.to_bits() + 1);
    format!("{nudged:.precision$}")
}

fn exponent(value: f64, spec: &Spec) -> String {
    let precision = spec.precision.unwrap_or(6);
    let text = format!("{:.precision$e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    signed(
        value.is_sign_negative(),
        &format!("{mantissa}e{sign}{digits:0>2}"),
        spec,
    )
}

/// Sign, grouping and zeros around the digits of a number.
fn signed(is_negative: bool, digits: &str, spec: &Spec) -> String {
    let mut number = String::new();
    if spec.has(',') {
        let whole = digits.find('.').unwrap_or(digits.len());
        for (place, digit) in digits[..whole].chars().enumerate() {
            if place > 0 && (whole - place).is_multiple_of(3) {
                number.push(',');
            }
            number.push(digit);
        }
        number.push_str(&digits[whole..]);
    } else {
        number.push_str(digits);
    }
    let (before, after) = match is_negative {
        true if spec.has('(') => ("(", ")"),
        true => ("-", ""),
        false if spec.has('+') => ("+", ""),
        false if spec.has(' ') => (" ", ""),
        false => ("", ""),
    };
    let zeros = match spec.has('0') {
        true => spec
            .width
            .saturating_sub(number.len() + before.len() + after.len()),
        false => 0,
    };
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(text, "{before}{}{number}{after}", "0".repeat(zeros));
    text
}

#[cfg(test)]
mod tests {
    use super::super::testing::{boolean, call_text, int, literal, text};
    use super::*;

    #[test]
    fn values_are_formatted() {
        let double = |value| literal(ScalarValue::Float64(Some(value)), LogicalType::Double);
        let one = |format, value| call_text(&PRINTF, &[text(format), value]);
        assert_eq!(one("%d", int(-5)).as_deref(), Some("-5"));
        assert_eq!(one("[%5d|%-5d|%1$05d]", int(42)), None);
        assert_eq!(one("[%5d]", int(42)).as_deref(), Some("[   42]"));
        assert_eq!(
            one("[%1$-5d|%1$05d]", int(42)).as_deref(),
            Some("[42   |00042]")
        );
        assert_eq!(one("%,d", int(1_234_567)).as_deref(), Some("1,234,567"));
        assert_eq!(one("%.2f", double(1.005)).as_deref(), Some("1.01"));
        assert_eq!(one("%08.3f", double(-3.5)).as_deref(), Some("-003.500"));
        assert_eq!(one("%e", double(12345.0)).as_deref(), Some("1.234500e+04"));
        assert_eq!(one("%X %<", int(255)), None);
        assert_eq!(one("%X 100%%", int(255)).as_deref(), Some("FF 100%"));
        assert_eq!(one("%s", boolean(true)).as_deref(), Some("true"));
        assert_eq!(one("%.2s|", text("äbc")).as_deref(), Some("äb|"));
        assert_eq!(one("%s %1$.2s", text(None)).as_deref(), Some("null nu"));
        assert_eq!(
            one("%x %1$o", int(-5)).as_deref(),
            Some("fffffffb 37777777773")
        );
        assert_eq!(one("%h", text("hello")).as_deref(), Some("c3e28528"));
        assert_eq!(one("%s", double(1e20)).as_deref(), Some("1.0E20"));
        let general = |value| one("%g", double(value));
        assert_eq!(general(-0.05).as_deref(), Some("-0.0500000"));
        assert_eq!(general(0.0).as_deref(), Some("0.00000"));
        assert_eq!(general(1e-10).as_deref(), Some("1.00000e-10"));
        assert_eq!(java_time("2024-01-02 03:04:00.000"), "2024-01-02T03:04");
        assert_eq!(
            java_time("2024-01-02 03:04:05.6780"),
            "2024-01-02T03:04:05.678"
        );
    }

    #[test]
    fn what_does_not_fit_is_null() {
        assert_eq!(call_text(&PRINTF, &[text("%d"), text("x")]), None);
        assert_eq!(call_text(&PRINTF, &[text("%d %d"), int(1)]), None);
        assert_eq!(call_text(&PRINTF, &[text("%"), int(1)]), None);
        assert_eq!(call_text(&PRINTF, &[text(None), int(1)]), None);
    }
}
