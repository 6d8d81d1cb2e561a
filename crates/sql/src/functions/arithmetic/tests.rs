use flott_core::types::LogicalType as T;

use super::random::JavaRandom;
use crate::functions::testing::values::*;
use crate::functions::testing::{call, show};

fn shown_type(name: &str, arguments: &[(datafusion_common::ScalarValue, T)]) -> String {
    let (value, ty) = call(name, arguments).expect("a result");
    format!("{value} {}", ty.logical)
}

#[test]
fn decimals_follow_calcite() {
    let cases = [
        (
            "+",
            decimal("1.23", 5, 2),
            decimal("4.567", 10, 3),
            "5.797 DECIMAL(11, 3)",
        ),
        (
            "/",
            decimal("10", 5, 2),
            decimal("3", 5, 2),
            "3.33333333 DECIMAL(13, 8)",
        ),
        (
            "*",
            decimal("10", 38, 10),
            decimal("3", 38, 10),
            "30.000000 DECIMAL(38, 6)",
        ),
        (
            "/",
            decimal("1.0", 2, 1),
            int(3),
            "0.333333333333 DECIMAL(13, 12)",
        ),
        (
            "/",
            int(7),
            decimal("2", 10, 0),
            "3.50000000000 DECIMAL(21, 11)",
        ),
        ("MOD", decimal("10.5", 5, 1), int(3), "1.5 DECIMAL(5, 1)"),
        (
            "*",
            decimal("0.908", 4, 3),
            bigint(100),
            "90.800 DECIMAL(24, 3)",
        ),
        ("*", decimal("7.00", 10, 2), int(2), "14.00 DECIMAL(21, 2)"),
        (
            "ROUND",
            decimal("2.345", 6, 3),
            int(2),
            "2.35 DECIMAL(6, 2)",
        ),
        (
            "ROUND",
            decimal("-2.345", 6, 3),
            int(2),
            "-2.35 DECIMAL(6, 2)",
        ),
        (
            "TRUNCATE",
            decimal("2.349", 6, 3),
            int(2),
            "2.34 DECIMAL(6, 2)",
        ),
        (
            "ROUND",
            decimal("1234.567", 7, 3),
            int(-2),
            "1200 DECIMAL(5, 0)",
        ),
    ];
    for (name, a, b, expected) in cases {
        assert_eq!(shown_type(name, &[a, b]), expected, "{name}");
    }
}

#[test]
fn decimals_are_shaped_and_bounded() {
    let half = || decimal("-2.5", 3, 1);
    assert_eq!(shown_type("FLOOR", &[half()]), "-3 DECIMAL(3, 0)");
    assert_eq!(shown_type("CEIL", &[half()]), "-2 DECIMAL(3, 0)");
    assert_eq!(shown_type("ABS", &[half()]), "2.5 DECIMAL(3, 1)");
    assert_eq!(
        shown_type("SIGN", &[decimal("2.5", 3, 1)]),
        "1.0 DECIMAL(3, 1)"
    );
    assert_eq!(
        shown_type("ROUND", &[decimal("2.5", 2, 1)]),
        "3 DECIMAL(2, 0)"
    );
    assert_eq!(show("/", &[decimal("2", 5, 2), int(0)]), "DIVISION_BY_ZERO");
    let nines = || decimal(&"9".repeat(38), 38, 0);
    assert_eq!(show("+", &[nines(), nines()]), "NULL");
    assert_eq!(show("*", &[nines(), nines()]), "NULL");
}

#[test]
fn integers_wrap_and_divide_as_in_java() {
    assert_eq!(show("+", &[int(i32::MAX), int(1)]), "-2147483648");
    assert_eq!(show("/", &[int(i32::MIN), int(-1)]), "-2147483648");
    assert_eq!(show("/", &[int(7), int(-2)]), "-3");
    assert_eq!(shown_type("+", &[int(1), bigint(2)]), "3 BIGINT");
    assert_eq!(shown_type("MOD", &[bigint(-7), int(3)]), "-1 INT");
    assert_eq!(show("/", &[int(7), int(0)]), "DIVISION_BY_ZERO");
    assert_eq!(show("/", &[double(7.0), int(0)]), "DIVISION_BY_ZERO");
    assert_eq!(show("+", &[int(7), null()]), "NULL");
    assert_eq!(show("-", &[int(7)]), "-7");
    assert_eq!(show("+", &[string("7"), int(1)]), "INVALID_ARGUMENT_TYPES");
}

#[test]
fn doubles_round_their_printed_digits() {
    assert_eq!(show("ROUND", &[double(2.5)]), "3.0");
    assert_eq!(show("ROUND", &[double(-2.5)]), "-3.0");
    assert_eq!(show("ROUND", &[double(1234.567), int(1)]), "1234.6");
    assert_eq!(show("ROUND", &[double(1e300), int(1)]), "1.0E300");
    assert_eq!(show("TRUNCATE", &[double(42.345), int(1)]), "42.3");
    assert_eq!(show("FLOOR", &[double(-1.5)]), "-2.0");
    assert_eq!(show("SIGN", &[double(0.0)]), "0.0");
    assert_eq!(show("LN", &[double(-1.0)]), "NaN");
    assert_eq!(show("LOG", &[int(2), int(8)]), "3.0");
}

#[test]
fn dates_move_by_intervals() {
    let date = || typed("2024-01-31", T::Date);
    assert_eq!(
        shown_type("+", &[date(), interval_months(1)]),
        "2024-02-29 DATE"
    );
    let time = || typed("2024-01-31 10:00:00", T::Timestamp(0));
    let day = || interval_ms(86_400_000);
    assert_eq!(
        shown_type("-", &[time(), day()]),
        "2024-01-30 10:00:00 TIMESTAMP(0)"
    );
    assert_eq!(shown_type("+", &[day(), date()]), "2024-02-01 DATE");
    assert_eq!(
        shown_type("+", &[date(), interval_ms(3_600_000)]),
        "2024-01-31 DATE"
    );
    let noon = typed("2024-01-30 22:00:00", T::Timestamp(0));
    assert_eq!(show("-", &[time(), noon]), "+0 12:00:00.000");
    assert_eq!(show("*", &[day(), int(2)]), "+2 00:00:00.000");
    assert_eq!(
        show("+", &[interval_months(1), interval_months(13)]),
        "+1-02"
    );
}

#[test]
fn digits_of_numbers_and_strings() {
    assert_eq!(show("BIN", &[int(4)]), "100");
    assert_eq!(show("HEX", &[int(255)]), "FF");
    assert_eq!(show("HEX", &[string("hello")]), "68656C6C6F");
    assert_eq!(show("UNHEX", &[string("41")]), "x'41'");
    assert_eq!(show("UNHEX", &[string("zz")]), "NULL");
}

#[test]
fn a_seed_gives_javas_numbers() {
    let mut random = JavaRandom::new(42);
    assert_eq!(random.next_int(10), 0);
    assert_eq!(random.next_int(10), 3);
    assert_eq!(JavaRandom::new(42).next_double(), 0.7275636800328681);
}
