//! SHOW, DESCRIBE and EXPLAIN.

use sqlparser::tokenizer::Token;

use super::ast::{Describe, Explain, ExplainDetail, Name, Pattern, Show, Statement};
use super::statement::{Cursor, PResult, partition_item};
use super::words::Words;

impl Cursor<'_> {
    pub(crate) fn show(&mut self) -> PResult<Statement> {
        self.parser.expect_word("SHOW")?;
        if self.parser.eat_word("CREATE") {
            return self.show_create().map(Statement::Show);
        }
        if self.parser.eat_words(&["CURRENT", "CATALOG"]) {
            return Ok(Statement::Show(Show::CurrentCatalog));
        }
        if self.parser.eat_words(&["CURRENT", "DATABASE"]) {
            return Ok(Statement::Show(Show::CurrentDatabase));
        }
        for what in ["MATERIALIZED", "PROCEDURES", "MODELS", "CONNECTIONS"] {
            if self.parser.at_word(what) {
                let what = format!("SHOW {what}");
                return Ok(self.unsupported(&what, "there are none"));
            }
        }
        self.show_list().map(Statement::Show)
    }

    fn show_list(&mut self) -> PResult<Show> {
        let full = self.parser.eat_word("FULL");
        if self.parser.eat_word("MODULES") {
            return Ok(Show::Modules { full });
        }
        if full {
            return self.parser.unexpected("MODULES");
        }
        let user_only = self.parser.eat_word("USER");
        if self.parser.eat_word("FUNCTIONS") {
            let (database, pattern) = self.scope_and_pattern()?;
            return Ok(Show::Functions {
                user_only,
                database,
                pattern,
            });
        }
        if user_only {
            return self.parser.unexpected("FUNCTIONS");
        }
        if self.parser.eat_word("CATALOGS") {
            return self.pattern().map(Show::Catalogs);
        }
        if self.parser.eat_word("DATABASES") {
            let (catalog, pattern) = self.scope_and_pattern()?;
            return Ok(Show::Databases { catalog, pattern });
        }
        if self.parser.eat_word("TABLES") {
            let (database, pattern) = self.scope_and_pattern()?;
            return Ok(Show::Tables { database, pattern });
        }
        if self.parser.eat_word("VIEWS") {
            let (database, pattern) = self.scope_and_pattern()?;
            return Ok(Show::Views { database, pattern });
        }
        if self.parser.eat_word("COLUMNS") {
            return match self.scope_and_pattern()? {
                (Some(table), pattern) => Ok(Show::Columns { table, pattern }),
                (None, _) => self.parser.unexpected("FROM or IN, and a table"),
            };
        }
        if self.parser.eat_word("PARTITIONS") {
            let table = self.name()?;
            let partition = match self.parser.eat_word("PARTITION") {
                true => self.parser.list(partition_item)?,
                false => vec![],
            };
            return Ok(Show::Partitions { table, partition });
        }
        let words = [("CONNECTORS", 0), ("FORMATS", 1), ("JARS", 2), ("JOBS", 3)];
        let wanted = "CATALOGS, DATABASES, TABLES, VIEWS, COLUMNS, PARTITIONS, FUNCTIONS, MODULES, \
                      CONNECTORS, FORMATS, JARS, JOBS, CURRENT or CREATE";
        Ok(match self.one_of(&words, wanted)? {
            0 => Show::Connectors,
            1 => Show::Formats,
            2 => Show::Jars,
            _ => Show::Jobs,
        })
    }

    fn show_create(&mut self) -> PResult<Show> {
        if self.parser.eat_word("TABLE") {
            return self.name().map(Show::CreateTable);
        }
        if self.parser.eat_word("VIEW") {
            return self.name().map(Show::CreateView);
        }
        if self.parser.eat_word("CATALOG") {
            return self.name().map(Show::CreateCatalog);
        }
        self.parser.unexpected("TABLE, VIEW or CATALOG")
    }

    fn scope_and_pattern(&mut self) -> PResult<(Option<Name>, Option<Pattern>)> {
        let scope = match self.parser.eat_word("FROM") || self.parser.eat_word("IN") {
            true => Some(self.name()?),
            false => None,
        };
        Ok((scope, self.pattern()?))
    }

    fn pattern(&mut self) -> PResult<Option<Pattern>> {
        let negated = self.parser.eat_word("NOT");
        let ignores_case = self.parser.eat_word("ILIKE");
        if !ignores_case && !self.parser.eat_word("LIKE") {
            return match negated {
                true => self.parser.unexpected("LIKE or ILIKE"),
                false => Ok(None),
            };
        }
        Ok(Some(Pattern {
            negated,
            ignores_case,
            text: self.parser.string()?,
        }))
    }

    pub(crate) fn describe(&mut self) -> PResult<Statement> {
        self.parser.advance_token();
        let is_job = self.parser.at_word("JOB");
        if is_job
            && matches!(
                self.parser.peek_nth_token_ref(1).token,
                Token::SingleQuotedString(_)
            )
        {
            self.parser.advance_token();
            let id = self.parser.string()?;
            return Ok(Statement::Describe(Describe::Job { id }));
        }
        for what in ["MODEL", "CONNECTION"] {
            let is_kind = matches!(
                self.parser.peek_nth_token_ref(1).token,
                Token::Word(_) | Token::SingleQuotedString(_)
            );
            if self.parser.at_word(what) && is_kind {
                let what = format!("DESCRIBE {what}");
                return Ok(self.unsupported(&what, "describe a table, view or function"));
            }
        }
        if let Some(describe) = self.describe_part()? {
            return Ok(Statement::Describe(describe));
        }
        let kinds = ["CATALOG", "DATABASE", "FUNCTION"];
        let is_name_next = matches!(self.parser.peek_nth_token_ref(1).token, Token::Word(_));
        let kind = kinds
            .into_iter()
            .find(|k| is_name_next && self.parser.eat_word(k));
        let extended = self.parser.eat_word("EXTENDED");
        if kind.is_none() {
            self.parser.eat_word("TABLE");
        }
        let name = self.name()?;
        Ok(Statement::Describe(match kind {
            Some("CATALOG") => Describe::Catalog { name, extended },
            Some("DATABASE") => Describe::Database { name, extended },
            Some(_) => Describe::Function { name, extended },
            None => Describe::Table { name, extended },
        }))
    }

    /// `CONNECTOR kafka`, `FORMAT 'debezium-json'`: names that need no quotes unless they have a
    /// hyphen.
    fn describe_part(&mut self) -> PResult<Option<Describe>> {
        let is_named = matches!(
            self.parser.peek_nth_token_ref(1).token,
            Token::Word(_) | Token::SingleQuotedString(_)
        );
        let kinds = ["CONNECTOR", "FORMAT"];
        let Some(kind) = kinds
            .into_iter()
            .find(|k| is_named && self.parser.eat_word(k))
        else {
            return Ok(None);
        };
        let mut name = self.part_name()?;
        while self.parser.consume_token(&Token::Minus) {
            name = format!("{name}-{}", self.part_name()?);
        }
        Ok(Some(match kind {
            "CONNECTOR" => Describe::Connector { name },
            _ => Describe::Format { name },
        }))
    }

    fn part_name(&mut self) -> PResult<String> {
        match &self.parser.peek_nth_token_ref(0).token {
            Token::SingleQuotedString(_) => self.parser.string(),
            _ => Ok(self.name()?.object().to_string()),
        }
    }

    pub(crate) fn explain(&mut self) -> PResult<Statement> {
        self.parser.expect_word("EXPLAIN")?;
        let mut details = Vec::new();
        if !self.parser.eat_words(&["PLAN", "FOR"]) {
            while let Some(detail) = self.explain_detail() {
                details.push(detail);
                if !self.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
        }
        let statement = match self.parser.eat_words(&["STATEMENT", "SET"]) {
            true => {
                self.parser.expect_word("BEGIN")?;
                self.statement_set()?
            }
            false => self.statement()?,
        };
        let explainable = matches!(
            statement,
            Statement::Query(_) | Statement::Insert(_) | Statement::StatementSet(_)
        ) || matches!(&statement, Statement::CreateTable(t) if t.query.is_some());
        if !explainable {
            return self.fail("EXPLAIN takes a query, an INSERT or a statement set".to_string());
        }
        Ok(Statement::Explain(Explain {
            details,
            statement: Box::new(statement),
        }))
    }

    fn explain_detail(&mut self) -> Option<ExplainDetail> {
        let details = [
            ("ESTIMATED_COST", ExplainDetail::EstimatedCost),
            ("CHANGELOG_MODE", ExplainDetail::ChangelogMode),
            ("JSON_EXECUTION_PLAN", ExplainDetail::JsonExecutionPlan),
            ("PLAN_ADVICE", ExplainDetail::PlanAdvice),
        ];
        let found = details.into_iter().find(|(w, _)| self.parser.eat_word(w));
        found.map(|(_, detail)| detail)
    }
}
