//! Topics, planned for one query.

use std::sync::Arc;
use std::time::Duration;

use flott_core::changelog::ChangelogMode;
use flott_core::connector::TableContext;
use flott_core::dead_letter;
use flott_core::format::DecodeRequest;
use flott_core::options::OptionDef;
use flott_core::schema::{Column, Schema};
use flott_core::source::{
    FieldPath, ReaderContext, ScanRequest, SourceReader, SplitEnumerator, TableSource,
    fields_schema,
};
use flott_core::watermark::SourceWatermarks;
use flott_core::{Error, Result};
use regex::Regex;

use super::decode::{DecodePlan, MessageDecoder, Origin};
use super::discovery::{DiscoveryPlan, KafkaEnumerator, Topics};
use super::metadata::MetadataKey;
use super::offsets::OffsetRule;
use super::options::{DISCOVERY_INTERVAL, GROUP_ID, SCAN_PARALLELISM, TOPIC, TOPIC_PATTERN};
use super::properties::{Role, client_config};
use super::reader::{KafkaReader, ReadPlan};
use super::table::{MessageLayout, Part};

/// What a consumer is unless the table says otherwise. Java's clients read uncommitted messages by
/// default, librdkafka does not; queues are limited to what keeps a reader busy.
const CONSUMER_DEFAULTS: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("isolation.level", "read_uncommitted"),
    ("queued.max.messages.kbytes", "32768"),
    ("fetch.message.max.bytes", "4194304"),
    ("topic.metadata.refresh.interval.ms", "60000"),
];

#[derive(Clone)]
pub(super) struct KafkaSource {
    plan: Arc<ReadPlan>,
    discovery: DiscoveryPlan,
    schema: Schema,
    mode: ChangelogMode,
    parallelism: Option<usize>,
}

/// A positive number of subtasks.
pub(super) fn parallelism(context: &TableContext<'_>, def: &OptionDef) -> Result<Option<usize>> {
    match context.options.integer(def)? {
        None => Ok(None),
        Some(p) if p >= 1 => Ok(Some(p as usize)),
        Some(p) => {
            let message = format!("option '{}' is '{p}'; it takes a positive number", def.key);
            Err(Error::user("INVALID_OPTION", message))
        }
    }
}

fn topics(context: &TableContext<'_>) -> Result<Topics> {
    let options = context.options;
    match (options.get(TOPIC.key), options.get(TOPIC_PATTERN.key)) {
        (Some(list), None) => {
            let names = list.split(';').map(str::trim).filter(|t| !t.is_empty());
            let names: Vec<String> = names.map(str::to_string).collect();
            match names.is_empty() {
                false => Ok(Topics::List(names)),
                true => Err(Error::user("INVALID_OPTION", "option 'topic' is empty")),
            }
        }
        (None, Some(pattern)) => Regex::new(pattern).map(Topics::Pattern).map_err(|error| {
            let message = format!(
                "option '{}' is no regular expression: {error}",
                TOPIC_PATTERN.key
            );
            Error::user("INVALID_OPTION", message)
        }),
        _ => Err(Error::user(
            "MISSING_OPTION",
            "a source needs either the option 'topic' or 'topic-pattern'",
        )),
    }
}

/// Gathers which fields come from where.
struct Origins<'a> {
    layout: &'a MessageLayout,
    value: Vec<FieldPath>,
    key: Vec<FieldPath>,
}

impl Origins<'_> {
    fn add(fields: &mut Vec<FieldPath>, part: &Part, path: &FieldPath) -> Option<usize> {
        let place = part.columns.iter().position(|c| *c == path.0[0])?;
        let mut inner = path.0.clone();
        inner[0] = place;
        fields.push(FieldPath(inner));
        Some(fields.len() - 1)
    }

    /// The value has a column in preference to the key; a tombstone has only the key.
    fn of(&mut self, path: &FieldPath) -> Option<Origin> {
        let layout = self.layout;
        let key = layout.key.as_ref();
        let is_key = |k: &Part| k.columns.contains(&path.0[0]);
        if let Some(key) = key.filter(|k| layout.is_upsert && is_key(k)) {
            return Self::add(&mut self.key, key, path).map(Origin::Key);
        }
        if let Some(index) = Self::add(&mut self.value, &layout.value, path) {
            return Some(Origin::Value(index));
        }
        Self::add(&mut self.key, key?, path).map(Origin::Key)
    }
}

impl KafkaSource {
    /// # Errors
    /// A user error that names the option or column that is wrong.
    pub fn new(
        context: &TableContext<'_>,
        layout: MessageLayout,
        request: &ScanRequest,
        connector: &str,
    ) -> Result<Self> {
        let options = context.options;
        let startup = match layout.is_upsert {
            true => OffsetRule::Earliest,
            false => OffsetRule::startup(options)?,
        };
        let topics = topics(context)?;
        if matches!((&startup, &topics), (OffsetRule::Specific(_), Topics::List(t)) if t.len() > 1)
            || matches!(
                (&startup, &topics),
                (OffsetRule::Specific(_), Topics::Pattern(_))
            )
        {
            return Err(Error::user(
                "INVALID_OPTION",
                "'scan.startup.mode' = 'specific-offsets' is for a single topic",
            ));
        }
        let bounded = OffsetRule::bounded(options)?;
        let generated = format!("flott-{}", context.path.name);
        let mut defaults = CONSUMER_DEFAULTS.to_vec();
        defaults.push(("group.id", &generated));
        defaults.push(("auto.offset.reset", startup.reset()));
        let mut config = client_config(options, Role::Consumer, &defaults)?;
        let group = options.get(GROUP_ID.key);
        let commits = group.is_some()
            && options.get("properties.commit.offsets.on.checkpoint") != Some("false");
        let discovery_config = config.clone();
        if bounded.is_some() {
            config.set("enable.partition.eof", "true");
        }
        let decode = Arc::new(decode_plan(context, &layout, request, connector)?);
        // Wrong options of the formats are refused before the job starts.
        MessageDecoder::new(decode.clone(), 1)?;
        let interval = options.duration(&DISCOVERY_INTERVAL)?;
        let schema = fields_schema(&context.table.source_schema(), &request.fields)?;
        let mode = match layout.is_upsert {
            true => ChangelogMode::UPSERT,
            false => layout.value.format.decoded_mode(&layout.value.options),
        };
        Ok(Self {
            mode,
            schema: match request.dead_letters {
                true => dead_letter::with_column(&schema),
                false => schema,
            },
            parallelism: parallelism(context, &SCAN_PARALLELISM)?,
            discovery: DiscoveryPlan {
                topics,
                config: discovery_config,
                startup,
                bounded,
                interval: interval.filter(|i| *i > Duration::ZERO),
            },
            plan: Arc::new(ReadPlan {
                config,
                decode,
                commits,
                watermarks: None,
                // Of changes nobody can say how many make a row.
                limit: request.limit.filter(|_| mode.is_append_only()),
            }),
        })
    }
}

fn decode_plan(
    context: &TableContext<'_>,
    layout: &MessageLayout,
    request: &ScanRequest,
    connector: &str,
) -> Result<DecodePlan> {
    let source_schema = context.table.source_schema();
    let schema = fields_schema(&source_schema, &request.fields)?;
    let mut gathered = Origins {
        layout,
        value: Vec::new(),
        key: Vec::new(),
    };
    let mut origins = Vec::with_capacity(request.fields.len());
    let mut value_metadata = Vec::new();
    for (path, column) in request.fields.iter().zip(schema.columns()) {
        let name = &source_schema.column(path.0[0]).name;
        origins.push(match (gathered.of(path), value_key(layout, name)) {
            (Some(origin), _) => Some(origin),
            (None, Some(key)) => {
                value_metadata.push(Column::new(key, column.data_type.clone()));
                None
            }
            (None, None) => {
                let key = MetadataKey::new(name, &column.data_type, connector)?;
                Some(Origin::Metadata(key))
            }
        });
    }
    // Behind the fields the value's decoder gives its metadata.
    let mut places = gathered.value.len()..;
    let of_value = |origin: Option<Origin>| {
        origin.unwrap_or_else(|| Origin::Value(places.next().unwrap_or_default()))
    };
    let origins = origins.into_iter().map(of_value).collect();
    let request_of = |part: &Part, fields: Vec<FieldPath>| DecodeRequest {
        schema: part.schema.clone(),
        fields,
        options: part.options.clone(),
        batch_size: 1,
    };
    let (value, key) = (gathered.value, gathered.key);
    // A key that nobody asks for is not decoded.
    let key = layout
        .key
        .as_ref()
        .filter(|_| !key.is_empty())
        .map(|p| request_of(p, key));
    Ok(DecodePlan {
        value: request_of(&layout.value, value),
        value_metadata,
        key,
        origins,
        schema: schema.to_arrow(),
        layout: layout.clone(),
        dead_letters: request
            .dead_letters
            .then(|| context.path.to_string().replace('`', "").into()),
    })
}

/// The key of the value format's own metadata column that `name` asks for: `value.source.table`.
fn value_key<'a>(layout: &MessageLayout, name: &'a str) -> Option<&'a str> {
    let key = name.strip_prefix("value.")?;
    let known = layout.value.format.metadata_columns();
    known.iter().any(|column| column.key == key).then_some(key)
}

impl TableSource for KafkaSource {
    fn schema(&self) -> Schema {
        self.schema.clone()
    }

    fn changelog_mode(&self) -> ChangelogMode {
        self.mode
    }

    fn is_bounded(&self) -> bool {
        self.discovery.bounded.is_some()
    }

    fn parallelism(&self) -> Option<usize> {
        self.parallelism
    }

    fn with_watermarks(&self, watermarks: SourceWatermarks) -> Option<Arc<dyn TableSource>> {
        let plan = ReadPlan {
            watermarks: Some(watermarks),
            ..(*self.plan).clone()
        };
        Some(Arc::new(Self {
            plan: Arc::new(plan),
            ..self.clone()
        }))
    }

    fn describe(&self) -> String {
        let topics = match &self.discovery.topics {
            Topics::List(names) => format!("topic={}", names.join(";")),
            Topics::Pattern(pattern) => format!("topic-pattern={pattern}"),
        };
        let watermarks = match self.plan.watermarks {
            Some(_) => ", watermarks by partition",
            None => "",
        };
        let layout = self.plan.decode.layout.describe();
        format!("{topics}, {layout}{watermarks}")
    }

    fn create_enumerator(
        &self,
        parallelism: usize,
        restored: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator>> {
        let enumerator = KafkaEnumerator::start(self.discovery.clone(), parallelism, restored)?;
        Ok(Box::new(enumerator))
    }

    fn create_reader(&self, context: ReaderContext) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(KafkaReader::new(self.plan.clone(), context)?))
    }
}
