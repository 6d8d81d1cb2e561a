//! What a command runs in: the lists of connectors and formats, and a session over them.

use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use flott_core::clock::SystemClock;
use flott_core::connector::Registry;
use flott_core::options::parse_memory_size;
use flott_sql::session::Session;

use crate::jobs::{StateConnector, StateFolder};

/// Options that every command has that runs statements.
#[derive(Debug, Clone, Args)]
pub struct JobArgs {
    /// Subtasks of each operator; the default is the number of processors.
    #[arg(short, long, value_name = "N")]
    pub parallelism: Option<usize>,
    /// Memory for the whole process, such as 4g.
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Set a configuration key, as SET does.
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub defines: Vec<String>,
}

/// Every connector and format of this binary.
pub fn registry() -> Registry {
    Registry {
        connectors: flott_connectors::all(),
        formats: flott_formats::all(),
    }
}

impl JobArgs {
    /// A session with these settings whose statements can ask these jobs.
    ///
    /// # Errors
    /// A define without `=`, or a memory size that is none.
    pub fn session_with(&self, jobs: &Arc<StateFolder>) -> Result<Session> {
        let mut registry = registry();
        registry
            .connectors
            .push(Arc::new(StateConnector(jobs.clone())));
        let mut session = Session::new(registry, Arc::new(SystemClock));
        session.set_jobs(jobs.clone());
        for define in &self.defines {
            let Some((key, value)) = define.split_once('=') else {
                anyhow::bail!("-D {define}: write KEY=VALUE");
            };
            session.set_option(key.trim(), value.trim());
        }
        if let Some(memory) = &self.memory {
            if parse_memory_size(memory).is_none() {
                anyhow::bail!("--memory {memory}: write a size such as 512mb or 4g");
            }
            session.set_option("flott.memory", memory);
        }
        if let Some(parallelism) = self.parallelism {
            if parallelism == 0 {
                anyhow::bail!("--parallelism 0: at least one subtask is needed");
            }
            session.set_option("parallelism.default", &parallelism.to_string());
        }
        Ok(session)
    }
}

/// The number of processors.
pub fn available_parallelism() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
