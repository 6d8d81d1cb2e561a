//! Which files a table reads.

use std::fs;
use std::path::Path;

use flott_core::source::PredicateValue;
use flott_core::{Error, Result};
use regex::Regex;

use super::path::{is_hidden, partition_values};

/// A file to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundFile {
    pub path: String,
    pub size_bytes: u64,
    pub modified_ms: i64,
}

/// Which files of a path belong to a table.
#[derive(Debug, Clone)]
pub(super) struct FileFilter {
    /// A file, a folder or a glob.
    pub path: String,
    /// Matches the whole path of a file.
    pub pattern: Option<Regex>,
    pub partition_keys: Vec<String>,
    pub default_name: String,
    /// For a partition key, the values of which one must hold.
    pub partition_predicates: Vec<(usize, Vec<PredicateValue>)>,
}

impl FileFilter {
    /// The files, sorted by path. Files and folders whose name begins with `.` or `_` are left
    /// out, unless the path names them.
    ///
    /// # Errors
    /// A user error when nothing stands at the path; an external one when it cannot be read.
    pub fn list(&self) -> Result<Vec<FoundFile>> {
        let mut found = Vec::new();
        let is_glob = self.path.contains(['*', '?', '[']) && !Path::new(&self.path).exists();
        if is_glob {
            let wrong = |e: glob::PatternError| {
                let message = format!("option 'path' is '{}', no good pattern: {e}", self.path);
                Error::user("INVALID_OPTION", message)
            };
            for entry in glob::glob(&self.path).map_err(wrong)? {
                let path = entry.map_err(|e| Error::io(e.path().display(), e.error()))?;
                self.add(&path, &mut found)?;
            }
        } else {
            self.add(Path::new(&self.path), &mut found)?;
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn add(&self, path: &Path, found: &mut Vec<FoundFile>) -> Result<()> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                let message = format!(
                    "path '{}' does not exist; check the option 'path'",
                    path.display()
                );
                Error::user("FILE_NOT_FOUND", message)
            }
            _ => Error::io(path.display(), &error),
        };
        let metadata = fs::metadata(path).map_err(failed)?;
        if metadata.is_dir() {
            for entry in fs::read_dir(path).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if is_hidden(&entry.file_name().to_string_lossy()) {
                    continue;
                }
                match self.add(&entry.path(), found) {
                    // Gone since the folder was listed, as when a sink renames it.
                    Err(error) if error.code() == "FILE_NOT_FOUND" => {}
                    other => other?,
                }
            }
            return Ok(());
        }
        let modified = metadata.modified().ok();
        let since_epoch = modified.and_then(|m| m.duration_since(std::time::UNIX_EPOCH).ok());
        let file = FoundFile {
            path: path.to_string_lossy().into_owned(),
            size_bytes: metadata.len(),
            modified_ms: since_epoch.map_or(0, |d| d.as_millis() as i64),
        };
        if self.keeps(&file.path) {
            found.push(file);
        }
        Ok(())
    }

    fn keeps(&self, path: &str) -> bool {
        let is_named = self.pattern.as_ref().is_none_or(|p| {
            p.find(path)
                .is_some_and(|m| m.start() == 0 && m.end() == path.len())
        });
        if !is_named || self.partition_keys.is_empty() {
            return is_named;
        }
        let Some(values) = partition_values(path, &self.partition_keys, &self.default_name) else {
            return false;
        };
        let holds = |(key, wanted): &(usize, Vec<PredicateValue>)| {
            let value = values[*key].as_deref();
            value.is_some_and(|text| wanted.iter().any(|w| is_value(text, w)))
        };
        self.partition_predicates.iter().all(holds)
    }
}

fn is_value(text: &str, wanted: &PredicateValue) -> bool {
    match wanted {
        PredicateValue::Text(value) => text == value,
        PredicateValue::Integer(value) => text.parse() == Ok(*value),
        PredicateValue::Boolean(value) => text.eq_ignore_ascii_case(&value.to_string()),
    }
}
