//! CREATE TABLE … LIKE: what is taken over from another table.

use flott_core::catalog::{CatalogTable, ColumnKind};
use flott_core::{Error, Result};

use crate::parser::ast::{CreateTable, LikeFeature, LikeOption, LikeStrategy};

/// The strategy for one feature: the last one written for it, else for ALL, else its default.
fn strategy(options: &[LikeOption], feature: LikeFeature) -> LikeStrategy {
    let last = |f: LikeFeature| options.iter().rev().find(|o| o.feature == f);
    let written = last(feature).or_else(|| last(LikeFeature::All));
    match (written, feature) {
        (Some(option), LikeFeature::Options) if option.feature == LikeFeature::All => {
            match option.strategy {
                LikeStrategy::Excluding => LikeStrategy::Excluding,
                _ => LikeStrategy::Overwriting,
            }
        }
        (Some(option), _) => option.strategy,
        (None, LikeFeature::Options) => LikeStrategy::Overwriting,
        (None, _) => LikeStrategy::Including,
    }
}

fn conflict(message: String) -> Error {
    Error::user("LIKE_CONFLICT", message)
}

/// What a new table begins with: the parts of `source` that its LIKE takes over.
///
/// # Errors
/// A user error where both declare the same and the strategy does not say which one counts.
pub(crate) fn base(create: &CreateTable, source: &CatalogTable) -> Result<CatalogTable> {
    let options = create
        .like
        .as_ref()
        .map_or(&[][..], |l| l.options.as_slice());
    let of = |feature| strategy(options, feature);
    let mut table = super::table::empty_table(create.is_temporary);
    for column in &source.columns {
        let feature = match column.kind {
            ColumnKind::Physical => None,
            ColumnKind::Computed { .. } => Some(LikeFeature::Generated),
            ColumnKind::Metadata { .. } => Some(LikeFeature::Metadata),
        };
        let strategy = feature.map_or(LikeStrategy::Including, of);
        let is_redeclared = create
            .elements
            .columns
            .iter()
            .any(|c| c.name.value == column.name);
        match strategy {
            LikeStrategy::Excluding => {}
            LikeStrategy::Overwriting if is_redeclared => {}
            _ if is_redeclared => {
                let message = format!(
                    "a column named '{}' already exists in the base table",
                    column.name
                );
                return Err(conflict(message));
            }
            _ => table.columns.push(column.clone()),
        }
    }
    take_watermark(&mut table, create, source, of(LikeFeature::Watermarks))?;
    if of(LikeFeature::Constraints) != LikeStrategy::Excluding && source.primary_key.is_some() {
        if create.elements.constraints.iter().any(|c| c.is_primary_key) {
            return Err(conflict(
                "the base table already has a primary key".to_string(),
            ));
        }
        table.primary_key = source.primary_key.clone();
    }
    if of(LikeFeature::Partitions) != LikeStrategy::Excluding && !source.partition_keys.is_empty() {
        if !create.partition_keys.is_empty() {
            return Err(conflict(
                "the base table already has partitions".to_string(),
            ));
        }
        table.partition_keys = source.partition_keys.clone();
    }
    take_options(&mut table, create, source, of(LikeFeature::Options))?;
    Ok(table)
}

fn take_watermark(
    table: &mut CatalogTable,
    create: &CreateTable,
    source: &CatalogTable,
    strategy: LikeStrategy,
) -> Result<()> {
    let is_redeclared = !create.elements.watermarks.is_empty();
    match strategy {
        LikeStrategy::Including if is_redeclared && source.watermark.is_some() => {
            let message = "the base table already has a watermark; write OVERWRITING WATERMARKS";
            return Err(conflict(message.to_string()));
        }
        LikeStrategy::Excluding => {}
        _ if is_redeclared => {}
        _ => table.watermark = source.watermark.clone(),
    }
    Ok(())
}

fn take_options(
    table: &mut CatalogTable,
    create: &CreateTable,
    source: &CatalogTable,
    strategy: LikeStrategy,
) -> Result<()> {
    if strategy == LikeStrategy::Excluding {
        return Ok(());
    }
    let both = create
        .options
        .iter()
        .find(|o| source.options.get(&o.key).is_some());
    if let (LikeStrategy::Including, Some(option)) = (strategy, both) {
        let message = format!(
            "the base table already has the option '{}'; write OVERWRITING OPTIONS",
            option.key
        );
        return Err(conflict(message).at(option.location));
    }
    table.options = source.options.clone();
    Ok(())
}
