//! A stream-test file as records: separated by a blank line, each a verb line, a body, and perhaps
//! `----` with the expected block.

use anyhow::{Context, Result, bail};

/// A parsed file.
#[derive(Debug, Clone)]
pub struct TestFile {
    /// The value of `# matrix:`.
    pub matrix: Option<String>,
    /// The value of `# only:`: the one cell a file runs under (`streaming` or `batch`).
    pub records: Vec<Record>,
}

impl TestFile {
    /// Whether a job goes on from record to record.
    pub fn starts_jobs(&self) -> bool {
        let mut verbs = self.records.iter().map(|r| &r.verb);
        verbs.any(|v| matches!(v, Verb::Start { .. }))
    }
}

/// One record with where it stands.
#[derive(Debug, Clone)]
pub struct Record {
    /// The verb's line, from 1.
    pub line: usize,
    pub verb: Verb,
    pub body: String,
    pub expected: Option<Expected>,
}

/// The block after `----`.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The lines' numbers in the file, from 1: the first, and the one behind the last.
    pub lines: (usize, usize),
    pub text: String,
}

/// What a record does.
#[derive(Debug, Clone, PartialEq)]
pub enum Verb {
    /// A statement that goes well, or fails with a message that matches.
    Statement {
        error: Option<String>,
    },
    /// A bounded query and its final rows; `ordered` compares their order.
    Query {
        ordered: bool,
    },
    Start {
        job: String,
    },
    Feed {
        table: String,
    },
    Watermark {
        table: String,
        time: String,
    },
    End {
        table: String,
    },
    /// Processing time moves on by so many ms.
    Clock {
        advance_ms: i64,
    },
    /// The changes since the last look.
    Changes {
        job: String,
        ordered: bool,
    },
    /// The changelog applied.
    Table {
        job: String,
    },
    Plan {
        job: String,
    },
    Metric {
        job: String,
        name: String,
    },
    Checkpoint,
    Crash,
    Restore {
        parallelism: Option<usize>,
    },
    /// The job goes on with another statement.
    Change {
        job: String,
    },
    Stop {
        job: String,
    },
}

/// Parses a file.
///
/// # Errors
/// The line of an unknown verb or a verb that lacks something.
pub fn parse(text: &str) -> Result<TestFile> {
    let mut file = TestFile {
        matrix: None,
        records: Vec::new(),
    };
    let lines: Vec<&str> = text.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim_end();
        if let Some(comment) = line.strip_prefix('#') {
            if let Some(matrix) = comment.trim().strip_prefix("matrix:") {
                file.matrix = Some(matrix.trim().to_string());
            }
            at += 1;
        } else if line.is_empty() {
            at += 1;
        } else {
            let end = record_end(&lines, at);
            file.records.push(parse_record(&lines, at, end)?);
            at = end;
        }
    }
    Ok(file)
}

/// The first blank line at or behind `start`.
fn record_end(lines: &[&str], start: usize) -> usize {
    lines[start..]
        .iter()
        .position(|l| l.trim().is_empty())
        .map_or(lines.len(), |n| start + n)
}

fn parse_record(lines: &[&str], start: usize, end: usize) -> Result<Record> {
    let verb = parse_verb(lines[start].trim()).with_context(|| format!("line {}", start + 1))?;
    let rule = lines[start..end]
        .iter()
        .position(|l| l.trim() == "----")
        .map(|n| start + n);
    let body = lines[start + 1..rule.unwrap_or(end)].join("\n");
    let expected = rule.map(|rule| Expected {
        lines: (rule + 2, end + 1),
        text: lines[rule + 1..end].join("\n"),
    });
    Ok(Record {
        line: start + 1,
        verb,
        body,
        expected,
    })
}

fn parse_verb(line: &str) -> Result<Verb> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let name = |i: usize| -> Result<String> {
        words
            .get(i)
            .map(|w| w.to_string())
            .with_context(|| format!("'{line}' lacks a name"))
    };
    let is = |word: &str| words.contains(&word);
    Ok(match words[0] {
        "statement" if words.get(1) == Some(&"ok") => Verb::Statement { error: None },
        "statement" if words.get(1) == Some(&"error") => {
            let pattern = line.splitn(3, char::is_whitespace).nth(2).unwrap_or("");
            Verb::Statement {
                error: Some(pattern.trim().to_string()),
            }
        }
        "query" => Verb::Query {
            ordered: is("ordered"),
        },
        "start" => Verb::Start { job: name(1)? },
        "feed" => Verb::Feed { table: name(1)? },
        "watermark" => Verb::Watermark {
            table: name(1)?,
            time: words[2..].join(" "),
        },
        "end" => Verb::End { table: name(1)? },
        "clock" => Verb::Clock {
            advance_ms: advance(&words[1..].join(" "))?,
        },
        "changes" => Verb::Changes {
            job: name(1)?,
            ordered: is("ordered"),
        },
        "table" => Verb::Table { job: name(1)? },
        "plan" => Verb::Plan { job: name(1)? },
        "metric" => Verb::Metric {
            job: name(1)?,
            name: name(2)?,
        },
        "checkpoint" => Verb::Checkpoint,
        "crash" => Verb::Crash,
        "restore" => Verb::Restore {
            parallelism: parallelism(&words)?,
        },
        "change" => Verb::Change { job: name(1)? },
        "stop" => Verb::Stop { job: name(1)? },
        verb => bail!("unknown verb '{verb}'"),
    })
}

fn advance(text: &str) -> Result<i64> {
    let duration = text
        .strip_prefix('+')
        .and_then(flott_core::options::parse_duration);
    Ok(duration
        .with_context(|| format!("'{text}' is not like +10s"))?
        .as_millis() as i64)
}

fn parallelism(words: &[&str]) -> Result<Option<usize>> {
    let value = words.iter().find_map(|w| w.strip_prefix("parallelism="));
    value
        .map(|v| v.parse().with_context(|| format!("parallelism '{v}'")))
        .transpose()
}

/// The file's text with the expected block of each of these records replaced.
pub fn bless(text: &str, replacements: &[(Expected, String)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    let mut sorted: Vec<_> = replacements.iter().collect();
    sorted.sort_by_key(|(expected, _)| std::cmp::Reverse(expected.lines.0));
    for (expected, actual) in sorted {
        let range = expected.lines.0 - 1..expected.lines.1 - 1;
        lines.splice(range, actual.lines().map(str::to_string));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# A test.\n# matrix: parallelism=1,4\n\nstatement ok\nCREATE TABLE t (a INT)\n\nfeed t\n1\n\nchanges j\n----\n+I | 1\n";

    #[test]
    fn records_are_cut_at_blank_lines() {
        let file = parse(FILE).unwrap();
        assert_eq!(file.matrix.as_deref(), Some("parallelism=1,4"));
        assert_eq!(file.records.len(), 3);
        assert_eq!(file.records[2].expected.as_ref().unwrap().text, "+I | 1");
    }

    #[test]
    fn blessing_replaces_the_expected_block_only() {
        let file = parse(FILE).unwrap();
        let expected = file.records[2].expected.clone().unwrap();
        let blessed = bless(FILE, &[(expected, "+I | 2\n+I | 3".into())]);
        assert!(blessed.ends_with("----\n+I | 2\n+I | 3\n"));
        assert!(blessed.starts_with("# A test."));
    }
}
