//! Reads one JSON object into columns by its plan.

use arrow::buffer::Buffer;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::fault::{Fault, FaultKind, Scanned};
use super::plan::{Key, ObjectPlan, ValuePlan};
use super::scan::{Scanner, Token, compact, unescape};
use crate::column::{ColumnBuilder, TimestampKind, Views};
use crate::number::{self, ParsedDecimal};
use crate::temporal::{self, TimestampStandard};

/// How values are read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ReadRules {
    pub fail_on_missing_field: bool,
    pub ignore_parse_errors: bool,
    pub standard: TimestampStandard,
}

/// Reads objects of one record.
pub(crate) struct Reader<'a> {
    pub scanner: Scanner<'a>,
    /// The buffer that the text stands in, if columns may point into it.
    pub block: Option<&'a Buffer>,
    pub rules: ReadRules,
    pub scratch: &'a mut Vec<u8>,
}

impl Reader<'_> {
    /// Reads the object at the cursor: each column that the plan fills gets exactly one value,
    /// the last one where a key stands twice.
    pub fn object(
        &mut self,
        plan: &mut ObjectPlan,
        columns: &mut [ColumnBuilder],
        base: usize,
    ) -> Scanned<()> {
        if self.scanner.peek() != Some(b'{') {
            return Err(self.scanner.malformed("'{'"));
        }
        self.scanner.at += 1;
        self.scanner.skip_space();
        let mut found = 0;
        if self.scanner.peek() == Some(b'}') {
            self.scanner.at += 1;
        } else {
            found = self.members(plan, columns, base)?;
        }
        if found < plan.keys.len() {
            self.fill_missing(plan, columns, base)?;
        }
        Ok(())
    }

    /// Reads the members of an object; returns how many wanted keys were found.
    fn members(
        &mut self,
        plan: &mut ObjectPlan,
        columns: &mut [ColumnBuilder],
        base: usize,
    ) -> Scanned<usize> {
        let (mut found, mut place) = (0, 0);
        loop {
            let wanted = self.key(plan, place)?;
            place += 1;
            self.scanner.skip_space();
            match wanted {
                None => self.scanner.skip_value()?,
                Some(index) => {
                    let key = &mut plan.keys[index];
                    let is_first = key.leaves.first().is_none_or(|&l| columns[l].len() == base);
                    if !is_first {
                        key.leaves.iter().for_each(|&l| columns[l].truncate(base));
                    }
                    found += usize::from(is_first);
                    if let Err(fault) = self.wanted_value(key, columns, base) {
                        return Err(fault.inside(&key.name));
                    }
                }
            }
            if !self.scanner.goes_on(b'}', "',' or '}'")? {
                return Ok(found);
            }
        }
    }

    /// Moves behind a key and its colon; returns which wanted key it is.
    #[inline]
    fn key(&mut self, plan: &mut ObjectPlan, place: usize) -> Scanned<Option<usize>> {
        let scanner = &mut self.scanner;
        if let Some((len, key)) = plan.predict(place, &scanner.text[scanner.at..]) {
            scanner.at += len;
            return Ok(key);
        }
        self.unpredicted_key(plan, place)
    }

    fn unpredicted_key(&mut self, plan: &mut ObjectPlan, place: usize) -> Scanned<Option<usize>> {
        let scanner = &mut self.scanner;
        if scanner.peek() != Some(b'"') {
            return Err(scanner.malformed("a key in quotes"));
        }
        let start = scanner.at;
        scanner.at += 1;
        let (end, has_escapes) = scanner.string()?;
        let name = &scanner.text[start + 1..end];
        let key = if has_escapes {
            self.scratch.clear();
            unescape(name, start + 1, self.scratch)?;
            plan.find(self.scratch)
        } else {
            plan.find(name)
        };
        scanner.skip_space();
        if scanner.peek() != Some(b':') {
            return Err(scanner.malformed("':'"));
        }
        scanner.at += 1;
        plan.remember(place, &scanner.text[start..scanner.at], key);
        Ok(key)
    }

    /// Reads the value at the cursor into every column that `key` fills.
    fn wanted_value(
        &mut self,
        key: &mut Key,
        columns: &mut [ColumnBuilder],
        base: usize,
    ) -> Scanned<()> {
        let start = self.scanner.at;
        let mut is_first = true;
        for (output, value) in &mut key.outputs {
            if !is_first {
                self.scanner.at = start;
            }
            is_first = false;
            self.value(value, &mut columns[*output])?;
        }
        let Some(nested) = &mut key.nested else {
            return Ok(());
        };
        self.scanner.at = start;
        let result = match self.scanner.peek() {
            Some(b'{') => self.object(nested, columns, base),
            Some(b'n') => {
                self.scanner.skip_value()?;
                nulls(&key.leaves, columns, base);
                Ok(())
            }
            _ => self.wrong_value("a ROW"),
        };
        match result {
            Err(fault) if fault.is_value() && self.rules.ignore_parse_errors => {
                for leaf in nested.keys.iter().flat_map(|k| &k.leaves) {
                    columns[*leaf].truncate(base);
                }
                nulls(&key.leaves, columns, base);
                self.scanner.at = start;
                self.scanner.skip_value()
            }
            other => other,
        }
    }

    #[cold]
    fn wrong_value(&mut self, wanted: &str) -> Scanned<()> {
        let start = self.scanner.at;
        self.scanner.skip_value()?;
        Err(Fault::value(
            &self.scanner.text[start..self.scanner.at],
            wanted,
        ))
    }

    /// Gives the columns of missing keys a NULL.
    fn fill_missing(
        &mut self,
        plan: &ObjectPlan,
        columns: &mut [ColumnBuilder],
        base: usize,
    ) -> Scanned<()> {
        for key in &plan.keys {
            let is_missing = key.leaves.iter().any(|&l| columns[l].len() == base);
            if is_missing && self.rules.fail_on_missing_field {
                return Err(Fault::new(FaultKind::Missing).inside(&key.name));
            }
            nulls(&key.leaves, columns, base);
        }
        Ok(())
    }

    /// Reads the value at the cursor into `column`. With `ignore-parse-errors` one that does not
    /// fit the type is NULL.
    #[inline]
    fn value(&mut self, plan: &mut ValuePlan, column: &mut ColumnBuilder) -> Scanned<()> {
        let start = self.scanner.at;
        let result = self.strict_value(plan, column);
        match result {
            Err(fault) if fault.is_value() && self.rules.ignore_parse_errors => {
                // The value was not ended, so the length is still what it was; this takes back
                // what stands behind it of a half-read nested value.
                column.truncate(column.len());
                column.push_null();
                self.scanner.at = start;
                self.scanner.skip_value()
            }
            other => other,
        }
    }

    #[inline]
    fn strict_value(&mut self, plan: &mut ValuePlan, column: &mut ColumnBuilder) -> Scanned<()> {
        match plan {
            ValuePlan::Scalar => self.scalar(column),
            ValuePlan::Presence => {
                let is_null = self.scanner.peek() == Some(b'n');
                self.scanner.skip_value()?;
                if let ColumnBuilder::Boolean(column) = column {
                    column.push(!is_null);
                }
                Ok(())
            }
            _ if self.scanner.peek() == Some(b'n') => {
                self.scanner.skip_value()?;
                column.push_null();
                Ok(())
            }
            ValuePlan::Row(plan) => self.row(plan, column),
            ValuePlan::Array(item) => self.array(item, column),
            ValuePlan::Map(value) => self.map(value, column),
        }
    }

    fn row(&mut self, plan: &mut ObjectPlan, column: &mut ColumnBuilder) -> Scanned<()> {
        if self.scanner.peek() != Some(b'{') {
            return self.wrong_value("a ROW");
        }
        let base = column.len();
        let ColumnBuilder::Row(rows) = column else {
            return Ok(());
        };
        self.object(plan, &mut rows.children, base)?;
        rows.push();
        Ok(())
    }

    fn array(&mut self, item: &mut ValuePlan, column: &mut ColumnBuilder) -> Scanned<()> {
        if self.scanner.peek() != Some(b'[') {
            return self.wrong_value("an ARRAY");
        }
        let ColumnBuilder::Array(lists) = column else {
            return Ok(());
        };
        self.scanner.at += 1;
        self.scanner.skip_space();
        if self.scanner.peek() == Some(b']') {
            self.scanner.at += 1;
        } else {
            loop {
                self.value(item, &mut lists.items)?;
                if !self.scanner.goes_on(b']', "',' or ']'")? {
                    break;
                }
            }
        }
        lists.push().map_err(other)
    }

    fn map(&mut self, value: &mut ValuePlan, column: &mut ColumnBuilder) -> Scanned<()> {
        if self.scanner.peek() != Some(b'{') {
            return self.wrong_value("a MAP");
        }
        let ColumnBuilder::Map(maps) = column else {
            return Ok(());
        };
        self.scanner.at += 1;
        self.scanner.skip_space();
        if self.scanner.peek() == Some(b'}') {
            self.scanner.at += 1;
            return maps.push().map_err(other);
        }
        loop {
            if self.scanner.peek() != Some(b'"') {
                return Err(self.scanner.malformed("a key in quotes"));
            }
            self.scalar(&mut maps.keys)?;
            self.scanner.skip_space();
            if self.scanner.peek() != Some(b':') {
                return Err(self.scanner.malformed("':'"));
            }
            self.scanner.at += 1;
            self.scanner.skip_space();
            self.value(value, &mut maps.values)?;
            if !self.scanner.goes_on(b'}', "',' or '}'")? {
                return maps.push().map_err(other);
            }
        }
    }

    #[inline]
    fn scalar(&mut self, column: &mut ColumnBuilder) -> Scanned<()> {
        let token = self.scanner.token()?;
        if let ColumnBuilder::Text(column) = column {
            return self.text(token, column);
        }
        let text = self.scanner.text;
        match token {
            Token::Null => {
                column.push_null();
                Ok(())
            }
            Token::Bare { start, end } => {
                let text = &text[start..end];
                match push_bare(text, column, self.rules) {
                    true => Ok(()),
                    false => Err(Fault::value(text, type_name(column))),
                }
            }
            Token::Text {
                start,
                end,
                has_escapes,
            } => {
                let raw = &text[start..end];
                let value = if has_escapes {
                    self.scratch.clear();
                    unescape(raw, start, self.scratch)?;
                    self.scratch.as_slice()
                } else {
                    raw
                };
                match push_text(value, column, self.rules.standard) {
                    true => Ok(()),
                    false => Err(Fault::value(&text[start - 1..end + 1], type_name(column))),
                }
            }
            Token::Container => self.wrong_value(&type_name(column)),
        }
    }

    /// Any value as a string: a string's content, everything else as it is written.
    #[inline]
    fn text(&mut self, token: Token, column: &mut Views) -> Scanned<()> {
        let text = self.scanner.text;
        match token {
            Token::Text {
                start,
                end,
                has_escapes: false,
            }
            | Token::Bare { start, end } => match self.block {
                Some(block) => column.push_shared(block, start, end - start),
                None => column.push_copied(&text[start..end]),
            },
            Token::Text { start, end, .. } => {
                self.scratch.clear();
                unescape(&text[start..end], start, self.scratch)?;
                column.push_copied(self.scratch);
            }
            Token::Null => column.push_null(),
            Token::Container => {
                let start = self.scanner.at;
                self.scanner.skip_value()?;
                self.scratch.clear();
                compact(&text[start..self.scanner.at], self.scratch);
                column.push_copied(self.scratch);
            }
        }
        Ok(())
    }
}

fn other(error: flott_core::Error) -> Box<Fault> {
    Fault::new(FaultKind::Other(error))
}

/// Gives each of these columns a NULL where it has no value yet.
fn nulls(leaves: &[usize], columns: &mut [ColumnBuilder], base: usize) {
    for &leaf in leaves {
        if columns[leaf].len() == base {
            columns[leaf].push_null();
        }
    }
}

/// A number's integer part, as Java's JSON parser gives it for an integer column.
fn integer_of(text: &[u8]) -> Option<i64> {
    number::parse_integer(text).or_else(|| {
        let value = number::parse_double(text)?;
        let is_in_range = value > -9.3e18 && value < 9.2e18;
        is_in_range.then_some(value as i64)
    })
}

/// Appends a number, `true` or `false`; false when the column's type cannot hold it.
#[inline]
fn push_bare(text: &[u8], column: &mut ColumnBuilder, rules: ReadRules) -> bool {
    match column {
        ColumnBuilder::BigInt(c) => integer_of(text).map(|v| c.push(v)).is_some(),
        ColumnBuilder::Int(c) => integer_of(text)
            .and_then(|v| i32::try_from(v).ok())
            .map(|v| c.push(v))
            .is_some(),
        ColumnBuilder::Boolean(c) => {
            c.push(text == b"true");
            true
        }
        _ => push_text(text, column, rules.standard),
    }
}

/// Appends the value that a string stands for; false when the column's type cannot hold it.
pub(crate) fn push_text(
    text: &[u8],
    column: &mut ColumnBuilder,
    standard: TimestampStandard,
) -> bool {
    let trimmed = text.trim_ascii();
    let integer = || number::parse_integer(trimmed);
    let pushed = match column {
        ColumnBuilder::Boolean(c) => {
            c.push(trimmed.eq_ignore_ascii_case(b"true"));
            Some(())
        }
        ColumnBuilder::TinyInt(c) => integer().and_then(|v| v.try_into().ok()).map(|v| c.push(v)),
        ColumnBuilder::SmallInt(c) => integer().and_then(|v| v.try_into().ok()).map(|v| c.push(v)),
        ColumnBuilder::Int(c) => integer().and_then(|v| v.try_into().ok()).map(|v| c.push(v)),
        ColumnBuilder::YearMonth(c) => integer().and_then(|v| v.try_into().ok()).map(|v| c.push(v)),
        ColumnBuilder::BigInt(c) => integer().map(|v| c.push(v)),
        ColumnBuilder::DaySecond(c) => integer().map(|v| c.push(v)),
        ColumnBuilder::Float(c) => number::parse_float(trimmed).map(|v| c.push(v)),
        ColumnBuilder::Double(c) => number::parse_double(trimmed).map(|v| c.push(v)),
        ColumnBuilder::Decimal(c, precision, scale) => {
            match number::parse_decimal(trimmed, *precision, *scale) {
                Some(ParsedDecimal::Value(v)) => {
                    c.push(v);
                    Some(())
                }
                Some(ParsedDecimal::Overflow) => {
                    column.push_null();
                    Some(())
                }
                None => None,
            }
        }
        ColumnBuilder::Bytes(c) => BASE64.decode(text).ok().map(|v| c.push_copied(&v)),
        ColumnBuilder::Date(c) => temporal::parse_date(text).map(|v| c.push(v)),
        ColumnBuilder::Time(c, precision) => {
            temporal::parse_time(text, *precision).map(|v| c.push(v))
        }
        ColumnBuilder::Timestamp(c, precision, kind) => {
            let has_zone = *kind == TimestampKind::LocalZone;
            temporal::parse_timestamp(text, standard, has_zone, *precision).map(|v| c.push(v))
        }
        ColumnBuilder::Text(c) => {
            c.push_copied(text);
            Some(())
        }
        ColumnBuilder::Null(len) => {
            *len += 1;
            Some(())
        }
        ColumnBuilder::Row(_) | ColumnBuilder::Array(_) | ColumnBuilder::Map(_) => None,
    };
    pushed.is_some()
}

/// The name of a column's type, for messages.
pub(crate) fn type_name(column: &ColumnBuilder) -> String {
    match column {
        ColumnBuilder::Null(_) => "NULL".into(),
        ColumnBuilder::Boolean(_) => "BOOLEAN".into(),
        ColumnBuilder::TinyInt(_) => "TINYINT".into(),
        ColumnBuilder::SmallInt(_) => "SMALLINT".into(),
        ColumnBuilder::Int(_) => "INT".into(),
        ColumnBuilder::BigInt(_) => "BIGINT".into(),
        ColumnBuilder::Float(_) => "FLOAT".into(),
        ColumnBuilder::Double(_) => "DOUBLE".into(),
        ColumnBuilder::Decimal(_, p, s) => format!("DECIMAL({p}, {s})"),
        ColumnBuilder::Text(_) => "STRING".into(),
        ColumnBuilder::Bytes(_) => "BYTES".into(),
        ColumnBuilder::Date(_) => "DATE".into(),
        ColumnBuilder::Time(_, p) => format!("TIME({p})"),
        ColumnBuilder::Timestamp(_, p, TimestampKind::Plain) => format!("TIMESTAMP({p})"),
        ColumnBuilder::Timestamp(_, p, _) => format!("TIMESTAMP_LTZ({p})"),
        ColumnBuilder::YearMonth(_) => "INTERVAL YEAR TO MONTH".into(),
        ColumnBuilder::DaySecond(_) => "INTERVAL DAY TO SECOND(3)".into(),
        ColumnBuilder::Row(_) => "a ROW".into(),
        ColumnBuilder::Array(_) => "an ARRAY".into(),
        ColumnBuilder::Map(_) => "a MAP".into(),
    }
}
