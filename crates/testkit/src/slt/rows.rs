//! Expected and actual rows as lines of cells.

use std::collections::BTreeMap;

use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::schema::Schema;
use flott_core::text::{TextOptions, format_value};

/// A row with its kind, its cells as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub kind: RowKind,
    pub cells: Vec<String>,
}

impl Row {
    /// Reads `+I | a | 1`; without a kind it is `+I`.
    pub fn parse(line: &str) -> Self {
        let mut cells: Vec<String> = line.split('|').map(|c| c.trim().to_string()).collect();
        let kind = RowKind::from_symbol(&cells[0]);
        if kind.is_some() {
            cells.remove(0);
        }
        Self {
            kind: kind.unwrap_or(RowKind::Insert),
            cells,
        }
    }
}

/// The rows of an expected block; `(none)` is no row.
pub fn parse_block(text: &str) -> Vec<Row> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && *l != "(none)");
    lines.map(Row::parse).collect()
}

/// The rows of a batch, as Flink's casts to text print them; a time on 1970-01-01 without the date.
pub fn of_batch(batch: &ChangelogBatch, schema: &Schema, text: &TextOptions) -> Vec<Row> {
    (0..batch.num_rows())
        .map(|row| {
            let cells = schema.columns().iter().enumerate();
            let cells = cells.map(|(index, column)| {
                let values = batch.column(index);
                if values.is_null(row) || values.data_type() == &arrow::datatypes::DataType::Null {
                    return "NULL".to_string();
                }
                let mut out = String::new();
                match format_value(values, row, &column.data_type.logical, text, &mut out) {
                    Ok(()) => shorten(out),
                    Err(error) => error.to_string(),
                }
            });
            Row {
                kind: batch.kind(row),
                cells: cells.collect(),
            }
        })
        .collect()
}

/// A single text of several lines (SHOW CREATE, EXPLAIN) as a row for each line that is not blank;
/// other rows as they are.
pub fn of_lines(rows: Vec<Row>) -> Vec<Row> {
    let is_text = |row: &Row| row.cells.len() == 1 && row.cells[0].contains('\n');
    if !rows.iter().any(is_text) {
        return rows;
    }
    let texts = rows.iter().flat_map(|row| row.cells.iter());
    let block: Vec<&str> = texts.map(String::as_str).collect();
    parse_block(&block.join("\n"))
}

fn shorten(text: String) -> String {
    match text.strip_prefix("1970-01-01 ") {
        _ if text.is_empty() => "''".into(),
        Some(time) => time.strip_suffix(".000").unwrap_or(time).into(),
        None => text,
    }
}

/// The rows as lines with aligned columns, with their kinds where `with_kinds`.
pub fn to_block(rows: &[Row], with_kinds: bool) -> String {
    if rows.is_empty() {
        return "(none)".into();
    }
    let width = |c: usize| {
        rows.iter()
            .filter_map(|r| r.cells.get(c))
            .map(|t| t.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows[0].cells.len()).map(width).collect();
    let line = |row: &Row| {
        let cells: Vec<String> = row
            .cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}", width = *width))
            .collect();
        let kind = if with_kinds {
            format!("{} | ", row.kind)
        } else {
            String::new()
        };
        format!("{kind}{}", cells.join(" | "))
            .trim_end()
            .to_string()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// In an order that leaves the sequence per row alone: equal cells keep their order.
pub fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by(|a, b| a.cells.cmp(&b.cells));
    rows
}

/// The table that a changelog describes: each row and how often it is there. One that is taken back
/// without being there is passed over where the changelog begins in the middle (`is_rest`).
///
/// # Errors
/// A row that is taken back without being there.
pub fn fold(rows: &[Row], is_rest: bool) -> Result<BTreeMap<Vec<String>, i64>, String> {
    let mut table: BTreeMap<Vec<String>, i64> = BTreeMap::new();
    for row in rows {
        let count = table.entry(row.cells.clone()).or_default();
        *count += if row.kind.is_addition() { 1 } else { -1 };
        if *count < 0 && is_rest {
            *count = 0;
        }
        if *count < 0 {
            let cells = &row.cells;
            return Err(format!("row {cells:?} was taken back without being there"));
        }
    }
    table.retain(|_, count| *count != 0);
    Ok(table)
}

/// The folded table as sorted rows.
pub fn table_rows(table: &BTreeMap<Vec<String>, i64>) -> Vec<Row> {
    table
        .iter()
        .flat_map(|(cells, count)| {
            let row = Row {
                kind: RowKind::Insert,
                cells: cells.clone(),
            };
            std::iter::repeat_n(row, *count as usize)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_align_and_parse_back() {
        let rows = parse_block("+I | a | 1\n-D | long | NULL");
        assert_eq!(to_block(&rows, true), "+I | a    | 1\n-D | long | NULL");
        assert_eq!(parse_block(&to_block(&rows, true)), rows);
    }

    #[test]
    fn folding_refuses_what_was_never_there() {
        assert!(fold(&parse_block("-D | a"), false).is_err());
        assert!(fold(&parse_block("-D | a"), true).unwrap().is_empty());
        assert!(
            fold(&parse_block("+I | a\n-U | a\n+U | b\n-D | b"), false)
                .unwrap()
                .is_empty()
        );
    }
}
