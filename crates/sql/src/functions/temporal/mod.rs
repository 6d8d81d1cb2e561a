//! Dates and times.

mod current;
mod difference;
mod fields;
mod format;
mod overlaps;
pub mod rounding;
pub mod unit;

use super::FunctionDef;

/// The functions of this group.
pub static LIST: &[&FunctionDef] = &[
    &fields::EXTRACT,
    &fields::YEAR,
    &fields::QUARTER,
    &fields::MONTH,
    &fields::WEEK,
    &fields::DAYOFYEAR,
    &fields::DAYOFMONTH,
    &fields::DAYOFWEEK,
    &fields::HOUR,
    &fields::MINUTE,
    &fields::SECOND,
    &difference::TIMESTAMPADD,
    &difference::TIMESTAMPDIFF,
    &overlaps::OVERLAPS,
    &format::DATE_FORMAT,
    &format::FROM_UNIXTIME,
    &format::UNIX_TIMESTAMP,
    &format::TO_DATE,
    &format::TO_TIMESTAMP,
    &format::TO_TIMESTAMP_LTZ,
    &format::CONVERT_TZ,
    &current::CURRENT_TIMESTAMP,
    &current::CURRENT_ROW_TIMESTAMP,
    &current::PROCTIME,
    &current::LOCALTIMESTAMP,
    &current::CURRENT_DATE,
    &current::CURRENT_TIME,
    &current::CURRENT_WATERMARK,
];

#[cfg(test)]
mod tests;
