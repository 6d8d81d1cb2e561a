//! Reading words and punctuation from sqlparser's token cursor.

use flott_core::Location;
use sqlparser::ast::Ident;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::ast::{Identifier, Name};

type PResult<T> = Result<T, ParserError>;

/// Our location of a sqlparser location.
pub(crate) fn location(at: sqlparser::tokenizer::Location) -> Location {
    Location {
        line: at.line,
        column: at.column,
    }
}

/// Whether a token is this word, unquoted, in any case.
pub(crate) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// Cursor methods that take words as text: Flink has words that sqlparser does not list.
pub(crate) trait Words {
    fn at_word(&self, word: &str) -> bool;
    fn at_words(&self, words: &[&str]) -> bool;
    fn eat_word(&mut self, word: &str) -> bool;
    fn eat_words(&mut self, words: &[&str]) -> bool;
    fn expect_word(&mut self, word: &str) -> PResult<()>;
    fn expect_words(&mut self, words: &[&str]) -> PResult<()>;
    fn eat_if_exists(&mut self) -> PResult<bool>;
    fn eat_if_not_exists(&mut self) -> PResult<bool>;
    /// The error that names the next token.
    fn unexpected<T>(&self, wanted: &str) -> PResult<T>;
    fn here(&self) -> Location;
    fn identifier(&mut self) -> PResult<Identifier>;
    fn identifiers(&mut self) -> PResult<Vec<Identifier>>;
    fn name(&mut self) -> PResult<Name>;
    fn string(&mut self) -> PResult<String>;
    fn number(&mut self) -> PResult<u64>;
    fn list<T>(&mut self, item: impl FnMut(&mut Self) -> PResult<T>) -> PResult<Vec<T>>;
}

impl Words for Parser<'_> {
    fn at_word(&self, word: &str) -> bool {
        is_word(&self.peek_token_ref().token, word)
    }

    fn at_words(&self, words: &[&str]) -> bool {
        let mut numbered = words.iter().enumerate();
        numbered.all(|(i, w)| is_word(&self.peek_nth_token_ref(i).token, w))
    }

    fn eat_word(&mut self, word: &str) -> bool {
        self.eat_words(&[word])
    }

    fn eat_words(&mut self, words: &[&str]) -> bool {
        let found = self.at_words(words);
        if found {
            words.iter().for_each(|_| self.advance_token());
        }
        found
    }

    fn expect_word(&mut self, word: &str) -> PResult<()> {
        if self.eat_word(word) {
            Ok(())
        } else {
            self.unexpected(word)
        }
    }

    fn expect_words(&mut self, words: &[&str]) -> PResult<()> {
        words.iter().try_for_each(|w| self.expect_word(w))
    }

    fn eat_if_exists(&mut self) -> PResult<bool> {
        if !self.eat_word("IF") {
            return Ok(false);
        }
        self.expect_word("EXISTS").map(|()| true)
    }

    fn eat_if_not_exists(&mut self) -> PResult<bool> {
        if !self.eat_word("IF") {
            return Ok(false);
        }
        self.expect_words(&["NOT", "EXISTS"]).map(|()| true)
    }

    fn unexpected<T>(&self, wanted: &str) -> PResult<T> {
        self.expected_ref(wanted, self.peek_token_ref())
    }

    fn here(&self) -> Location {
        location(self.peek_token_ref().span.start)
    }

    fn identifier(&mut self) -> PResult<Identifier> {
        let location = self.here();
        if !matches!(self.peek_token_ref().token, Token::Word(_)) {
            return self.unexpected("an identifier");
        }
        let Ident { value, .. } = self.parse_identifier()?;
        Ok(Identifier { value, location })
    }

    fn identifiers(&mut self) -> PResult<Vec<Identifier>> {
        self.list(|p| p.identifier())
    }

    fn name(&mut self) -> PResult<Name> {
        let location = self.here();
        let mut parts = vec![self.identifier()?.value];
        while self.consume_token(&Token::Period) {
            parts.push(self.identifier()?.value);
        }
        Ok(Name { parts, location })
    }

    fn string(&mut self) -> PResult<String> {
        match &self.peek_token_ref().token {
            Token::SingleQuotedString(text)
            | Token::UnicodeStringLiteral(text)
            | Token::NationalStringLiteral(text) => {
                let text = text.clone();
                self.advance_token();
                Ok(text)
            }
            _ => self.unexpected("a string in single quotes"),
        }
    }

    fn number(&mut self) -> PResult<u64> {
        let parsed = match &self.peek_token_ref().token {
            Token::Number(text, _) => text.parse().ok(),
            _ => None,
        };
        match parsed {
            Some(number) => {
                self.advance_token();
                Ok(number)
            }
            None => self.unexpected("a whole number"),
        }
    }

    /// `(item, …)`, at least one.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> PResult<T>) -> PResult<Vec<T>> {
        self.expect_token(&Token::LParen)?;
        let mut items = vec![item(self)?];
        while self.consume_token(&Token::Comma) {
            items.push(item(self)?);
        }
        self.expect_token(&Token::RParen)?;
        Ok(items)
    }
}

/// A word token, made up where Flink's syntax is rewritten to sqlparser's.
pub(crate) fn word_token(value: &str, keyword: Keyword, like: &TokenWithSpan) -> TokenWithSpan {
    let quote_style = match keyword {
        Keyword::NoKeyword => Some('`'),
        _ => None,
    };
    let word = sqlparser::tokenizer::Word {
        value: value.to_string(),
        quote_style,
        keyword,
    };
    TokenWithSpan::new(Token::Word(word), like.span)
}
