//! The input of all jobs: two tables in many small files, the same for the same seed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::random::Random;

pub const NUM_ROWS: u64 = 400_000;
const NUM_FILES: u64 = 100;
/// Event time between two rows; all rows lie within one day.
const STEP_MS: u64 = 200;
/// How much a row may be older than the one before: less than the watermarks' delay.
const DISORDER_MS: u64 = 20_000;

/// Writes `r/` (`id,k,v,ts`) and `s/` (`id,name,ts`): a row of `s` for two thirds of those of `r`,
/// at most 20 s later. Every `v` is there once.
pub fn write(folder: &Path, seed: u64) {
    let mut random = Random::part(seed, "input");
    for name in ["r", "s"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    for file in 0..NUM_FILES {
        let (mut r, mut s) = (String::new(), String::new());
        for row in 0..NUM_ROWS / NUM_FILES {
            let id = file * (NUM_ROWS / NUM_FILES) + row;
            let key = random.below(499);
            // A prime that does not divide the number of rows: a permutation.
            let value = id * 7_919 % NUM_ROWS;
            let ms = id * STEP_MS + random.below(DISORDER_MS);
            writeln!(r, "{id},{key},{value},{}", time(ms)).unwrap();
            if random.below(3) < 2 {
                let later = ms + random.below(DISORDER_MS);
                writeln!(s, "{id},name-{},{}", random.below(50), time(later)).unwrap();
            }
        }
        fs::write(folder.join(format!("r/{file:04}.csv")), r).unwrap();
        fs::write(folder.join(format!("s/{file:04}.csv")), s).unwrap();
    }
}

fn time(ms: u64) -> String {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("2026-01-01 {h:02}:{m:02}:{s:02}.{ms:03}")
}
