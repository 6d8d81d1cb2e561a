//! `avro-confluent` and `debezium-avro-confluent`: messages that name their schema by its id in a
//! schema registry: a zero, the id in four bytes, then the datum.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use arrow::buffer::Buffer;
use flott_core::changelog::{ChangelogBatch, ChangelogMode, adds};
use flott_core::format::{
    DecodeRequest, Decoder, EncodeRequest, Encoder, FormatFactory, Lookahead,
};
use flott_core::hash::StableHashMap;
use flott_core::options::{OptionDef, OptionType, Options};
use flott_core::schema::{Column, Schema};
use flott_core::types::{LogicalType, RowField};
use flott_core::{Error, Result};

use super::derive::record_schema;
use super::message::{Rows, not_in_blocks};
use super::program::Program;
use super::registry::{REGISTRY_OPTIONS, Registry, SUBJECT, Settings};
use super::schema::{Avro, parse_schema};
use super::schemas::{MAX_SCHEMAS, PREFIX_BYTES, SchemaLookahead, Schemas, schema_id};
use super::write::{RowWriter, write_bytes};
use super::{LEGACY_TIMESTAMPS, mapping};
use crate::change::metadata::Metadata;
use crate::change::{ChangeDecoder, Dialect, EnvelopeDecoder, Included};

const SCHEMA: OptionDef = OptionDef::new(
    "schema",
    OptionType::String,
    "the Avro schema of written records, when its names are not to be derived from the table",
)
.example(
    r#"{"type": "record", "name": "order", "fields": [{"name": "id", "type": ["null", "long"]}, {"name": "item", "type": ["null", "string"]}]}"#,
);

const OWN_OPTIONS: &[OptionDef] = &[SCHEMA, LEGACY_TIMESTAMPS];

/// The two lists as one.
const fn joined() -> [OptionDef; REGISTRY_OPTIONS.len() + OWN_OPTIONS.len()] {
    let mut all = [SCHEMA; REGISTRY_OPTIONS.len() + OWN_OPTIONS.len()];
    let mut place = 0;
    while place < all.len() {
        all[place] = match place < REGISTRY_OPTIONS.len() {
            true => REGISTRY_OPTIONS[place],
            false => OWN_OPTIONS[place - REGISTRY_OPTIONS.len()],
        };
        place += 1;
    }
    all
}

static OPTIONS: [OptionDef; REGISTRY_OPTIONS.len() + OWN_OPTIONS.len()] = joined();

/// A format whose schemas are in a registry.
pub struct ConfluentFormat {
    is_debezium: bool,
}

impl ConfluentFormat {
    /// `avro-confluent`.
    pub const AVRO: Self = Self { is_debezium: false };
    /// `debezium-avro-confluent`.
    pub const DEBEZIUM: Self = Self { is_debezium: true };

    fn check(&self, options: &Options) -> Result<()> {
        let owner = format!("format '{}'", self.identifier());
        options.check(&owner, &[&OPTIONS])
    }
}

impl FormatFactory for ConfluentFormat {
    fn identifier(&self) -> &'static str {
        match self.is_debezium {
            true => "debezium-avro-confluent",
            false => "avro-confluent",
        }
    }

    fn options(&self) -> &'static [OptionDef] {
        &OPTIONS
    }

    fn doc(&self) -> &'static str {
        match self.is_debezium {
            true => "changes as Debezium writes them, in Avro with a schema registry",
            false => "Avro messages whose schemas are in a schema registry",
        }
    }

    fn example(&self) -> &'static str {
        match self.is_debezium {
            true => include_str!("example_debezium.sql"),
            false => include_str!("example_confluent.sql"),
        }
    }

    fn create_decoder(&self, request: &DecodeRequest) -> Result<Box<dyn Decoder>> {
        self.check(&request.options)?;
        record_schema(&request.schema, mapping(&request.options)?)?;
        let format = self.identifier();
        let settings = Settings::new(&request.options)?;
        if !self.is_debezium {
            return Ok(Box::new(ConfluentDecoder::new(
                request.clone(),
                settings,
                format,
            )?));
        }
        let (dialect, all) = (Dialect::Debezium, Included::default());
        let none = Metadata::default();
        let decoder =
            ChangeDecoder::new(dialect, format, request, all, none, false, |envelopes| {
                let inner = ConfluentDecoder::new(envelopes.request, settings, format)?;
                Ok(Box::new(inner))
            })?;
        Ok(Box::new(decoder))
    }

    fn create_encoder(&self, request: &EncodeRequest) -> Result<Box<dyn Encoder>> {
        let options = &request.options;
        self.check(options)?;
        let format = self.identifier();
        let subject = options.get(SUBJECT.key).ok_or_else(|| {
            let message = format!(
                "a table that is written needs the option '{format}.subject' ({})",
                SUBJECT.doc
            );
            Error::user("MISSING_OPTION", message)
        })?;
        let written = match self.is_debezium {
            true => envelope_of(&request.schema),
            false => request.schema.clone(),
        };
        let derived = record_schema(&written, mapping(options)?)?.to_string();
        let text = match options.get(SCHEMA.key) {
            None => derived,
            Some(given) => {
                check_same(
                    &parse_schema(given)?,
                    &parse_schema(&derived)?,
                    given,
                    &derived,
                )?;
                given.to_string()
            }
        };
        Ok(Box::new(ConfluentEncoder {
            format,
            is_debezium: self.is_debezium,
            schema: request.schema.clone(),
            subject: subject.to_string(),
            text,
            settings: Settings::new(options)?,
            prefix: None,
            registration: None,
        }))
    }

    fn decoded_mode(&self, _options: &Options) -> ChangelogMode {
        self.encoded_mode()
    }

    fn encoded_mode(&self) -> ChangelogMode {
        match self.is_debezium {
            true => ChangelogMode::RETRACT,
            false => ChangelogMode::APPEND,
        }
    }
}

/// The columns of a change of a table.
fn envelope_of(table: &Schema) -> Schema {
    let columns = table.columns().iter();
    let fields = columns.map(|c| RowField::new(&c.name, c.data_type.clone()));
    let row = LogicalType::Row(fields.collect()).nullable();
    Schema::new(vec![
        Column::new("before", row.clone()),
        Column::new("after", row),
        Column::new("op", LogicalType::STRING.nullable()),
    ])
}

/// Refuses a schema whose records are not laid out as those of the table's own.
fn check_same(given: &Avro, derived: &Avro, given_text: &str, derived_text: &str) -> Result<()> {
    if is_same(given, derived) {
        return Ok(());
    }
    Err(Error::user(
        "INVALID_OPTION",
        format!(
            "option 'schema' is {given_text}, which does not fit the table's columns; they are {derived_text}, names of records apart"
        ),
    ))
}

fn is_same(given: &Avro, derived: &Avro) -> bool {
    match (given, derived) {
        (Avro::Record(a), Avro::Record(b)) => {
            a.fields.len() == b.fields.len()
                && a.fields
                    .iter()
                    .zip(&b.fields)
                    .all(|(a, b)| a.name == b.name && is_same(&a.schema, &b.schema))
        }
        (Avro::Union(a), Avro::Union(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Avro::Array(a), Avro::Array(b)) => is_same(a, b),
        (Avro::Map(a), Avro::Map(b)) => is_same(a, b),
        // The same record a second time, as the row before the change.
        (Avro::Ref(_), Avro::Record(_)) => true,
        (a, b) => a == b,
    }
}

/// Decodes messages of any schema that the registry knows.
struct ConfluentDecoder {
    format: &'static str,
    request: DecodeRequest,
    schemas: Arc<Schemas>,
    /// By the schema's id; an error where the table cannot be read from it.
    programs: StableHashMap<u32, Result<Arc<Program>>>,
    /// That of the last message.
    last: Option<(u32, Arc<Program>)>,
    rows: Rows,
}

impl ConfluentDecoder {
    fn new(request: DecodeRequest, settings: Settings, format: &'static str) -> Result<Self> {
        Ok(Self {
            format,
            rows: Rows::new(&request)?,
            request,
            schemas: Arc::new(Schemas::new(settings)),
            programs: StableHashMap::default(),
            last: None,
        })
    }

    #[inline]
    fn program(&mut self, id: u32) -> Result<Arc<Program>> {
        match &self.last {
            Some((last, program)) if *last == id => Ok(program.clone()),
            _ => self.other_program(id),
        }
    }

    fn other_program(&mut self, id: u32) -> Result<Arc<Program>> {
        let program = match self.programs.get(&id) {
            Some(program) => program.clone()?,
            None => {
                let text = self.schemas.get(id, &|| true)?;
                let program = self.compile(id, &text).map(Arc::new);
                if self.programs.len() >= MAX_SCHEMAS {
                    self.programs.clear();
                }
                self.programs.insert(id, program.clone());
                program?
            }
        };
        self.last = Some((id, program.clone()));
        Ok(program)
    }

    fn compile(&self, id: u32, text: &str) -> Result<Program> {
        parse_schema(text)
            .and_then(|schema| Program::compile(&schema, &self.request))
            .map_err(|error| error.context(format!("schema {id} of the registry")))
    }
}

impl EnvelopeDecoder for ConfluentDecoder {}

impl Decoder for ConfluentDecoder {
    fn decode_block(&mut self, _block: &Buffer, _is_last: bool) -> Result<usize> {
        Err(not_in_blocks(self.format))
    }

    fn decode_message(&mut self, message: &[u8]) -> Result<()> {
        // A tombstone of a compacted topic.
        if message.is_empty() {
            return Ok(());
        }
        let Some(id) = schema_id(message) else {
            let head = message.iter().take(PREFIX_BYTES);
            let message = format!(
                "message of {} bytes: it begins with {:02x?}, not with 0 and the id of a schema; was it written with a schema registry?",
                message.len(),
                head.collect::<Vec<_>>()
            );
            return Err(Error::user("MALFORMED_RECORD", message));
        };
        let program = self.program(id)?;
        self.rows.push(&program, &message[PREFIX_BYTES..])
    }

    fn lookahead(&self) -> Option<Box<dyn Lookahead>> {
        Some(Box::new(SchemaLookahead::new(self.schemas.clone())))
    }

    fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    fn flush(&mut self) -> Result<Option<ChangelogBatch>> {
        self.rows.flush()
    }
}

/// Encodes rows, or changes of rows, behind the id of their schema.
struct ConfluentEncoder {
    format: &'static str,
    is_debezium: bool,
    schema: Schema,
    subject: String,
    text: String,
    settings: Settings,
    /// Known once the schema is registered.
    prefix: Option<[u8; PREFIX_BYTES]>,
    registration: Option<Registration>,
}

/// A schema that is being registered, on a thread of its own.
struct Registration {
    id: Receiver<Result<u32>>,
    is_dropped: Arc<AtomicBool>,
}

impl Registration {
    fn start(settings: Settings, subject: String, schema: String) -> Result<Self> {
        let (sender, id) = sync_channel(1);
        let is_dropped = Arc::new(AtomicBool::new(false));
        let dropped = is_dropped.clone();
        let body = move || {
            let is_wanted = || !dropped.load(Ordering::Relaxed);
            let registry = Registry::new(&settings);
            // Who has gone wants no answer.
            let _ = sender.send(registry.and_then(|r| r.register(&subject, &schema, &is_wanted)));
        };
        std::thread::Builder::new()
            .name("schema-registry".into())
            .spawn(body)
            .map_err(|e| Error::external("THREAD", format!("no thread can be started: {e}")))?;
        Ok(Self { id, is_dropped })
    }

    /// The id, if it is known within this time.
    fn wait(&self, time: Duration) -> Result<Option<u32>> {
        match self.id.recv_timeout(time) {
            Ok(id) => id.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Error::internal(
                "the thread that registers a schema has ended",
            )),
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.is_dropped.store(true, Ordering::Relaxed);
    }
}

/// The longest that rows wait for the schema at once; the thread that registers it gives up sooner.
const REGISTRATION_WAIT: Duration = Duration::from_secs(600);

impl ConfluentEncoder {
    fn prefix(&mut self) -> Result<[u8; PREFIX_BYTES]> {
        self.prepare(REGISTRATION_WAIT)?;
        self.prefix.ok_or_else(|| {
            let message = format!(
                "subject '{}': the schema registry has not answered for {} s",
                self.subject,
                REGISTRATION_WAIT.as_secs()
            );
            Error::external("SCHEMA_REGISTRY", message).retryable()
        })
    }
}

impl Encoder for ConfluentEncoder {
    fn encode_block(&mut self, _batch: &ChangelogBatch, _out: &mut Vec<u8>) -> Result<()> {
        Err(not_in_blocks(self.format))
    }

    fn prepare(&mut self, wait: Duration) -> Result<bool> {
        if self.prefix.is_some() {
            return Ok(true);
        }
        let registration = match self.registration.take() {
            Some(registration) => registration,
            None => Registration::start(
                self.settings.clone(),
                self.subject.clone(),
                self.text.clone(),
            )?,
        };
        match registration.wait(wait)? {
            Some(id) => {
                let [a, b, c, d] = id.to_be_bytes();
                self.prefix = Some([0, a, b, c, d]);
            }
            None => self.registration = Some(registration),
        }
        Ok(self.prefix.is_some())
    }

    fn encode_messages(
        &mut self,
        batch: &ChangelogBatch,
        out: &mut Vec<u8>,
        ends: &mut Vec<usize>,
    ) -> Result<()> {
        let prefix = self.prefix()?;
        let writer = RowWriter::new(&self.schema, batch.rows().columns())?;
        for row in 0..batch.num_rows() {
            out.extend_from_slice(&prefix);
            if !self.is_debezium {
                writer.write(row, out);
            } else if batch.kinds().is_none_or(|kinds| adds(kinds[row])) {
                // Branches of unions: null, the row; then the letter.
                out.extend_from_slice(&[0, 2]);
                writer.write(row, out);
                out.push(2);
                write_bytes(b"c", out);
            } else {
                out.push(2);
                writer.write(row, out);
                out.extend_from_slice(&[0, 2]);
                write_bytes(b"d", out);
            }
            ends.push(out.len());
        }
        Ok(())
    }
}
