//! CREATE, DROP and ALTER.

use sqlparser::tokenizer::Token;

use super::ast::{
    AlterCatalogAction, AlterTable, AlterTableAction, AlterView, AlterViewAction, CreateCatalog,
    CreateDatabase, CreateTable, CreateView, Drop, ObjectKind, OptionPair, Statement,
    TableElements,
};
use super::statement::{Cursor, PResult};
use super::words::Words;

const MODELS: &str = "models come with machine learning, which is not built yet";
const MATERIALIZED: &str = "write an INSERT INTO a table instead";

/// The words between CREATE and the kind of object.
#[derive(Clone, Copy)]
pub(super) struct Prefix {
    pub is_temporary: bool,
    pub is_system: bool,
    pub replaces: bool,
}

impl Cursor<'_> {
    pub(crate) fn create(&mut self) -> PResult<Statement> {
        let mut replaces = self.parser.eat_word("REPLACE");
        if !replaces {
            self.parser.expect_word("CREATE")?;
            replaces = self.parser.eat_words(&["OR", "REPLACE"]);
        }
        let is_temporary = self.parser.eat_word("TEMPORARY");
        let prefix = Prefix {
            is_temporary,
            is_system: is_temporary && self.parser.eat_word("SYSTEM"),
            replaces,
        };
        if self.parser.eat_word("TABLE") {
            return self.create_table(prefix);
        }
        if self.parser.eat_word("VIEW") {
            return self.create_view(prefix).map(Statement::CreateView);
        }
        if self.parser.eat_word("FUNCTION") {
            return self.create_function(prefix).map(Statement::CreateFunction);
        }
        if replaces {
            return self.parser.unexpected("TABLE, VIEW or FUNCTION");
        }
        if self.parser.eat_word("CATALOG") {
            return self.create_catalog().map(Statement::CreateCatalog);
        }
        if self.parser.eat_word("DATABASE") {
            return self.create_database().map(Statement::CreateDatabase);
        }
        if self.parser.at_word("MODEL") {
            return Ok(self.unsupported("CREATE MODEL", MODELS));
        }
        if self.parser.at_word("MATERIALIZED")
            || self.parser.at_words(&["OR", "ALTER", "MATERIALIZED"])
        {
            return Ok(self.unsupported("CREATE MATERIALIZED TABLE", MATERIALIZED));
        }
        if self.parser.at_word("CONNECTION") {
            return Ok(self.unsupported("CREATE CONNECTION", "write the options in WITH"));
        }
        self.parser
            .unexpected("TABLE, VIEW, CATALOG, DATABASE or FUNCTION")
    }

    fn comment(&mut self) -> PResult<Option<String>> {
        match self.parser.eat_word("COMMENT") {
            true => self.parser.string().map(Some),
            false => Ok(None),
        }
    }

    pub(super) fn with_options(&mut self) -> PResult<Vec<OptionPair>> {
        match self.parser.eat_word("WITH") {
            true => self.options(),
            false => Ok(vec![]),
        }
    }

    fn create_table(&mut self, prefix: Prefix) -> PResult<Statement> {
        let if_not_exists = self.parser.eat_if_not_exists()?;
        let name = self.parser.name()?;
        let mut elements = TableElements::default();
        if self.parser.peek_token_ref().token == Token::LParen {
            elements = self.table_elements()?;
        }
        let comment = self.comment()?;
        let distribution = match self.parser.eat_word("DISTRIBUTED") {
            true => Some(self.distribution()?),
            false => None,
        };
        let mut partition_keys = vec![];
        if self.parser.eat_words(&["PARTITIONED", "BY"]) {
            partition_keys = self.parser.identifiers()?;
        }
        let options = self.with_options()?;
        let like = match self.parser.eat_word("LIKE") {
            true => Some(self.table_like()?),
            false => None,
        };
        let query = match like.is_none() && self.parser.eat_word("AS") {
            true => Some(self.query()?),
            false => None,
        };
        if query.is_none() && !elements.names.is_empty() {
            return self.fail(format!("column '{}' has no type", elements.names[0].value));
        }
        if query.is_none() && prefix.replaces {
            return self
                .parser
                .unexpected("AS query, which REPLACE TABLE needs");
        }
        Ok(Statement::CreateTable(Box::new(CreateTable {
            name,
            is_temporary: prefix.is_temporary,
            if_not_exists,
            replaces: prefix.replaces,
            elements,
            comment,
            distribution,
            partition_keys,
            options,
            like,
            query,
        })))
    }

    fn create_view(&mut self, prefix: Prefix) -> PResult<CreateView> {
        let if_not_exists = self.parser.eat_if_not_exists()?;
        let name = self.parser.name()?;
        let columns = match self.parser.peek_token_ref().token {
            Token::LParen => Some(self.parser.identifiers()?),
            _ => None,
        };
        let comment = self.comment()?;
        self.parser.expect_word("AS")?;
        Ok(CreateView {
            name,
            is_temporary: prefix.is_temporary,
            if_not_exists,
            replaces: prefix.replaces,
            columns,
            comment,
            query: self.query()?,
        })
    }

    fn create_catalog(&mut self) -> PResult<CreateCatalog> {
        Ok(CreateCatalog {
            if_not_exists: self.parser.eat_if_not_exists()?,
            name: self.parser.name()?,
            comment: self.comment()?,
            options: self.with_options()?,
        })
    }

    fn create_database(&mut self) -> PResult<CreateDatabase> {
        Ok(CreateDatabase {
            if_not_exists: self.parser.eat_if_not_exists()?,
            name: self.parser.name()?,
            comment: self.comment()?,
            options: self.with_options()?,
        })
    }

    pub(crate) fn drop(&mut self) -> PResult<Statement> {
        self.parser.expect_word("DROP")?;
        let is_temporary = self.parser.eat_word("TEMPORARY");
        let is_system = is_temporary && self.parser.eat_word("SYSTEM");
        if self.parser.at_word("MODEL") {
            return Ok(self.unsupported("DROP MODEL", MODELS));
        }
        if self.parser.at_word("MATERIALIZED") {
            return Ok(self.unsupported("DROP MATERIALIZED TABLE", MATERIALIZED));
        }
        let kinds = [
            ("TABLE", ObjectKind::Table),
            ("VIEW", ObjectKind::View),
            ("CATALOG", ObjectKind::Catalog),
            ("DATABASE", ObjectKind::Database),
            ("FUNCTION", ObjectKind::Function),
        ];
        let kind = self.one_of(&kinds, "TABLE, VIEW, CATALOG, DATABASE or FUNCTION")?;
        let if_exists = self.parser.eat_if_exists()?;
        let name = self.parser.name()?;
        let mut cascade = false;
        if kind == ObjectKind::Database {
            cascade = self.parser.eat_word("CASCADE");
            self.parser.eat_word("RESTRICT");
        }
        Ok(Statement::Drop(Drop {
            kind,
            name,
            is_temporary,
            is_system,
            if_exists,
            cascade,
        }))
    }

    pub(crate) fn alter(&mut self) -> PResult<Statement> {
        self.parser.expect_word("ALTER")?;
        if self.parser.eat_word("TABLE") {
            return self.alter_table();
        }
        if self.parser.eat_word("VIEW") {
            return self.alter_view().map(Statement::AlterView);
        }
        if self.parser.eat_word("DATABASE") {
            let name = self.name()?;
            self.parser.expect_word("SET")?;
            let options = self.options()?;
            return Ok(Statement::AlterDatabase { name, options });
        }
        if self.parser.eat_word("CATALOG") {
            return self.alter_catalog();
        }
        if self.parser.at_word("MODEL") {
            return Ok(self.unsupported("ALTER MODEL", MODELS));
        }
        if self.parser.at_word("MATERIALIZED") {
            return Ok(self.unsupported("ALTER MATERIALIZED TABLE", MATERIALIZED));
        }
        if self.parser.at_word("FUNCTION") || self.parser.at_word("TEMPORARY") {
            return self.alter_function();
        }
        self.parser
            .unexpected("TABLE, VIEW, DATABASE, CATALOG or FUNCTION")
    }

    fn alter_table(&mut self) -> PResult<Statement> {
        let if_exists = self.parser.eat_if_exists()?;
        let name = self.name()?;
        let for_partitions = self.parser.at_words(&["ADD", "PARTITION"])
            || self.parser.at_words(&["ADD", "IF"])
            || self.parser.at_words(&["DROP", "PARTITION"])
            || self.parser.at_words(&["DROP", "IF"]);
        if for_partitions {
            let advice = "partitions are found and made by the connector";
            return Ok(self.unsupported("ALTER TABLE … PARTITION", advice));
        }
        let changes_distribution = ["ADD", "MODIFY", "DROP"]
            .iter()
            .any(|w| self.parser.at_words(&[w, "DISTRIBUTION"]));
        if changes_distribution {
            return Ok(self.unsupported("ALTER TABLE … DISTRIBUTION", "create the table anew"));
        }
        let action = self.alter_table_action()?;
        Ok(Statement::AlterTable(AlterTable {
            name,
            if_exists,
            action,
        }))
    }

    fn alter_table_action(&mut self) -> PResult<AlterTableAction> {
        if self.parser.eat_word("RENAME") {
            if self.parser.eat_word("TO") {
                return self.name().map(AlterTableAction::RenameTo);
            }
            let from = self.parser.identifier()?;
            self.parser.expect_word("TO")?;
            let to = self.parser.identifier()?;
            return Ok(AlterTableAction::RenameColumn { from, to });
        }
        if self.parser.eat_word("SET") {
            return self.options().map(AlterTableAction::Set);
        }
        if self.parser.eat_word("RESET") {
            return self
                .parser
                .list(|p| p.string())
                .map(AlterTableAction::Reset);
        }
        if self.parser.eat_word("ADD") {
            return self.added_elements().map(AlterTableAction::Add);
        }
        if self.parser.eat_word("MODIFY") {
            return self.added_elements().map(AlterTableAction::Modify);
        }
        self.parser.expect_word("DROP").or_else(|_| {
            self.parser
                .unexpected("RENAME, SET, RESET, ADD, MODIFY or DROP")
        })?;
        self.dropped_elements()
    }

    fn added_elements(&mut self) -> PResult<TableElements> {
        if self.parser.peek_token_ref().token == Token::LParen {
            return self.table_elements();
        }
        let mut elements = TableElements::default();
        self.table_element(&mut elements)?;
        Ok(elements)
    }

    fn dropped_elements(&mut self) -> PResult<AlterTableAction> {
        if self.parser.eat_words(&["PRIMARY", "KEY"]) {
            return Ok(AlterTableAction::DropPrimaryKey);
        }
        if self.parser.eat_word("CONSTRAINT") {
            return self
                .parser
                .identifier()
                .map(AlterTableAction::DropConstraint);
        }
        if self.parser.eat_word("WATERMARK") {
            return Ok(AlterTableAction::DropWatermark);
        }
        let columns = match self.parser.peek_token_ref().token {
            Token::LParen => self.parser.identifiers()?,
            _ => vec![self.parser.identifier()?],
        };
        Ok(AlterTableAction::DropColumns(columns))
    }

    fn alter_view(&mut self) -> PResult<AlterView> {
        let name = self.name()?;
        let action = if self.parser.eat_words(&["RENAME", "TO"]) {
            AlterViewAction::RenameTo(self.name()?)
        } else if self.parser.eat_word("AS") {
            AlterViewAction::As(self.query()?)
        } else {
            return self.parser.unexpected("RENAME TO or AS");
        };
        Ok(AlterView { name, action })
    }

    fn alter_catalog(&mut self) -> PResult<Statement> {
        let name = self.name()?;
        let action = if self.parser.eat_word("SET") {
            AlterCatalogAction::Set(self.options()?)
        } else if self.parser.eat_word("RESET") {
            AlterCatalogAction::Reset(self.parser.list(|p| p.string())?)
        } else if self.parser.eat_word("COMMENT") {
            AlterCatalogAction::Comment(self.parser.string()?)
        } else {
            return self.parser.unexpected("SET, RESET or COMMENT");
        };
        Ok(Statement::AlterCatalog { name, action })
    }
}
