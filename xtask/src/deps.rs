//! The direction of dependencies between the workspace's crates.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Which crates each crate may use; what is not listed may use none. The binary wires the lists of
/// connectors, formats and functions together, so that no crate below it knows them all.
const ALLOWED: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("storage", &["core"]),
    ("state", &["core", "storage"]),
    ("engine", &["core", "state"]),
    ("table", &["core", "state", "engine"]),
    ("sql", &["core", "table"]),
    ("formats", &["core"]),
    ("connectors", &["core", "formats", "storage"]),
    (
        "cli",
        &[
            "core",
            "state",
            "engine",
            "table",
            "sql",
            "formats",
            "connectors",
        ],
    ),
    (
        "testkit",
        &[
            "core",
            "state",
            "engine",
            "table",
            "sql",
            "formats",
            "connectors",
        ],
    ),
];

/// # Errors
/// Names each dependency that goes against the direction.
pub fn check(root: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let folder = entry?.path();
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_string();
        let allowed = ALLOWED.iter().find(|(crate_name, _)| *crate_name == name);
        let (_, allowed) =
            allowed.with_context(|| format!("crate {name} has no place in xtask/src/deps.rs"))?;
        for used in dependencies(&folder.join("Cargo.toml"))? {
            if !allowed.contains(&used.as_str()) {
                wrong.push(format!(
                    "crates/{name} uses flott-{used}; it may use {allowed:?}"
                ));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("dependencies against the direction:\n{}", wrong.join("\n"));
    }
    println!("deps: every crate keeps to its direction");
    Ok(())
}

/// The workspace crates that a crate uses outside its tests.
fn dependencies(manifest: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(manifest).with_context(|| manifest.display().to_string())?;
    let manifest: toml::Table = text.parse()?;
    let table = manifest.get("dependencies").and_then(|d| d.as_table());
    let names = table.into_iter().flat_map(|t| t.keys());
    Ok(names
        .filter_map(|n| n.strip_prefix("flott-").map(str::to_string))
        .collect())
}
