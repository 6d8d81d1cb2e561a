//! Errors as people read them: the message, where it stands, the line with a caret.

use std::fmt::Write;
use std::process::ExitCode;

use flott_core::{Error, ErrorKind};

/// The job failed.
pub const EXIT_FAILED: u8 = 1;
/// A statement is wrong.
pub const EXIT_WRONG_STATEMENT: u8 = 2;

/// The exit code that an error ends a run with: 2 when a statement is wrong, 1 when a job failed.
pub fn exit_code(error: &Error, while_running: bool) -> ExitCode {
    let is_statement = error.kind() == ErrorKind::User && !while_running;
    ExitCode::from(if is_statement {
        EXIT_WRONG_STATEMENT
    } else {
        EXIT_FAILED
    })
}

/// What a command ends with: its own code, or that of the error, which is told.
pub fn exit_of(result: flott_core::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("{}", render(&error, "", ""));
        exit_code(&error, false)
    })
}

/// `error[CODE]: message`, then the line of `source` where it stands.
pub fn render(error: &Error, file: &str, source: &str) -> String {
    let mut text = format!("error[{}]: {}", error.code(), error.message());
    if let Some(location) = error.location() {
        let number = location.line.to_string();
        let margin = " ".repeat(number.len());
        let _ = write!(
            text,
            "\n{margin}--> {file}:{}:{}",
            location.line, location.column
        );
        if let Some(line) = source.lines().nth(location.line.saturating_sub(1) as usize) {
            let before = location.column.saturating_sub(1) as usize;
            let indent: String = line
                .chars()
                .take(before)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let _ = write!(
                text,
                "\n{margin} |\n{number} | {line}\n{margin} | {indent}^"
            );
        }
    }
    if error.kind() == ErrorKind::Internal {
        text.push_str("\nthis is a defect of flott: please report it with the statement");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use flott_core::Location;

    #[test]
    fn the_caret_stands_under_the_column() {
        let error =
            Error::user("UNKNOWN_COLUMN", "no column 'b'").at(Location { line: 2, column: 8 });
        let text = render(&error, "a.sql", "-- x\nSELECT b FROM t");
        assert_eq!(
            text,
            "error[UNKNOWN_COLUMN]: no column 'b'\n --> a.sql:2:8\n  |\n2 | SELECT b FROM t\n  |        ^"
        );
    }
}
