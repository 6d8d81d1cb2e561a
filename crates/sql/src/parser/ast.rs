//! Flink's statements as syntax trees; queries and expressions inside them are sqlparser's.

use std::fmt;

use flott_core::Location;
use flott_core::types::DataType;
use sqlparser::ast::{Expr, Query};

use super::hints::Hint;
use crate::functions::user::Parameter;

/// Anything that a script may hold.
#[derive(Debug, Clone)]
pub enum Statement {
    /// `SELECT`, `WITH`, `VALUES`; also after `EXECUTE`.
    Query(SourceQuery),
    /// `INSERT`; also after `EXECUTE`.
    Insert(Insert),
    /// `EXECUTE STATEMENT SET BEGIN …; END` and `BEGIN STATEMENT SET; …; END`: one job.
    StatementSet(Vec<Insert>),
    CreateTable(Box<CreateTable>),
    CreateView(CreateView),
    CreateCatalog(CreateCatalog),
    CreateDatabase(CreateDatabase),
    CreateFunction(CreateFunction),
    Drop(Drop),
    AlterTable(AlterTable),
    AlterView(AlterView),
    AlterFunction(AlterFunction),
    AlterDatabase {
        name: Name,
        options: Vec<OptionPair>,
    },
    AlterCatalog {
        name: Name,
        action: AlterCatalogAction,
    },
    UseCatalog(Name),
    UseDatabase(Name),
    UseModules(Vec<String>),
    /// `SET` alone lists the configuration.
    Set(Option<OptionPair>),
    /// `RESET` alone forgets everything that was set.
    Reset(Option<String>),
    Show(Show),
    Describe(Describe),
    Explain(Explain),
    /// `STOP JOB 'id' [WITH SAVEPOINT] [WITH DRAIN]`.
    StopJob(StopJob),
    /// `ADD JAR`, `REMOVE JAR`: connectors are compiled in, so this does nothing.
    Jar {
        is_added: bool,
        path: String,
    },
    /// A statement of Flink's that is not supported; the text says what to do instead.
    Unsupported {
        what: String,
        advice: &'static str,
    },
}

/// `[catalog.][database.]object`, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// One to three parts.
    pub parts: Vec<String>,
    pub location: Location,
}

impl Name {
    /// The last part.
    pub fn object(&self) -> &str {
        self.parts.last().map_or("", String::as_str)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts.join("."))
    }
}

/// An identifier and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identifier {
    pub value: String,
    pub location: Location,
}

/// `'key' = 'value'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionPair {
    pub key: String,
    pub value: String,
    pub location: Location,
}

/// A query with its text as it was written.
#[derive(Debug, Clone)]
pub struct SourceQuery {
    pub query: Box<Query>,
    pub text: String,
    pub location: Location,
    /// Whether it reads a job's state: `STATE OF`.
    pub reads_state: bool,
}

/// An expression of a declaration.
#[derive(Debug, Clone)]
pub struct SourceExpr {
    pub expr: Expr,
    /// The text in the form that Flink shows: identifiers in backticks.
    pub text: String,
    pub location: Location,
}

/// `INSERT {INTO|OVERWRITE} t [hints] [PARTITION (…)] [(columns)] query`.
#[derive(Debug, Clone)]
pub struct Insert {
    pub target: Name,
    pub hints: Vec<Hint>,
    pub overwrite: bool,
    /// `PARTITION (k = 'v')`; a key without a value is dynamic.
    pub partition: Vec<PartitionItem>,
    pub columns: Option<Vec<Identifier>>,
    pub source: SourceQuery,
    /// `ON CONFLICT DO …`.
    pub on_conflict: Option<ConflictStrategy>,
    /// The whole statement's text.
    pub text: String,
}

/// One item of `PARTITION (…)`; values are texts whatever their type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionItem {
    pub key: Identifier,
    pub value: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictStrategy {
    Error,
    Nothing,
    Deduplicate,
}

/// `CREATE TABLE`.
#[derive(Debug, Clone)]
pub struct CreateTable {
    pub name: Name,
    pub is_temporary: bool,
    pub if_not_exists: bool,
    /// `[CREATE OR] REPLACE TABLE … AS`.
    pub replaces: bool,
    pub elements: TableElements,
    pub comment: Option<String>,
    pub distribution: Option<Distribution>,
    pub partition_keys: Vec<Identifier>,
    pub options: Vec<OptionPair>,
    pub like: Option<TableLike>,
    pub query: Option<SourceQuery>,
}

/// What stands between the parentheses of a table.
#[derive(Debug, Clone, Default)]
pub struct TableElements {
    pub columns: Vec<ColumnDef>,
    /// Bare names, allowed with `AS query`: they reorder the query's columns.
    pub names: Vec<Identifier>,
    pub watermarks: Vec<WatermarkDef>,
    pub constraints: Vec<ConstraintDef>,
}

#[derive(Debug, Clone)]
pub struct ColumnDef {
    pub name: Identifier,
    pub kind: ColumnDefKind,
    pub comment: Option<String>,
    /// `FIRST` or `AFTER x`, in ALTER TABLE.
    pub position: Option<ColumnPosition>,
}

#[derive(Debug, Clone)]
pub enum ColumnDefKind {
    Physical {
        data_type: DataType,
    },
    Metadata {
        data_type: DataType,
        key: Option<String>,
        is_virtual: bool,
    },
    Computed(SourceExpr),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnPosition {
    First,
    After(Identifier),
}

#[derive(Debug, Clone)]
pub struct WatermarkDef {
    /// Several parts where a nested field is meant.
    pub column: Name,
    pub expr: SourceExpr,
}

/// `[CONSTRAINT n] {PRIMARY KEY | UNIQUE} (…) [NOT] ENFORCED`.
#[derive(Debug, Clone)]
pub struct ConstraintDef {
    pub name: Option<String>,
    pub columns: Vec<Identifier>,
    pub is_primary_key: bool,
    pub is_enforced: bool,
    pub location: Location,
}

/// `DISTRIBUTED BY …`; the engine has its own exchanges and only keeps the words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// `HASH` or `RANGE`.
    pub kind: Option<String>,
    pub columns: Vec<Identifier>,
    pub num_buckets: Option<u64>,
}

/// `LIKE source [(options)]`.
#[derive(Debug, Clone)]
pub struct TableLike {
    pub source: Name,
    pub options: Vec<LikeOption>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LikeOption {
    pub strategy: LikeStrategy,
    pub feature: LikeFeature,
    pub location: Location,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LikeStrategy {
    Including,
    Excluding,
    Overwriting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LikeFeature {
    All,
    Constraints,
    Distribution,
    Partitions,
    Generated,
    Options,
    Watermarks,
    Metadata,
}

/// `CREATE VIEW`.
#[derive(Debug, Clone)]
pub struct CreateView {
    pub name: Name,
    pub is_temporary: bool,
    pub if_not_exists: bool,
    pub replaces: bool,
    pub columns: Option<Vec<Identifier>>,
    pub comment: Option<String>,
    pub query: SourceQuery,
}

#[derive(Debug, Clone)]
pub struct CreateCatalog {
    pub name: Name,
    pub if_not_exists: bool,
    pub comment: Option<String>,
    pub options: Vec<OptionPair>,
}

#[derive(Debug, Clone)]
pub struct CreateDatabase {
    pub name: Name,
    pub if_not_exists: bool,
    pub comment: Option<String>,
    pub options: Vec<OptionPair>,
}

/// `CREATE FUNCTION`.
#[derive(Debug, Clone)]
pub struct CreateFunction {
    pub name: Name,
    pub is_temporary: bool,
    /// `TEMPORARY SYSTEM`.
    pub is_system: bool,
    pub if_not_exists: bool,
    /// `CREATE OR REPLACE`.
    pub replaces: bool,
    pub body: FunctionBody,
}

/// `ALTER [TEMPORARY [SYSTEM]] FUNCTION`.
#[derive(Debug, Clone)]
pub struct AlterFunction {
    pub name: Name,
    pub is_temporary: bool,
    pub if_exists: bool,
    pub body: FunctionBody,
}

/// What a function does.
#[derive(Debug, Clone)]
pub enum FunctionBody {
    /// `AS 'class' LANGUAGE …`; `JAVA` where none is written.
    Class { class: String, language: String },
    /// `(parameters) RETURNS type RETURN expression`.
    Sql {
        parameters: Vec<Parameter>,
        return_type: DataType,
        text: String,
        location: Location,
    },
}

/// `DROP …`.
#[derive(Debug, Clone)]
pub struct Drop {
    pub kind: ObjectKind,
    pub name: Name,
    pub is_temporary: bool,
    /// `DROP TEMPORARY SYSTEM FUNCTION`.
    pub is_system: bool,
    pub if_exists: bool,
    /// `DROP DATABASE … CASCADE`.
    pub cascade: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    Table,
    View,
    Catalog,
    Database,
    Function,
}

/// `ALTER TABLE`.
#[derive(Debug, Clone)]
pub struct AlterTable {
    pub name: Name,
    pub if_exists: bool,
    pub action: AlterTableAction,
}

#[derive(Debug, Clone)]
pub enum AlterTableAction {
    RenameTo(Name),
    RenameColumn { from: Identifier, to: Identifier },
    Set(Vec<OptionPair>),
    Reset(Vec<String>),
    Add(TableElements),
    Modify(TableElements),
    DropColumns(Vec<Identifier>),
    DropPrimaryKey,
    DropConstraint(Identifier),
    DropWatermark,
}

/// `ALTER VIEW`.
#[derive(Debug, Clone)]
pub struct AlterView {
    pub name: Name,
    pub action: AlterViewAction,
}

#[derive(Debug, Clone)]
pub enum AlterViewAction {
    RenameTo(Name),
    As(SourceQuery),
}

#[derive(Debug, Clone)]
pub enum AlterCatalogAction {
    Set(Vec<OptionPair>),
    Reset(Vec<String>),
    Comment(String),
}

/// `SHOW …`.
#[derive(Debug, Clone)]
pub enum Show {
    Catalogs(Option<Pattern>),
    CurrentCatalog,
    CurrentDatabase,
    Databases {
        catalog: Option<Name>,
        pattern: Option<Pattern>,
    },
    Tables {
        database: Option<Name>,
        pattern: Option<Pattern>,
    },
    Views {
        database: Option<Name>,
        pattern: Option<Pattern>,
    },
    Columns {
        table: Name,
        pattern: Option<Pattern>,
    },
    Partitions {
        table: Name,
        partition: Vec<PartitionItem>,
    },
    Functions {
        user_only: bool,
        database: Option<Name>,
        pattern: Option<Pattern>,
    },
    Modules {
        full: bool,
    },
    Connectors,
    Formats,
    Jars,
    Jobs,
    CreateTable(Name),
    CreateView(Name),
    CreateCatalog(Name),
}

/// `[NOT] LIKE 'p'`, `[NOT] ILIKE 'p'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pub negated: bool,
    pub ignores_case: bool,
    pub text: String,
}

/// `DESCRIBE …`.
#[derive(Debug, Clone)]
pub enum Describe {
    Table {
        name: Name,
        extended: bool,
    },
    Catalog {
        name: Name,
        extended: bool,
    },
    Database {
        name: Name,
        extended: bool,
    },
    Function {
        name: Name,
        extended: bool,
    },
    /// What a connector of this name can be told.
    Connector {
        name: String,
    },
    /// What a format of this name can be told.
    Format {
        name: String,
    },
    /// `DESCRIBE JOB 'id'`.
    Job {
        id: String,
    },
}

/// `STOP JOB …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopJob {
    pub id: String,
    pub with_savepoint: bool,
    pub with_drain: bool,
}

/// `EXPLAIN …`.
#[derive(Debug, Clone)]
pub struct Explain {
    pub details: Vec<ExplainDetail>,
    pub statement: Box<Statement>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainDetail {
    EstimatedCost,
    ChangelogMode,
    JsonExecutionPlan,
    PlanAdvice,
}
