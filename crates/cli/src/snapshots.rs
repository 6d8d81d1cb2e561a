//! Finding checkpoints and savepoints by what people write: a snapshot's folder, a job's folder, or
//! a state folder with several jobs.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Args;
use flott_core::options::Options;
use flott_core::text::datetime::write_timestamp;
use flott_core::{Error, Result};
use flott_state::storage::manifest::{MANIFEST_NAME, SnapshotKind};
use flott_state::storage::{CheckpointStore, Manifest, StoragePlace, read_savepoint};

/// Options of commands that read stored state.
#[derive(Debug, Clone, Default, Args)]
pub struct StoreArgs {
    /// Set a configuration key, such as s3.endpoint.
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub defines: Vec<String>,
}

impl StoreArgs {
    /// # Errors
    /// A user error for a define without `=`.
    pub fn options(&self) -> Result<Options> {
        let mut options = Options::default();
        for define in &self.defines {
            let Some((key, value)) = define.split_once('=') else {
                let message = format!("-D {define}: write KEY=VALUE");
                return Err(Error::user("INVALID_OPTION", message));
            };
            options.set(key.trim(), value.trim());
        }
        Ok(options)
    }
}

/// A checkpoint or savepoint that was found.
pub struct Found {
    pub manifest: Manifest,
    /// What the manifest's paths are relative to.
    pub place: StoragePlace,
    /// Its folder.
    pub path: String,
    /// Newer checkpoints of the job that cannot be read, and why.
    pub skipped: Vec<(u64, Error)>,
}

/// The snapshot at `uri`, or the latest checkpoint of the job whose folder it is, or of each job of
/// a state folder, or every savepoint of a folder of savepoints.
///
/// # Errors
/// A user error `STATE_NOT_FOUND` when there is nothing there, what storage reports for files that
/// are missing or damaged.
pub fn find(uri: &str, options: &Options) -> Result<Vec<Found>> {
    let trimmed = uri.trim_end_matches('/');
    if trimmed.ends_with(MANIFEST_NAME) || has_manifest(trimmed, options)? {
        return Ok(vec![snapshot(trimmed, options)?]);
    }
    let place = open(trimmed, options)?;
    let is_job = |folders: &[String]| folders.iter().any(|f| f.starts_with("chk-"));
    if is_job(&place.folders("")?)
        && let Some((parent, job)) = trimmed.rsplit_once('/')
    {
        let found = latest(&open(parent, options)?, job)?;
        return found.map(|f| vec![f]).ok_or_else(|| not_found(uri));
    }
    let mut found = Vec::new();
    let folders = CheckpointStore::jobs(&place)?;
    let manifests = folders.iter().map(|f| format!("{f}/{MANIFEST_NAME}"));
    let sizes = place.sizes(&manifests.collect::<Vec<_>>())?;
    for (folder, manifest) in folders.iter().zip(sizes) {
        found.extend(match manifest {
            Some(_) => Some(snapshot(&format!("{trimmed}/{folder}"), options)?),
            None => latest(&place, folder)?,
        });
    }
    match found.is_empty() {
        true => Err(not_found(uri)),
        false => Ok(found),
    }
}

/// The latest checkpoint of a job that can be read.
///
/// # Errors
/// The store's; the newest checkpoint's error when there are checkpoints and none can be read.
pub fn latest(root: &StoragePlace, job: &str) -> Result<Option<Found>> {
    let store = CheckpointStore::new(root, job);
    let recovery = store.latest(&BTreeSet::new())?;
    Ok(recovery.manifest.map(|manifest| Found {
        path: store
            .place()
            .full_name(&format!("chk-{}", manifest.checkpoint_id)),
        place: store.place().clone(),
        skipped: recovery.skipped,
        manifest,
    }))
}

/// Opens a state folder that is there; a local one is not made.
///
/// # Errors
/// A user error `STATE_NOT_FOUND`, and the store's.
pub fn open(uri: &str, options: &Options) -> Result<StoragePlace> {
    match local_path(uri) {
        Some(path) if !Path::new(path).is_dir() => Err(not_found(uri)),
        _ => StoragePlace::open(uri, options),
    }
}

/// The path of a folder on this machine; `None` for an object store.
pub fn local_path(uri: &str) -> Option<&str> {
    let path = uri
        .strip_prefix("file://")
        .or_else(|| uri.strip_prefix("file:"))
        .unwrap_or(uri);
    (!path.contains("://")).then_some(path)
}

fn has_manifest(uri: &str, options: &Options) -> Result<bool> {
    match local_path(uri) {
        Some(path) => Ok(Path::new(path).join(MANIFEST_NAME).exists()),
        None => {
            let place = StoragePlace::open(uri, options)?;
            Ok(place.sizes(&[MANIFEST_NAME.to_string()])?[0].is_some())
        }
    }
}

fn snapshot(uri: &str, options: &Options) -> Result<Found> {
    let (manifest, place) = read_savepoint(uri, options)?;
    let folder = uri.strip_suffix(MANIFEST_NAME).unwrap_or(uri);
    Ok(Found {
        manifest,
        place,
        path: folder.trim_end_matches('/').to_string(),
        skipped: Vec::new(),
    })
}

fn not_found(uri: &str) -> Error {
    Error::user(
        "STATE_NOT_FOUND",
        format!(
            "there is no checkpoint at '{uri}'; give the folder of a checkpoint or savepoint (it holds {MANIFEST_NAME}), or a state folder"
        ),
    )
}

/// `checkpoint` or `savepoint`.
pub fn kind_of(manifest: &Manifest) -> &'static str {
    match manifest.kind {
        SnapshotKind::Checkpoint => "checkpoint",
        SnapshotKind::Savepoint => "savepoint",
    }
}

/// An operator's name without what it is of: `GroupAggregate(groupBy=[0])` is a `GroupAggregate`.
pub fn plain_name(name: &str) -> &str {
    name.split(['[', '(']).next().unwrap_or(name)
}

/// A time in ms since 1970 as text in UTC.
pub fn time_text(time_ms: i64) -> String {
    let mut text = String::new();
    write_timestamp(time_ms, 3, &mut text);
    text.push_str(" UTC");
    text
}

/// Bytes in the unit that fits.
pub fn size_text(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 10.0 => format!("{value:.1} {}", units[unit]),
        _ => format!("{value:.0} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_the_unit_that_fits() {
        let told = [0, 999, 1_000, 1_250_000, 999_600, 25_000_000_000].map(size_text);
        assert_eq!(
            told,
            ["0 B", "999 B", "1.0 kB", "1.2 MB", "1.0 MB", "25 GB"]
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_made() {
        let folder = std::env::temp_dir().join("flott-no-such-folder");
        let error = find(&folder.to_string_lossy(), &Options::default());
        assert_eq!(error.map(drop).unwrap_err().code(), "STATE_NOT_FOUND");
        assert!(!folder.exists());
    }
}
