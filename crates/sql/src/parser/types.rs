//! The grammar of Flink's data types.

use std::sync::Arc;

use flott_core::types::{DataType, LogicalType, MAX_DECIMAL_PRECISION, MAX_LENGTH, RowField};
use flott_core::{Error, Result};
use sqlparser::ast::{self, Ident, ObjectName, ObjectNamePart};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::dialect::FlinkDialect;
use super::words::Words;

type PResult<T> = Result<T, ParserError>;

/// The data type of its text, such as `ROW<a INT NOT NULL, b ARRAY<STRING>>`.
///
/// # Errors
/// A user error that names the token that is wrong.
pub fn parse_data_type(text: &str) -> Result<DataType> {
    let wrong = |e: ParserError| {
        let message = format!("'{text}' is not a data type: {}", super::error::plain(&e));
        Error::user("INVALID_TYPE", message)
    };
    let mut parser = Parser::new(&FlinkDialect)
        .try_with_sql(text)
        .map_err(wrong)?;
    let data_type = data_type(&mut parser).map_err(wrong)?;
    match parser.peek_token_ref().token {
        Token::EOF => Ok(data_type),
        _ => Err(wrong(expected_end(&parser))),
    }
}

fn expected_end(parser: &Parser<'_>) -> ParserError {
    match parser.unexpected::<()>("the end of the type") {
        Err(error) => error,
        Ok(()) => ParserError::RecursionLimitExceeded,
    }
}

/// The data type that an expression's syntax tree carries: CAST's target, a typed literal's.
///
/// # Errors
/// A user error when it is no type of Flink's.
pub fn data_type_of(carried: &ast::DataType) -> Result<DataType> {
    match carried {
        ast::DataType::Custom(name, modifiers) if modifiers.is_empty() => match name.0.as_slice() {
            [ObjectNamePart::Identifier(text)] => parse_data_type(&text.value),
            _ => parse_data_type(&name.to_string()),
        },
        other => parse_data_type(&other.to_string()),
    }
}

/// Carries a data type in sqlparser's tree: its text as a custom type's name.
pub(crate) fn carry(data_type: &DataType) -> ast::DataType {
    let name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(
        data_type.to_string(),
    ))]);
    ast::DataType::Custom(name, vec![])
}

/// Parses a type at the cursor, with its `NOT NULL`.
pub(crate) fn data_type(parser: &mut Parser<'_>) -> PResult<DataType> {
    let mut types = Types {
        parser,
        open_angles: 0,
        depth: 0,
    };
    let data_type = types.data_type()?;
    match types.open_angles {
        0 => Ok(data_type),
        _ => types.parser.unexpected("no further '>'"),
    }
}

/// Parses the units of an interval at the cursor: `DAY TO SECOND`.
pub(crate) fn interval_units(parser: &mut Parser<'_>) -> PResult<LogicalType> {
    let mut types = Types {
        parser,
        open_angles: 0,
        depth: 0,
    };
    types.interval_units()
}

struct Types<'p, 'a> {
    parser: &'p mut Parser<'a>,
    /// `>` of a `>>` token that are still to be used.
    open_angles: usize,
    depth: usize,
}

impl Types<'_, '_> {
    fn data_type(&mut self) -> PResult<DataType> {
        if self.depth == MAX_DEPTH {
            return Err(ParserError::RecursionLimitExceeded);
        }
        self.depth += 1;
        let mut data_type = self.with_nullability()?;
        self.depth -= 1;
        while self.open_angles == 0 {
            let logical = if self.parser.eat_word("ARRAY") {
                LogicalType::Array(Arc::new(data_type))
            } else if self.parser.eat_word("MULTISET") {
                LogicalType::Multiset(Arc::new(data_type))
            } else {
                break;
            };
            let nullable = self.nullability()?;
            data_type = DataType { logical, nullable };
        }
        Ok(data_type)
    }

    fn with_nullability(&mut self) -> PResult<DataType> {
        let logical = self.logical()?;
        let nullable = match self.open_angles {
            0 => self.nullability()?,
            _ => true,
        };
        Ok(DataType { logical, nullable })
    }

    fn nullability(&mut self) -> PResult<bool> {
        if self.parser.at_words(&["NOT", "NULL"]) {
            self.parser.expect_words(&["NOT", "NULL"])?;
            return Ok(false);
        }
        // `RETURNING INT NULL ON EMPTY` is about JSON, not about the type.
        if !self.parser.at_words(&["NULL", "ON"]) {
            self.parser.eat_word("NULL");
        }
        Ok(true)
    }

    fn logical(&mut self) -> PResult<LogicalType> {
        let word = match &self.parser.peek_token_ref().token {
            Token::Word(w) if w.quote_style.is_none() => w.value.to_ascii_uppercase(),
            _ => return self.parser.unexpected("a data type"),
        };
        if let Some(simple) = simple_type(&word) {
            self.parser.advance_token();
            return Ok(simple);
        }
        match word.as_str() {
            "DOUBLE" => {
                self.parser.advance_token();
                self.parser.eat_word("PRECISION");
                Ok(LogicalType::Double)
            }
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal(),
            "CHAR" | "CHARACTER" | "VARCHAR" | "BINARY" | "VARBINARY" => self.sized(&word),
            "TIME" | "TIMESTAMP" | "TIMESTAMP_LTZ" => self.temporal(&word),
            "INTERVAL" => self.interval(),
            "ARRAY" => self.one_parameter().map(LogicalType::Array),
            "MULTISET" => self.one_parameter().map(LogicalType::Multiset),
            "MAP" => self.map(),
            "ROW" => self.row(),
            _ => self.unknown(&word),
        }
    }

    fn unknown<T>(&mut self, word: &str) -> PResult<T> {
        let known = [
            "BOOLEAN",
            "TINYINT",
            "SMALLINT",
            "INT",
            "BIGINT",
            "FLOAT",
            "DOUBLE",
            "DECIMAL",
            "CHAR",
            "VARCHAR",
            "STRING",
            "BINARY",
            "VARBINARY",
            "BYTES",
            "DATE",
            "TIME",
            "TIMESTAMP",
            "TIMESTAMP_LTZ",
            "INTERVAL",
            "ARRAY",
            "MAP",
            "MULTISET",
            "ROW",
        ];
        let hint = flott_core::error::did_you_mean(word, known);
        self.parser.unexpected(&format!("a data type{hint}"))
    }

    fn decimal(&mut self) -> PResult<LogicalType> {
        self.parser.advance_token();
        if !self.parser.consume_token(&Token::LParen) {
            return Ok(LogicalType::Decimal(10, 0));
        }
        let precision = self.bounded(1, u64::from(MAX_DECIMAL_PRECISION), "DECIMAL precision")?;
        let scale = match self.parser.consume_token(&Token::Comma) {
            true => self.bounded(0, precision, "DECIMAL scale")?,
            false => 0,
        };
        self.parser.expect_token(&Token::RParen)?;
        Ok(LogicalType::Decimal(precision as u8, scale as u8))
    }

    fn bounded(&mut self, low: u64, high: u64, what: &str) -> PResult<u64> {
        let wanted = format!("a {what} from {low} to {high}");
        let valid = matches!(
            &self.parser.peek_token_ref().token,
            Token::Number(n, _) if n.parse().is_ok_and(|n: u64| (low..=high).contains(&n))
        );
        match valid {
            true => self.parser.number(),
            false => self.parser.unexpected(&wanted),
        }
    }

    fn sized(&mut self, word: &str) -> PResult<LogicalType> {
        self.parser.advance_token();
        let varying = word.starts_with("VAR")
            || (word == "CHARACTER" || word == "CHAR" || word == "BINARY")
                && self.parser.eat_word("VARYING");
        // As in Flink, a varying type without a length has no bound, and a fixed one has length 1.
        let mut length = if varying { MAX_LENGTH } else { 1 };
        if self.parser.consume_token(&Token::LParen) {
            length = self.bounded(1, u64::from(MAX_LENGTH), "length")? as u32;
            self.parser.expect_token(&Token::RParen)?;
        }
        Ok(match (word.ends_with("BINARY"), varying) {
            (true, true) => LogicalType::VarBinary(length),
            (true, false) => LogicalType::Binary(length),
            (false, true) => LogicalType::VarChar(length),
            (false, false) => LogicalType::Char(length),
        })
    }

    fn precision(&mut self, default: u8) -> PResult<u8> {
        if !self.parser.consume_token(&Token::LParen) {
            return Ok(default);
        }
        let precision = self.bounded(0, 9, "precision")?;
        self.parser.expect_token(&Token::RParen)?;
        Ok(precision as u8)
    }

    fn temporal(&mut self, word: &str) -> PResult<LogicalType> {
        self.parser.advance_token();
        let precision = self.precision(if word == "TIME" { 0 } else { 6 })?;
        if word == "TIMESTAMP_LTZ" {
            return Ok(LogicalType::TimestampLtz(precision));
        }
        let is_time = word == "TIME";
        self.parser.eat_words(&["WITHOUT", "TIME", "ZONE"]);
        if !is_time && self.parser.eat_words(&["WITH", "LOCAL", "TIME", "ZONE"]) {
            return Ok(LogicalType::TimestampLtz(precision));
        }
        if !is_time && self.parser.at_words(&["WITH", "TIME", "ZONE"]) {
            return self
                .parser
                .unexpected("no WITH TIME ZONE (Flink has WITH LOCAL TIME ZONE)");
        }
        Ok(match is_time {
            true => LogicalType::Time(precision),
            false => LogicalType::Timestamp(precision),
        })
    }

    fn interval(&mut self) -> PResult<LogicalType> {
        self.parser.advance_token();
        self.interval_units()
    }

    fn interval_units(&mut self) -> PResult<LogicalType> {
        let first = self.interval_unit()?;
        let last = match self.parser.eat_word("TO") {
            true => self.interval_unit()?,
            false => first,
        };
        match (first, last) {
            (a, b) if a > b => self.parser.unexpected("a smaller unit after TO"),
            (0 | 1, 0 | 1) => Ok(LogicalType::IntervalYearMonth),
            (2.., 2..) => Ok(LogicalType::IntervalDaySecond),
            _ => self
                .parser
                .unexpected("units of one kind: YEAR TO MONTH or DAY TO SECOND"),
        }
    }

    /// 0 for YEAR to 5 for SECOND.
    fn interval_unit(&mut self) -> PResult<usize> {
        let units = ["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"];
        for (i, unit) in units.iter().enumerate() {
            if self.parser.eat_word(unit) {
                self.precision(0)?;
                return Ok(i);
            }
        }
        self.parser.unexpected("a unit from YEAR to SECOND")
    }

    fn open_angle(&mut self) -> PResult<()> {
        self.parser.advance_token();
        self.parser.expect_token(&Token::Lt).map(|_| ())
    }

    fn close_angle(&mut self) -> PResult<()> {
        if self.open_angles > 0 {
            self.open_angles -= 1;
        } else if self.parser.consume_token(&Token::ShiftRight) {
            self.open_angles = 1;
        } else {
            self.parser.expect_token(&Token::Gt)?;
        }
        Ok(())
    }

    fn one_parameter(&mut self) -> PResult<Arc<DataType>> {
        self.open_angle()?;
        let item = self.data_type()?;
        self.close_angle()?;
        Ok(Arc::new(item))
    }

    fn map(&mut self) -> PResult<LogicalType> {
        self.open_angle()?;
        let key = self.data_type()?;
        self.parser.expect_token(&Token::Comma)?;
        let value = self.data_type()?;
        self.close_angle()?;
        Ok(LogicalType::Map(Arc::new(key), Arc::new(value)))
    }

    /// `ROW<a INT 'comment', …>` or `ROW(a INT, …)`.
    fn row(&mut self) -> PResult<LogicalType> {
        self.parser.advance_token();
        let parenthesized = self.parser.consume_token(&Token::LParen);
        if !parenthesized {
            self.parser.expect_token(&Token::Lt)?;
        }
        let mut fields = Vec::new();
        loop {
            let name = self.parser.identifier()?.value;
            let data_type = self.data_type()?;
            if self.open_angles == 0
                && matches!(
                    self.parser.peek_token_ref().token,
                    Token::SingleQuotedString(_)
                )
            {
                // A field's comment is not kept, as in the types that Flink prints.
                self.parser.advance_token();
            }
            fields.push(RowField::new(name, data_type));
            if self.open_angles > 0 || !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        match parenthesized && self.open_angles == 0 {
            true => self.parser.expect_token(&Token::RParen).map(|_| ())?,
            false => self.close_angle()?,
        }
        Ok(LogicalType::Row(fields.into()))
    }
}

fn simple_type(word: &str) -> Option<LogicalType> {
    Some(match word {
        "BOOLEAN" => LogicalType::Boolean,
        "TINYINT" => LogicalType::TinyInt,
        "SMALLINT" => LogicalType::SmallInt,
        "INT" | "INTEGER" => LogicalType::Int,
        "BIGINT" => LogicalType::BigInt,
        "FLOAT" | "REAL" => LogicalType::Float,
        "STRING" => LogicalType::STRING,
        "BYTES" => LogicalType::BYTES,
        "DATE" => LogicalType::Date,
        "NULL" => LogicalType::Null,
        _ => return None,
    })
}

/// How deep types may nest: the stack must not be exhausted.
const MAX_DEPTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        parse_data_type(text).map_or_else(|e| e.to_string(), |t| t.to_string())
    }

    #[test]
    fn every_type_has_flinks_defaults() {
        for (text, expected) in [
            ("int", "INT"),
            ("INTEGER NOT NULL", "INT NOT NULL"),
            ("DECIMAL", "DECIMAL(10, 0)"),
            ("DEC(5)", "DECIMAL(5, 0)"),
            ("NUMERIC(38, 18)", "DECIMAL(38, 18)"),
            ("CHAR", "CHAR(1)"),
            ("VARCHAR(10)", "VARCHAR(10)"),
            ("VARCHAR(2147483647)", "STRING"),
            ("VARBINARY(3)", "VARBINARY(3)"),
            ("BYTES", "BYTES"),
            ("DOUBLE PRECISION", "DOUBLE"),
            ("TIME", "TIME(0)"),
            ("TIME(3) WITHOUT TIME ZONE", "TIME(3)"),
            ("TIMESTAMP", "TIMESTAMP(6)"),
            ("TIMESTAMP(3) WITHOUT TIME ZONE", "TIMESTAMP(3)"),
            ("TIMESTAMP(3) WITH LOCAL TIME ZONE", "TIMESTAMP_LTZ(3)"),
            ("TIMESTAMP_LTZ(9) NOT NULL", "TIMESTAMP_LTZ(9) NOT NULL"),
            ("INTERVAL YEAR(4) TO MONTH", "INTERVAL YEAR TO MONTH"),
            ("INTERVAL DAY TO SECOND(3)", "INTERVAL DAY TO SECOND(3)"),
            ("INTERVAL HOUR", "INTERVAL DAY TO SECOND(3)"),
            ("INT ARRAY NOT NULL ARRAY", "ARRAY<ARRAY<INT> NOT NULL>"),
            ("MULTISET<STRING>", "MULTISET<STRING>"),
            ("NULL", "NULL"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn nested_types_share_their_closing_angles() {
        assert_eq!(
            shown("ROW<a INT NOT NULL 'first', `b c` ARRAY<MAP<STRING, INT>>>"),
            "ROW<`a` INT NOT NULL, `b c` ARRAY<MAP<STRING, INT>>>"
        );
        assert_eq!(
            shown("MAP<INT, ARRAY<ROW<x ARRAY<INT>>>> NOT NULL"),
            "MAP<INT, ARRAY<ROW<`x` ARRAY<INT>>>> NOT NULL"
        );
        assert_eq!(
            shown("ROW(a INT, b ROW(c STRING))"),
            "ROW<`a` INT, `b` ROW<`c` STRING>>"
        );
        assert_eq!(
            shown("ARRAY<INT NOT NULL> NOT NULL"),
            "ARRAY<INT NOT NULL> NOT NULL"
        );
    }

    #[test]
    fn what_is_no_type_is_named() {
        assert!(shown("DECIMAL(39)").contains("precision from 1 to 38"));
        assert!(shown("STRNG").contains("did you mean 'STRING'"));
        assert!(shown("ARRAY<INT>>").contains("not a data type"));
        assert!(shown("INT INT").contains("end of the type"));
        assert!(shown(&"ARRAY<".repeat(5000)).contains("nested too deeply"));
    }
}
