//! A script's text to the texts of its statements.

use flott_core::Location;

/// One statement's text and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub text: &'a str,
    pub location: Location,
    /// Whether a `;` ended it.
    pub is_terminated: bool,
}

/// Splits at `;` outside strings, quoted names, comments and statement sets. Pieces that hold
/// nothing but blanks and comments are left out, as Flink does not count them.
pub(crate) fn split(script: &str) -> Vec<Piece<'_>> {
    let mut splitter = Splitter {
        script,
        rest: script,
        location: Location { line: 1, column: 1 },
        start: None,
        words: Vec::new(),
        last_word: String::new(),
        pieces: Vec::new(),
    };
    while !splitter.rest.is_empty() {
        splitter.step();
    }
    splitter.finish(false);
    splitter.pieces
}

struct Splitter<'a> {
    script: &'a str,
    rest: &'a str,
    location: Location,
    /// Offset and place of the statement's first token.
    start: Option<(usize, Location)>,
    /// The statement's first words, in upper case.
    words: Vec<String>,
    last_word: String,
    pieces: Vec<Piece<'a>>,
}

/// How many of a statement's first words tell that it is a statement set.
const LEADING_WORDS: usize = 10;

impl<'a> Splitter<'a> {
    fn offset(&self) -> usize {
        self.script.len() - self.rest.len()
    }

    fn advance(&mut self, len: usize) {
        let (passed, rest) = self.rest.split_at(len);
        for c in passed.chars() {
            match c {
                '\n' => {
                    self.location.line += 1;
                    self.location.column = 1;
                }
                _ => self.location.column += 1,
            }
        }
        self.rest = rest;
    }

    fn begin(&mut self) {
        let offset = self.offset();
        self.start.get_or_insert((offset, self.location));
    }

    fn step(&mut self) {
        let rest = self.rest;
        let Some(c) = rest.chars().next() else {
            return;
        };
        if rest.starts_with("--") {
            self.advance(rest.find('\n').unwrap_or(rest.len()));
        } else if let Some(comment) = rest.strip_prefix("/*") {
            let end = comment.find("*/").map_or(rest.len(), |i| i + 4);
            self.advance(end);
        } else if matches!(c, '\'' | '`' | '"') {
            self.begin();
            self.last_word.clear();
            // A doubled quote ends the string and begins another: the same for splitting.
            let end = rest[1..].find(c).map_or(rest.len(), |i| i + 2);
            self.advance(end);
        } else if c == ';' {
            self.semicolon();
        } else if c.is_alphabetic() || c == '_' {
            self.word();
        } else {
            if !c.is_whitespace() {
                self.begin();
                self.last_word.clear();
            }
            self.advance(c.len_utf8());
        }
    }

    fn word(&mut self) {
        self.begin();
        let rest = self.rest;
        let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$')));
        let end = end.unwrap_or(rest.len());
        self.last_word = rest[..end].to_ascii_uppercase();
        if self.words.len() < LEADING_WORDS {
            self.words.push(self.last_word.clone());
        }
        self.advance(end);
    }

    fn semicolon(&mut self) {
        if self.is_in_statement_set() && self.last_word != "END" {
            self.last_word.clear();
            self.advance(1);
            return;
        }
        self.finish(true);
        self.advance(1);
    }

    fn is_in_statement_set(&self) -> bool {
        let leads = |w: &String| matches!(w.as_str(), "EXECUTE" | "EXPLAIN" | "BEGIN" | "COMPILE");
        self.words.first().is_some_and(leads)
            && self
                .words
                .windows(2)
                .any(|w| w[0] == "STATEMENT" && w[1] == "SET")
    }

    fn finish(&mut self, is_terminated: bool) {
        if let Some((offset, location)) = self.start.take() {
            self.pieces.push(Piece {
                text: self.script[offset..self.offset()].trim_end(),
                location,
                is_terminated,
            });
        }
        self.words.clear();
        self.last_word.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(script: &str) -> Vec<&str> {
        split(script).into_iter().map(|p| p.text).collect()
    }

    #[test]
    fn semicolons_inside_strings_names_and_comments_do_not_split() {
        assert_eq!(
            texts("SELECT ';', `a;b` -- x;y\n, 'it''s;' /* ; */ ; ;\n-- only a comment;\nSELECT 2"),
            vec!["SELECT ';', `a;b` -- x;y\n, 'it''s;' /* ; */", "SELECT 2"]
        );
    }

    #[test]
    fn a_statement_set_is_one_statement() {
        let script = "EXECUTE STATEMENT SET BEGIN\nINSERT INTO a SELECT 1;\nINSERT INTO b SELECT 2;\nEND;\n\
            BEGIN STATEMENT SET; INSERT INTO a SELECT 1; END; SELECT 3;";
        assert_eq!(texts(script).len(), 3);
    }

    #[test]
    fn a_piece_knows_where_it_begins() {
        let pieces = split("SELECT 1;\n  -- note\n  SELECT 2");
        assert_eq!(pieces[1].location, Location { line: 3, column: 3 });
        assert!(pieces[0].is_terminated && !pieces[1].is_terminated);
    }

    #[test]
    fn unterminated_quotes_and_comments_end_with_the_text() {
        assert_eq!(texts("SELECT 'a; b"), vec!["SELECT 'a; b"]);
        assert_eq!(texts("SELECT 1 /* a; b"), vec!["SELECT 1 /* a; b"]);
        assert_eq!(texts("/*;"), Vec::<&str>::new());
    }
}
