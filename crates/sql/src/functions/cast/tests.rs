use std::sync::Arc;

use datafusion_common::ScalarValue;
use flott_core::clock::ManualClock;
use flott_core::types::LogicalType as T;

use super::*;
use crate::functions::testing::{run_kernel, session, shown, text};

fn cast(value: ScalarValue, from: T, to: T, is_try: bool) -> Result<String> {
    let mut context = session();
    context.clock = ManualClock::at_ms(0);
    let (from, to) = (from.nullable(), to.nullable());
    let kernel = bind_cast(&from, &to, is_try, &context)?;
    let value = run_kernel(kernel.as_ref(), &[value])?;
    Ok(shown(&value, &to.logical))
}

fn parse(value: &str, to: T) -> String {
    cast(text(value), T::STRING, to, false).unwrap_or_else(|e| e.code().to_string())
}

#[test]
fn strings_become_values() {
    assert_eq!(parse("1.5", T::Int), "1");
    assert_eq!(parse("x", T::Int), "CAST_FAILED");
    assert_eq!(parse("12.345", T::Decimal(4, 2)), "12.35");
    assert_eq!(parse("12345.6", T::Decimal(5, 2)), "NULL");
    assert_eq!(parse("2024-3-5", T::Date), "2024-03-05");
    assert_eq!(parse("1:2:3", T::Time(0)), "01:02:03");
    assert_eq!(
        parse("2024-07-01 00:00:00", T::TimestampLtz(3)),
        "2024-07-01 00:00:00.000"
    );
    assert_eq!(
        parse("2024-03-05T01:02:03Z", T::Timestamp(3)),
        "CAST_FAILED"
    );
    assert_eq!(parse("yes", T::Boolean), "TRUE");
    assert_eq!(parse("abcdef", T::VarChar(3)), "abc");
    assert_eq!(parse("ab", T::Char(4)), "ab  ");
    assert_eq!(
        cast(text("2024-02-30"), T::STRING, T::Date, true).expect("NULL"),
        "NULL"
    );
}

#[test]
fn numbers_convert_as_in_java() {
    let big = ScalarValue::Int64(Some(3_000_000_000));
    assert_eq!(
        cast(big, T::BigInt, T::Int, true).expect("wraps"),
        "-1294967296"
    );
    let double = |v, to| cast(ScalarValue::Float64(Some(v)), T::Double, to, false).expect("a cast");
    assert_eq!(double(1e30, T::Int), "2147483647");
    assert_eq!(double(300.7, T::TinyInt), "44");
    assert_eq!(double(123.456, T::Decimal(5, 2)), "123.46");
    assert_eq!(double(12345.6, T::Decimal(5, 2)), "NULL");
    let decimal = ScalarValue::Decimal128(Some(-199), 5, 2);
    let cast_decimal = |to| cast(decimal.clone(), T::Decimal(5, 2), to, false).expect("a cast");
    assert_eq!(cast_decimal(T::Int), "-1");
    assert_eq!(cast_decimal(T::Double), "-1.99");
    assert_eq!(cast_decimal(T::Decimal(3, 1)), "-2.0");
    assert_eq!(cast_decimal(T::STRING), "-1.99");
}

#[test]
fn times_convert_through_the_zone() {
    let local = ScalarValue::TimestampMillisecond(Some(1_710_037_800_000), None);
    let cast_local = |to| cast(local.clone(), T::Timestamp(3), to, false).expect("a cast");
    assert_eq!(cast_local(T::TimestampLtz(3)), "2024-03-10 03:30:00.000");
    assert_eq!(cast_local(T::Date), "2024-03-10");
    assert_eq!(cast_local(T::Time(0)), "02:30:00");
    assert_eq!(cast_local(T::Timestamp(9)), "2024-03-10 02:30:00.000000000");
}

#[test]
fn what_flink_refuses_is_refused() {
    let code = |from: T, to: T| {
        let (from, to) = (from.nullable(), to.nullable());
        bind_cast(&from, &to, false, &session())
            .err()
            .map(|e| e.code())
    };
    assert_eq!(code(T::Int, T::Timestamp(3)), Some("UNSUPPORTED_CAST"));
    assert_eq!(
        code(T::STRING, T::Row(Arc::from([]))),
        Some("UNSUPPORTED_CAST")
    );
    assert_eq!(code(T::Date, T::Time(0)), Some("UNSUPPORTED_CAST"));
}
