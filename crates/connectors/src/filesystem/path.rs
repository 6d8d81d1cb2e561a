//! Local paths, and partitions as folders: `dt=2024-03-01/hour=10`.

use std::fs;
use std::path::{Path, PathBuf};

use flott_core::{Error, Result};

/// The local path of a table's `path`: plain, `file:/…` or `file:///…`.
///
/// # Errors
/// A user error for another scheme.
pub(super) fn local_path(text: &str) -> Result<String> {
    let path = match text.strip_prefix("file:") {
        Some(rest) => match rest.strip_prefix("//") {
            Some(rest) => rest,
            None => rest,
        },
        None => match text.split_once("://") {
            Some((scheme, _)) => {
                return Err(Error::user(
                    "UNKNOWN_FILE_SYSTEM",
                    format!(
                        "no file system for scheme '{scheme}' of path '{text}'; there is: file"
                    ),
                ));
            }
            None => text,
        },
    };
    if path.is_empty() {
        return Err(Error::user(
            "INVALID_OPTION",
            "option 'path' is empty; it takes a file or folder",
        ));
    }
    Ok(path.to_string())
}

/// Whether a name marks a file or folder as not to be read.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || name.starts_with('_')
}

/// Characters that cannot stand in a partition's folder name.
fn is_escaped(character: char) -> bool {
    character.is_ascii_control() || "\"#%'*/:=?\\{}[]^\u{7f}".contains(character)
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_escaped(character) {
            out.push_str(&format!("%{:02X}", u32::from(character)));
        } else {
            out.push(character);
        }
    }
    out
}

fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The folder of a partition, `key=value` for each key.
pub(super) fn partition_folder(
    keys: &[String],
    values: &[Option<String>],
    default_name: &str,
) -> String {
    let parts = keys.iter().zip(values).map(|(key, value)| {
        let value = value.as_deref().filter(|v| !v.is_empty());
        format!(
            "{}={}",
            escape(key),
            value.map_or_else(|| default_name.to_string(), escape)
        )
    });
    parts.collect::<Vec<_>>().join("/")
}

/// The value of each key along a file's path; `None` when a key has no folder.
pub(super) fn partition_values(
    path: &str,
    keys: &[String],
    default_name: &str,
) -> Option<Vec<Option<String>>> {
    let find = |key: &String| {
        let mut folders = path.rsplit('/').skip(1);
        folders.find_map(|folder| {
            let (name, value) = folder.split_once('=')?;
            (unescape(name) == *key).then(|| (value != default_name).then(|| unescape(value)))
        })
    };
    keys.iter().map(find).collect()
}

/// The partitions that stand in a table's folder, each as `key=value/key=value`, sorted; what
/// `SHOW PARTITIONS` lists.
///
/// # Errors
/// A user error for a path of an unknown scheme, an external one when a folder cannot be read.
pub fn list_partitions(path: &str, keys: &[String]) -> Result<Vec<String>> {
    let root = PathBuf::from(local_path(path)?);
    let mut found = Vec::new();
    if root.is_dir() {
        walk(&root, keys, String::new(), &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn walk(folder: &Path, keys: &[String], prefix: String, found: &mut Vec<String>) -> Result<()> {
    let Some((key, rest)) = keys.split_first() else {
        found.push(prefix);
        return Ok(());
    };
    let failed = |error| Error::io(folder.display(), &error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_key = name
            .split_once('=')
            .is_some_and(|(n, _)| unescape(n) == *key);
        if is_key && entry.path().is_dir() {
            let prefix = match prefix.as_str() {
                "" => name,
                prefix => format!("{prefix}/{name}"),
            };
            walk(&entry.path(), rest, prefix, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_other_than_file_are_refused() {
        assert_eq!(local_path("file:///a/b").unwrap(), "/a/b");
        assert_eq!(local_path("file:/a/b").unwrap(), "/a/b");
        assert_eq!(local_path("a/b").unwrap(), "a/b");
        assert_eq!(
            local_path("s3://a").unwrap_err().code(),
            "UNKNOWN_FILE_SYSTEM"
        );
    }

    #[test]
    fn partitions_go_to_folders_and_back() {
        let keys = vec!["dt".to_string(), "h".to_string()];
        let values = vec![Some("a/b=ü".to_string()), None];
        let folder = partition_folder(&keys, &values, "__D__");
        assert_eq!(folder, "dt=a%2Fb%3Dü/h=__D__");
        let path = format!("/t/{folder}/part-0");
        assert_eq!(partition_values(&path, &keys, "__D__"), Some(values));
        assert_eq!(partition_values("/t/dt=1/part-0", &keys, "__D__"), None);
    }
}
