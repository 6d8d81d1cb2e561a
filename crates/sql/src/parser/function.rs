//! CREATE FUNCTION and ALTER FUNCTION.

use sqlparser::tokenizer::Token;

use super::ast::{AlterFunction, CreateFunction, FunctionBody, Statement};
use super::create::Prefix;
use super::statement::{Cursor, PResult};
use super::types;
use super::words::Words;
use crate::functions::user::Parameter;

const LANGUAGES: [(&str, &str); 5] = [
    ("JAVA", "JAVA"),
    ("SCALA", "SCALA"),
    ("PYTHON", "PYTHON"),
    ("SQL", "SQL"),
    ("RUST", "RUST"),
];

impl Cursor<'_> {
    /// Behind `FUNCTION`: `[IF NOT EXISTS] name AS 'class' [LANGUAGE l] [USING …] [WITH (…)]`, or
    /// `name(parameter type, …) RETURNS type [LANGUAGE SQL] {RETURN expression | AS 'expression'}`.
    pub(super) fn create_function(&mut self, prefix: Prefix) -> PResult<CreateFunction> {
        let if_not_exists = self.parser.eat_if_not_exists()?;
        let name = self.parser.name()?;
        let body = match self.parser.peek_token_ref().token {
            Token::LParen => self.sql_function()?,
            _ => self.class()?,
        };
        Ok(CreateFunction {
            name,
            is_temporary: prefix.is_temporary,
            is_system: prefix.is_system,
            if_not_exists,
            replaces: prefix.replaces,
            body,
        })
    }

    /// Behind `ALTER`: `[TEMPORARY [SYSTEM]] FUNCTION [IF EXISTS] name AS 'class' [LANGUAGE l]`.
    pub(super) fn alter_function(&mut self) -> PResult<Statement> {
        let is_temporary = self.parser.eat_word("TEMPORARY");
        let _ = is_temporary && self.parser.eat_word("SYSTEM");
        self.parser.expect_word("FUNCTION")?;
        let if_exists = self.parser.eat_if_exists()?;
        let name = self.parser.name()?;
        let body = match self.parser.peek_token_ref().token {
            Token::LParen => self.sql_function()?,
            _ => self.class()?,
        };
        Ok(Statement::AlterFunction(AlterFunction {
            name,
            is_temporary,
            if_exists,
            body,
        }))
    }

    fn class(&mut self) -> PResult<FunctionBody> {
        self.parser.expect_word("AS")?;
        let class = self.parser.string()?;
        let mut language = "JAVA";
        if self.parser.eat_word("LANGUAGE") {
            language = self.one_of(&LANGUAGES, "JAVA, SCALA, PYTHON, SQL or RUST")?;
        }
        if language == "SQL" {
            return self.fail(
                "a function in SQL needs its types: CREATE FUNCTION f(a INT) RETURNS INT \
                 LANGUAGE SQL RETURN a + 1"
                    .into(),
            );
        }
        if self.parser.eat_word("USING") {
            loop {
                self.one_of(&[("JAR", ()), ("ARTIFACT", ())], "JAR or ARTIFACT")?;
                self.parser.string()?;
                if !self.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
        }
        self.with_options()?;
        Ok(FunctionBody::Class {
            class,
            language: language.to_string(),
        })
    }

    fn sql_function(&mut self) -> PResult<FunctionBody> {
        let parameters = self.parameters()?;
        self.parser.expect_word("RETURNS")?;
        let return_type = types::data_type(&mut self.parser)?;
        self.sql_language()?;
        let location = self.parser.here();
        let text = if self.parser.eat_word("RETURN") {
            self.expression()?.text
        } else if self.parser.eat_word("AS") {
            self.parser.string()?
        } else {
            return self.parser.unexpected("RETURN or AS");
        };
        self.sql_language()?;
        Ok(FunctionBody::Sql {
            parameters,
            return_type,
            text,
            location,
        })
    }

    fn parameters(&mut self) -> PResult<Vec<Parameter>> {
        let mut parameters = Vec::new();
        self.parser.expect_token(&Token::LParen)?;
        while self.parser.peek_token_ref().token != Token::RParen {
            if !parameters.is_empty() {
                self.parser.expect_token(&Token::Comma)?;
            }
            let name = self.parser.identifier()?.value;
            let data_type = types::data_type(&mut self.parser)?;
            parameters.push(Parameter { name, data_type });
        }
        self.parser.expect_token(&Token::RParen)?;
        Ok(parameters)
    }

    /// `[LANGUAGE SQL]`, before or after the body.
    fn sql_language(&mut self) -> PResult<()> {
        match self.parser.eat_word("LANGUAGE") {
            true => self.parser.expect_word("SQL"),
            false => Ok(()),
        }
    }
}
