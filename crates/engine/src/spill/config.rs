//! What a job's configuration says about memory and spilling.

use std::path::PathBuf;

use flott_core::options::{OptionDef, OptionType, Options};
use flott_core::{Error, Result};

/// Of the process's memory what keyed state may take, in percent; the rest is for batches in
/// motion, snapshots under way, buffers and the program.
const STATE_PERCENT: u64 = 60;
/// Of the machine's memory what a process takes that was given no size, in percent.
const MACHINE_PERCENT: u64 = 80;
/// State on disk needs no more memory than this for what is being worked on.
const DISK_MEMORY_BYTES: u64 = 256 << 20;

/// More partitions of one subtask would be too many files open at a time.
const MAX_PARTITIONS: usize = 256;

/// The memory of the whole process.
const MEMORY: OptionDef = OptionDef::new(
    "flott.memory",
    OptionType::MemorySize,
    "memory for the whole process; state that exceeds its share of it goes to files. The default is 80 % of the machine's or container's memory",
);
const BACKEND: OptionDef = OptionDef::new(
    "state.backend.type",
    OptionType::Enum(&["hashmap", "disk", "rocksdb", "forst"]),
    "where state is kept: hashmap, in memory while it fits; disk, in files from the beginning (rocksdb and forst mean disk)",
)
.default("hashmap");
/// The backend's key in Flink 1.
const OLD_BACKEND: &str = "state.backend";
const LOCAL_DIR: OptionDef = OptionDef::new(
    "state.backend.rocksdb.localdir",
    OptionType::String,
    "the folder for files of state that is not in memory; the default is io.tmp.dirs",
);
const TMP_DIRS: OptionDef = OptionDef::new(
    "io.tmp.dirs",
    OptionType::String,
    "folders for temporary files, of which the first is used; the default is the system's",
);
const MAX_DELAY: OptionDef = OptionDef::new(
    "flott.spill.max-delay",
    OptionType::Duration,
    "how long rows wait at the most for state that is in a file; longer where reading the files would take more than a quarter of the time",
)
.default("10 s");

/// The options of this module.
pub const OPTIONS: &[OptionDef] = &[MEMORY, BACKEND, LOCAL_DIR, TMP_DIRS, MAX_DELAY];

/// How much memory a job's state may take, and what happens beyond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpillConfig {
    /// Memory for the state of all subtasks with the rows that wait for it.
    pub memory_bytes: usize,
    /// Rows wait no longer than this for their state, unless reading it takes too much time.
    pub max_delay_ms: i64,
    /// Into how many partitions a subtask's state is divided at the most.
    pub max_partitions: usize,
    /// Where files go; each subtask makes a folder of its own in it.
    pub folder: PathBuf,
}

impl SpillConfig {
    /// Reads a job's configuration.
    ///
    /// # Errors
    /// A user error that names the option and what it takes.
    pub fn from_options(options: &Options) -> Result<Self> {
        let process = options.memory_size(&MEMORY)?;
        let backend = options.get(BACKEND.key).or(options.get(OLD_BACKEND));
        let is_disk = backend.map_or(Ok(false), is_disk)?;
        let process = process.or_else(machine_memory_bytes).unwrap_or(u64::MAX);
        let share = process / 100 * STATE_PERCENT;
        let share = if is_disk {
            share.min(DISK_MEMORY_BYTES)
        } else {
            share
        };
        let delay = options.duration(&MAX_DELAY)?.unwrap_or_default();
        let folders = options.text(&LOCAL_DIR).or(options.text(&TMP_DIRS));
        // Flink parts folders by commas or the system's path separator.
        let folders = folders.unwrap_or_default().split([',', ':']);
        let folder = folders.map(str::trim).find(|f| !f.is_empty());
        Ok(Self {
            memory_bytes: usize::try_from(share).unwrap_or(usize::MAX),
            max_delay_ms: i64::try_from(delay.as_millis()).unwrap_or(i64::MAX),
            max_partitions: MAX_PARTITIONS,
            folder: folder.map_or_else(std::env::temp_dir, PathBuf::from),
        })
    }
}

fn is_disk(text: &str) -> Result<bool> {
    let word = text.trim().to_ascii_lowercase();
    match word.as_str() {
        "hashmap" | "heap" | "filesystem" | "jobmanager" => Ok(false),
        "disk" | "rocksdb" | "forst" => Ok(true),
        // Flink 1's name of a class, or a class of somebody's own.
        _ if word.contains("rocksdb") => Ok(true),
        _ if word.contains("hashmap") => Ok(false),
        _ => Err(Error::user(
            "INVALID_OPTION",
            format!(
                "option '{}' is '{text}'; it takes hashmap or disk (rocksdb means disk)",
                BACKEND.key
            ),
        )),
    }
}

/// What a process may take of the machine's, or its container's, memory.
fn machine_memory_bytes() -> Option<u64> {
    let total = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = total.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().trim_end_matches("kB").trim().parse().ok()?;
    let container = std::fs::read_to_string("/sys/fs/cgroup/memory.max");
    let container = container.ok().and_then(|text| text.trim().parse().ok());
    let bytes = container.map_or(kib << 10, |limit: u64| limit.min(kib << 10));
    Some(bytes / 100 * MACHINE_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<SpillConfig> {
        let pairs = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        SpillConfig::from_options(&pairs.collect())
    }

    #[test]
    fn state_has_a_share_of_the_process_and_the_disk_backend_a_small_one() {
        let heap = config(&[("flott.memory", "1000 mb")]).unwrap();
        assert_eq!(heap.memory_bytes, 600 << 20);
        assert_eq!(heap.max_delay_ms, 10_000);
        for backend in ["disk", "rocksdb", "ForSt"] {
            let pairs = [("flott.memory", "1000 mb"), ("state.backend.type", backend)];
            assert_eq!(config(&pairs).unwrap().memory_bytes, 256 << 20);
        }
    }

    #[test]
    fn without_a_size_the_machine_decides() {
        assert!(config(&[]).unwrap().memory_bytes > 64 << 20);
    }

    #[test]
    fn the_folder_is_rocksdbs_or_the_first_for_temporary_files() {
        let own = ("state.backend.rocksdb.localdir", "/mnt/fast");
        let temporary = ("io.tmp.dirs", "/mnt/a,/mnt/b");
        let folder = |pairs: &[(&str, &str)]| config(pairs).unwrap().folder;
        assert_eq!(folder(&[own, temporary]), PathBuf::from("/mnt/fast"));
        assert_eq!(folder(&[temporary]), PathBuf::from("/mnt/a"));
        assert_eq!(folder(&[]), std::env::temp_dir());
    }

    #[test]
    fn an_unknown_backend_is_named() {
        let error = config(&[("state.backend.type", "tape")]).unwrap_err();
        assert!(error.message().contains("'tape'"), "{error}");
    }
}
