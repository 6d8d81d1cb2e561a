//! Checkpoints that are damaged between a kill and the next start, and stores that refuse.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libtest_mimic::Trial;

use crate::jobs::{JOBS, JobKind};
use crate::process::{Ended, NUM_RETAINED, Place, Rows, difference, entries};
use crate::random::Random;
use crate::{Chaos, options, said};

/// Starts until a job is killed between two checkpoints.
const NUM_TRIES: u64 = 60;

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

/// A job that was killed when it had some checkpoints, and a state file that only the newest of
/// them names.
fn killed_place(chaos: &Chaos, job: &JobKind) -> Result<(Place, PathBuf), String> {
    for try_number in 0..NUM_TRIES {
        // State of any size goes to files.
        // Quick builds are done before many checkpoints: shorter and shorter intervals.
        let options = options(40 >> (try_number / 10)).replace("1 kb", "1 bytes");
        let place = Place::new(job, chaos.input(), &options);
        let mut child = place.start(2, "")?;
        let ended = place.wait_until(&mut child, |place| {
            place.checkpoints("job").len() >= NUM_RETAINED && own_state_file(place).is_some()
        })?;
        // Between the look and the kill there may have been another checkpoint.
        if let (None, Some(file)) = (ended, own_state_file(&place)) {
            return Ok((place, file));
        }
    }
    Err("the job is always over before it has enough checkpoints".to_string())
}

fn newest_is_damaged(chaos: &Chaos, target: Target, damage: Damage) -> Result<(), String> {
    let (job, expected) = job(chaos)?;
    let (place, state_file) = killed_place(chaos, job)?;
    let mut random = Random::part(chaos.seed(), &format!("{target:?}{damage:?}"));
    let newest = place.newest_checkpoint();
    let folder = place.path("state/job");
    let file = match target {
        Target::Manifest => folder.join(format!("chk-{newest}/_manifest")),
        Target::State => state_file,
    };
    spoil(&file, damage, &mut random);
    let ended = run(&place, "")?;
    let told = format!("checkpoint {newest} of job cannot be used");
    if !ended.is_success || !ended.said.contains(&told) {
        return Err(format!("not told '{told}', but: {}", ended.said));
    }
    if !ended.said.contains("resuming job from checkpoint") {
        return Err(format!("not resumed from the one before: {}", ended.said));
    }
    // What the damaged checkpoint had committed is taken back, and is there once in the end.
    match difference(&expected, &place.rows()?) {
        Some(difference) => Err(difference),
        None => Ok(()),
    }
}

/// A state file that only the newest checkpoint names.
fn own_state_file(place: &Place) -> Option<PathBuf> {
    let folder = place.path("state/job");
    let manifests = place.checkpoints("job").into_iter().rev().map(|id| {
        let manifest = fs::read(folder.join(format!("chk-{id}/_manifest"))).unwrap_or_default();
        String::from_utf8_lossy(&manifest).into_owned()
    });
    let manifests: Vec<String> = manifests.collect();
    let (newest, older) = manifests.split_first()?;
    entries(&folder.join("shared")).into_iter().find(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        newest.contains(&*name) && !older.iter().any(|m| m.contains(&*name))
    })
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
    let (place, _) = killed_place(chaos, job)?;
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
    let (place, _) = killed_place(chaos, job)?;
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
    let (place, _) = killed_place(chaos, job)?;
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
