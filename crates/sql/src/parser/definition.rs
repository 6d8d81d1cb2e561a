//! What stands between the parentheses of CREATE TABLE and ALTER TABLE.

use sqlparser::tokenizer::Token;

use super::ast::{
    ColumnDef, ColumnDefKind, ColumnPosition, ConstraintDef, Distribution, Identifier, LikeFeature,
    LikeOption, LikeStrategy, TableElements, TableLike, WatermarkDef,
};
use super::statement::{Cursor, PResult};
use super::types;
use super::words::Words;

impl Cursor<'_> {
    /// `(element, …)`.
    pub(crate) fn table_elements(&mut self) -> PResult<TableElements> {
        let mut elements = TableElements::default();
        self.parser.expect_token(&Token::LParen)?;
        loop {
            self.table_element(&mut elements)?;
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        if self.parser.peek_token_ref().token != Token::RParen {
            return self.parser.unexpected("',' or ')'");
        }
        self.parser.expect_token(&Token::RParen)?;
        Ok(elements)
    }

    /// One column, watermark or constraint.
    pub(crate) fn table_element(&mut self, into: &mut TableElements) -> PResult<()> {
        if self.parser.eat_words(&["WATERMARK", "FOR"]) {
            let column = self.parser.name()?;
            self.parser.expect_word("AS")?;
            let expr = self.expression()?;
            into.watermarks.push(WatermarkDef { column, expr });
        } else if self.at_constraint() {
            let constraint = self.table_constraint()?;
            into.constraints.push(constraint);
        } else {
            self.column(into)?;
        }
        Ok(())
    }

    fn at_constraint(&self) -> bool {
        let p = &self.parser;
        p.at_word("CONSTRAINT")
            || p.at_words(&["PRIMARY", "KEY"])
            || p.at_word("UNIQUE") && p.peek_nth_token_ref(1).token == Token::LParen
    }

    fn table_constraint(&mut self) -> PResult<ConstraintDef> {
        let mut constraint = self.constraint_head()?;
        constraint.columns = self.parser.identifiers()?;
        constraint.is_enforced = self.enforcement();
        Ok(constraint)
    }

    /// `[CONSTRAINT n] {PRIMARY KEY | UNIQUE}`.
    fn constraint_head(&mut self) -> PResult<ConstraintDef> {
        let location = self.parser.here();
        let name = match self.parser.eat_word("CONSTRAINT") {
            true => Some(self.parser.identifier()?.value),
            false => None,
        };
        let is_primary_key = self.parser.eat_words(&["PRIMARY", "KEY"]);
        if !is_primary_key && !self.parser.eat_word("UNIQUE") {
            return self.parser.unexpected("PRIMARY KEY or UNIQUE");
        }
        Ok(ConstraintDef {
            name,
            columns: vec![],
            is_primary_key,
            is_enforced: true,
            location,
        })
    }

    /// `[NOT] ENFORCED`; a constraint without it is enforced.
    fn enforcement(&mut self) -> bool {
        if self.parser.eat_words(&["NOT", "ENFORCED"]) {
            return false;
        }
        self.parser.eat_word("ENFORCED");
        true
    }

    fn column(&mut self, into: &mut TableElements) -> PResult<()> {
        let name = self.parser.identifier()?;
        if matches!(
            self.parser.peek_token_ref().token,
            Token::Comma | Token::RParen
        ) {
            into.names.push(name);
            return Ok(());
        }
        let kind = match self.parser.eat_word("AS") {
            true => ColumnDefKind::Computed(self.expression()?),
            false => self.typed_column(&name, into)?,
        };
        let comment = match self.parser.eat_word("COMMENT") {
            true => Some(self.parser.string()?),
            false => None,
        };
        let position = self.column_position()?;
        into.columns.push(ColumnDef {
            name,
            kind,
            comment,
            position,
        });
        Ok(())
    }

    /// `TYPE [METADATA [FROM 'key'] [VIRTUAL]] [[CONSTRAINT n] PRIMARY KEY NOT ENFORCED]`.
    fn typed_column(
        &mut self,
        name: &Identifier,
        into: &mut TableElements,
    ) -> PResult<ColumnDefKind> {
        let data_type = types::data_type(&mut self.parser)?;
        if self.parser.eat_word("METADATA") {
            let key = match self.parser.eat_word("FROM") {
                true => Some(self.parser.string()?),
                false => None,
            };
            let is_virtual = self.parser.eat_word("VIRTUAL");
            return Ok(ColumnDefKind::Metadata {
                data_type,
                key,
                is_virtual,
            });
        }
        if self.at_constraint() || self.parser.at_word("UNIQUE") {
            let mut constraint = self.constraint_head()?;
            constraint.columns = vec![name.clone()];
            constraint.is_enforced = self.enforcement();
            into.constraints.push(constraint);
        }
        Ok(ColumnDefKind::Physical { data_type })
    }

    fn column_position(&mut self) -> PResult<Option<ColumnPosition>> {
        if self.parser.eat_word("FIRST") {
            return Ok(Some(ColumnPosition::First));
        }
        if self.parser.eat_word("AFTER") {
            return Ok(Some(ColumnPosition::After(self.parser.identifier()?)));
        }
        Ok(None)
    }

    /// Behind `DISTRIBUTED` or `DISTRIBUTION`.
    pub(crate) fn distribution(&mut self) -> PResult<Distribution> {
        let mut found = Distribution {
            kind: None,
            columns: vec![],
            num_buckets: None,
        };
        let is_by = self.parser.eat_word("BY");
        if is_by {
            let kinds = ["HASH", "RANGE"].into_iter();
            found.kind = kinds.map(str::to_string).find(|k| self.parser.eat_word(k));
            found.columns = self.parser.identifiers()?;
        }
        if self.parser.eat_word("INTO") {
            found.num_buckets = Some(self.parser.number()?);
            self.parser.expect_word("BUCKETS")?;
        } else if !is_by {
            return self.parser.unexpected("BY or INTO");
        }
        Ok(found)
    }

    /// Behind `LIKE`: `source [(options)]`.
    pub(crate) fn table_like(&mut self) -> PResult<TableLike> {
        let source = self.parser.name()?;
        let mut options = Vec::new();
        if self.parser.consume_token(&Token::LParen) {
            while self.parser.peek_token_ref().token != Token::RParen {
                options.push(self.like_option()?);
                let _ = self.parser.consume_token(&Token::Comma);
            }
            self.parser.expect_token(&Token::RParen)?;
        }
        Ok(TableLike { source, options })
    }

    fn like_option(&mut self) -> PResult<LikeOption> {
        let location = self.parser.here();
        let strategies = [
            ("INCLUDING", LikeStrategy::Including),
            ("EXCLUDING", LikeStrategy::Excluding),
            ("OVERWRITING", LikeStrategy::Overwriting),
        ];
        let strategy = self.one_of(&strategies, "INCLUDING, EXCLUDING or OVERWRITING")?;
        let features = [
            ("ALL", LikeFeature::All),
            ("CONSTRAINTS", LikeFeature::Constraints),
            ("DISTRIBUTION", LikeFeature::Distribution),
            ("PARTITIONS", LikeFeature::Partitions),
            ("GENERATED", LikeFeature::Generated),
            ("OPTIONS", LikeFeature::Options),
            ("WATERMARKS", LikeFeature::Watermarks),
            ("METADATA", LikeFeature::Metadata),
        ];
        let wanted = "ALL, CONSTRAINTS, DISTRIBUTION, GENERATED, METADATA, OPTIONS, PARTITIONS or \
                      WATERMARKS";
        let feature = self.one_of(&features, wanted)?;
        use LikeFeature as F;
        let only_kept = matches!(
            feature,
            F::All | F::Constraints | F::Distribution | F::Partitions
        );
        if strategy == LikeStrategy::Overwriting && only_kept {
            return self
                .fail("OVERWRITING goes with GENERATED, METADATA, OPTIONS or WATERMARKS".into());
        }
        Ok(LikeOption {
            strategy,
            feature,
            location,
        })
    }

    /// The value of the word at the cursor.
    pub(crate) fn one_of<T: Copy>(&mut self, words: &[(&str, T)], wanted: &str) -> PResult<T> {
        for (word, value) in words {
            if self.parser.eat_word(word) {
                return Ok(*value);
            }
        }
        self.parser.unexpected(wanted)
    }
}
