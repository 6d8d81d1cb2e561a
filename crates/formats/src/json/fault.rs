//! What is wrong with a record, told apart by whether the rest of the record can still be read.

use flott_core::Error;

/// The most characters of a record that a message shows.
const SHOWN_CHARACTERS: usize = 100;

/// The result of reading a piece of JSON.
pub(crate) type Scanned<T> = Result<T, Box<Fault>>;

/// A fault in a record.
#[derive(Debug)]
pub(crate) struct Fault {
    pub kind: FaultKind,
    /// The fields that lead to the place, innermost first.
    path: Vec<String>,
}

#[derive(Debug)]
pub(crate) enum FaultKind {
    /// Not JSON: nothing that follows can be trusted.
    Malformed { at: usize, expected: &'static str },
    /// A well-formed value that its column's type cannot hold.
    Value { text: Vec<u8>, wanted: String },
    /// `fail-on-missing-field`.
    Missing,
    /// An error that is not about the record.
    Other(Error),
}

impl Fault {
    #[cold]
    pub fn new(kind: FaultKind) -> Box<Self> {
        Box::new(Self {
            kind,
            path: Vec::new(),
        })
    }

    #[cold]
    pub fn malformed(at: usize, expected: &'static str) -> Box<Self> {
        Self::new(FaultKind::Malformed { at, expected })
    }

    #[cold]
    pub fn value(text: &[u8], wanted: impl Into<String>) -> Box<Self> {
        Self::new(FaultKind::Value {
            text: text.to_vec(),
            wanted: wanted.into(),
        })
    }

    /// Notes that it happened inside this field.
    #[cold]
    pub fn inside(mut self: Box<Self>, field: &[u8]) -> Box<Self> {
        self.path.push(String::from_utf8_lossy(field).into_owned());
        self
    }

    /// Whether the record's other fields can still be read.
    pub fn is_value(&self) -> bool {
        matches!(self.kind, FaultKind::Value { .. })
    }

    /// The error to report for the record `text` that begins at `start` of what was scanned.
    #[cold]
    pub fn into_error(self, line: Option<u64>, text: &[u8], start: usize) -> Error {
        let place = line.map(|l| format!("line {l}: ")).unwrap_or_default();
        let record = shown(text);
        let path: Vec<&str> = self.path.iter().rev().map(String::as_str).collect();
        let path = path.join(".");
        let message = match self.kind {
            FaultKind::Malformed { at, expected } => {
                let character = at.saturating_sub(start) + 1;
                format!(
                    "{place}malformed JSON at character {character}, expected {expected}: {record}"
                )
            }
            FaultKind::Value { text, wanted } => {
                let value = shown(&text);
                format!("{place}column '{path}': cannot read {value} as {wanted}: {record}")
            }
            FaultKind::Missing => format!("{place}field '{path}' is missing: {record}"),
            FaultKind::Other(error) => return error,
        };
        Error::user("MALFORMED_RECORD", message)
    }
}

/// The first characters of `text`, for a message.
pub(crate) fn shown(text: &[u8]) -> String {
    let head = &text[..text.len().min(SHOWN_CHARACTERS * 4)];
    let head = String::from_utf8_lossy(head);
    let mut characters = head.chars();
    let mut shown: String = characters.by_ref().take(SHOWN_CHARACTERS).collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}
