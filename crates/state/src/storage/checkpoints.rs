//! The checkpoints of one job.
//!
//! ```text
//! <dir>/<job>/attempts/<n>           one object for each attempt: the highest number is in charge
//! <dir>/<job>/chk-<id>/_manifest     written last, and only if there is none
//! <dir>/<job>/shared/…               state files, named by the manifests
//! <dir>/<job>/_finished              the job has read all its input, and its output is committed
//! ```
//!
//! An attempt that finds a higher number has been replaced and may neither write a manifest nor
//! commit. Should it write one between the look and the put, the new attempt's put of the same id
//! fails, and it starts again from there: there is one line of checkpoints, whoever writes them.

use std::collections::BTreeSet;

use bytes::Bytes;
use flott_core::options::Options;
use flott_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::manifest::{MANIFEST_NAME, Manifest, SnapshotKind};
use super::state_file::{corrupt, is_unreadable, missing};
use flott_storage::StoragePlace;

const ATTEMPTS: &str = "attempts";
const SHARED: &str = "shared";
const FINISHED: &str = "_finished";
/// What the name of a checkpoint's folder begins with.
const CHECKPOINT: &str = "chk-";

/// The checkpoints of one job, as one attempt of it sees them.
#[derive(Debug, Clone)]
pub struct CheckpointStore {
    /// The job's folder.
    place: StoragePlace,
    job_id: String,
    /// 0 for one that only reads.
    attempt: u64,
}

/// What there is to start from.
#[derive(Debug, Default)]
pub struct Recovery {
    /// The newest checkpoint that can be read; `None` when there was never one.
    pub manifest: Option<Manifest>,
    /// The id of the newest checkpoint, whether or not it can be read; 0 without any.
    pub last_id: u64,
    /// Newer ones that cannot be read, and why.
    pub skipped: Vec<(u64, Error)>,
}

/// What `_finished` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedJob {
    pub job_name: String,
    /// The job's last checkpoint.
    pub checkpoint_id: u64,
    /// In ms since 1970.
    pub time_ms: i64,
}

impl CheckpointStore {
    /// The checkpoints of the job of this id below `root`; nothing is read or written yet.
    pub fn new(root: &StoragePlace, job_id: &str) -> Self {
        Self {
            place: root.child(job_id),
            job_id: job_id.to_string(),
            attempt: 0,
        }
    }

    /// The job's folder.
    pub fn place(&self) -> &StoragePlace {
        &self.place
    }

    pub fn job_id(&self) -> &str {
        &self.job_id
    }

    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// The jobs that have a folder below `root`, by id.
    ///
    /// # Errors
    /// The store's.
    pub fn jobs(root: &StoragePlace) -> Result<Vec<String>> {
        root.folders("")
    }

    /// Takes charge of the job: earlier attempts can no longer write a manifest or commit. `run`
    /// tells the processes apart that run the job, for [`CheckpointStore::attempts_after`].
    ///
    /// # Errors
    /// The store's.
    pub fn begin_attempt(&mut self, run: &str) -> Result<u64> {
        loop {
            let next = self.last_attempt()? + 1;
            let note = Bytes::from(format!("process {}\nrun {run}\n", std::process::id()));
            if self.place.put_new(&format!("{ATTEMPTS}/{next}"), note)? {
                self.attempt = next;
                return Ok(next);
            }
        }
    }

    fn last_attempt(&self) -> Result<u64> {
        Ok(self.attempts()?.into_iter().max().unwrap_or(0))
    }

    fn attempts(&self) -> Result<Vec<u64>> {
        let attempts = self.place.list(ATTEMPTS)?;
        let numbers = attempts.iter().filter_map(|object| {
            let number = object.name.strip_prefix(ATTEMPTS)?.strip_prefix('/')?;
            number.parse().ok()
        });
        Ok(numbers.collect())
    }

    /// The attempts after this one: the run and the number of each.
    ///
    /// # Errors
    /// The store's.
    pub fn attempts_after(&self, attempt: u64) -> Result<Vec<(String, u64)>> {
        let mut after = Vec::new();
        for number in self.attempts()?.into_iter().filter(|&n| n > attempt) {
            let note = self.place.get(&format!("{ATTEMPTS}/{number}"))?;
            let note = String::from_utf8_lossy(&note.unwrap_or_default()).into_owned();
            let run = note.lines().find_map(|line| line.strip_prefix("run "));
            after.push((run.unwrap_or_default().to_string(), number));
        }
        Ok(after)
    }

    /// Whether this attempt is still in charge.
    ///
    /// # Errors
    /// The store's; a retryable external error `FENCED` when another attempt has taken over.
    pub fn check_in_charge(&self) -> Result<()> {
        match self.last_attempt()? {
            last if last <= self.attempt => Ok(()),
            last => Err(self.fenced(&format!("attempt {last} has taken over"))),
        }
    }

    fn fenced(&self, why: &str) -> Error {
        let (job, attempt) = (&self.job_id, self.attempt);
        Error::external(
            "FENCED",
            format!("attempt {attempt} of job '{job}' stops: {why}"),
        )
    }

    /// The name of a new state file of this attempt, relative to the job's folder.
    pub fn file_name(&self, checkpoint_id: u64, number: u64) -> String {
        format!("{SHARED}/{}-{checkpoint_id}-{number}.state", self.attempt)
    }

    /// Completes a checkpoint: writes its manifest, unless there is one of this id. Gives the
    /// manifest's size in bytes.
    ///
    /// # Errors
    /// The store's; `FENCED` when another attempt is in charge or has completed this checkpoint.
    pub fn complete(&self, manifest: &Manifest) -> Result<u64> {
        self.check_in_charge()?;
        let id = manifest.checkpoint_id;
        let bytes = manifest.encode()?;
        let size = bytes.len() as u64;
        match self.place.put_new(&manifest_name(id), bytes.clone()) {
            Ok(true) => return Ok(size),
            Ok(false) => {}
            Err(error) => {
                // What counts as failed should not be found later. If it is found all the same, it
                // is as good as any: nothing of it has been committed, and nothing deleted for it.
                let _ = self.place.delete_all(vec![manifest_name(id)]);
                return Err(error);
            }
        }
        // An earlier try of this very put may have succeeded without an answer.
        if self.place.get(&manifest_name(id))?.as_ref() == Some(&bytes) {
            return Ok(size);
        }
        Err(self.fenced(&format!("another attempt has written checkpoint {id}")))
    }

    /// The ids of the checkpoints whose manifests are there, the oldest first.
    ///
    /// # Errors
    /// The store's.
    pub fn list(&self) -> Result<Vec<u64>> {
        let folders = self.place.folders("")?;
        let ids = folders
            .iter()
            .filter_map(|f| f.strip_prefix(CHECKPOINT)?.parse().ok());
        let mut ids: Vec<u64> = ids.collect();
        ids.sort_unstable();
        let names: Vec<String> = ids.iter().map(|&id| manifest_name(id)).collect();
        let sizes = self.place.sizes(&names)?;
        let complete = ids
            .into_iter()
            .zip(sizes)
            .filter(|(_, size)| size.is_some());
        Ok(complete.map(|(id, _)| id).collect())
    }

    /// The manifest of a checkpoint.
    ///
    /// # Errors
    /// The store's; `STATE_MISSING` and `STATE_CORRUPT` name the file.
    pub fn read(&self, id: u64) -> Result<Manifest> {
        read_manifest(&self.place, &manifest_name(id))
    }

    /// The newest checkpoint whose manifest can be read and whose files are there, except those
    /// in `rejected`, which turned out to be unreadable later.
    ///
    /// # Errors
    /// The store's; the newest checkpoint's error when there are checkpoints and none can be read.
    pub fn latest(&self, rejected: &BTreeSet<u64>) -> Result<Recovery> {
        let ids = self.list()?;
        let mut recovery = Recovery {
            last_id: ids.last().copied().unwrap_or(0),
            ..Recovery::default()
        };
        for id in ids.into_iter().rev() {
            if rejected.contains(&id) {
                continue;
            }
            let manifest = self.read(id).and_then(|manifest| {
                check_files(&self.place, &manifest)?;
                Ok(manifest)
            });
            match manifest {
                Ok(manifest) => {
                    recovery.manifest = Some(manifest);
                    return Ok(recovery);
                }
                Err(error) if is_unreadable(&error) => recovery.skipped.push((id, error)),
                Err(error) => return Err(error),
            }
        }
        match recovery.skipped.first() {
            Some((_, error)) => Err(error.clone()),
            None if rejected.is_empty() => Ok(recovery),
            None => Err(corrupt(
                &self.place.to_string(),
                "none of its checkpoints can be read",
            )),
        }
    }

    /// Deletes checkpoints older than the newest `num`, and the files that only they named.
    ///
    /// # Errors
    /// The store's; what could not be deleted is found again by [`CheckpointStore::collect_garbage`].
    pub fn retain(&self, num: usize) -> Result<()> {
        let ids = self.list()?;
        let (old, kept) = ids.split_at(ids.len().saturating_sub(num.max(1)));
        if old.is_empty() {
            return Ok(());
        }
        let kept = self.files_of(kept)?;
        let mut unused = self.files_of(old)?;
        unused.retain(|file| !kept.contains(file));
        // The manifests first: one that is left must not miss files.
        let manifests = old.iter().map(|&id| manifest_name(id));
        self.place.delete_all(manifests.collect())?;
        self.place.delete_all(unused.into_iter().collect())?;
        // What a killed attempt has left of them would keep their folders for ever.
        let mut folders = old.iter().map(|&id| folder_name(id));
        folders.try_for_each(|folder| self.place.remove_unfinished(&folder, |_, _| true))
    }

    fn files_of(&self, ids: &[u64]) -> Result<BTreeSet<String>> {
        let mut files = BTreeSet::new();
        for &id in ids {
            match self.read(id) {
                Ok(manifest) => files.extend(manifest.files().map(|f| f.path.clone())),
                Err(error) if is_unreadable(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    /// Deletes state files of earlier attempts that no manifest names; gives how many. Only for an
    /// attempt that has completed a checkpoint: an earlier attempt can then complete none.
    ///
    /// # Errors
    /// The store's.
    pub fn collect_garbage(&self) -> Result<usize> {
        self.collect(|attempt| attempt < self.attempt)
    }

    /// As [`CheckpointStore::collect_garbage`], this attempt's files too: for a job that is over.
    ///
    /// # Errors
    /// The store's.
    pub fn collect_all(&self) -> Result<usize> {
        self.collect(|attempt| attempt <= self.attempt)
    }

    fn collect(&self, is_over: impl Fn(u64) -> bool) -> Result<usize> {
        let ids = self.list()?;
        let manifests = ids.iter().map(|&id| self.read(id));
        // A manifest that cannot be read may name any file.
        let manifests = manifests.collect::<Result<Vec<_>>>()?;
        let named: BTreeSet<&str> = manifests
            .iter()
            .flat_map(|m| m.files().map(|f| f.path.as_str()))
            .collect();
        let files = self.place.list(SHARED)?.into_iter().map(|o| o.name);
        let unused = files.filter(|name| {
            attempt_of(name).is_some_and(&is_over) && !named.contains(name.as_str())
        });
        let mut unused: Vec<String> = unused.collect();
        let num_unused = unused.len();
        // Who goes back to a checkpoint has to know the attempts since.
        let kept = manifests.iter().map(|m| m.attempt).min();
        let kept = kept.unwrap_or(self.attempt).min(self.attempt);
        let older = self.attempts()?.into_iter().filter(|&n| n < kept);
        unused.extend(older.map(|n| format!("{ATTEMPTS}/{n}")));
        self.place.delete_all(unused)?;
        self.place.remove_unfinished(SHARED, |name, _| {
            attempt_of(&format!("{SHARED}/{name}")).is_some_and(&is_over)
        })?;
        self.collect_unfinished()?;
        Ok(num_unused)
    }

    /// Removes what killed attempts have left of objects that do not say whose they are: what is
    /// older than this attempt.
    fn collect_unfinished(&self) -> Result<()> {
        let begun = self.place.stat(&format!("{ATTEMPTS}/{}", self.attempt))?;
        let Some(begun_ms) = begun.map(|object| object.modified_ms) else {
            return Ok(());
        };
        let folders = self.place.folders("")?.into_iter();
        let folders = folders.filter(|f| f.starts_with(CHECKPOINT) || f == ATTEMPTS);
        let mut folders = folders.chain([String::new()]);
        folders.try_for_each(|folder| {
            let is_older = |_: &str, time_ms| time_ms < begun_ms;
            self.place.remove_unfinished(&folder, is_older)
        })
    }

    /// Notes that the job has finished.
    ///
    /// # Errors
    /// The store's.
    pub fn mark_finished(&self, job: &FinishedJob) -> Result<()> {
        let text = serde_json::to_vec(job)
            .map_err(|e| Error::internal(format!("a finished job cannot be noted: {e}")))?;
        self.place.put(FINISHED, text.into())
    }

    /// When the job has finished, if it has. A note that cannot be read counts as none: the job
    /// then starts from its last checkpoint, in which everything has ended, and notes it again.
    ///
    /// # Errors
    /// The store's.
    pub fn finished(&self) -> Result<Option<FinishedJob>> {
        let Some(bytes) = self.place.get(FINISHED)? else {
            return Ok(None);
        };
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Deletes everything that the job has stored.
    ///
    /// # Errors
    /// The store's.
    pub fn remove_all(&self) -> Result<()> {
        let mut names: Vec<String> = self.place.list("")?.into_iter().map(|o| o.name).collect();
        // Manifests first: what is left after a failure must not look complete.
        names.sort_by_key(|name| checkpoint_of(name).is_none());
        let num_manifests = names.partition_point(|name| checkpoint_of(name).is_some());
        let others = names.split_off(num_manifests);
        self.place.delete_all(names)?;
        self.place.delete_all(others)?;
        Ok(())
    }
}

/// The manifest of a savepoint or checkpoint by its folder (or the path of its manifest), and the
/// place that its files are relative to.
///
/// # Errors
/// A user error when there is none, and what reading it gives.
pub fn read_savepoint(uri: &str, options: &Options) -> Result<(Manifest, StoragePlace)> {
    let uri = uri.trim_end_matches('/');
    let uri = uri.strip_suffix(MANIFEST_NAME).unwrap_or(uri);
    let uri = uri.trim_end_matches('/');
    let (parent, folder) = uri.rsplit_once('/').unwrap_or((".", uri));
    let local = parent.strip_prefix("file://").unwrap_or(parent);
    if !local.contains("://") && !std::path::Path::new(local).join(folder).is_dir() {
        return Err(not_found(uri));
    }
    let parent = StoragePlace::open(parent, options)?;
    let name = format!("{folder}/{MANIFEST_NAME}");
    let manifest = read_manifest(&parent, &name).map_err(|error| match error.code() {
        "STATE_MISSING" => not_found(uri),
        _ => error,
    })?;
    let place = match manifest.kind {
        SnapshotKind::Savepoint => parent.child(folder),
        SnapshotKind::Checkpoint => parent,
    };
    check_files(&place, &manifest)?;
    Ok((manifest, place))
}

fn not_found(uri: &str) -> Error {
    Error::user(
        "SAVEPOINT_NOT_FOUND",
        format!(
            "there is no savepoint or checkpoint at '{uri}'; give the folder that holds its {MANIFEST_NAME}"
        ),
    )
}

fn read_manifest(place: &StoragePlace, name: &str) -> Result<Manifest> {
    let full = place.full_name(name);
    match place.get(name)? {
        Some(bytes) => Manifest::decode(&full, &bytes),
        None => Err(missing(&full)),
    }
}

/// Every file is there and has its length; its content is checked when it is read.
fn check_files(place: &StoragePlace, manifest: &Manifest) -> Result<()> {
    let files: Vec<_> = manifest.files().collect();
    let names: Vec<String> = files.iter().map(|f| f.path.clone()).collect();
    for (file, size) in files.iter().zip(place.sizes(&names)?) {
        let full = place.full_name(&file.path);
        match size {
            None => return Err(missing(&full)),
            Some(size) if size != file.size_bytes => {
                let what = format!("it has {size} bytes, not {}", file.size_bytes);
                return Err(corrupt(&full, &what));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn folder_name(id: u64) -> String {
    format!("{CHECKPOINT}{id}")
}

fn manifest_name(id: u64) -> String {
    format!("{}/{MANIFEST_NAME}", folder_name(id))
}

fn checkpoint_of(name: &str) -> Option<u64> {
    let id = name.strip_prefix(CHECKPOINT)?.strip_suffix(MANIFEST_NAME)?;
    id.strip_suffix('/')?.parse().ok()
}

fn attempt_of(file: &str) -> Option<u64> {
    let name = file.strip_prefix(SHARED)?.strip_prefix('/')?;
    name.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::manifest;
    use super::*;

    fn store(root: &StoragePlace) -> CheckpointStore {
        let mut store = CheckpointStore::new(root, "shop");
        store.begin_attempt("run").unwrap();
        store
    }

    fn complete(store: &CheckpointStore, id: u64) -> Result<u64> {
        let mut manifest = manifest(id);
        manifest.attempt = store.attempt();
        let path = store.file_name(id, 0);
        store.place.put(&path, Bytes::from(vec![1; 100]))?;
        manifest.operators[0].tables[0].layers[0].upserts[0].path = path;
        store.complete(&manifest)
    }

    fn names(store: &CheckpointStore) -> Vec<String> {
        let found = store.place.list("").unwrap();
        found.into_iter().map(|o| o.name).collect()
    }

    #[test]
    fn old_checkpoints_go_with_the_files_that_only_they_named() -> Result<()> {
        let store = store(&StoragePlace::in_memory());
        for id in 1..=3 {
            complete(&store, id)?;
            store.retain(2)?;
        }
        assert_eq!(store.list()?, [2, 3]);
        let expected = [
            "attempts/1",
            "chk-2/_manifest",
            "chk-3/_manifest",
            "shared/1-2-0.state",
            "shared/1-3-0.state",
        ];
        assert_eq!(names(&store), expected);
        Ok(())
    }

    #[test]
    fn an_attempt_that_was_replaced_completes_nothing() -> Result<()> {
        let root = StoragePlace::in_memory();
        let old = store(&root);
        complete(&old, 1)?;
        let new = store(&root);
        assert_eq!(complete(&old, 2).unwrap_err().code(), "FENCED");
        complete(&new, 2)?;
        new.collect_garbage()?;
        assert_eq!(new.list()?, [1, 2]);
        // Who goes back to checkpoint 1 has to know the attempts since.
        assert_eq!(new.attempts_after(1)?, [("run".to_string(), 2)]);
        assert!(names(&new).contains(&"attempts/1".to_string()));
        new.retain(1)?;
        new.collect_garbage()?;
        assert!(!names(&new).contains(&"attempts/1".to_string()));
        Ok(())
    }

    #[test]
    fn one_checkpoint_is_completed_by_one_attempt() -> Result<()> {
        let root = StoragePlace::in_memory();
        let store = store(&root);
        complete(&store, 1)?;
        // The same again is the answer to a put whose answer was lost.
        complete(&store, 1)?;
        let mut other = manifest(1);
        other.completion_time_ms = 99;
        assert_eq!(store.complete(&other).unwrap_err().code(), "FENCED");
        Ok(())
    }

    #[test]
    fn garbage_of_earlier_attempts_is_collected() -> Result<()> {
        let root = StoragePlace::in_memory();
        let old = store(&root);
        complete(&old, 1)?;
        old.place
            .put(&old.file_name(2, 0), Bytes::from_static(b"x"))?;
        let new = store(&root);
        new.place
            .put(&new.file_name(2, 0), Bytes::from_static(b"x"))?;
        assert_eq!(new.collect_garbage()?, 1);
        let left = names(&new);
        assert!(left.contains(&"shared/1-1-0.state".to_string()), "{left:?}");
        assert!(left.contains(&"shared/2-2-0.state".to_string()), "{left:?}");
        assert_eq!(new.collect_all()?, 1);
        assert!(!names(&new).contains(&"shared/2-2-0.state".to_string()));
        Ok(())
    }

    #[test]
    fn what_killed_attempts_have_half_written_is_removed() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let uri = folder.path().display().to_string();
        let root = StoragePlace::open(&uri, &Options::default())?;
        let old = store(&root);
        complete(&old, 1)?;
        let write = |name: &str, age_s: u64| {
            let file = folder.path().join("shop").join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            let open = std::fs::File::create(&file).unwrap();
            let now = open.metadata().unwrap().modified().unwrap();
            let then = now - std::time::Duration::from_secs(age_s);
            open.set_modified(then).unwrap();
        };
        let left = [
            "chk-1/_manifest#3",
            "chk-2/_manifest#0",
            "chk-9/_manifest#1",
        ];
        let others = ["attempts/2#4", "_finished#5", "shared/1-2-0.state#6"];
        left.iter().chain(&others).for_each(|name| write(name, 60));
        std::fs::create_dir_all(folder.path().join("shop/chk-8")).unwrap();
        let new = store(&root);
        complete(&new, 2)?;
        // A process that has taken over meanwhile writes its own.
        write("chk-3/_manifest#0", 0);
        let file = folder.path().join("shop/chk-3/_manifest#0");
        let later = std::fs::metadata(&file).unwrap().modified().unwrap();
        let later = later + std::time::Duration::from_secs(60);
        let open = std::fs::File::options().write(true).open(&file).unwrap();
        open.set_modified(later).unwrap();
        new.collect_garbage()?;
        assert!(file.exists());
        let files = |folder: &std::path::Path| -> Vec<String> {
            let entries = std::fs::read_dir(folder).unwrap();
            let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        };
        let job = folder.path().join("shop");
        assert_eq!(
            files(&job),
            ["attempts", "chk-1", "chk-2", "chk-3", "shared"]
        );
        assert_eq!(files(&job.join("chk-1")), ["_manifest"]);
        assert_eq!(files(&job.join("attempts")), ["1", "2"]);
        assert_eq!(files(&job.join("shared")), ["1-1-0.state", "2-2-0.state"]);
        // An old checkpoint's folder goes whatever is in it.
        write("chk-1/_manifest#7", 0);
        new.retain(1)?;
        assert!(!job.join("chk-1").exists());
        Ok(())
    }

    #[test]
    fn recovery_falls_back_to_the_last_checkpoint_that_can_be_read() -> Result<()> {
        let store = store(&StoragePlace::in_memory());
        assert!(store.latest(&BTreeSet::new())?.manifest.is_none());
        for id in 1..=4 {
            complete(&store, id)?;
        }
        store
            .place
            .put("chk-4/_manifest", Bytes::from_static(b"FLOTT"))?;
        store.place.delete_all(vec![store.file_name(3, 0)])?;
        let found = store.latest(&BTreeSet::new())?;
        assert_eq!(found.manifest.unwrap().checkpoint_id, 2);
        let skipped: Vec<_> = found
            .skipped
            .iter()
            .map(|(id, e)| (*id, e.code()))
            .collect();
        assert_eq!(skipped, [(4, "STATE_CORRUPT"), (3, "STATE_MISSING")]);
        let found = store.latest(&BTreeSet::from([2]))?;
        assert_eq!(found.manifest.unwrap().checkpoint_id, 1);
        // Never from nothing when there was something.
        let error = store.latest(&BTreeSet::from([1, 2])).unwrap_err();
        assert!(error.message().contains("chk-4/_manifest"), "{error}");
        Ok(())
    }

    #[test]
    fn a_finished_job_is_known_as_such() -> Result<()> {
        let store = store(&StoragePlace::in_memory());
        assert_eq!(store.finished()?, None);
        let job = FinishedJob {
            job_name: "shop".into(),
            checkpoint_id: 3,
            time_ms: 5,
        };
        store.mark_finished(&job)?;
        assert_eq!(store.finished()?, Some(job));
        store.remove_all()?;
        assert_eq!(names(&store), Vec::<String>::new());
        Ok(())
    }
}
