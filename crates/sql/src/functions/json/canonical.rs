//! JSON text as Flink writes it: no white space, keys in order, numbers as Java's decimals.

use std::borrow::Cow;
use std::fmt::Write;

use super::scan::{Scanner, unquote};

/// Appends a checked value's text in the form that Flink gives it.
pub fn write_canonical(value: &str, out: &mut String) {
    let mut scanner = Scanner::new(value);
    match scanner.peek() {
        Some(b'{') => {
            let mut members = Vec::new();
            // The value was checked: nothing can fail.
            let _ = scanner.members(|scanner, key| {
                members.push((unquote(key), scanner.value()?));
                Ok(())
            });
            write_object(members, out, |value, out| write_canonical(value, out));
        }
        Some(b'[') => {
            out.push('[');
            let _ = scanner.items(|scanner, index| {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(scanner.value()?, out);
                Ok(())
            });
            out.push(']');
        }
        Some(b'"') => write_string(&unquote(value), out),
        Some(b'-' | b'0'..=b'9') => out.push_str(&number_text(value)),
        _ => out.push_str(value),
    }
}

/// Appends an object with its keys in the order of their UTF-16 units; of equal keys the last
/// counts.
pub fn write_object<V>(
    mut members: Vec<(Cow<'_, str>, V)>,
    out: &mut String,
    mut write_value: impl FnMut(&V, &mut String),
) {
    members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    out.push('{');
    let mut is_first = true;
    for (place, (key, value)) in members.iter().enumerate() {
        if members.get(place + 1).is_some_and(|(next, _)| next == key) {
            continue;
        }
        if !is_first {
            out.push(',');
        }
        is_first = false;
        write_string(key, out);
        out.push(':');
        write_value(value, out);
    }
    out.push('}');
}

/// Appends a string with quotes and escapes.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut copied = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[copied..at]);
        copied = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x08 => out.push_str("\\b"),
            0x0C => out.push_str("\\f"),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{byte:04X}");
            }
        }
    }
    out.push_str(&text[copied..]);
    out.push('"');
}

/// A number's text as Java's `BigDecimal` and `BigInteger` give it.
pub fn number_text(number: &str) -> Cow<'_, str> {
    let (negative, unsigned) = match number.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, number),
    };
    if !unsigned.contains(['.', 'e', 'E']) {
        return Cow::Borrowed(if unsigned == "0" { unsigned } else { number });
    }
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(0);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = match digits.trim_start_matches('0') {
        "" => "0",
        significant => significant,
    };
    let scale = fraction.len() as i64 - exponent;
    let adjusted = digits.len() as i64 - 1 - scale;
    let sign = if negative && digits != "0" { "-" } else { "" };
    if scale >= 0 && adjusted >= -6 {
        let padded = format!("{digits:0>width$}", width = scale as usize + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale as usize);
        let dot = if fraction.is_empty() { "" } else { "." };
        return Cow::Owned(format!("{sign}{whole}{dot}{fraction}"));
    }
    let (first, rest) = digits.split_at(1);
    let dot = if rest.is_empty() { "" } else { "." };
    Cow::Owned(match adjusted {
        0 => format!("{sign}{first}{dot}{rest}"),
        _ => format!("{sign}{first}{dot}{rest}E{adjusted:+}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_space_goes() {
        let mut out = String::new();
        write_canonical(
            r#" { "b" : [ 1 , 2.50 ], "a" : "x\/\u00e4\u0001", "b": {} } "#.trim(),
            &mut out,
        );
        assert_eq!(out, r#"{"a":"x/ä\u0001","b":{}}"#);
    }

    #[test]
    fn numbers_are_javas() {
        for (number, text) in [
            ("1", "1"),
            ("-0", "0"),
            ("1.50", "1.50"),
            ("1e2", "1E+2"),
            ("1.5e2", "1.5E+2"),
            ("0.0000001", "1E-7"),
            ("-0.00", "0.00"),
            ("123e-2", "1.23"),
            ("1.5e0", "1.5"),
            ("12e5", "1.2E+6"),
            ("1e0", "1"),
        ] {
            assert_eq!(number_text(number), text, "{number}");
        }
    }
}
