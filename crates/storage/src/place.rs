//! A folder where state is kept: on a local disk, in S3, or in memory.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use flott_core::options::{OptionDef, OptionType, Options};
use flott_core::{Error, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use crate::io::{start, wait_for};
use crate::local::LocalFolder;

/// Requests to a store at the same time, for one call.
const NUM_PARALLEL: usize = 8;

/// The keys that say how S3 is reached; without credentials, those of the environment are taken.
pub const S3_OPTIONS: &[OptionDef] = &[
    OptionDef::new(
        "s3.endpoint",
        OptionType::String,
        "an S3 server other than Amazon's",
    ),
    OptionDef::new("s3.access-key", OptionType::String, "access key"),
    OptionDef::new("s3.secret-key", OptionType::String, "secret key"),
    OptionDef::new("s3.region", OptionType::String, "region").default("us-east-1"),
    OptionDef::new(
        "s3.path-style-access",
        OptionType::Boolean,
        "bucket in the path rather than in the host name; always so with an endpoint",
    ),
];

/// A folder of a store. Names below it are relative and use `/`.
#[derive(Clone)]
pub struct StoragePlace {
    store: Arc<dyn ObjectStore>,
    /// A local folder, where objects are written so that they survive a loss of power.
    local: Option<LocalFolder>,
    /// Where the store has uploads in parts.
    multipart: Option<Arc<dyn MultipartStore>>,
    folder: Path,
    /// As users write it.
    name: String,
}

impl fmt::Debug for StoragePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Display for StoragePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A stored object below a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// Relative to the place.
    pub name: String,
    pub size_bytes: u64,
    /// When it was last written, in ms since 1970.
    pub modified_ms: i64,
}

impl StoragePlace {
    /// Opens `file:///…`, a local path, or `s3://bucket/folder`; local folders are made.
    ///
    /// # Errors
    /// A user error for a URI of another kind or wrong S3 options, an external one when the folder
    /// cannot be made.
    pub fn open(uri: &str, options: &Options) -> Result<Self> {
        if let Some((scheme, rest)) = uri.split_once("://") {
            return match scheme {
                "file" => Self::open_local(rest),
                "s3" | "s3a" | "s3p" => Self::open_s3(rest, uri, options),
                _ => Err(Error::user(
                    "UNSUPPORTED_STORAGE",
                    format!(
                        "'{uri}' cannot be used for state; write a local folder, file:///… or s3://bucket/…"
                    ),
                )),
            };
        }
        Self::open_local(uri.strip_prefix("file:").unwrap_or(uri))
    }

    fn open_local(path: &str) -> Result<Self> {
        if path.is_empty() {
            let message =
                "the folder for state is empty; write file:///folder or s3://bucket/folder";
            return Err(Error::user("UNSUPPORTED_STORAGE", message));
        }
        std::fs::create_dir_all(path).map_err(|e| Error::io(path, &e))?;
        let full = std::fs::canonicalize(path).map_err(|e| Error::io(path, &e))?;
        // Folders go with their last file.
        let store = LocalFileSystem::new_with_prefix(&full)
            .map_err(|e| failed(path, &e))?
            .with_automatic_cleanup(true);
        Ok(Self {
            local: Some(LocalFolder::new(&full)),
            ..Self::with_store(Arc::new(store), &full.to_string_lossy())
        })
    }

    fn open_s3(rest: &str, uri: &str, options: &Options) -> Result<Self> {
        let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        // Flink takes both spellings.
        let get = |key: &str| {
            let dotted = key.replace('-', ".");
            options
                .get(key)
                .or_else(|| options.get(&dotted))
                .map(str::to_owned)
        };
        if let Some(endpoint) = get("s3.endpoint") {
            builder = builder
                .with_allow_http(endpoint.starts_with("http://"))
                .with_endpoint(endpoint);
        }
        if let (Some(key), Some(secret)) = (get("s3.access-key"), get("s3.secret-key")) {
            builder = builder
                .with_access_key_id(key)
                .with_secret_access_key(secret);
        }
        if let Some(region) = get("s3.region").or_else(|| get("s3.endpoint.region")) {
            builder = builder.with_region(region);
        }
        let store = builder
            .build()
            .map_err(|e| Error::user("INVALID_OPTION", format!("{uri}: {e}")))?;
        let store = Arc::new(store);
        Ok(Self {
            store: store.clone(),
            local: None,
            multipart: Some(store),
            folder: Path::from(folder),
            name: uri.trim_end_matches('/').to_string(),
        })
    }

    /// A place that lives as long as the process.
    pub fn in_memory() -> Self {
        static NUM_PLACES: AtomicU64 = AtomicU64::new(0);
        let store = Arc::new(InMemory::new());
        // Two places in memory are not one.
        let name = format!("memory-{}", NUM_PLACES.fetch_add(1, Ordering::Relaxed));
        Self {
            multipart: Some(store.clone()),
            ..Self::with_store(store, &name)
        }
    }

    /// The root of any store; `name` is what messages call it.
    pub fn with_store(store: Arc<dyn ObjectStore>, name: &str) -> Self {
        Self {
            store,
            local: None,
            multipart: None,
            folder: Path::default(),
            name: name.trim_end_matches('/').to_string(),
        }
    }

    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// A folder below this one.
    pub fn child(&self, folder: &str) -> Self {
        let path = folder.split('/').filter(|p| !p.is_empty());
        Self {
            store: self.store.clone(),
            local: self.local.clone(),
            multipart: self.multipart.clone(),
            folder: path
                .clone()
                .fold(self.folder.clone(), |p, part| p.join(part)),
            name: path.fold(self.name.clone(), |n, part| format!("{n}/{part}")),
        }
    }

    /// Whether two places are one.
    pub fn is_same(&self, other: &Self) -> bool {
        self.name == other.name && self.folder == other.folder
    }

    /// What messages call the object of this name.
    pub fn full_name(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    /// Where objects are on a local disk: its folder.
    pub(crate) fn local(&self) -> Option<&LocalFolder> {
        self.local.as_ref()
    }

    pub(crate) fn multipart(&self) -> Result<Arc<dyn MultipartStore>> {
        self.multipart.clone().ok_or_else(|| {
            let message = format!("{self} has no uploads in parts");
            Error::user("UNSUPPORTED_STORAGE", message)
        })
    }

    pub(crate) fn path(&self, name: &str) -> Path {
        let parts = name.split('/').filter(|p| !p.is_empty());
        parts.fold(self.folder.clone(), |path, part| path.join(part))
    }

    /// Writes an object whole, or not at all.
    ///
    /// # Errors
    /// The store's; whether the object is there is then not known.
    pub fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.put_all(vec![(name.to_string(), bytes)])
    }

    /// Writes objects, some at a time; stops at the first that fails. They are on the disk when it
    /// returns.
    ///
    /// # Errors
    /// As [`StoragePlace::put`].
    pub fn put_all(&self, objects: Vec<(String, Bytes)>) -> Result<()> {
        if let Some(local) = &self.local {
            let objects = objects.into_iter();
            let files = objects.map(|(name, bytes)| (self.path(&name), bytes));
            return local.put_all(files.collect());
        }
        let puts = objects.into_iter().map(|(name, bytes)| {
            let (store, path, full) = (self.store.clone(), self.path(&name), self.full_name(&name));
            async move {
                let done = store.put(&path, bytes.into()).await;
                done.map(drop).map_err(|e| failed(&full, &e))
            }
        });
        let puts: Vec<_> = puts.collect();
        let all = stream::iter(puts).buffer_unordered(NUM_PARALLEL);
        wait_for(all.try_collect::<()>())?
    }

    /// Writes an object unless there is one of this name already; gives whether it did. It is on the
    /// disk then.
    ///
    /// # Errors
    /// As [`StoragePlace::put`].
    pub fn put_new(&self, name: &str, bytes: Bytes) -> Result<bool> {
        if let Some(local) = &self.local {
            return local.put_new(&self.path(name), bytes);
        }
        let (store, path, full) = (self.store.clone(), self.path(name), self.full_name(name));
        let put = async move {
            let options = PutOptions::from(PutMode::Create);
            match store.put_opts(&path, bytes.into(), options).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
                Err(error) => Err(failed(&full, &error)),
            }
        };
        wait_for(put)?
    }

    /// Removes what writes that were never done have left in a folder, and the folder if nothing
    /// else is in it. `is_left` is asked with the name that an object was to have and when it was
    /// written, in ms since 1970. Only folders on disks have such files.
    ///
    /// # Errors
    /// An external error that names the file.
    pub fn remove_unfinished(
        &self,
        folder: &str,
        is_left: impl Fn(&str, i64) -> bool,
    ) -> Result<()> {
        match &self.local {
            Some(local) => local.remove_unfinished(&self.path(folder), is_left),
            None => Ok(()),
        }
    }

    /// An object's bytes; `None` when there is no such object.
    ///
    /// # Errors
    /// The store's.
    pub fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let bytes = self.start_get(name)?.recv();
        bytes.map_err(|_| Error::internal("a storage call ended without a result"))?
    }

    /// Begins to get an object's bytes, as [`StoragePlace::get`] gives them; they come through the
    /// channel.
    ///
    /// # Errors
    /// The runtime for storage cannot be started.
    pub fn start_get(&self, name: &str) -> Result<Receiver<Result<Option<Bytes>>>> {
        let (store, path, full) = (self.store.clone(), self.path(name), self.full_name(name));
        let get = async move {
            let bytes = match store.get(&path).await {
                Ok(found) => found.bytes().await,
                Err(error) => Err(error),
            };
            match bytes {
                Ok(bytes) => Ok(Some(bytes)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(failed(&full, &error)),
            }
        };
        start(get)
    }

    /// A piece of an object.
    ///
    /// # Errors
    /// The store's, also when there is no such object or it ends before.
    pub fn get_range(&self, name: &str, range: std::ops::Range<u64>) -> Result<Bytes> {
        let (store, path, full) = (self.store.clone(), self.path(name), self.full_name(name));
        let get = async move { store.get_range(&path, range).await };
        wait_for(get)?.map_err(|e| failed(&full, &e))
    }

    /// The sizes of objects, `None` for those that are not there.
    ///
    /// # Errors
    /// The store's.
    pub fn sizes(&self, names: &[String]) -> Result<Vec<Option<u64>>> {
        let heads = names.iter().map(|name| {
            let (store, path, full) = (self.store.clone(), self.path(name), self.full_name(name));
            async move {
                match store.head(&path).await {
                    Ok(meta) => Ok(Some(meta.size)),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(error) => Err(failed(&full, &error)),
                }
            }
        });
        let heads: Vec<_> = heads.collect();
        wait_for(stream::iter(heads).buffered(NUM_PARALLEL).try_collect())?
    }

    /// What is known of an object; `None` when there is no such object.
    ///
    /// # Errors
    /// The store's.
    pub fn stat(&self, name: &str) -> Result<Option<StoredObject>> {
        let (store, path, full) = (self.store.clone(), self.path(name), self.full_name(name));
        let head = async move { store.head(&path).await };
        match wait_for(head)? {
            Ok(meta) => Ok(Some(StoredObject {
                name: name.to_string(),
                size_bytes: meta.size,
                modified_ms: meta.last_modified.timestamp_millis(),
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(&full, &error)),
        }
    }

    /// Every object in a folder and the folders below it, by name.
    ///
    /// # Errors
    /// The store's.
    pub fn list(&self, folder: &str) -> Result<Vec<StoredObject>> {
        let (store, path, full) = (
            self.store.clone(),
            self.path(folder),
            self.full_name(folder),
        );
        let root = self.folder.clone();
        let list = async move {
            let found = store.list(Some(&path)).try_collect::<Vec<_>>().await;
            found.map_err(|e| failed(&full, &e))
        };
        let found: Vec<object_store::ObjectMeta> = wait_for(list)??;
        let mut objects: Vec<StoredObject> = found
            .into_iter()
            .filter_map(|meta| {
                let parts: Vec<_> = meta.location.prefix_match(&root)?.collect();
                let names: Vec<&str> = parts.iter().map(|p| p.as_ref()).collect();
                Some(StoredObject {
                    name: names.join("/"),
                    size_bytes: meta.size,
                    modified_ms: meta.last_modified.timestamp_millis(),
                })
            })
            .collect();
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    /// The folders in a folder, by name.
    ///
    /// # Errors
    /// The store's.
    pub fn folders(&self, folder: &str) -> Result<Vec<String>> {
        let (store, path, full) = (
            self.store.clone(),
            self.path(folder),
            self.full_name(folder),
        );
        let list = async move {
            let found = store.list_with_delimiter(Some(&path)).await;
            found.map_err(|e| failed(&full, &e))
        };
        let found = wait_for(list)??.common_prefixes;
        let names = found.iter().filter_map(|p| p.filename().map(str::to_owned));
        Ok(names.collect())
    }

    /// Deletes objects; those that are not there are no error.
    ///
    /// # Errors
    /// The store's.
    pub fn delete_all(&self, names: Vec<String>) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let paths: Vec<_> = names.iter().map(|name| Ok(self.path(name))).collect();
        let (store, full) = (self.store.clone(), self.full_name(&names[0]));
        // S3 takes a thousand names in one request.
        let delete = async move {
            let mut deleted = store.delete_stream(stream::iter(paths).boxed());
            while let Some(result) = deleted.next().await {
                match result {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(failed(&full, &error)),
                }
            }
            Ok(())
        };
        wait_for(delete)?
    }
}

pub(crate) fn failed(name: &str, error: &object_store::Error) -> Error {
    Error::external("STORAGE", format!("{name}: {error}")).retryable()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(place: &StoragePlace) -> Result<()> {
        assert!(place.put_new("a/x", Bytes::from_static(b"1"))?);
        assert!(!place.put_new("a/x", Bytes::from_static(b"2"))?);
        place.child("a").put("b/y", Bytes::from_static(b"33"))?;
        assert_eq!(place.get("a/x")?.as_deref(), Some(&b"1"[..]));
        assert_eq!(place.get("a/z")?, None);
        let names = |found: Vec<StoredObject>| -> Vec<String> {
            found.into_iter().map(|o| o.name).collect()
        };
        assert_eq!(names(place.list("")?), ["a/b/y", "a/x"]);
        assert_eq!(names(place.child("a").list("b")?), ["b/y"]);
        assert_eq!(place.child("a").folders("")?, ["b"]);
        let sizes = place.sizes(&["a/b/y".into(), "no".into()])?;
        assert_eq!(sizes, [Some(2), None]);
        let found = place.stat("a/b/y")?;
        assert!(found.is_some_and(|o| o.size_bytes == 2 && o.modified_ms > 0));
        assert_eq!(place.stat("no")?, None);
        place.delete_all(vec!["a/x".into(), "no".into()])?;
        assert_eq!(names(place.list("a")?), ["a/b/y"]);
        Ok(())
    }

    #[test]
    fn folders_on_disk_and_in_memory_are_alike() -> Result<()> {
        check(&StoragePlace::in_memory())?;
        let folder = tempfile::tempdir().unwrap();
        let uri = format!("file://{}/new folder", folder.path().display());
        check(&StoragePlace::open(&uri, &Options::default())?)
    }

    #[test]
    fn a_scheme_that_is_not_known_is_refused() {
        let error = StoragePlace::open("hdfs://x/y", &Options::default()).unwrap_err();
        assert_eq!(error.code(), "UNSUPPORTED_STORAGE");
    }
}
