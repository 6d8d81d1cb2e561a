//! Numbers to and from text as Java reads and writes them.

/// An integer with an optional sign; `None` for anything else or out of range.
#[inline]
pub(crate) fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    if digits.len() <= 18 {
        for &byte in digits {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value * 10 + i64::from(digit);
        }
        return Some(if negative { -value } else { value });
    }
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Counted downwards, so that the smallest number fits.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative {
        Some(value)
    } else {
        value.checked_neg()
    }
}

/// A floating-point number; `NaN` and `Infinity` are words for it.
#[inline]
pub(crate) fn parse_double(text: &[u8]) -> Option<f64> {
    let text = text.strip_prefix(b"+").unwrap_or(text);
    lexical_core::parse(text).ok()
}

/// The nearest single-precision number.
pub(crate) fn parse_float(text: &[u8]) -> Option<f32> {
    let text = text.strip_prefix(b"+").unwrap_or(text);
    lexical_core::parse(text).ok()
}

/// A decimal read exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParsedDecimal {
    /// The unscaled value.
    Value(i128),
    /// It does not fit the precision, which makes it NULL.
    Overflow,
}

/// The digits of a number before they are scaled.
struct Digits {
    unscaled: i128,
    /// The number is `unscaled * 10^exponent`.
    exponent: i64,
    /// The first digit that was left out is 5 or more.
    rounds_up: bool,
}

fn scan_digits(text: &[u8]) -> Option<(Digits, &[u8])> {
    let mut digits = Digits {
        unscaled: 0,
        exponent: 0,
        rounds_up: false,
    };
    let (mut seen, mut kept, mut dropped, mut fraction) = (0, 0, 0, false);
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'0'..=b'9' => {
                let digit = i128::from(byte - b'0');
                seen += 1;
                if kept < 38 {
                    digits.unscaled = digits.unscaled * 10 + digit;
                    kept += usize::from(digits.unscaled != 0);
                    digits.exponent -= i64::from(fraction);
                } else {
                    digits.rounds_up |= dropped == 0 && digit >= 5;
                    dropped += 1;
                    digits.exponent += i64::from(!fraction);
                }
            }
            b'.' if !fraction => fraction = true,
            _ => break,
        }
        at += 1;
    }
    (seen > 0).then_some((digits, &text[at..]))
}

/// Reads a number such as `-12.50` or `1e3` as a decimal, rounding half up to `scale`; `None` when
/// it is not a number.
pub(crate) fn parse_decimal(text: &[u8], precision: u8, scale: u8) -> Option<ParsedDecimal> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let (mut digits, rest) = scan_digits(rest)?;
    match rest {
        [] => {}
        [b'e' | b'E', exponent @ ..] => {
            let exponent = parse_integer(exponent)?.clamp(-1_000_000, 1_000_000);
            digits.exponent += exponent;
        }
        _ => return None,
    }
    let shift = i64::from(scale) + digits.exponent;
    let value = match rescale(&digits, shift) {
        Some(value) if value < 10i128.pow(u32::from(precision)) => value,
        _ => return Some(ParsedDecimal::Overflow),
    };
    Some(ParsedDecimal::Value(if negative { -value } else { value }))
}

/// `digits * 10^shift`, rounded half up; `None` when too large.
fn rescale(digits: &Digits, shift: i64) -> Option<i128> {
    if digits.unscaled == 0 {
        return Some(0);
    }
    if shift >= 0 {
        let factor = 10i128.checked_pow(u32::try_from(shift).ok()?)?;
        let round = i128::from(shift == 0 && digits.rounds_up);
        return digits.unscaled.checked_mul(factor)?.checked_add(round);
    }
    let Some(divisor) = u32::try_from(-shift)
        .ok()
        .and_then(|s| 10i128.checked_pow(s))
    else {
        return Some(0);
    };
    let quotient = digits.unscaled / divisor;
    let rest = digits.unscaled % divisor;
    Some(quotient + i128::from(rest >= divisor - rest))
}

/// Writes an integer.
#[inline]
pub(crate) fn write_integer(out: &mut Vec<u8>, value: i64) {
    let mut buffer = [0u8; 20];
    let mut at = buffer.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&buffer[at..]);
}

/// Whether a decimal may be written with an exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecimalStyle {
    /// As Java's `BigDecimal.toString` after trailing zeros are stripped: 100 is `1E+2`.
    Scientific,
    /// As Java's `BigDecimal.toPlainString` after trailing zeros are stripped.
    Plain,
    /// As Java's `BigDecimal.toPlainString`, with its trailing zeros.
    Exact,
}

/// Writes `unscaled * 10^-scale`.
pub(crate) fn write_decimal(out: &mut Vec<u8>, unscaled: i128, scale: i8, style: DecimalStyle) {
    if style == DecimalStyle::Exact {
        if unscaled < 0 {
            out.push(b'-');
        }
        let digits = unscaled.unsigned_abs().to_string();
        return write_plain(out, digits.as_bytes(), i32::from(scale));
    }
    if unscaled == 0 {
        out.push(b'0');
        return;
    }
    let (mut rest, mut scale) = (unscaled.unsigned_abs(), i32::from(scale));
    while rest.is_multiple_of(10) {
        rest /= 10;
        scale -= 1;
    }
    if unscaled < 0 {
        out.push(b'-');
    }
    let digits = rest.to_string().into_bytes();
    let adjusted = digits.len() as i32 - 1 - scale;
    if style == DecimalStyle::Plain || (scale >= 0 && adjusted >= -6) {
        write_plain(out, &digits, scale);
    } else {
        write_scientific(out, &digits, adjusted, true);
    }
}

fn write_plain(out: &mut Vec<u8>, digits: &[u8], scale: i32) {
    if scale <= 0 {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', -scale as usize));
        return;
    }
    let scale = scale as usize;
    if digits.len() > scale {
        out.extend_from_slice(&digits[..digits.len() - scale]);
        out.push(b'.');
        out.extend_from_slice(&digits[digits.len() - scale..]);
    } else {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', scale - digits.len()));
        out.extend_from_slice(digits);
    }
}

fn write_scientific(out: &mut Vec<u8>, digits: &[u8], exponent: i32, plus_sign: bool) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    } else if !plus_sign {
        out.extend_from_slice(b".0");
    }
    out.push(b'E');
    if plus_sign && exponent >= 0 {
        out.push(b'+');
    }
    write_integer(out, i64::from(exponent));
}

/// Writes a double as Java's `Double.toString`.
pub(crate) fn write_double(out: &mut Vec<u8>, value: f64) {
    let mut buffer = ryu::Buffer::new();
    write_shortest(out, value, |v| buffer.format_finite(v).as_bytes());
}

/// Writes a float as Java's `Float.toString`.
pub(crate) fn write_float(out: &mut Vec<u8>, value: f32) {
    let mut buffer = ryu::Buffer::new();
    write_shortest(out, f64::from(value), |_| {
        buffer.format_finite(value).as_bytes()
    });
}

fn write_shortest<'a>(out: &mut Vec<u8>, value: f64, shortest: impl FnOnce(f64) -> &'a [u8]) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value.is_infinite() {
        return out.extend_from_slice(b"Infinity");
    }
    if value == 0.0 {
        return out.extend_from_slice(b"0.0");
    }
    let text = shortest(value);
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let plain = value.abs() >= 1e-3 && value.abs() < 1e7;
    if plain && !text.contains(&b'e') {
        return out.extend_from_slice(text);
    }
    let (digits, exponent) = digits_of(text);
    if plain {
        write_plain(out, &digits, digits.len() as i32 - 1 - exponent);
        if exponent >= digits.len() as i32 - 1 {
            out.extend_from_slice(b".0");
        }
    } else {
        write_scientific(out, &digits, exponent, false);
    }
}

/// The significant digits of a shortest representation and the exponent of the first one.
fn digits_of(text: &[u8]) -> (Vec<u8>, i32) {
    let split = text.iter().position(|&b| b == b'e').unwrap_or(text.len());
    let exponent = text
        .get(split + 1..)
        .and_then(parse_integer)
        .unwrap_or_default() as i32;
    let mantissa = &text[..split];
    let point = mantissa
        .iter()
        .position(|&b| b == b'.')
        .unwrap_or(mantissa.len());
    let all: Vec<u8> = mantissa.iter().copied().filter(|&b| b != b'.').collect();
    let zeros = all.iter().take_while(|&&b| b == b'0').count();
    let end = all
        .iter()
        .rposition(|&b| b != b'0')
        .map_or(zeros, |i| i + 1);
    let first = point as i32 - 1 - zeros as i32 + exponent;
    (all[zeros..end].to_vec(), first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str, precision: u8, scale: u8) -> Option<ParsedDecimal> {
        parse_decimal(text.as_bytes(), precision, scale)
    }

    #[test]
    fn decimals_are_read_exactly_and_rounded_half_up() {
        use ParsedDecimal::*;
        assert_eq!(decimal("1e3", 10, 2), Some(Value(100_000)));
        assert_eq!(decimal("12.345", 10, 2), Some(Value(1235)));
        assert_eq!(decimal("-1.005", 10, 2), Some(Value(-101)));
        assert_eq!(decimal("123456789012", 10, 2), Some(Overflow));
        assert_eq!(decimal("1e-900", 10, 2), Some(Value(0)));
        assert_eq!(decimal("1e900", 10, 2), Some(Overflow));
        assert_eq!(decimal("0e900", 10, 2), Some(Value(0)));
        assert_eq!(decimal(".5", 10, 0), Some(Value(1)));
        for bad in ["", "-", ".", "1e", "x", "1.2.3", "1 "] {
            assert_eq!(decimal(bad, 10, 2), None, "{bad}");
        }
        let long = "0.99999999999999999999999999999999999999999";
        assert_eq!(decimal(long, 38, 38), Some(Overflow));
    }

    #[test]
    fn integers_keep_to_their_range() {
        assert_eq!(parse_integer(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_integer(b"9223372036854775808"), None);
        assert_eq!(parse_integer(b"+7"), Some(7));
        assert_eq!(parse_integer(b"1.5"), None);
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_java_writes_them() {
        let double = |v: f64| written(|out| write_double(out, v));
        assert_eq!(double(1.0), "1.0");
        assert_eq!(double(-0.001), "-0.001");
        assert_eq!(double(1e7), "1.0E7");
        assert_eq!(double(1234567.5), "1234567.5");
        assert_eq!(double(1.5e-10), "1.5E-10");
        assert_eq!(double(f64::NEG_INFINITY), "-Infinity");
        assert_eq!(double(123456789.0), "1.23456789E8");
        assert_eq!(written(|out| write_float(out, 0.1)), "0.1");
        let scientific = |v, s| written(|out| write_decimal(out, v, s, DecimalStyle::Scientific));
        assert_eq!(scientific(700, 2), "7");
        assert_eq!(scientific(10_000, 2), "1E+2");
        assert_eq!(scientific(-125, 2), "-1.25");
        assert_eq!(scientific(1, 7), "1E-7");
        assert_eq!(scientific(12, 9), "1.2E-8");
        let plain = |v, s| written(|out| write_decimal(out, v, s, DecimalStyle::Plain));
        assert_eq!(plain(10_000, 2), "100");
        assert_eq!(plain(1, 7), "0.0000001");
        let exact = |v, s| written(|out| write_decimal(out, v, s, DecimalStyle::Exact));
        assert_eq!(exact(125_000, 4), "12.5000");
        assert_eq!(exact(0, 2), "0.00");
    }
}
