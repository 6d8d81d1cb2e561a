//! What outlives a process: the tables' rows, the store, and a sink with transactions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flott_core::changelog::ChangelogMode;
use flott_core::connector::{ConnectorFactory, SinkRequest, TableContext};
use flott_core::options::OptionDef;
use flott_core::sink::{Committable, Committer, SinkWriter, TableSink, WriterContext};
use flott_core::source::{ScanRequest, TableSource, extract_field, fields_schema};
use flott_core::{Error, Result};
use flott_engine::Random;
use flott_engine::testing::{ScriptItem, ScriptSource, format_rows};
use flott_state::storage::StoragePlace;
use flott_state::storage::fault::{Fault, FaultStore, Operation};
use parking_lot::Mutex;

use super::jobs;

/// How a seed's faults are chosen: chances in a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chances {
    /// That a call of the store fails, and the process goes on.
    pub store_error: u64,
    /// That a call of the sink fails, and the process goes on.
    pub sink_error: u64,
    /// That the process dies inside a call of the store or the sink.
    pub death_in_call: u64,
    /// That the process dies before a turn.
    pub death_at_turn: u64,
    /// That an attempt fails before a turn.
    pub failure_at_turn: u64,
}

/// Everything outside the process.
pub struct World {
    data_seed: u64,
    random: Mutex<Random>,
    pub chances: Mutex<Chances>,
    is_dead: AtomicBool,
    /// The checkers' own look at the store meets no faults.
    is_checking: AtomicBool,
    pub place: StoragePlace,
    sink: Mutex<SinkState>,
    num_committers: AtomicU64,
    pub num_faults: AtomicU64,
}

/// What a system with transactions knows.
#[derive(Default)]
struct SinkState {
    /// Prepared, by name: lines with their table.
    prepared: BTreeMap<String, Vec<(String, String)>>,
    committed_names: BTreeSet<String>,
    committed: Vec<(String, String)>,
    /// The number of the last committer that has committed, by table.
    last_committer: BTreeMap<String, u64>,
    violations: Vec<String>,
}

impl World {
    /// A world before the first process.
    pub fn new(data_seed: u64, seed: u64, chances: Chances) -> Arc<Self> {
        Arc::new_cyclic(|world: &std::sync::Weak<Self>| {
            let world = world.clone();
            let store = FaultStore::new(move |operation, path, _| match world.upgrade() {
                Some(world) => world.store_fault(operation, path),
                None => Fault::None,
            });
            Self {
                data_seed,
                random: Mutex::new(Random::new(seed)),
                chances: Mutex::new(chances),
                is_dead: AtomicBool::new(false),
                is_checking: AtomicBool::new(false),
                place: StoragePlace::with_store(store, "world"),
                sink: Mutex::default(),
                num_committers: AtomicU64::new(0),
                num_faults: AtomicU64::new(0),
            }
        })
    }

    /// A number from the world's own sequence.
    pub fn draw(&self) -> u64 {
        self.random.lock().draw()
    }

    /// Whether something of this chance happens.
    pub fn happens(&self, per_thousand: u64) -> bool {
        let happens = per_thousand > 0 && self.draw() % 1000 < per_thousand;
        if happens {
            self.num_faults.fetch_add(1, Ordering::SeqCst);
        }
        happens
    }

    /// The process dies: nothing that it still does reaches the world.
    pub fn kill(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
    }

    pub fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    /// A new process.
    pub fn revive(&self) {
        self.is_dead.store(false, Ordering::SeqCst);
    }

    /// Looks at the store without faults.
    pub fn check<T>(&self, look: impl FnOnce(&StoragePlace) -> T) -> T {
        self.is_checking.store(true, Ordering::SeqCst);
        let seen = look(&self.place);
        self.is_checking.store(false, Ordering::SeqCst);
        seen
    }

    fn store_fault(&self, operation: Operation, path: &str) -> Fault {
        if self.is_checking.load(Ordering::SeqCst) {
            return Fault::None;
        }
        if self.is_dead() {
            return Fault::Before;
        }
        let chances = *self.chances.lock();
        let dies = self.happens(chances.death_in_call);
        if !dies && !self.happens(chances.store_error) {
            return Fault::None;
        }
        if dies {
            self.kill();
        }
        let kinds = match operation {
            // A manifest is put whole or not at all: that is asked of every store.
            Operation::Put if path.ends_with("_manifest") => {
                [Fault::Before, Fault::After, Fault::After]
            }
            Operation::Put => [Fault::Before, Fault::After, Fault::Torn],
            Operation::Get | Operation::List => [Fault::Before; 3],
            Operation::Delete => [Fault::Before, Fault::After, Fault::After],
        };
        kinds[(self.draw() % 3) as usize]
    }

    /// Whether a call of the sink fails, before or after it has done something.
    fn sink_fault(&self) -> Fault {
        if self.is_dead() {
            return Fault::Before;
        }
        let chances = *self.chances.lock();
        if self.happens(chances.death_in_call) {
            self.kill();
        } else if !self.happens(chances.sink_error) {
            return Fault::None;
        }
        match self.draw() % 2 {
            0 => Fault::Before,
            _ => Fault::After,
        }
    }

    /// The committed lines, each with its table, in the order of their commits.
    pub fn committed(&self) -> Vec<(String, String)> {
        self.sink.lock().committed.clone()
    }

    /// What has been done to the sink that must not be.
    pub fn violations(&self) -> Vec<String> {
        self.sink.lock().violations.clone()
    }

    fn prepare(&self, name: &str, lines: Vec<(String, String)>) -> Result<()> {
        match self.sink_fault() {
            Fault::None => drop(self.sink.lock().prepared.insert(name.to_string(), lines)),
            Fault::After => {
                self.sink.lock().prepared.insert(name.to_string(), lines);
                return Err(refused("prepare"));
            }
            _ => return Err(refused("prepare")),
        }
        Ok(())
    }

    fn commit(&self, table: &str, committer: u64, names: Vec<String>) -> Result<()> {
        for name in names {
            let fault = self.sink_fault();
            if matches!(fault, Fault::None | Fault::After) {
                self.sink.lock().commit(table, committer, name);
            }
            if fault != Fault::None {
                return Err(refused("commit"));
            }
        }
        Ok(())
    }
}

impl SinkState {
    fn commit(&mut self, table: &str, committer: u64, name: String) {
        let last = self.last_committer.insert(table.to_string(), committer);
        if last > Some(committer) {
            let violation = format!("a coordinator commits {name} after its successor has");
            self.violations.push(violation);
        }
        if self.committed_names.contains(&name) {
            return;
        }
        match self.prepared.remove(&name) {
            Some(lines) => {
                self.committed.extend(lines);
                self.committed_names.insert(name);
            }
            None => self.violations.push(format!("{name} was never prepared")),
        }
    }
}

/// The code of errors that a seed makes.
pub const REFUSED: &str = "REFUSED";

fn refused(what: &str) -> Error {
    Error::external(REFUSED, format!("the sink refuses to {what}")).retryable()
}

/// `'connector' = 'sim'`: tables of one world.
pub struct SimConnector(pub Arc<World>);

impl ConnectorFactory for SimConnector {
    fn identifier(&self) -> &'static str {
        "sim"
    }

    fn options(&self) -> &'static [OptionDef] {
        &[]
    }

    fn doc(&self) -> &'static str {
        "Rows and transactions of a simulation."
    }

    fn create_source(
        &self,
        context: TableContext<'_>,
        request: ScanRequest,
    ) -> Result<Arc<dyn TableSource>> {
        let schema = context.table.source_schema();
        let splits = jobs::splits(&context.path.name, &schema, self.0.data_seed);
        let splits = splits.map_err(|e| Error::internal(e.to_string()))?;
        let wanted = fields_schema(&schema, &request.fields)?;
        let arrow = wanted.to_arrow();
        let project = |item: ScriptItem| match item {
            ScriptItem::Batch(batch) => {
                let fields = request.fields.iter();
                let columns = fields.map(|path| extract_field(batch.rows().columns(), path));
                let columns = columns.collect::<Result<Vec<_>>>()?;
                let options =
                    arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                let rows = arrow::array::RecordBatch::try_new_with_options(
                    arrow.clone(),
                    columns,
                    &options,
                )?;
                Ok(ScriptItem::Batch(
                    flott_core::changelog::ChangelogBatch::insert_only(rows),
                ))
            }
            other => Ok(other),
        };
        let splits = splits.into_iter().map(|split| {
            let items = split.into_iter().map(project);
            items.collect::<Result<Vec<_>>>()
        });
        let splits = splits.collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(ScriptSource::new(wanted, splits).append_only()))
    }

    fn create_sink(&self, context: TableContext<'_>, _: SinkRequest) -> Result<Arc<dyn TableSink>> {
        Ok(Arc::new(SimSink {
            world: self.0.clone(),
            table: context.path.name.clone(),
        }))
    }
}

struct SimSink {
    world: Arc<World>,
    table: String,
}

impl TableSink for SimSink {
    fn changelog_mode(&self, offered: ChangelogMode) -> Result<ChangelogMode> {
        Ok(offered)
    }

    fn create_writer(&self, context: WriterContext) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(SimWriter {
            world: self.world.clone(),
            table: self.table.clone(),
            name: format!("{}-{}-{}", context.attempt_id, self.table, context.subtask),
            num_transactions: 0,
            lines: Vec::new(),
        }))
    }

    fn create_committer(&self) -> Result<Option<Box<dyn Committer>>> {
        Ok(Some(Box::new(SimCommitter {
            number: self.world.num_committers.fetch_add(1, Ordering::SeqCst),
            world: self.world.clone(),
            table: self.table.clone(),
        })))
    }
}

struct SimWriter {
    world: Arc<World>,
    table: String,
    name: String,
    num_transactions: usize,
    lines: Vec<(String, String)>,
}

impl SinkWriter for SimWriter {
    fn write(&mut self, batch: &flott_core::changelog::ChangelogBatch) -> Result<()> {
        let lines = format_rows(batch)?;
        let table = &self.table;
        self.lines
            .extend(lines.into_iter().map(|line| (table.clone(), line)));
        Ok(())
    }

    fn prepare_commit(&mut self, _: bool) -> Result<Vec<Committable>> {
        if self.lines.is_empty() {
            return Ok(Vec::new());
        }
        self.num_transactions += 1;
        let name = format!("{}-{}", self.name, self.num_transactions);
        self.world.prepare(&name, std::mem::take(&mut self.lines))?;
        let bytes = name.into_bytes();
        Ok(vec![Committable { bytes }])
    }
}

struct SimCommitter {
    world: Arc<World>,
    table: String,
    number: u64,
}

impl Committer for SimCommitter {
    fn commit(&mut self, committables: Vec<Committable>) -> Result<()> {
        let names = committables.into_iter();
        let names = names.map(|c| {
            String::from_utf8(c.bytes)
                .map_err(|_| Error::internal("a transaction's name is not text"))
        });
        let names = names.collect::<Result<_>>()?;
        self.world.commit(&self.table, self.number, names)
    }
}
