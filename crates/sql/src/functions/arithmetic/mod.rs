//! Arithmetic on numbers, and of dates and times with intervals.

mod decimal;
mod digits;
pub mod interval;
mod operators;
mod random;
mod real;
mod rounding;

use super::FunctionDef;

/// The functions of this group.
pub static LIST: &[&FunctionDef] = &[
    &operators::PLUS,
    &operators::MINUS,
    &operators::TIMES,
    &operators::DIVIDE,
    &operators::MODULO,
    &operators::NEGATE,
    &rounding::ABS,
    &rounding::SIGN,
    &rounding::ROUND,
    &rounding::TRUNCATE,
    &rounding::FLOOR,
    &rounding::CEIL,
    &real::POWER,
    &real::SQRT,
    &real::EXP,
    &real::LN,
    &real::LOG,
    &real::LOG2,
    &real::LOG10,
    &real::SIN,
    &real::COS,
    &real::TAN,
    &real::COT,
    &real::ASIN,
    &real::ACOS,
    &real::ATAN,
    &real::ATAN2,
    &real::SINH,
    &real::COSH,
    &real::TANH,
    &real::DEGREES,
    &real::RADIANS,
    &real::PI,
    &real::E,
    &random::RAND,
    &random::RAND_INTEGER,
    &digits::BIN,
    &digits::HEX,
    &digits::UNHEX,
];

#[cfg(test)]
mod tests;
