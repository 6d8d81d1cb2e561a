//! Seeds of the simulation with faults, see `flott_testkit::sim`.
//!
//! `FLOTT_SIM_SEED=N` runs one seed, twice; `FLOTT_SIM_SEEDS=N` so many from `FLOTT_SIM_FIRST` on.

use std::sync::Arc;

use flott_testkit::sim::life::{Expected, Life, live};
use libtest_mimic::{Arguments, Failed, Trial};

/// Seeds in one trial.
const CHUNK: u64 = 100;
/// Seeds of a run that is not told otherwise.
const NUM_SEEDS: u64 = 2_000;
/// Every so many seeds one is lived twice.
const REPLAYED: u64 = 25;
/// Seeds that have once found something.
const KEPT: &str = include_str!("../../../tests/seeds.txt");

fn main() {
    let arguments = Arguments::from_args();
    let expected = Arc::new(Expected::default());
    let mut trials = Vec::new();
    if let Some(seed) = number("FLOTT_SIM_SEED") {
        let expected = expected.clone();
        trials.push(Trial::test(format!("seed {seed}"), move || {
            println!("{:?}", twice(seed, &expected)?);
            Ok(())
        }));
        libtest_mimic::run(&arguments, trials).exit();
    }
    let first = number("FLOTT_SIM_FIRST").unwrap_or(0);
    let end = first + number("FLOTT_SIM_SEEDS").unwrap_or(NUM_SEEDS);
    let kept = KEPT.lines().filter_map(|l| l.split('#').next());
    for seed in kept.filter_map(|l| l.trim().parse().ok()) {
        let expected = expected.clone();
        let name = format!("kept seed {seed}");
        trials.push(Trial::test(name, move || twice(seed, &expected).map(drop)));
    }
    for start in (first..end).step_by(CHUNK as usize) {
        let seeds = start..(start + CHUNK).min(end);
        let expected = expected.clone();
        let name = format!("seeds {} to {}", seeds.start, seeds.end - 1);
        trials.push(Trial::test(name, move || chunk(seeds, &expected)));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn chunk(seeds: std::ops::Range<u64>, expected: &Expected) -> Result<(), Failed> {
    let mut num_faults = 0;
    for seed in seeds {
        num_faults += match seed % REPLAYED {
            0 => twice(seed, expected)?.num_faults,
            _ => once(seed, expected)?.num_faults,
        };
    }
    match num_faults {
        0 => Err("no seed of these had a fault: they show nothing".into()),
        _ => Ok(()),
    }
}

fn once(seed: u64, expected: &Expected) -> Result<Life, Failed> {
    live(seed, expected).map_err(|e| {
        format!("seed {seed}: {e:#}\nagain: FLOTT_SIM_SEED={seed} cargo test --release --workspace --test simulation").into()
    })
}

/// The same seed is the same life.
fn twice(seed: u64, expected: &Expected) -> Result<Life, Failed> {
    let first = once(seed, expected)?;
    let second = once(seed, expected)?;
    match first == second {
        true => Ok(first),
        false => Err(format!("seed {seed} is not the same again: {first:?}, {second:?}").into()),
    }
}
