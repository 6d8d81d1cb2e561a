//! A script's table as one that is looked up by key, with a latency that a test controls by its
//! clock.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use flott_core::Result;
use flott_core::lookup::{
    Lookup, LookupAnswer, LookupContext, LookupPoll, LookupRequest, LookupSource,
};
use flott_core::schema::Schema;
use flott_core::source::extract_field;

use super::ScriptHub;

pub(super) struct ScriptLookupSource {
    pub hub: Arc<ScriptHub>,
    pub table: String,
    pub schema: Schema,
    pub request: LookupRequest,
    pub latency_ms: i64,
}

struct ScriptLookup {
    hub: Arc<ScriptHub>,
    table: String,
    schema: SchemaRef,
    request: LookupRequest,
    latency_ms: i64,
    context: LookupContext,
    /// With the time at which each is there, in ms.
    answers: VecDeque<(i64, LookupAnswer)>,
}

impl LookupSource for ScriptLookupSource {
    fn schema(&self) -> Schema {
        self.schema.clone()
    }

    fn create_lookup(&self, context: LookupContext) -> Result<Box<dyn Lookup>> {
        Ok(Box::new(ScriptLookup {
            hub: self.hub.clone(),
            table: self.table.clone(),
            schema: self.schema.to_arrow(),
            request: self.request.clone(),
            latency_ms: self.latency_ms,
            context,
            answers: VecDeque::new(),
        }))
    }
}

impl ScriptLookup {
    /// The rows fed so far that have one of the keys.
    fn rows_of(&self, keys: &[ArrayRef]) -> Result<RecordBatch> {
        let fields = keys.iter().map(|k| SortField::new(k.data_type().clone()));
        let converter = RowConverter::new(fields.collect())?;
        let wanted = converter.convert_columns(keys)?;
        let mut found = Vec::new();
        for fed in self.hub.rows(&self.table) {
            let fields = self.request.fields.iter();
            let columns = fields.map(|path| extract_field(fed.rows().columns(), path));
            let rows = RecordBatch::try_new(self.schema.clone(), columns.collect::<Result<_>>()?)?;
            let of_rows = self.request.keys.iter().map(|&c| rows.column(c).clone());
            let of_rows = converter.convert_columns(&of_rows.collect::<Vec<_>>())?;
            let is_wanted = of_rows
                .iter()
                .map(|key| Some(wanted.iter().any(|w| w == key)));
            let is_wanted: BooleanArray = is_wanted.collect();
            found.push(filter_record_batch(&rows, &is_wanted)?);
        }
        Ok(concat_batches(&self.schema, &found)?)
    }
}

impl Lookup for ScriptLookup {
    fn request(&mut self, request: u64, keys: Vec<ArrayRef>) -> Result<()> {
        let rows = self.rows_of(&keys);
        let there_ms = self.context.clock.now_ms().saturating_add(self.latency_ms);
        let answer = LookupAnswer { request, rows };
        self.answers.push_back((there_ms, answer));
        Ok(())
    }

    fn poll(&mut self) -> Result<LookupPoll> {
        let now_ms = self.context.clock.now_ms();
        Ok(match self.answers.front() {
            None => LookupPoll::Pending,
            Some((there_ms, _)) if *there_ms > now_ms => LookupPoll::PendingUntil(*there_ms),
            Some(_) => match self.answers.pop_front() {
                Some((_, answer)) => LookupPoll::Answer(answer),
                None => LookupPoll::Pending,
            },
        })
    }
}
