//! Jobs that survive their process: names, folders, and what is said about starting again.

use clap::Args;
use flott_core::clock::{Clock, SystemClock};
use flott_core::graph::JobGraph;
use flott_core::text::datetime::write_timestamp;
use flott_core::{Error, Result};
use flott_engine::{DurabilityConfig, JobEvent, JobOptions, JobSettings};

/// The interval of checkpoints when a script with a state folder does not set one.
const DEFAULT_INTERVAL: &str = "1 s";

/// Options of `flott run` about durability.
#[derive(Debug, Clone, Default, Args)]
pub struct DurableArgs {
    /// The name under which the script's jobs keep their checkpoints; the default is the script's.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The folder (or s3://…) for checkpoints. The same command goes on where the last one stopped.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<String>,
    /// Start from this savepoint or checkpoint.
    #[arg(long, value_name = "PATH")]
    pub from_savepoint: Option<String>,
    /// Drop state that no operator of the statements claims.
    #[arg(long)]
    pub allow_non_restored_state: bool,
    /// Forget the checkpoints of this name and begin anew.
    #[arg(long)]
    pub fresh: bool,
}

/// What the command line says, and the jobs started so far.
#[derive(Debug, Default)]
pub struct Durability {
    args: DurableArgs,
    /// The script's name, for jobs.
    script: Option<String>,
    num_jobs: usize,
    statements: Vec<String>,
}

impl Durability {
    /// # Errors
    /// A user error for a name that cannot be a folder.
    pub fn new(args: DurableArgs, script: &str) -> Result<Self> {
        let name = args.name.clone().unwrap_or_else(|| script.to_string());
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        if args.name.is_some()
            && (!name.chars().all(is_plain) || name.starts_with('.') || name.is_empty())
        {
            let message = format!("--name '{name}': write letters, digits, '-', '_' and '.'");
            return Err(Error::user("INVALID_NAME", message));
        }
        let is_named = args.name.is_some() || args.state_dir.is_some();
        let name: String = name
            .chars()
            .map(|c| if is_plain(c) { c } else { '-' })
            .collect();
        Ok(Self {
            args,
            script: is_named.then_some(name),
            num_jobs: 0,
            statements: Vec::new(),
        })
    }

    /// A statement of the script has been reached.
    pub fn note(&mut self, statement: &str) {
        self.statements.push(statement.to_string());
    }

    pub fn is_fresh(&self) -> bool {
        self.args.fresh
    }

    /// How the next job is to be run: the first of a script has the script's name, the others the
    /// name with their number.
    ///
    /// # Errors
    /// A user error for options that cannot be used.
    pub fn settings(
        &mut self,
        graph: &JobGraph,
        options: JobOptions,
        is_batch: bool,
    ) -> Result<JobSettings> {
        self.num_jobs += 1;
        let mut config = graph.config.clone();
        if let Some(path) = &self.args.from_savepoint {
            config.set("execution.state-recovery.path", path);
        }
        if self.args.allow_non_restored_state {
            config.set("execution.state-recovery.ignore-unclaimed-state", "true");
        }
        // Batch jobs have no checkpoints; they begin anew.
        let name = self.script.as_ref().filter(|_| !is_batch);
        if name.is_some() && config.get("execution.checkpointing.interval").is_none() {
            config.set("execution.checkpointing.interval", DEFAULT_INTERVAL);
        }
        if let Some(dir) = self.args.state_dir.as_ref().filter(|_| !is_batch) {
            config.set("execution.checkpointing.dir", dir);
        }
        let mut durability = DurabilityConfig::from_options(&config)?;
        if name.is_some() && durability.dir.is_none() {
            let message = "--name needs a folder for checkpoints: give --state-dir, or SET 'execution.checkpointing.dir'";
            return Err(Error::user("MISSING_OPTION", message));
        }
        if is_batch {
            durability.checkpoints.interval = None;
            durability.dir = None;
        }
        let job_id = name.map(|name| match self.num_jobs {
            1 => name.clone(),
            n => format!("{name}-{n}"),
        });
        Ok(JobSettings {
            job_id,
            statements: self.statements.clone(),
            options,
            durability,
            config,
            place: None,
        })
    }
}

/// What is said on standard error about an event; `name` is the job's.
pub fn describe(name: &str, event: &JobEvent) -> String {
    match event {
        JobEvent::Resumed {
            checkpoint_id,
            age_ms,
        } => format!(
            "resuming {name} from checkpoint {checkpoint_id}, taken {} ago",
            duration(*age_ms)
        ),
        JobEvent::Restored { path } => format!("starting {name} from {path}"),
        JobEvent::Skipped {
            checkpoint_id,
            error,
        } => format!("warning: checkpoint {checkpoint_id} of {name} cannot be used: {error}"),
        JobEvent::Restarting { error, delay } => format!(
            "{name} failed: {error}\nstarting again in {}",
            duration(delay.as_millis() as i64)
        ),
    }
}

/// When a job of this name finished, in words.
pub fn finished_at(time_ms: i64) -> String {
    let mut text = String::new();
    write_timestamp(time_ms, 0, &mut text);
    let ago = duration(SystemClock.now_ms() - time_ms);
    format!("{text} UTC, {ago} ago")
}

/// `250 ms`, `3 s`, `5 min`, `2 h`, `4 d`.
pub fn duration(ms: i64) -> String {
    match ms.max(0) {
        ms if ms < 1_000 => format!("{ms} ms"),
        ms if ms < 120_000 => format!("{} s", ms / 1_000),
        ms if ms < 7_200_000 => format!("{} min", ms / 60_000),
        ms if ms < 172_800_000 => format!("{} h", ms / 3_600_000),
        ms => format!("{} d", ms / 86_400_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(args: DurableArgs, pairs: &[(&str, &str)]) -> Result<Vec<JobSettings>> {
        let mut durability = Durability::new(args, "my job")?;
        let mut graph = JobGraph::default();
        for (key, value) in pairs {
            graph.config.set(*key, *value);
        }
        let options = JobOptions::default;
        (0..2)
            .map(|_| durability.settings(&graph, options(), false))
            .collect()
    }

    #[test]
    fn jobs_with_a_state_folder_have_checkpoints_and_names() {
        let args = DurableArgs {
            state_dir: Some("/x".into()),
            ..DurableArgs::default()
        };
        let jobs = settings(args, &[]).unwrap();
        let ids: Vec<_> = jobs.iter().map(|j| j.job_id.as_deref()).collect();
        assert_eq!(ids, [Some("my-job"), Some("my-job-2")]);
        let interval = jobs[0].durability.checkpoints.interval;
        assert_eq!(interval.map(|i| i.as_millis()), Some(1000));
        assert_eq!(jobs[0].durability.dir.as_deref(), Some("/x"));
    }

    #[test]
    fn other_jobs_have_neither() {
        let jobs = settings(DurableArgs::default(), &[]).unwrap();
        assert_eq!(jobs[0].job_id, None);
        assert_eq!(jobs[0].durability.checkpoints.interval, None);
    }

    #[test]
    fn a_name_needs_a_folder_and_must_be_one() {
        let named = |name: &str| DurableArgs {
            name: Some(name.into()),
            ..DurableArgs::default()
        };
        let error = settings(named("shop"), &[]).map(drop).unwrap_err();
        assert_eq!(error.code(), "MISSING_OPTION");
        let dir = [("execution.checkpointing.dir", "/x")];
        let jobs = settings(named("shop"), &dir).unwrap();
        assert_eq!(jobs[0].job_id.as_deref(), Some("shop"));
        assert_eq!(
            settings(named("../x"), &dir).map(drop).unwrap_err().code(),
            "INVALID_NAME"
        );
    }

    #[test]
    fn durations_are_told_in_one_unit() {
        let told = [999, 3_500, 119_999, 300_000, 10_000_000, 999_999_999].map(duration);
        assert_eq!(told, ["999 ms", "3 s", "119 s", "5 min", "2 h", "11 d"]);
    }
}
