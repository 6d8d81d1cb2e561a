//! DESCRIBE: the columns of a table or view; catalogs, databases, functions.

use flott_core::Result;
use flott_core::catalog::{CatalogTable, ColumnKind};
use flott_core::connector::MetadataColumn;
use flott_core::options::OptionDef;
use flott_core::schema::{Column, TimeAttribute};
use flott_core::types::LogicalType;

use super::catalog::Object;
use super::result::Cells;
use super::{Session, StatementResult};
use crate::binder::CatalogReader;
use crate::functions;
use crate::parser::ast::{Describe, Name};

/// One line of DESCRIBE.
pub(crate) struct Described {
    pub name: String,
    data_type: String,
    nullable: bool,
    key: Option<String>,
    extras: Option<String>,
    watermark: Option<String>,
    comment: Option<String>,
}

impl Session {
    pub(super) fn describe(&self, describe: &Describe) -> Result<StatementResult> {
        match describe {
            Describe::Table { name, .. } => describe_columns(self.described(name)?),
            Describe::Catalog { name, extended } => {
                let catalog = self
                    .catalogs
                    .catalog(name.object())
                    .map_err(|e| e.at(name.location))?;
                let mut rows = vec![
                    info("name", name.object()),
                    info("type", "generic_in_memory"),
                    info("comment", catalog.comment.as_deref().unwrap_or("")),
                ];
                if *extended {
                    let options = catalog.options.iter();
                    rows.extend(options.map(|(k, v)| info(&format!("option:{k}"), v)));
                }
                StatementResult::texts(&["info name", "info value"], rows)
            }
            Describe::Database { name, extended } => {
                let (catalog, database) = self.catalogs.database_path(&name.parts)?;
                let found = self
                    .catalogs
                    .database(&catalog, &database)
                    .map_err(|e| e.at(name.location))?;
                let mut rows = vec![
                    info("Name", &database),
                    info("Comment", found.comment.as_deref().unwrap_or("")),
                ];
                if *extended && !found.options.is_empty() {
                    let pairs = found.options.iter().map(|(k, v)| format!("({k},{v})"));
                    let pairs = pairs.collect::<Vec<_>>().join(", ");
                    rows.push(info("Properties", &format!("({pairs})")));
                }
                StatementResult::texts(&["info name", "info value"], rows)
            }
            Describe::Function { name, .. } => self.describe_function(name),
            Describe::Connector { name } => {
                let connector = self.registry().connector(name)?;
                let metadata = connector.metadata_columns();
                describe_options(connector.options(), &metadata)
            }
            Describe::Job { id } => self.describe_job(id),
            Describe::Format { name } => {
                let format = self.registry().format(name)?;
                describe_options(format.options(), &format.metadata_columns())
            }
        }
    }

    fn describe_function(&self, name: &Name) -> Result<StatementResult> {
        let function = name.object();
        let is_temporary = info("is temporary", "false");
        let system = self.functions.system(function);
        let user = match system.is_none() && functions::find(function).is_some() {
            true => None,
            false => system.or_else(|| self.catalog_function(&name.parts)),
        };
        let rows = match user {
            Some(user) => vec![
                info("is system function", "false"),
                is_temporary,
                info("class name", user.definition()),
                info("function language", user.language()),
            ],
            None => {
                let found = functions::resolve(function).map_err(|e| e.at(name.location))?;
                vec![
                    info("is system function", "true"),
                    is_temporary,
                    info("kind", "SCALAR"),
                    info("syntax", found.syntax),
                    info("description", found.doc),
                ]
            }
        };
        StatementResult::texts(&["info name", "info value"], rows)
    }

    pub(super) fn described(&self, name: &Name) -> Result<Vec<Described>> {
        let (path, object) = self
            .catalogs
            .resolve(&name.parts)
            .map_err(|e| e.at(name.location))?;
        match object {
            Object::Table(table) => Ok(table_columns(table)),
            Object::View(_) => {
                let columns = self.view_columns(&path)?;
                Ok(columns.iter().map(plain_column).collect())
            }
        }
    }
}

/// What a table can say in its WITH clause, and the metadata columns it can have.
fn describe_options(options: &[OptionDef], metadata: &[MetadataColumn]) -> Result<StatementResult> {
    let text = |t: &str| Some(t.to_string());
    let option = |o: &OptionDef| {
        let (kind, required) = ("option", if o.required { "yes" } else { "no" });
        let default = o.default.map(str::to_string);
        let meaning = o.option_type.to_string();
        vec![
            text(kind),
            text(o.key),
            Some(meaning),
            default,
            text(required),
            text(o.doc),
        ]
    };
    let column = |c: &MetadataColumn| {
        let kind = match c.is_writable {
            true => "metadata, writable",
            false => "metadata",
        };
        vec![
            text(kind),
            text(c.key),
            text(c.sql_type),
            None,
            text("no"),
            text(c.doc),
        ]
    };
    let rows = options.iter().map(option);
    let rows = rows.chain(metadata.iter().map(column)).collect();
    let names = ["kind", "name", "type", "default", "required", "description"];
    StatementResult::texts(&names, rows)
}

fn info(name: &str, value: &str) -> Vec<Option<String>> {
    vec![Some(name.to_string()), Some(value.to_string())]
}

fn shown_type(column: &Column) -> String {
    let mut column = column.clone();
    column.data_type.nullable = true;
    column.type_summary()
}

fn plain_column(column: &Column) -> Described {
    Described {
        name: column.name.clone(),
        data_type: shown_type(column),
        nullable: column.data_type.nullable,
        key: None,
        extras: None,
        watermark: None,
        comment: None,
    }
}

fn table_columns(table: &CatalogTable) -> Vec<Described> {
    let key = table.primary_key.as_ref();
    let key_text = key.map(|k| format!("PRI({})", k.columns.join(", ")));
    let watermark = table.watermark.as_ref();
    let describe = |c: &flott_core::catalog::TableColumn| {
        let watermark = watermark.filter(|w| w.column == c.name);
        let is_proctime = matches!(&c.kind, ColumnKind::Computed { expression }
            if expression.eq_ignore_ascii_case("PROCTIME()"))
            && matches!(c.data_type.logical, LogicalType::TimestampLtz(_));
        let time = match (watermark.is_some(), is_proctime) {
            (true, _) => Some(TimeAttribute::Rowtime),
            (_, true) => Some(TimeAttribute::Proctime),
            _ => None,
        };
        let column = Column::new(&c.name, c.data_type.clone()).with_time(time);
        Described {
            key: key_text
                .clone()
                .filter(|_| key.is_some_and(|k| k.columns.contains(&c.name))),
            extras: extras(&c.kind),
            watermark: watermark.map(|w| w.expression.clone()),
            comment: c.comment.clone(),
            ..plain_column(&column)
        }
    };
    table.columns.iter().map(describe).collect()
}

fn extras(kind: &ColumnKind) -> Option<String> {
    match kind {
        ColumnKind::Physical => None,
        ColumnKind::Computed { expression } => Some(format!("AS {expression}")),
        ColumnKind::Metadata { key, is_virtual } => {
            let from = key.as_ref().map(|k| format!(" FROM '{k}'"));
            let end = if *is_virtual { " VIRTUAL" } else { "" };
            Some(format!("METADATA{}{end}", from.unwrap_or_default()))
        }
    }
}

/// DESCRIBE's table; it has a column of comments only where there are any.
pub(crate) fn describe_columns(rows: Vec<Described>) -> Result<StatementResult> {
    let text = |get: fn(&Described) -> Option<String>| Cells::Text(rows.iter().map(get).collect());
    let mut names = vec!["name", "type", "null", "key", "extras", "watermark"];
    let mut columns = vec![
        text(|r| Some(r.name.clone())),
        text(|r| Some(r.data_type.clone())),
        Cells::Truth(rows.iter().map(|r| r.nullable).collect()),
        text(|r| r.key.clone()),
        text(|r| r.extras.clone()),
        text(|r| r.watermark.clone()),
    ];
    if rows.iter().any(|r| r.comment.is_some()) {
        names.push("comment");
        columns.push(text(|r| r.comment.clone()));
    }
    StatementResult::table(&names, columns)
}
