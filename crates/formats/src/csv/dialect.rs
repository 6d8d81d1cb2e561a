//! The options of CSV, and how a file is divided into records and cells by them.

use flott_core::options::{OptionDef, OptionType, Options};
use flott_core::{Error, Result};

use crate::json::flag;
use crate::number::DecimalStyle;

const FIELD_DELIMITER: OptionDef = OptionDef::new(
    "field-delimiter",
    OptionType::String,
    "the character between columns; '\\t' and '\\u0001' work too",
)
.example(";")
.default(",");
const DISABLE_QUOTE: OptionDef = OptionDef::new(
    "disable-quote-character",
    OptionType::Boolean,
    "quotes have no meaning",
)
.default("false");
const QUOTE_CHARACTER: OptionDef = OptionDef::new(
    "quote-character",
    OptionType::String,
    "the character around values that hold delimiters or line ends",
)
.example("%")
.default("\"");
const ALLOW_COMMENTS: OptionDef = OptionDef::new(
    "allow-comments",
    OptionType::Boolean,
    "skip lines that begin with '#'",
)
.default("false");
pub(crate) const IGNORE_PARSE_ERRORS: OptionDef = OptionDef::new(
    "ignore-parse-errors",
    OptionType::Boolean,
    "skip malformed records, and read values that do not fit their column as NULL",
)
.default("false");
const ARRAY_DELIMITER: OptionDef = OptionDef::new(
    "array-element-delimiter",
    OptionType::String,
    "the text between the elements of an ARRAY or the fields of a ROW",
)
.example("|")
.default(";");
const ESCAPE_CHARACTER: OptionDef = OptionDef::new(
    "escape-character",
    OptionType::String,
    "the character that takes the next one's meaning away",
)
.example("\\");
const NULL_LITERAL: OptionDef = OptionDef::new(
    "null-literal",
    OptionType::String,
    "the text that stands for NULL",
)
.example("n/a");
const SCIENTIFIC: OptionDef = OptionDef::new(
    "write-bigdecimal-in-scientific-notation",
    OptionType::Boolean,
    "write decimals that are multiples of ten with an exponent",
)
.default("true");

pub(crate) const OPTIONS: &[OptionDef] = &[
    FIELD_DELIMITER,
    DISABLE_QUOTE,
    QUOTE_CHARACTER,
    ALLOW_COMMENTS,
    IGNORE_PARSE_ERRORS,
    ARRAY_DELIMITER,
    ESCAPE_CHARACTER,
    NULL_LITERAL,
    SCIENTIFIC,
];

/// How a CSV file is written.
#[derive(Debug, Clone)]
pub(crate) struct Dialect {
    /// One character in UTF-8.
    pub delimiter: Vec<u8>,
    pub quote: Option<u8>,
    pub escape: Option<u8>,
    pub array_delimiter: Vec<u8>,
    pub null_literal: Option<Vec<u8>>,
    pub allow_comments: bool,
    pub ignore_parse_errors: bool,
    pub decimals: DecimalStyle,
}

impl Dialect {
    pub fn new(options: &Options) -> Result<Self> {
        options.check("format 'csv'", &[OPTIONS])?;
        let delimiter = unescape_java(options.text(&FIELD_DELIMITER).unwrap_or(","));
        if delimiter.chars().count() != 1 {
            return Err(one_character(&FIELD_DELIMITER, &delimiter));
        }
        let is_quoting = !flag(options, &DISABLE_QUOTE)?;
        if !is_quoting && options.get(QUOTE_CHARACTER.key).is_some() {
            return Err(Error::user(
                "INVALID_OPTION",
                "'csv.quote-character' has no meaning with 'csv.disable-quote-character'; remove one of them",
            ));
        }
        let quote = ascii_character(options, &QUOTE_CHARACTER)?;
        Ok(Self {
            delimiter: delimiter.into_bytes(),
            quote: quote.filter(|_| is_quoting),
            escape: ascii_character(options, &ESCAPE_CHARACTER)?,
            array_delimiter: options
                .text(&ARRAY_DELIMITER)
                .unwrap_or(";")
                .as_bytes()
                .to_vec(),
            null_literal: options.get(NULL_LITERAL.key).map(|t| t.as_bytes().to_vec()),
            allow_comments: flag(options, &ALLOW_COMMENTS)?,
            ignore_parse_errors: flag(options, &IGNORE_PARSE_ERRORS)?,
            decimals: match flag(options, &SCIENTIFIC)? {
                true => DecimalStyle::Scientific,
                false => DecimalStyle::Plain,
            },
        })
    }

    pub fn is_null(&self, text: &[u8]) -> bool {
        self.null_literal.as_deref() == Some(text)
    }
}

fn one_character(option: &OptionDef, value: &str) -> Error {
    let message = format!(
        "option 'csv.{}' is '{value}'; it takes one character",
        option.key
    );
    Error::user("INVALID_OPTION", message)
}

fn ascii_character(options: &Options, option: &OptionDef) -> Result<Option<u8>> {
    let Some(text) = options.text(option) else {
        return Ok(None);
    };
    match text.as_bytes() {
        [byte] if byte.is_ascii() => Ok(Some(*byte)),
        _ => Err(one_character(option, text)),
    }
}

/// Resolves Java's escapes, so that `\t` and `\u0001` can be written in an option.
fn unescape_java(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = characters.clone().take(4).collect();
                match u32::from_str_radix(&digits, 16)
                    .ok()
                    .and_then(char::from_u32)
                {
                    Some(character) if digits.len() == 4 => {
                        out.push(character);
                        characters.nth(3);
                    }
                    _ => out.push_str("\\u"),
                }
            }
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}

/// What stands behind a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CellEnd {
    Delimiter,
    /// The end of the line or of the text.
    Record,
}

/// A cell: `start..end` of the text, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub start: usize,
    pub end: usize,
    /// It holds doubled quotes or escapes.
    pub has_escapes: bool,
    pub is_quoted: bool,
    pub ended_by: CellEnd,
    /// Where the next cell or record begins.
    pub next: usize,
}

/// Why no cell was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CellFault {
    /// The text ends before the record does.
    Incomplete,
    /// Something else than a delimiter follows a closing quote, at this place.
    AfterQuote(usize),
    /// The text ends inside quotes.
    OpenQuote,
}

impl Dialect {
    /// The cell that begins at `at`. With `is_last` the text's end ends it.
    #[inline]
    pub fn cell(&self, text: &[u8], at: usize, is_last: bool) -> Result<Cell, CellFault> {
        match self.quote {
            Some(quote) if text.get(at) == Some(&quote) => {
                self.quoted_cell(text, at, quote, is_last)
            }
            _ => self.plain_cell(text, at, is_last),
        }
    }

    #[inline]
    fn plain_cell(&self, text: &[u8], start: usize, is_last: bool) -> Result<Cell, CellFault> {
        let mut at = start;
        let mut has_escapes = false;
        let first = self.delimiter[0];
        loop {
            at = find(text, at, first, self.escape);
            let Some(&byte) = text.get(at) else {
                break;
            };
            if byte == b'\n' {
                return Ok(self.ended(text, start, at, has_escapes));
            }
            if Some(byte) == self.escape {
                has_escapes = true;
                at += 2;
            } else if self.delimiter.len() == 1 || text[at..].starts_with(&self.delimiter) {
                return Ok(Cell {
                    start,
                    end: at,
                    has_escapes,
                    is_quoted: false,
                    ended_by: CellEnd::Delimiter,
                    next: at + self.delimiter.len(),
                });
            } else {
                at += 1;
            }
        }
        if !is_last {
            return Err(CellFault::Incomplete);
        }
        Ok(self.ended(text, start, text.len(), has_escapes))
    }

    /// The last cell of a record whose line ends at `at`.
    fn ended(&self, text: &[u8], start: usize, at: usize, has_escapes: bool) -> Cell {
        let has_return = at > start && text[at - 1] == b'\r';
        Cell {
            start,
            end: at - usize::from(has_return),
            has_escapes,
            is_quoted: false,
            ended_by: CellEnd::Record,
            next: text.len().min(at + 1),
        }
    }

    fn quoted_cell(
        &self,
        text: &[u8],
        at: usize,
        quote: u8,
        is_last: bool,
    ) -> Result<Cell, CellFault> {
        let open = match is_last {
            true => CellFault::OpenQuote,
            false => CellFault::Incomplete,
        };
        let start = at + 1;
        let mut at = start;
        let mut has_escapes = false;
        let end = loop {
            let found = match self.escape {
                Some(escape) => memchr::memchr2(quote, escape, text.get(at..).unwrap_or_default()),
                None => memchr::memchr(quote, text.get(at..).unwrap_or_default()),
            };
            at += found.ok_or(open)?;
            if text[at] != quote || (text.get(at + 1) == Some(&quote)) {
                has_escapes = true;
                at += 2;
            } else if at + 1 == text.len() && !is_last {
                return Err(CellFault::Incomplete);
            } else {
                break at;
            }
        };
        let cell = self.plain_cell(text, end + 1, is_last)?;
        if let Some(place) = text[end + 1..cell.end].iter().position(|b| *b > b' ') {
            return Err(CellFault::AfterQuote(end + 1 + place));
        }
        Ok(Cell {
            start,
            end,
            has_escapes,
            is_quoted: true,
            ..cell
        })
    }

    /// The content of a cell that has escapes.
    pub fn unescape(&self, raw: &[u8], is_quoted: bool, out: &mut Vec<u8>) {
        let mut bytes = raw.iter().copied();
        while let Some(byte) = bytes.next() {
            if Some(byte) == self.escape {
                match bytes.next() {
                    Some(b'n') => out.push(b'\n'),
                    Some(b'r') => out.push(b'\r'),
                    Some(b't') => out.push(b'\t'),
                    Some(b'0') => out.push(0),
                    Some(other) => out.push(other),
                    None => {}
                }
            } else {
                out.push(byte);
                if is_quoted && Some(byte) == self.quote {
                    bytes.next();
                }
            }
        }
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

#[inline]
fn bytes_equal(word: u64, byte: u8) -> u64 {
    let word = word ^ (ONES * u64::from(byte));
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// The next place of `delimiter`, a line end or `escape`, eight bytes at a time; cells are short,
/// so that this beats a call of `memchr`.
#[inline]
fn find(text: &[u8], mut at: usize, delimiter: u8, escape: Option<u8>) -> usize {
    let escape = escape.unwrap_or(b'\n');
    while let Some(bytes) = text.get(at..at + 8) {
        let word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        let hits =
            bytes_equal(word, delimiter) | bytes_equal(word, b'\n') | bytes_equal(word, escape);
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(&byte) = text.get(at) {
        if byte == delimiter || byte == b'\n' || byte == escape {
            break;
        }
        at += 1;
    }
    at
}
