//! Which statement stands at the cursor; queries, INSERT and statement sets.

use flott_core::error::did_you_mean;
use flott_core::{Error, Location, Result};
use sqlparser::parser::{Parser, ParserError, ParserOptions};
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::ast::{
    ConflictStrategy, Insert, Name, OptionPair, PartitionItem, SourceExpr, SourceQuery, Statement,
    StopJob,
};
use super::dialect::FlinkDialect;
use super::split::Piece;
use super::words::{Words, is_word, location};
use super::{canonical, error, hints, rewrite, states};

pub(crate) type PResult<T> = Result<T, ParserError>;

/// How deep expressions and queries may nest.
const RECURSION_LIMIT: usize = 120;

/// Parses one statement.
pub(crate) fn parse(piece: &Piece<'_>) -> Result<Statement> {
    let mut cursor = Cursor::new(piece)?;
    let parsed = cursor.statement().and_then(|s| cursor.end().map(|()| s));
    parsed.map_err(|e| error::convert(&e, &cursor.tokens))
}

/// Parses a text that is kept in a catalog: its tree has no places.
pub(crate) fn parse_stored<T>(
    text: &str,
    read: impl FnOnce(&mut Parser<'static>) -> PResult<T>,
) -> Result<T> {
    let piece = Piece {
        text,
        location: Location { line: 1, column: 1 },
        is_terminated: false,
    };
    let mut tokens = rewrite::tokens(&piece)?;
    tokens.iter_mut().for_each(|t| t.span = Span::empty());
    let mut parser = parser_of(tokens);
    let parsed = read(&mut parser).and_then(|t| match parser.peek_token_ref().token {
        Token::EOF => Ok(t),
        _ => parser.unexpected("the end"),
    });
    parsed.map_err(|e| error::convert(&e, &[]).context(format!("'{text}'")))
}

fn parser_of(tokens: Vec<TokenWithSpan>) -> Parser<'static> {
    Parser::new(&FlinkDialect)
        .with_recursion_limit(RECURSION_LIMIT)
        .with_options(ParserOptions::new())
        .with_tokens_with_locations(tokens)
}

/// A statement's tokens and text while it is parsed.
pub(crate) struct Cursor<'t> {
    pub parser: Parser<'static>,
    tokens: Vec<TokenWithSpan>,
    piece: &'t Piece<'t>,
}

/// The first words of statements.
const STATEMENTS: &[&str] = &[
    "SELECT", "WITH", "VALUES", "INSERT", "CREATE", "REPLACE", "DROP", "ALTER", "USE", "SET",
    "RESET", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXECUTE", "BEGIN", "ADD", "REMOVE", "UPDATE",
    "DELETE", "TRUNCATE", "ANALYZE", "CALL", "COMPILE", "LOAD", "UNLOAD", "STOP", "MERGE",
];

impl<'t> Cursor<'t> {
    pub(crate) fn new(piece: &'t Piece<'t>) -> Result<Self> {
        let tokens = rewrite::tokens(piece)?;
        let parser = parser_of(tokens.clone());
        Ok(Self {
            parser,
            tokens,
            piece,
        })
    }

    fn end(&mut self) -> PResult<()> {
        match self.parser.peek_token_ref().token {
            Token::EOF => Ok(()),
            _ => self.parser.unexpected("the end of the statement"),
        }
    }

    pub(crate) fn statement(&mut self) -> PResult<Statement> {
        let word = match &self.parser.peek_token_ref().token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
            Token::LParen => return self.query().map(Statement::Query),
            _ => return self.parser.unexpected("a statement"),
        };
        match word.as_str() {
            "SELECT" | "WITH" | "VALUES" | "TABLE" => self.query().map(Statement::Query),
            "INSERT" => self.insert().map(Statement::Insert),
            "EXECUTE" => self.execute(),
            "BEGIN" => self.begin_statement_set(),
            "CREATE" | "REPLACE" => self.create(),
            "DROP" => self.drop(),
            "ALTER" => self.alter(),
            "USE" => self.use_statement(),
            "SET" => self.set(),
            "RESET" => self.reset(),
            "SHOW" => self.show(),
            "DESCRIBE" | "DESC" => self.describe(),
            "EXPLAIN" => self.explain(),
            "ADD" | "REMOVE" => self.jar(word == "ADD"),
            "STOP" => self.stop_job(),
            _ => match unsupported(&word) {
                Some(advice) => Ok(self.unsupported(&word, advice)),
                None => self.unknown(&word),
            },
        }
    }

    fn unknown<T>(&mut self, word: &str) -> PResult<T> {
        let hint = did_you_mean(word, STATEMENTS.iter().copied());
        let written = self.parser.peek_token_ref().token.to_string();
        self.fail(format!("'{written}' does not begin a statement{hint}"))
    }

    /// A statement that is only recognised: everything up to its end is passed over.
    pub(crate) fn unsupported(&mut self, what: &str, advice: &'static str) -> Statement {
        while self.parser.peek_token_ref().token != Token::EOF {
            self.parser.advance_token();
        }
        Statement::Unsupported {
            what: what.to_string(),
            advice,
        }
    }

    /// An error at the next token.
    pub(crate) fn fail<T>(&self, message: String) -> PResult<T> {
        let Location { line, column } = self.parser.here();
        Err(ParserError::ParserError(format!(
            "{message} at Line: {line}, Column: {column}"
        )))
    }

    fn here(&self) -> Location {
        self.parser.here()
    }

    /// The tokens from `from` up to the next one.
    fn tokens_since(&self, from: Location) -> &[TokenWithSpan] {
        let key = |t: &TokenWithSpan| (t.span.start.line, t.span.start.column);
        let next = self.parser.peek_token_ref();
        let start = self
            .tokens
            .partition_point(|t| key(t) < (from.line, from.column));
        let end = match next.token {
            Token::EOF => self.tokens.len(),
            _ => self.tokens.partition_point(|t| key(t) < key(next)),
        };
        self.tokens.get(start..end).unwrap_or(&[])
    }

    /// The text from `from` up to the last token before the next one.
    fn text_since(&self, from: Location) -> String {
        let solid = |t: &&TokenWithSpan| !matches!(t.token, Token::Whitespace(_) | Token::EOF);
        let last = self.tokens_since(from).iter().rev().find(solid);
        let end = last.map_or(from, |t| location(t.span.end));
        let text = self.piece.text;
        text.get(self.offset(from)..self.offset(end))
            .unwrap_or_default()
            .to_string()
    }

    /// The byte offset of a place in the statement's text.
    pub(crate) fn offset(&self, at: Location) -> usize {
        let text = self.piece.text;
        let first = self.piece.location;
        let mut line_start = 0;
        for _ in first.line..at.line {
            line_start += text[line_start..].find('\n').map_or(0, |i| i + 1);
        }
        let skipped = if at.line == first.line {
            first.column
        } else {
            1
        };
        let chars = at.column.saturating_sub(skipped) as usize;
        let mut offsets = text[line_start..].char_indices();
        offsets
            .nth(chars)
            .map_or(text.len(), |(i, _)| line_start + i)
    }

    /// A query that is the whole text.
    pub(crate) fn stored_query(&mut self) -> Result<Box<sqlparser::ast::Query>> {
        let parsed = self.parser.parse_query();
        let parsed = parsed.and_then(|q| self.end().map(|()| q));
        parsed.map_err(|e| error::convert(&e, &self.tokens))
    }

    pub(crate) fn query(&mut self) -> PResult<SourceQuery> {
        let location = self.here();
        let query = self.parser.parse_query()?;
        Ok(SourceQuery {
            query,
            text: self.text_since(location),
            location,
            reads_state: self.tokens_since(location).iter().any(states::is_marker),
        })
    }

    /// An expression of a declaration.
    pub(crate) fn expression(&mut self) -> PResult<SourceExpr> {
        let location = self.here();
        let expr = self.parser.parse_expr()?;
        let text = canonical::text(&expr, self.tokens_since(location));
        Ok(SourceExpr {
            expr,
            text,
            location,
        })
    }

    /// `('k' = 'v', …)`, maybe empty.
    pub(crate) fn options(&mut self) -> PResult<Vec<OptionPair>> {
        let p = &mut self.parser;
        p.expect_token(&Token::LParen)?;
        let mut pairs = Vec::new();
        while p.peek_token_ref().token != Token::RParen {
            if !pairs.is_empty() {
                p.expect_token(&Token::Comma)?;
            }
            pairs.push(option_pair(p)?);
        }
        p.expect_token(&Token::RParen)?;
        Ok(pairs)
    }

    pub(crate) fn option_pair(&mut self) -> PResult<OptionPair> {
        option_pair(&mut self.parser)
    }

    fn insert(&mut self) -> PResult<Insert> {
        let start = self.here();
        self.parser.expect_word("INSERT")?;
        let overwrite = self.parser.eat_word("OVERWRITE");
        if !overwrite {
            self.parser.expect_word("INTO")?;
        }
        self.parser.eat_word("TABLE");
        let target = self.parser.name()?;
        let hints = self.target_hints()?;
        let mut partition = Vec::new();
        if self.parser.eat_word("PARTITION") {
            partition = self.parser.list(partition_item)?;
        }
        let columns = match self.at_columns() {
            true => Some(self.parser.identifiers()?),
            false => None,
        };
        let source = self.query()?;
        let on_conflict = self.on_conflict()?;
        Ok(Insert {
            target,
            hints,
            overwrite,
            partition,
            columns,
            source,
            on_conflict,
            text: self.text_since(start),
        })
    }

    fn target_hints(&mut self) -> PResult<Vec<hints::Hint>> {
        match hints::eat_hint(&mut self.parser) {
            Some(text) => hints::parse_hints(&text).or_else(|e| self.fail(e.message().to_string())),
            None => Ok(vec![]),
        }
    }

    /// Whether a parenthesis opens a list of columns and not a query.
    fn at_columns(&self) -> bool {
        let next = &self.parser.peek_nth_token_ref(1).token;
        let opens_query = ["SELECT", "WITH", "VALUES", "TABLE"]
            .iter()
            .any(|w| is_word(next, w));
        self.parser.peek_token_ref().token == Token::LParen
            && !opens_query
            && *next != Token::LParen
    }

    fn on_conflict(&mut self) -> PResult<Option<ConflictStrategy>> {
        if !self.parser.eat_words(&["ON", "CONFLICT"]) {
            return Ok(None);
        }
        self.parser.expect_word("DO")?;
        for (word, strategy) in [
            ("ERROR", ConflictStrategy::Error),
            ("NOTHING", ConflictStrategy::Nothing),
            ("DEDUPLICATE", ConflictStrategy::Deduplicate),
        ] {
            if self.parser.eat_word(word) {
                return Ok(Some(strategy));
            }
        }
        self.parser.unexpected("ERROR, NOTHING or DEDUPLICATE")
    }

    fn execute(&mut self) -> PResult<Statement> {
        self.parser.expect_word("EXECUTE")?;
        if self.parser.eat_words(&["STATEMENT", "SET"]) {
            self.parser.expect_word("BEGIN")?;
            return self.statement_set();
        }
        if self.parser.at_word("PLAN") {
            return Ok(self.unsupported("EXECUTE PLAN", "run the statements themselves"));
        }
        if self.parser.at_word("INSERT") {
            return self.insert().map(Statement::Insert);
        }
        self.query().map(Statement::Query)
    }

    fn begin_statement_set(&mut self) -> PResult<Statement> {
        self.parser.expect_words(&["BEGIN", "STATEMENT", "SET"])?;
        self.parser.expect_token(&Token::SemiColon)?;
        self.statement_set()
    }

    /// `INSERT …; INSERT …; END`.
    pub(crate) fn statement_set(&mut self) -> PResult<Statement> {
        let mut inserts = Vec::new();
        while !self.parser.eat_word("END") {
            if !self.parser.at_word("INSERT") {
                return self.parser.unexpected("INSERT or END");
            }
            inserts.push(self.insert()?);
            self.parser.expect_token(&Token::SemiColon)?;
        }
        match inserts.is_empty() {
            true => self
                .parser
                .unexpected("at least one INSERT in the statement set"),
            false => Ok(Statement::StatementSet(inserts)),
        }
    }

    fn use_statement(&mut self) -> PResult<Statement> {
        self.parser.expect_word("USE")?;
        if self.parser.eat_word("CATALOG") {
            return self.parser.name().map(Statement::UseCatalog);
        }
        if self.parser.eat_word("MODULES") {
            let mut modules = vec![self.parser.identifier()?.value];
            while self.parser.consume_token(&Token::Comma) {
                modules.push(self.parser.identifier()?.value);
            }
            return Ok(Statement::UseModules(modules));
        }
        self.parser.name().map(Statement::UseDatabase)
    }

    fn set(&mut self) -> PResult<Statement> {
        self.parser.expect_word("SET")?;
        match self.parser.peek_token_ref().token {
            Token::EOF => Ok(Statement::Set(None)),
            Token::SingleQuotedString(_) => self.option_pair().map(|p| Statement::Set(Some(p))),
            _ => self
                .parser
                .unexpected("SET 'key' = 'value', both in single quotes"),
        }
    }

    fn reset(&mut self) -> PResult<Statement> {
        self.parser.expect_word("RESET")?;
        match self.parser.peek_token_ref().token {
            Token::EOF => Ok(Statement::Reset(None)),
            _ => Ok(Statement::Reset(Some(self.parser.string()?))),
        }
    }

    fn stop_job(&mut self) -> PResult<Statement> {
        self.parser.expect_words(&["STOP", "JOB"])?;
        let id = self.parser.string()?;
        let with_savepoint = self.parser.eat_words(&["WITH", "SAVEPOINT"]);
        let with_drain = self.parser.eat_words(&["WITH", "DRAIN"]);
        Ok(Statement::StopJob(StopJob {
            id,
            with_savepoint,
            with_drain,
        }))
    }

    fn jar(&mut self, is_added: bool) -> PResult<Statement> {
        self.parser.advance_token();
        self.parser.expect_word("JAR")?;
        let path = self.parser.string()?;
        Ok(Statement::Jar { is_added, path })
    }

    /// A name behind its keywords.
    pub(crate) fn name(&mut self) -> PResult<Name> {
        self.parser.name()
    }
}

fn option_pair(parser: &mut Parser<'_>) -> PResult<OptionPair> {
    let location = parser.here();
    let key = parser.string()?;
    parser.expect_token(&Token::Eq)?;
    let value = parser.string()?;
    Ok(OptionPair {
        key,
        value,
        location,
    })
}

/// `k = 'v'`, or `k` alone.
pub(crate) fn partition_item(parser: &mut Parser<'static>) -> PResult<PartitionItem> {
    let key = parser.identifier()?;
    let mut value = None;
    if parser.consume_token(&Token::Eq) {
        value = Some(partition_value(parser)?);
    }
    Ok(PartitionItem { key, value })
}

fn partition_value(parser: &mut Parser<'_>) -> PResult<String> {
    let negative = parser.consume_token(&Token::Minus);
    let text = match &parser.peek_token_ref().token {
        Token::Number(number, _) => number.clone(),
        Token::SingleQuotedString(text) if !negative => text.clone(),
        Token::Word(w)
            if ["TRUE", "FALSE"]
                .iter()
                .any(|b| b.eq_ignore_ascii_case(&w.value)) =>
        {
            w.value.to_lowercase()
        }
        Token::Word(w)
            if ["DATE", "TIME", "TIMESTAMP"]
                .iter()
                .any(|t| t.eq_ignore_ascii_case(&w.value)) =>
        {
            parser.advance_token();
            return parser.string();
        }
        _ => return parser.unexpected("a partition's value"),
    };
    parser.advance_token();
    Ok(if negative { format!("-{text}") } else { text })
}

/// What to do instead of a statement that Flink has and this does not.
fn unsupported(word: &str) -> Option<&'static str> {
    Some(match word {
        "UPDATE" | "DELETE" => "write changes with INSERT INTO a table that has a primary key",
        "UPSERT" => "use INSERT INTO a table that has a primary key",
        "MERGE" => "use INSERT INTO a table that has a primary key",
        "TRUNCATE" => "drop and create the table, or use INSERT OVERWRITE",
        "ANALYZE" => "statistics are not needed",
        "CALL" => "there are no procedures",
        "COMPILE" => "run the statements themselves",
        "LOAD" | "UNLOAD" => "there is one module, with every function",
        _ => return None,
    })
}

/// The error for a statement that is only recognised.
pub fn unsupported_error(what: &str, advice: &str) -> Error {
    let message = format!("{what} is not supported; {advice}");
    Error::user("UNSUPPORTED_STATEMENT", message)
}
