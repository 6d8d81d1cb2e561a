//! Which files a table reads.

use std::sync::Arc;

use flott_core::Result;
use flott_core::source::PredicateValue;
use regex::Regex;

use super::file_system::FileSystem;
use super::path::partition_values;

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
    pub files: Arc<dyn FileSystem>,
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
        let mut found = self.files.list(&self.path)?;
        found.retain(|file| self.keeps(&file.path));
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
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
