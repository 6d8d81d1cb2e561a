//! Numbers and booleans as Java and Flink write and read them.

use std::fmt::Write;

/// Writes an integer.
pub fn write_integer(value: i64, out: &mut String) {
    let mut buffer = [0; 20];
    let digits = lexical_core::write(value, &mut buffer);
    out.push_str(std::str::from_utf8(digits).unwrap_or_default());
}

/// Writes a `DOUBLE` as Java does: `1.0`, `0.001`, `1.0E20`, `NaN`, `-Infinity`.
pub fn write_double(value: f64, out: &mut String) {
    if !value.is_finite() {
        return write_special(value, out);
    }
    if write_large_whole(value, f64::MANTISSA_DIGITS, out) {
        return;
    }
    let mut buffer = ryu::Buffer::new();
    write_shortest(buffer.format_finite(value), value.abs(), out);
}

/// Writes a `FLOAT` as Java does.
pub fn write_float(value: f32, out: &mut String) {
    if !value.is_finite() {
        return write_special(f64::from(value), out);
    }
    if write_large_whole(f64::from(value), f32::MANTISSA_DIGITS, out) {
        return;
    }
    let mut buffer = ryu::Buffer::new();
    write_shortest(buffer.format_finite(value), f64::from(value.abs()), out);
}

/// Writes a whole number that fits into 63 bits and needs more than the type has; `false` for
/// others. Java up to version 18, where Flink runs, has more digits there than are needed to tell
/// the number from its neighbours: all but those below the power of ten that is below the value of
/// its last bit.
fn write_large_whole(value: f64, mantissa_bits: u32, out: &mut String) -> bool {
    let magnitude = value.abs();
    let exponent = ((magnitude.to_bits() >> 52) as u32).saturating_sub(1023);
    if exponent < mantissa_bits || exponent > 62 {
        return false;
    }
    let num_dropped = match exponent.saturating_sub(mantissa_bits + 1) {
        0 | 1 => 0,
        // log10(2)
        unknown_bits => unknown_bits * 30_103 / 100_000,
    };
    let unit = 10u64.pow(num_dropped);
    let whole = magnitude as u64;
    let digits = (whole / unit + u64::from(whole % unit >= unit.div_ceil(2))).to_string();
    let place = digits.len() - 1 + num_dropped as usize;
    let (first, rest) = digits.trim_end_matches('0').split_at(1);
    let rest = if rest.is_empty() { "0" } else { rest };
    let sign = if value < 0.0 { "-" } else { "" };
    // Writing to a string cannot fail.
    let _ = write!(out, "{sign}{first}.{rest}E{place}");
    true
}

fn write_special(value: f64, out: &mut String) {
    out.push_str(match value {
        v if v.is_nan() => "NaN",
        v if v > 0.0 => "Infinity",
        _ => "-Infinity",
    });
}

/// The significant digits of a number and the place of its point: `0.digits * 10^point`.
struct Digits {
    bytes: [u8; 24],
    len: usize,
    point: i32,
}

/// Takes apart what ryu writes: `12.5`, `1e20`, `1.25e-7`.
fn take_apart(text: &str) -> Digits {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let mut digits = Digits {
        bytes: [0; 24],
        len: 0,
        point: 0,
    };
    let mut seen_point = false;
    for byte in mantissa.bytes() {
        match byte {
            b'.' => seen_point = true,
            b'0'..=b'9' => {
                digits.point += i32::from(!seen_point);
                if digits.len == 0 && byte == b'0' {
                    digits.point -= 1;
                } else if digits.len < digits.bytes.len() {
                    digits.bytes[digits.len] = byte;
                    digits.len += 1;
                }
            }
            _ => {}
        }
    }
    while digits.len > 0 && digits.bytes[digits.len - 1] == b'0' {
        digits.len -= 1;
    }
    digits.point += exponent.parse::<i32>().unwrap_or(0);
    digits
}

fn write_shortest(shortest: &str, magnitude: f64, out: &mut String) {
    let is_plain = magnitude == 0.0 || (1e-3..1e7).contains(&magnitude);
    if is_plain && !shortest.contains('e') {
        return out.push_str(shortest);
    }
    if shortest.starts_with('-') {
        out.push('-');
    }
    let digits = take_apart(shortest);
    let text = std::str::from_utf8(&digits.bytes[..digits.len]).unwrap_or_default();
    if is_plain {
        write_plain(text, digits.point, out);
    } else {
        let (first, rest) = text.split_at(text.len().min(1));
        let rest = if rest.is_empty() { "0" } else { rest };
        let _ = write!(out, "{first}.{rest}E{}", digits.point - 1);
    }
}

/// Writes `0.digits * 10^point` without an exponent.
fn write_plain(digits: &str, point: i32, out: &mut String) {
    if point <= 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', point.unsigned_abs() as usize));
        out.push_str(digits);
        return;
    }
    let point = point as usize;
    let (whole, fraction) = digits.split_at(point.min(digits.len()));
    out.push_str(whole);
    out.extend(std::iter::repeat_n('0', point - whole.len()));
    out.push('.');
    out.push_str(if fraction.is_empty() { "0" } else { fraction });
}

/// Writes a decimal with all digits of its scale.
pub fn write_decimal(unscaled: i128, scale: u8, out: &mut String) {
    let scale = usize::from(scale);
    let mut buffer = [b'0'; 80];
    let mut start = buffer.len();
    let mut rest = unscaled.unsigned_abs();
    let min_digits = scale + 1;
    while rest > 0 || buffer.len() - start < min_digits {
        // Two 64-bit halves keep the slow 128-bit division out of the usual case.
        let digit = if rest <= u128::from(u64::MAX) {
            let small = rest as u64;
            rest = u128::from(small / 10);
            (small % 10) as u8
        } else {
            let digit = (rest % 10) as u8;
            rest /= 10;
            digit
        };
        start -= 1;
        buffer[start] = b'0' + digit;
    }
    if unscaled < 0 {
        out.push('-');
    }
    let point = buffer.len() - scale;
    out.push_str(std::str::from_utf8(&buffer[start..point]).unwrap_or_default());
    if scale > 0 {
        out.push('.');
        out.push_str(std::str::from_utf8(&buffer[point..]).unwrap_or_default());
    }
}

/// `TRUE` or `FALSE`.
pub fn boolean_text(value: bool) -> &'static str {
    if value { "TRUE" } else { "FALSE" }
}

/// Reads a whole number as a cast does: spaces around it and a fraction, which is cut off, are
/// allowed. `None` when it is no number or does not fit 64 bits.
pub fn parse_integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let (whole, fraction) = match text.find('.') {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, ""),
    };
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // `.5` and `-.5` are 0.
    let is_bare = whole.len() < text.len() && matches!(whole, "" | "+" | "-");
    if is_bare { Some(0) } else { parse_whole(whole) }
}

/// Reads digits with an optional sign and nothing else.
#[inline]
pub fn parse_whole(text: &str) -> Option<i64> {
    lexical_core::parse::<i64>(text.as_bytes()).ok()
}

fn float_body(text: &str) -> Option<&str> {
    let text = text.trim();
    let body = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let first = body.trim_start_matches(['+', '-']).bytes().next()?;
    (first.is_ascii_digit() || first == b'.').then_some(body)
}

fn special_float(text: &str) -> Option<f64> {
    match text.trim() {
        "NaN" | "+NaN" | "-NaN" => Some(f64::NAN),
        "Infinity" | "+Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// Reads a `DOUBLE` as Java does.
pub fn parse_double(text: &str) -> Option<f64> {
    match float_body(text) {
        Some(body) => body.parse().ok(),
        None => special_float(text),
    }
}

/// Reads a `FLOAT` as Java does.
pub fn parse_float(text: &str) -> Option<f32> {
    match float_body(text) {
        Some(body) => body.parse().ok(),
        None => special_float(text).map(|v| v as f32),
    }
}

/// Reads a boolean as a cast does: `true`, `t`, `yes`, `y`, `1` and their opposites, in any case.
pub fn parse_boolean(text: &str) -> Option<bool> {
    let text = text.trim();
    let is_any = |words: [&str; 5]| words.iter().any(|w| w.eq_ignore_ascii_case(text));
    if is_any(["true", "t", "yes", "y", "1"]) {
        Some(true)
    } else if is_any(["false", "f", "no", "n", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// 10 to the power of 0 to 38.
pub fn power_of_ten(exponent: u32) -> i128 {
    10i128.pow(exponent.min(38))
}

/// Divides and rounds half away from zero.
#[inline]
pub fn divide_half_up(value: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (value / divisor, value % divisor);
    // Compares halves without overflow: |rest| < |divisor|.
    let is_up = rest.unsigned_abs() >= divisor.unsigned_abs() - rest.unsigned_abs();
    match (is_up, (value < 0) == (divisor < 0)) {
        (false, _) => quotient,
        (true, true) => quotient + 1,
        (true, false) => quotient - 1,
    }
}

/// `unscaled * 10^exponent`, where negative exponents round half up; `None` when it has more than
/// `precision` digits.
pub fn rescale(unscaled: i128, exponent: i32, precision: u8) -> Option<i128> {
    let value = match exponent {
        0 => unscaled,
        e if e > 0 && unscaled != 0 => (e <= 38)
            .then(|| unscaled.checked_mul(power_of_ten(e as u32)))
            .flatten()?,
        e if e < -38 => 0,
        e => divide_half_up(unscaled, power_of_ten(e.unsigned_abs())),
    };
    (value.unsigned_abs() < power_of_ten(u32::from(precision)) as u128).then_some(value)
}

/// Reads a number into a decimal, rounding half up to its scale. The outer `None` says that it is
/// no number, the inner one that it has too many digits.
pub fn parse_decimal(text: &str, precision: u8, scale: u8) -> Option<Option<i128>> {
    let bytes = text.trim().as_bytes();
    let (is_negative, mut at) = match bytes.first()? {
        b'-' => (true, 1),
        b'+' => (false, 1),
        _ => (false, 0),
    };
    let (mut value, mut exponent, mut num_digits, mut seen_point) = (0i128, 0i32, 0, false);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'0'..=b'9' => {
                num_digits += 1;
                // 37 digits of 38 fit; what follows them can only round.
                if value < 10i128.pow(37) {
                    value = value * 10 + i128::from(byte - b'0');
                    exponent -= i32::from(seen_point);
                } else {
                    exponent += i32::from(!seen_point);
                }
            }
            b'.' if !seen_point => seen_point = true,
            b'e' | b'E' => {
                let digits = std::str::from_utf8(&bytes[at + 1..]).ok()?;
                exponent = exponent.saturating_add(digits.parse().ok()?);
                break;
            }
            _ => return None,
        }
        at += 1;
    }
    if num_digits == 0 {
        return None;
    }
    let value = if is_negative { -value } else { value };
    Some(rescale(
        value,
        exponent.saturating_add(i32::from(scale)),
        precision,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(value: f64) -> String {
        let mut out = String::new();
        write_double(value, &mut out);
        out
    }

    #[test]
    fn doubles_print_as_in_java() {
        let cases = [
            (1e20, "1.0E20"),
            (123456789.125, "1.23456789125E8"),
            (0.0015, "0.0015"),
            (0.001, "0.001"),
            (0.00099, "9.9E-4"),
            (1e7, "1.0E7"),
            (9999999.0, "9999999.0"),
            (100.0, "100.0"),
            (-0.0, "-0.0"),
            (-2.5, "-2.5"),
            (f64::NEG_INFINITY, "-Infinity"),
            (1.7976931348623157e308, "1.7976931348623157E308"),
            (5e-324, "5.0E-324"),
            (9007199254740991.0, "9.007199254740991E15"),
            (9007199254740994.0, "9.007199254740994E15"),
            (1152921504606846976.0, "1.15292150460684698E18"),
            (-1234567890123456789.0, "-1.23456789012345677E18"),
            (9223372036854775807.0, "9.223372036854776E18"),
        ];
        for (value, expected) in cases {
            assert_eq!(double(value), expected);
        }
        let float = |value| {
            let mut out = String::new();
            write_float(value, &mut out);
            out
        };
        assert_eq!(float(0.1), "0.1");
        assert_eq!(float(16_777_217.0), "1.6777216E7");
        assert_eq!(float(123_456_789.125), "1.23456792E8");
        assert_eq!(float(987_654_321_987.0), "9.8765432E11");
        assert_eq!(float(1e10), "1.0E10");
        assert_eq!(float(-1e17), "-9.9999998E16");
    }

    #[test]
    fn decimals_print_plain() {
        let decimal = |value, scale| {
            let mut out = String::new();
            write_decimal(value, scale, &mut out);
            out
        };
        assert_eq!(decimal(-5, 1), "-0.5");
        assert_eq!(decimal(0, 2), "0.00");
        assert_eq!(decimal(12345, 0), "12345");
        assert_eq!(
            decimal(-(10i128.pow(38) - 1), 38),
            format!("-0.{}", "9".repeat(38))
        );
    }

    #[test]
    fn numbers_are_read_with_the_lenience_of_a_cast() {
        assert_eq!(parse_integer(" 1.5 "), Some(1));
        assert_eq!(parse_integer("-7"), Some(-7));
        assert_eq!(parse_integer("1.x"), None);
        assert_eq!(parse_integer(""), None);
        assert_eq!(parse_double("1e5"), Some(1e5));
        assert_eq!(parse_double("inf"), None);
        assert_eq!(parse_double("-Infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(parse_boolean("T"), Some(true));
        assert_eq!(parse_boolean("maybe"), None);
    }

    #[test]
    fn decimals_are_rounded_half_up_and_bounded() {
        assert_eq!(parse_decimal("12.345", 4, 2), Some(Some(1235)));
        assert_eq!(parse_decimal("-12.345", 4, 2), Some(Some(-1235)));
        assert_eq!(parse_decimal("12345.6", 5, 2), Some(None));
        assert_eq!(parse_decimal("1.5E3", 10, 1), Some(Some(15000)));
        assert_eq!(parse_decimal("abc", 10, 1), None);
        assert_eq!(parse_decimal(".", 10, 1), None);
        let largest = "9".repeat(38);
        assert_eq!(
            parse_decimal(&largest, 38, 0),
            Some(Some(10i128.pow(38) - 1))
        );
    }
}
