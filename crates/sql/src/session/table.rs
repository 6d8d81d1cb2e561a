//! CREATE TABLE: what is declared, checked as Flink checks it.

use flott_core::catalog::{CatalogTable, ColumnKind, PrimaryKey, TableColumn, WatermarkSpec};
use flott_core::error::did_you_mean;
use flott_core::options::Options;
use flott_core::schema::{Column, Schema};
use flott_core::types::LogicalType;
use flott_core::{Error, Location, Result};

use crate::binder::{BindContext, bind_scalar};
use crate::parser;
use crate::parser::ast::{
    ColumnDef, ColumnDefKind, ColumnPosition, ConstraintDef, Identifier, OptionPair, TableElements,
    WatermarkDef,
};

/// Options as a map; of equal keys the last wins.
pub(crate) fn options(pairs: &[OptionPair]) -> Options {
    let pairs = pairs.iter();
    pairs.map(|p| (p.key.clone(), p.value.clone())).collect()
}

/// An empty declaration.
pub(crate) fn empty_table(is_temporary: bool) -> CatalogTable {
    CatalogTable {
        columns: vec![],
        watermark: None,
        primary_key: None,
        partition_keys: vec![],
        options: Options::default(),
        comment: None,
        is_temporary,
    }
}

fn invalid(message: String) -> Error {
    Error::user("INVALID_TABLE", message)
}

fn unknown_column(table: &CatalogTable, name: &str, what: &str) -> Error {
    let hint = did_you_mean(name, table.columns.iter().map(|c| c.name.as_str()));
    invalid(format!(
        "{what} '{name}' is not a column of the table{hint}"
    ))
}

/// Adds declared columns, watermarks and constraints to a table.
///
/// # Errors
/// A user error for what Flink refuses, at its place.
pub(crate) fn add_elements(
    table: &mut CatalogTable,
    elements: &TableElements,
    context: &BindContext<'_>,
) -> Result<()> {
    for column in &elements.columns {
        if table.columns.iter().any(|c| c.name == column.name.value) {
            let message = format!(
                "a column named '{}' already exists in the table",
                column.name.value
            );
            return Err(invalid(message).at(column.name.location));
        }
        let declared = declared_column(column);
        let position = insert_position(table, column)?;
        table.columns.insert(position, declared);
    }
    for watermark in &elements.watermarks {
        add_watermark(table, watermark)?;
    }
    for constraint in &elements.constraints {
        add_primary_key(table, constraint)?;
    }
    derive_types(table, elements, context)
}

fn declared_column(column: &ColumnDef) -> TableColumn {
    let (data_type, kind) = match &column.kind {
        ColumnDefKind::Physical { data_type } => (data_type.clone(), ColumnKind::Physical),
        ColumnDefKind::Metadata {
            data_type,
            key,
            is_virtual,
        } => (
            data_type.clone(),
            ColumnKind::Metadata {
                key: key.clone(),
                is_virtual: *is_virtual,
            },
        ),
        // The type is known once every other column is.
        ColumnDefKind::Computed(expr) => (
            LogicalType::Null.nullable(),
            ColumnKind::Computed {
                expression: expr.text.clone(),
            },
        ),
    };
    TableColumn {
        name: column.name.value.clone(),
        data_type,
        kind,
        comment: column.comment.clone(),
    }
}

pub(crate) fn insert_position(table: &CatalogTable, column: &ColumnDef) -> Result<usize> {
    match &column.position {
        None => Ok(table.columns.len()),
        Some(ColumnPosition::First) => Ok(0),
        Some(ColumnPosition::After(other)) => {
            let found = table.columns.iter().position(|c| c.name == other.value);
            found
                .map(|i| i + 1)
                .ok_or_else(|| unknown_column(table, &other.value, "AFTER").at(other.location))
        }
    }
}

fn add_watermark(table: &mut CatalogTable, watermark: &WatermarkDef) -> Result<()> {
    let at = watermark.column.location;
    if table.watermark.is_some() {
        return Err(invalid("a table has at most one watermark".to_string()).at(at));
    }
    let [column] = watermark.column.parts.as_slice() else {
        let message = format!(
            "a watermark for the nested field '{}' is not supported; compute a column of it first",
            watermark.column
        );
        return Err(Error::user("UNSUPPORTED_SYNTAX", message).at(at));
    };
    table.watermark = Some(WatermarkSpec {
        column: column.clone(),
        expression: watermark.expr.text.clone(),
    });
    Ok(())
}

fn add_primary_key(table: &mut CatalogTable, constraint: &ConstraintDef) -> Result<()> {
    let at = constraint.location;
    if !constraint.is_primary_key {
        let message = "UNIQUE constraints are not supported; a PRIMARY KEY is".to_string();
        return Err(invalid(message).at(at));
    }
    if constraint.is_enforced {
        let message =
            "a primary key is not enforced: write PRIMARY KEY (…) NOT ENFORCED".to_string();
        return Err(invalid(message).at(at));
    }
    if table.primary_key.is_some() {
        return Err(invalid("a table has at most one primary key".to_string()).at(at));
    }
    let mut columns: Vec<String> = Vec::new();
    for name in &constraint.columns {
        key_column(table, name, &columns)?;
        columns.push(name.value.clone());
    }
    table.primary_key = Some(PrimaryKey {
        name: constraint.name.clone(),
        columns,
    });
    Ok(())
}

/// Checks a column of the primary key, which becomes NOT NULL.
fn key_column(table: &mut CatalogTable, name: &Identifier, before: &[String]) -> Result<()> {
    if before.contains(&name.value) {
        let message = format!("primary key column '{}' stands twice", name.value);
        return Err(invalid(message).at(name.location));
    }
    let missing = unknown_column(table, &name.value, "primary key column");
    let column = table.columns.iter_mut().find(|c| c.name == name.value);
    let column = column.ok_or_else(|| missing.at(name.location))?;
    if column.kind != ColumnKind::Physical {
        let message = format!(
            "primary key column '{}' is not a physical column",
            name.value
        );
        return Err(invalid(message).at(name.location));
    }
    column.data_type.nullable = false;
    Ok(())
}

/// Sets the partition columns.
pub(crate) fn set_partition_keys(table: &mut CatalogTable, keys: &[Identifier]) -> Result<()> {
    for key in keys {
        let column = table.columns.iter().find(|c| c.name == key.value);
        let column = column.ok_or_else(|| {
            unknown_column(table, &key.value, "partition column").at(key.location)
        })?;
        if column.kind != ColumnKind::Physical {
            let message = format!("partition column '{}' is not a physical column", key.value);
            return Err(invalid(message).at(key.location));
        }
        if table.partition_keys.contains(&key.value) {
            let message = format!("partition column '{}' stands twice", key.value);
            return Err(invalid(message).at(key.location));
        }
        table.partition_keys.push(key.value.clone());
    }
    Ok(())
}

/// The place of a declaration in the statement, for errors about it.
fn place_of(elements: &TableElements, column: &str) -> Option<Location> {
    let found = elements.columns.iter().find(|c| c.name.value == column);
    found.map(|c| c.name.location)
}

fn located(error: Error, place: Option<Location>) -> Error {
    match place {
        Some(place) => error.at(place),
        None => error,
    }
}

/// Binds computed columns and the watermark: their types become known, and are checked.
pub(crate) fn derive_types(
    table: &mut CatalogTable,
    elements: &TableElements,
    context: &BindContext<'_>,
) -> Result<()> {
    let is_stored = |k: &ColumnKind| !matches!(k, ColumnKind::Computed { .. });
    let stored = table.columns.iter().filter(|c| is_stored(&c.kind));
    let stored: Schema = stored
        .map(|c| Column::new(&c.name, c.data_type.clone()))
        .collect();
    for column in &mut table.columns {
        let ColumnKind::Computed { expression } = &column.kind else {
            continue;
        };
        let expr = parser::parse_expression(expression)?;
        let bound = bind_scalar(&expr, &stored, context).map_err(|e| {
            let place = place_of(elements, &column.name);
            located(
                e.context(format!("computed column '{}'", column.name)),
                place,
            )
        })?;
        column.data_type = bound.data_type;
    }
    check_watermark(table, elements, context)
}

fn check_watermark(
    table: &CatalogTable,
    elements: &TableElements,
    context: &BindContext<'_>,
) -> Result<()> {
    let Some(watermark) = &table.watermark else {
        return Ok(());
    };
    let place = elements.watermarks.first().map(|w| w.column.location);
    let column = table.columns.iter().find(|c| c.name == watermark.column);
    let column = column.ok_or_else(|| {
        let error = unknown_column(table, &watermark.column, "the watermark's column");
        located(error, place)
    })?;
    let is_time = matches!(
        column.data_type.logical,
        LogicalType::Timestamp(0..=3) | LogicalType::TimestampLtz(0..=3)
    );
    if !is_time {
        let message = format!(
            "a watermark needs a column of type TIMESTAMP(p) or TIMESTAMP_LTZ(p) with p from 0 to 3, \
             but '{}' is {}",
            column.name, column.data_type.logical
        );
        return Err(located(invalid(message), place));
    }
    let columns = table.columns.iter();
    let all: Schema = columns
        .map(|c| Column::new(&c.name, c.data_type.clone()))
        .collect();
    let expr = parser::parse_expression(&watermark.expression)?;
    let bound = bind_scalar(&expr, &all, context)
        .map_err(|e| located(e.context(format!("watermark for '{}'", column.name)), place))?;
    if !bound.data_type.logical.is_timestamp() {
        let message = format!(
            "the watermark's expression gives {}; it must give a TIMESTAMP or TIMESTAMP_LTZ",
            bound.data_type.logical
        );
        return Err(located(invalid(message), place));
    }
    Ok(())
}
