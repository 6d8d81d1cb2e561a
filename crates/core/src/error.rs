//! The one error that crosses crate borders: who must act, may it be retried, a stable code.

use std::fmt;

/// Who has to act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The statement, option or input is wrong: the user changes it.
    User,
    /// Something outside the process failed: a file, a disk, a broker.
    External,
    /// A defect of ours.
    Internal,
}

/// Where in a text something stands; lines and columns count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Location {
    pub line: u64,
    pub column: u64,
}

/// An error with a stable code, a message that says what to do, and its cause.
#[derive(Debug, Clone)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Debug, Clone)]
struct Inner {
    kind: ErrorKind,
    code: &'static str,
    message: String,
    retryable: bool,
    location: Option<Location>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            inner: Box::new(Inner {
                kind,
                code,
                message,
                retryable: false,
                location: None,
            }),
        }
    }

    /// The user's statement, option or data is wrong.
    pub fn user(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::User, code, message)
    }

    /// Something outside the process failed.
    pub fn external(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::External, code, message)
    }

    /// A defect of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, "INTERNAL", message)
    }

    /// A failed file operation on `path`.
    pub fn io(path: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::external("IO", format!("{path}: {error}"))
    }

    pub fn retryable(mut self) -> Self {
        self.inner.retryable = true;
        self
    }

    /// Adds where it stands, unless that is known already.
    pub fn at(mut self, location: Location) -> Self {
        self.inner.location.get_or_insert(location);
        self
    }

    /// Puts `context: ` before the message.
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.inner.message = format!("{context}: {}", self.inner.message);
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    pub fn code(&self) -> &'static str {
        self.inner.code
    }

    pub fn message(&self) -> &str {
        &self.inner.message
    }

    pub fn is_retryable(&self) -> bool {
        self.inner.retryable
    }

    pub fn location(&self) -> Option<Location> {
        self.inner.location
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl std::error::Error for Error {}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        use arrow::error::ArrowError;
        match error {
            ArrowError::DivideByZero => Self::user("DIVISION_BY_ZERO", "division by zero"),
            // An expression's own error travels through Arrow and DataFusion unchanged.
            ArrowError::ExternalError(source) => match source.downcast::<Error>() {
                Ok(error) => *error,
                Err(source) => Self::internal(source.to_string()),
            },
            other => Self::internal(other.to_string()),
        }
    }
}

/// The known name nearest to `name`, for "did you mean"; `None` when none is near.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&lower, &k.to_lowercase()), k))
        .filter(|(distance, k)| *distance <= 1 + k.len().max(name.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

/// `; did you mean 'x'?` or nothing.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known)
        .map(|k| format!("; did you mean '{k}'?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_only_when_near() {
        assert_eq!(
            nearest("filesytem", ["filesystem", "kafka"]),
            Some("filesystem")
        );
        assert_eq!(nearest("zzz", ["filesystem", "kafka"]), None);
    }
}
