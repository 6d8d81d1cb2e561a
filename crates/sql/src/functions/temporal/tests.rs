use flott_core::types::LogicalType as T;

use crate::functions::testing::values::*;
use crate::functions::testing::{call, show};

fn date(text: &str) -> (datafusion_common::ScalarValue, T) {
    typed(text, T::Date)
}

fn time(text: &str) -> (datafusion_common::ScalarValue, T) {
    typed(text, T::Timestamp(3))
}

#[test]
fn fields_are_extracted() {
    let cases = [
        ("YEAR", "2024"),
        ("WEEK", "1"),
        ("DOY", "365"),
        ("QUARTER", "4"),
        ("ISOYEAR", "2025"),
        ("DOW", "2"),
        ("CENTURY", "21"),
    ];
    for (unit, expected) in cases {
        assert_eq!(
            show("EXTRACT", &[string(unit), date("2024-12-30")]),
            expected,
            "{unit}"
        );
    }
    let moment = || time("2024-01-01 00:00:01.234");
    assert_eq!(show("EXTRACT", &[string("MILLISECOND"), moment()]), "234");
    assert_eq!(show("EXTRACT", &[string("EPOCH"), moment()]), "1704067201");
    assert_eq!(
        show("EXTRACT", &[string("EON"), moment()]),
        "INVALID_TIME_UNIT"
    );
    assert_eq!(show("DAYOFWEEK", &[date("2024-03-05")]), "3");
    assert_eq!(
        show("HOUR", &[typed("2024-03-05 13:14:15", T::TimestampLtz(3))]),
        "13"
    );
}

#[test]
fn patterns_write_as_in_java() {
    let moment = || time("2024-03-10 01:30:05.123");
    let format = |pattern| show("DATE_FORMAT", &[moment(), string(pattern)]);
    assert_eq!(format("yyyy/MM/dd HH:mm:ss.SSS"), "2024/03/10 01:30:05.123");
    assert_eq!(format("EEEE, d MMMM yy"), "Sunday, 10 March 24");
    assert_eq!(format("b"), "INVALID_DATETIME_PATTERN");
    let text = string("2024-03-10 13:30:00");
    assert_eq!(
        show("DATE_FORMAT", &[text, string("hh a E MMM")]),
        "01 PM Sun Mar"
    );
    let week = [time("2024-01-05 00:00:00"), string("yyyy-'W'ww")];
    assert_eq!(show("DATE_FORMAT", &week), "2024-W01");
}

#[test]
fn texts_are_read_by_patterns() {
    assert_eq!(show("TO_DATE", &[string("2024-03-05")]), "2024-03-05");
    assert_eq!(
        show("TO_DATE", &[string("05/03/2024"), string("dd/MM/yyyy")]),
        "2024-03-05"
    );
    assert_eq!(show("TO_DATE", &[string("2024-13-45")]), "NULL");
    assert_eq!(
        show("TO_TIMESTAMP", &[string("2024-03-05 01:02:03")]),
        "2024-03-05 01:02:03.000"
    );
    let micros = [
        string("2024-03-05 01:02:03.123456"),
        string("yyyy-MM-dd HH:mm:ss.SSSSSS"),
    ];
    assert_eq!(show("TO_TIMESTAMP", &micros), "2024-03-05 01:02:03.123");
    assert_eq!(show("TO_TIMESTAMP", &[string("bad")]), "NULL");
    let compact = [string("20240305"), string("yyyyMMdd")];
    assert_eq!(show("TO_TIMESTAMP", &compact), "2024-03-05 00:00:00.000");
}

#[test]
fn seconds_and_zones() {
    let second = || bigint(1_709_287_200);
    assert_eq!(
        show("TO_TIMESTAMP_LTZ", &[second(), int(0)]),
        "2024-03-01 02:00:00.000"
    );
    let millis = [bigint(1_709_287_200_123), int(3)];
    assert_eq!(show("TO_TIMESTAMP_LTZ", &millis), "2024-03-01 02:00:00.123");
    let text = [
        string("2024-03-01 10:00:00"),
        string("yyyy-MM-dd HH:mm:ss"),
        string("UTC"),
    ];
    assert_eq!(show("TO_TIMESTAMP_LTZ", &text), "2024-03-01 02:00:00.000");
    assert_eq!(
        show("TO_TIMESTAMP_LTZ", &[second(), int(5)]),
        "INVALID_PRECISION"
    );
    assert_eq!(show("FROM_UNIXTIME", &[second()]), "2024-03-01 02:00:00");
    assert_eq!(
        show("FROM_UNIXTIME", &[second(), string("yyyy-MM-dd")]),
        "2024-03-01"
    );
    assert_eq!(
        show("UNIX_TIMESTAMP", &[string("2024-03-01 10:00:00")]),
        "1709316000"
    );
    let day = [string("2024/03/01"), string("yyyy/MM/dd")];
    assert_eq!(show("UNIX_TIMESTAMP", &day), "1709280000");
    assert_eq!(
        show("UNIX_TIMESTAMP", &[string("x")]),
        "-9223372036854775808"
    );
    let zones = [
        string("2024-03-01 10:00:00"),
        string("UTC"),
        string("Asia/Tokyo"),
    ];
    assert_eq!(show("CONVERT_TZ", &zones), "2024-03-01 19:00:00");
}

#[test]
fn times_move_and_differ_by_units() {
    let differ = |unit, a, b| show("TIMESTAMPDIFF", &[string(unit), a, b]);
    assert_eq!(
        differ(
            "DAY",
            time("2024-01-31 10:00:00"),
            time("2024-03-01 09:00:00")
        ),
        "29"
    );
    assert_eq!(
        differ(
            "MONTH",
            time("2024-01-31 10:00:00"),
            time("2024-02-29 10:00:00")
        ),
        "1"
    );
    assert_eq!(
        differ(
            "SECOND",
            time("2024-01-01 00:00:00"),
            time("2023-12-31 23:59:58.5")
        ),
        "-1"
    );
    assert_eq!(differ("YEAR", date("2020-02-29"), date("2024-02-28")), "3");
    let add = |unit, n, t| show("TIMESTAMPADD", &[string(unit), int(n), t]);
    assert_eq!(add("MONTH", 1, date("2024-01-31")), "2024-02-29");
    assert_eq!(add("WEEK", 1, date("2024-02-25")), "2024-03-03");
    let (moved, ty) = call(
        "TIMESTAMPADD",
        &[
            string("HOUR"),
            int(-5),
            typed("2024-03-01 03:00:00", T::Timestamp(0)),
        ],
    )
    .expect("a time");
    assert_eq!(
        (moved.as_str(), ty.logical),
        ("2024-02-29 22:00:00", T::Timestamp(0))
    );
}

#[test]
fn times_are_rounded_to_units() {
    let floor = |t, unit| show("FLOOR", &[t, string(unit)]);
    let ceil = |t, unit| show("CEIL", &[t, string(unit)]);
    let moment = || typed("2024-03-05 13:44:15", T::Timestamp(0));
    assert_eq!(floor(moment(), "HOUR"), "2024-03-05 13:00:00");
    assert_eq!(ceil(moment(), "DAY"), "2024-03-06 00:00:00");
    assert_eq!(floor(moment(), "WEEK"), "2024-03-03 00:00:00");
    assert_eq!(floor(date("2024-03-05"), "MONTH"), "2024-03-01");
    assert_eq!(ceil(date("2024-03-05"), "YEAR"), "2025-01-01");
}

#[test]
fn the_current_time_is_the_clocks() {
    assert_eq!(show("CURRENT_TIMESTAMP", &[]), "2024-03-01 02:00:00.000");
    assert_eq!(show("LOCALTIMESTAMP", &[]), "2024-03-01 02:00:00.000");
    assert_eq!(show("CURRENT_DATE", &[]), "2024-03-01");
    assert_eq!(show("LOCALTIME", &[]), "02:00:00");
    assert_eq!(show("UNIX_TIMESTAMP", &[]), "1709287200");
    assert_eq!(
        show("CURRENT_WATERMARK", &[time("2024-03-05 00:00:00")]),
        "NULL"
    );
}

#[test]
fn spans_overlap_when_they_share_a_point() {
    let hour = || interval_ms(3_600_000);
    let overlaps = |a, b, c, d| show("OVERLAPS", &[a, b, c, d]);
    let at = |clock: &str| time(&format!("2024-03-05 {clock}:00"));
    assert_eq!(overlaps(at("00:00"), hour(), at("00:30"), hour()), "TRUE");
    assert_eq!(overlaps(at("00:00"), hour(), at("01:30"), hour()), "FALSE");
    assert_eq!(
        overlaps(at("00:00"), at("02:00"), at("01:30"), hour()),
        "TRUE"
    );
}
