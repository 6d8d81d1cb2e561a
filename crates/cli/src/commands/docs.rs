//! `flott docs`: the pages of docs/connectors and docs/formats, from the lists of options.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use flott_core::connector::{ConnectorFactory, MetadataColumn};
use flott_core::format::FormatFactory;
use flott_core::options::OptionDef;

use crate::environment::registry;

/// Where the pages go.
#[derive(Debug, Args)]
pub struct DocsArgs {
    /// The folder of the documentation; pages go to `connectors` and `formats` below it.
    folder: PathBuf,
}

const NOTICE: &str = "<!-- Made from the lists of options by `cargo xtask docs`. -->";

/// Writes all pages.
pub fn run(args: &DocsArgs) -> ExitCode {
    match write_pages(&args.folder) {
        Ok(number) => {
            println!("{number} pages in {}", args.folder.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write_pages(folder: &Path) -> Result<usize> {
    let registry = registry();
    let mut pages: Vec<(PathBuf, String)> = Vec::new();
    for connector in &registry.connectors {
        let name = format!("connectors/{}.md", connector.identifier());
        pages.push((folder.join(name), connector_page(connector.as_ref())));
    }
    for format in &registry.formats {
        let name = format!("formats/{}.md", format.identifier());
        pages.push((folder.join(name), format_page(format.as_ref())));
    }
    for (path, text) in &pages {
        let parent = path.parent().context("a page stands in a folder")?;
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    Ok(pages.len())
}

fn connector_page(connector: &dyn ConnectorFactory) -> String {
    let name = connector.identifier();
    let mut page = heading(&format!("Connector `{name}`"), connector.doc());
    example(&mut page, connector.example());
    options(&mut page, connector.options(), "");
    metadata(&mut page, &connector.metadata_columns());
    page
}

fn format_page(format: &dyn FormatFactory) -> String {
    let name = format.identifier();
    let mut page = heading(&format!("Format `{name}`"), format.doc());
    match format.example() {
        "" => example(&mut page, &round_trip(name)),
        script => example(&mut page, script),
    }
    options(&mut page, format.options(), &format!("{name}."));
    metadata(&mut page, &format.metadata_columns());
    page
}

/// What most formats are good for: rows to files and back.
fn round_trip(format: &str) -> String {
    format!(
        "CREATE TABLE orders (id BIGINT, item STRING, price DECIMAL(10, 2), ordered TIMESTAMP(3))
WITH ('connector' = 'filesystem', 'path' = 'orders', 'format' = '{format}');

INSERT INTO orders VALUES
  (1, 'pen', 2.50, TIMESTAMP '2024-06-01 12:00:00'),
  (2, 'ink', 3.75, TIMESTAMP '2024-06-01 12:00:03');

SELECT * FROM orders;"
    )
}

fn heading(title: &str, doc: &str) -> String {
    let mut letters = doc.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    let doc = format!("{}{}", first.unwrap_or_default(), letters.as_str());
    format!("{NOTICE}\n\n# {title}\n\n{doc}.\n")
}

fn example(page: &mut String, script: &str) {
    if !script.is_empty() {
        let _ = write!(page, "\n```sql\n{}\n```\n", script.trim());
    }
}

fn options(page: &mut String, list: &[OptionDef], prefix: &str) {
    if list.is_empty() {
        page.push_str("\nThere are no options.\n");
        return;
    }
    page.push_str(
        "\n## Options\n\n| option | type | default | example | meaning |\n|---|---|---|---|---|\n",
    );
    for option in list {
        let default = match (option.default, option.required) {
            (Some(default), _) => format!("`{}`", cell(default)),
            (None, true) => "required".to_string(),
            (None, false) => String::new(),
        };
        let _ = writeln!(
            page,
            "| `{prefix}{}` | {} | {default} | {} | {} |",
            option.key,
            cell(&option.option_type.to_string()),
            shown(option, prefix),
            cell(option.doc)
        );
    }
}

/// A value that the option takes, with the key where the option covers several.
fn shown(option: &OptionDef, prefix: &str) -> String {
    match option.shown() {
        Some((key, value)) if key == option.key => format!("`{}`", cell(value)),
        Some((key, value)) => format!("`'{prefix}{key}' = '{}'`", cell(value)),
        None => String::new(),
    }
}

fn metadata(page: &mut String, columns: &[MetadataColumn]) {
    if columns.is_empty() {
        return;
    }
    page.push_str(
        "\n## Metadata columns\n\n| key | type | writable | meaning |\n|---|---|---|---|\n",
    );
    for column in columns {
        let writable = if column.is_writable { "yes" } else { "no" };
        let _ = writeln!(
            page,
            "| `{}` | `{}` | {writable} | {} |",
            column.key,
            column.sql_type,
            cell(column.doc)
        );
    }
}

/// Text that stands in one cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
