//! Checkpoints that are damaged between a kill and the next start, and stores that refuse.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libtest_mimic::Trial;

use crate::jobs::{JOBS, JobKind};
use crate::process::{Ended, NUM_RETAINED, Place, Rows, difference, entries};
use crate::random::Random;
use crate::{Chaos, options, said};

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Cut,
    Flip,
}

/// Which file of the newest checkpoint.
#[derive(Clone, Copy, Debug)]
enum Target {
    Manifest,
    State,
}

pub fn trials(chaos: &Arc<Chaos>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (target, name) in [
        (Target::Manifest, "manifest"),
        (Target::State, "state_file"),
    ] {
        for (damage, how) in [(Damage::Cut, "cut"), (Damage::Flip, "bit_flipped")] {
            let shared = chaos.clone();
            trials.push(Trial::test(format!("damage/{name}_{how}"), move || {
                said(&shared, newest_is_damaged(&shared, target, damage))
            }));
        }
    }
    type Check = fn(&Chaos) -> Result<(), String>;
    let others: [(&str, Check); 3] = [
        ("damage/all_manifests", all_are_damaged),
        ("store/full_disk", full_disk),
        ("store/no_folder", no_folder),
    ];
    trials.extend(others.map(|(name, check)| {
        let shared = chaos.clone();
        Trial::test(name, move || said(&shared, check(&shared)))
    }));
    trials
}

/// A job with much state, and the uninterrupted output.
fn job(chaos: &Chaos) -> Result<(&'static JobKind, Rows), String> {
    let job = JOBS.iter().find(|job| job.name == "regular_join");
    let job = job.ok_or("there is a regular join")?;
    Ok((job, Place::new(job, chaos.input(), "").run_plainly()?))
}

/// A job that was killed when it had all the checkpoints that it keeps.
fn killed_place(chaos: &Chaos, job: &'static JobKind) -> Result<Place, String> {
    for interval_ms in [30, 20, 10, 5, 2] {
        let place = Place::new(job, chaos.input(), &options(interval_ms));
        let child = place.start(2, "")?;
        if place
            .wait_for_checkpoints(child, NUM_RETAINED + 1)?
            .is_none()
        {
            return Ok(place);
        }
    }
    Err("the job is always over before it has enough checkpoints".to_string())
}

fn newest_is_damaged(chaos: &Chaos, target: Target, damage: Damage) -> Result<(), String> {
    let (job, expected) = job(chaos)?;
    let place = killed_place(chaos, job)?;
    let mut random = Random::part(chaos.seed(), &format!("{target:?}{damage:?}"));
    let newest = place.newest_checkpoint();
    let folder = place.path("state/job");
    let file = match target {
        Target::Manifest => folder.join(format!("chk-{newest}/_manifest")),
        Target::State => state_file(&folder, newest)?,
    };
    spoil(&file, damage, &mut random);
    let before = place.rows()?;
    let ended = run(&place, "")?;
    let told = format!("checkpoint {newest} of job cannot be used");
    if !ended.is_success || !ended.said.contains(&told) {
        return Err(format!("not told '{told}', but: {}", ended.said));
    }
    if !ended.said.contains("resuming job from checkpoint") {
        return Err(format!("not resumed from the one before: {}", ended.said));
    }
    nothing_lost(&expected, &before, &place.rows()?)
}

/// What the damaged checkpoint had committed stays and may be there twice, all else is exact.
fn nothing_lost(expected: &Rows, before: &Rows, actual: &Rows) -> Result<(), String> {
    let count = |rows: &Rows, row: &str| rows.get(row).copied().unwrap_or(0);
    let excess = actual
        .iter()
        .map(|(row, &n)| (row, n - count(expected, row)));
    let excess: Vec<(&String, i64)> = excess.filter(|(_, n)| *n != 0).collect();
    let lost = expected
        .keys()
        .find(|row| count(actual, row) < expected[*row]);
    let wrong = excess.iter().find(|(row, n)| *n > count(before, row));
    match (lost, wrong) {
        (None, None) => Ok(()),
        _ => Err(difference(expected, actual).unwrap_or_default()),
    }
}

/// A state file that the newest checkpoint has written.
fn state_file(folder: &Path, checkpoint: u64) -> Result<PathBuf, String> {
    let own = format!("-{checkpoint}-");
    let files = entries(&folder.join("shared"));
    let found = files.iter().find(|f| {
        f.file_name()
            .is_some_and(|n| n.to_string_lossy().contains(&own))
    });
    let found = found.cloned();
    found.ok_or_else(|| format!("checkpoint {checkpoint} has no file of its own: {files:?}"))
}

fn spoil(file: &Path, damage: Damage, random: &mut Random) {
    let mut bytes = fs::read(file).unwrap();
    let at = random.below(bytes.len() as u64) as usize;
    match damage {
        Damage::Cut => bytes.truncate(at),
        Damage::Flip => bytes[at] ^= 1 << random.below(8),
    }
    fs::write(file, bytes).unwrap();
}

fn run(place: &Place, limit: &str) -> Result<Ended, String> {
    let child = place.start(2, limit)?;
    let ended = place.wait(child, None)?;
    ended.ok_or_else(|| "killed, though no time was set".to_string())
}

fn all_are_damaged(chaos: &Chaos) -> Result<(), String> {
    let (job, _) = job(chaos)?;
    let place = killed_place(chaos, job)?;
    let mut random = Random::part(chaos.seed(), "all");
    for id in place.checkpoints("job") {
        let manifest = place.path(&format!("state/job/chk-{id}/_manifest"));
        spoil(&manifest, Damage::Flip, &mut random);
    }
    let before = place.rows()?;
    let ended = run(&place, "")?;
    if ended.is_success || !ended.said.contains("STATE_CORRUPT") {
        return Err(format!("not refused clearly, but: {}", ended.said));
    }
    match difference(&before, &place.rows()?) {
        Some(difference) => Err(format!("the refused job has written: {difference}")),
        None => Ok(()),
    }
}

/// Files can grow to some kilobytes only, as on a disk that is full.
fn full_disk(chaos: &Chaos) -> Result<(), String> {
    let (job, expected) = job(chaos)?;
    let place = killed_place(chaos, job)?;
    // Without the signal, a write gives an error instead, as a full disk does.
    let ended = run(&place, "trap '' XFSZ; ulimit -f 8")?;
    if ended.is_success || !ended.said.contains("File too large") {
        return Err(format!("not refused clearly, but: {}", ended.said));
    }
    goes_on(&place, &expected)
}

/// The state folder is a file: nothing can be read or written.
fn no_folder(chaos: &Chaos) -> Result<(), String> {
    let (job, expected) = job(chaos)?;
    let place = killed_place(chaos, job)?;
    let (state, away) = (place.path("state"), place.path("away"));
    fs::rename(&state, &away).map_err(|e| e.to_string())?;
    fs::write(&state, "no folder").map_err(|e| e.to_string())?;
    let ended = run(&place, "")?;
    if ended.is_success || !ended.said.contains("state") {
        return Err(format!("not refused clearly, but: {}", ended.said));
    }
    fs::remove_file(&state).map_err(|e| e.to_string())?;
    fs::rename(&away, &state).map_err(|e| e.to_string())?;
    goes_on(&place, &expected)
}

/// After the repair, the job ends with the uninterrupted run's output.
fn goes_on(place: &Place, expected: &Rows) -> Result<(), String> {
    let ended = run(place, "")?;
    if !ended.is_success {
        return Err(format!("does not go on: {}", ended.said));
    }
    match difference(expected, &place.rows()?) {
        Some(difference) => Err(difference),
        None => Ok(()),
    }
}
