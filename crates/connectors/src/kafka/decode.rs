//! Messages to rows: key and value to their decoders, metadata beside them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use flott_core::changelog::{ChangelogBatch, RowKind};
use flott_core::dead_letter::{DeadLetter, DeadLetters};
use flott_core::format::{DecodeRequest, Decoder, Lookahead};
use flott_core::schema::Column;
use flott_core::{Error, ErrorKind, Result};

use super::batch::{Message, MessageBatch};
use super::metadata::MetadataKey;
use super::table::MessageLayout;

/// Where a column of the scan comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The value decoder's column of this number.
    Value(usize),
    /// The key decoder's column of this number.
    Key(usize),
    Metadata(MetadataKey),
}

/// How messages become the rows of a query.
#[derive(Clone)]
pub(super) struct DecodePlan {
    pub layout: MessageLayout,
    pub value: DecodeRequest,
    /// What the value's format says beside its columns.
    pub value_metadata: Vec<Column>,
    pub key: Option<DecodeRequest>,
    pub origins: Vec<Origin>,
    pub schema: SchemaRef,
    /// Messages that cannot be read become letters, said to come from the table of this name.
    pub dead_letters: Option<Arc<str>>,
}

impl DecodePlan {
    pub fn wants_headers(&self) -> bool {
        let headers = Origin::Metadata(MetadataKey::Headers);
        self.origins.contains(&headers)
    }
}

/// Decodes the messages of one reader.
pub(super) struct MessageDecoder {
    plan: Arc<DecodePlan>,
    value: Box<dyn Decoder>,
    key: Option<Box<dyn Decoder>>,
    rows: RowTracker,
    num_skipped: u64,
    letters: Option<DeadLetters>,
    num_letters: u64,
    /// Whether someone asks which message a row is of, though the row itself does not say it.
    keeps_places: bool,
}

/// Which message, which decoded key and which decoded value each row is made of.
#[derive(Default)]
struct RowTracker {
    /// Whether anyone asks: else rows are the decoded values.
    is_on: bool,
    /// Whether a decoder says how many rows it has only when it is flushed.
    flushes_each: bool,
    messages: Vec<u32>,
    keys: Vec<Option<u32>>,
    values: Vec<Option<u32>>,
    num_keys: u32,
    num_values: u32,
    flushed: Vec<ChangelogBatch>,
}

impl RowTracker {
    fn clear(&mut self) {
        self.messages.clear();
        self.keys.clear();
        self.values.clear();
        self.flushed.clear();
        (self.num_keys, self.num_values) = (0, 0);
    }

    fn push(&mut self, message: usize, key: Option<u32>, value: Option<u32>) {
        self.messages.push(message as u32);
        self.keys.push(key);
        self.values.push(value);
    }
}

impl MessageDecoder {
    pub fn new(plan: Arc<DecodePlan>, batch_size: usize) -> Result<Self> {
        let with_size = |request: &DecodeRequest| DecodeRequest {
            batch_size,
            ..request.clone()
        };
        let layout = &plan.layout;
        let value = layout
            .value
            .format
            .create_metadata_decoder(&with_size(&plan.value), &plan.value_metadata)?;
        let key = match (&layout.key, &plan.key) {
            (Some(part), Some(request)) => Some(part.format.create_decoder(&with_size(request))?),
            _ => None,
        };
        let of_value = |o: &Origin| matches!(o, Origin::Value(_));
        let mode = layout.value.format.decoded_mode(&layout.value.options);
        // A decoder of changes finds some faults only when it is flushed: after each message, so
        // that it is known whose fault it was.
        let is_blaming = plan.dead_letters.is_some() && !mode.is_append_only();
        let is_on =
            layout.is_upsert || key.is_some() || is_blaming || !plan.origins.iter().all(of_value);
        Ok(Self {
            rows: RowTracker {
                is_on,
                flushes_each: is_on && !mode.is_append_only(),
                ..RowTracker::default()
            },
            value,
            key,
            letters: plan
                .dead_letters
                .as_ref()
                .map(|_| DeadLetters::new(&plan.schema)),
            plan,
            num_skipped: 0,
            num_letters: 0,
            keeps_places: false,
        })
    }

    /// What sees messages before they are decoded, on a thread that may wait.
    pub fn lookahead(&self) -> MessageLookahead {
        MessageLookahead {
            value: self.value.lookahead(),
            key: self.key.as_ref().and_then(|key| key.lookahead()),
        }
    }

    /// Malformed messages skipped since the last call.
    pub fn take_skipped(&mut self) -> u64 {
        let key = self.key.as_ref().map_or(0, |k| k.num_skipped());
        let all = key + self.value.num_skipped();
        all - std::mem::replace(&mut self.num_skipped, all)
    }

    /// From now on [`MessageDecoder::places`] may be asked for.
    pub fn keep_places(&mut self) {
        self.keeps_places = true;
        let layout = &self.plan.layout;
        let mode = layout.value.format.decoded_mode(&layout.value.options);
        // Decoders of changes say how many rows they have when they are flushed.
        if !mode.is_append_only() {
            self.rows.is_on = true;
            self.rows.flushes_each = true;
        }
    }

    /// Messages that became dead letters in the batch that was decoded last.
    pub fn num_letters(&self) -> u64 {
        self.num_letters
    }

    /// For each of the rows decoded last, letters left out, the place of its partition in the batch.
    pub fn places(&self, messages: &[&Message], num_rows: usize) -> Result<Vec<u32>> {
        let rows = &self.rows.messages;
        if rows.len() < num_rows {
            return Err(Error::internal("a row without a message"));
        }
        let place = |message: &u32| messages[*message as usize].place;
        Ok(rows[..num_rows].iter().map(place).collect())
    }

    /// The rows of these messages of `batch`, and its dead letters behind them if the table has a
    /// place for them; `now_ms` is their time.
    ///
    /// # Errors
    /// Otherwise a user error that names the topic, partition and offset of a malformed message.
    pub fn decode(
        &mut self,
        batch: &MessageBatch,
        messages: &[&Message],
        now_ms: i64,
    ) -> Result<Option<ChangelogBatch>> {
        self.rows.clear();
        for (index, message) in messages.iter().enumerate() {
            let result = match self.rows.is_on {
                false => self.counted(index, batch.value(message)),
                true => self.tracked(index, batch.key(message), batch.value(message)),
            };
            if let Err(error) = result {
                self.bury(error, batch, message, now_ms)?;
            }
        }
        let rows = match self.rows.is_on {
            false => self.finish_values(),
            true => self.finish_tracked(batch, messages),
        }?;
        match &mut self.letters {
            None => Ok(rows),
            Some(letters) => {
                self.num_letters = letters.len() as u64;
                letters.complete(rows)
            }
        }
    }

    /// A message that cannot be read becomes a letter, or fails the job.
    #[cold]
    fn bury(
        &mut self,
        error: Error,
        batch: &MessageBatch,
        message: &Message,
        now_ms: i64,
    ) -> Result<()> {
        let place = &batch.places[message.place as usize];
        match (&self.plan.dead_letters, &mut self.letters) {
            (Some(source), Some(letters)) if error.kind() == ErrorKind::User => {
                letters.push(DeadLetter {
                    source: source.clone(),
                    topic: Some(place.topic.as_str().into()),
                    partition: Some(place.partition),
                    offset: Some(message.head.offset),
                    raw_key: batch.key(message).map(<[u8]>::to_vec),
                    raw: batch.value(message).map(<[u8]>::to_vec),
                    reason: error.message().to_string(),
                    time_ms: now_ms,
                    ..DeadLetter::default()
                });
                Ok(())
            }
            _ => Err(error.context(format!(
                "topic '{}' partition {} offset {}",
                place.topic, place.partition, message.head.offset
            ))),
        }
    }

    /// A value whose rows are all that the message gives.
    fn counted(&mut self, index: usize, value: Option<&[u8]>) -> Result<()> {
        self.value_only(value)?;
        if self.keeps_places {
            self.rows
                .messages
                .resize(self.value.num_rows(), index as u32);
        }
        Ok(())
    }

    fn value_only(&mut self, value: Option<&[u8]>) -> Result<()> {
        match value {
            Some(value) => self.value.decode_message(value),
            None => self.value.decode_null(),
        }
    }

    fn tracked(&mut self, index: usize, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<()> {
        let first_key = self.rows.num_keys;
        if let Some(decoder) = &mut self.key {
            match key {
                Some(key) => decoder.decode_message(key)?,
                None => decoder.decode_null()?,
            }
            self.rows.num_keys = decoder.num_rows() as u32;
        }
        let first_value = self.rows.num_values;
        let is_tombstone = self.plan.layout.is_upsert && value.is_none();
        if !is_tombstone {
            self.value_only(value)?;
            self.count_values()?;
        }
        let rows = &mut self.rows;
        let values: Vec<Option<u32>> = match is_tombstone {
            true => vec![None],
            false => (first_value..rows.num_values).map(Some).collect(),
        };
        for value in values {
            match self.key.is_some() {
                false => rows.push(index, None, value),
                true => {
                    for key in first_key..rows.num_keys {
                        rows.push(index, Some(key), value);
                    }
                }
            }
        }
        Ok(())
    }

    fn count_values(&mut self) -> Result<()> {
        self.rows.num_values = match self.rows.flushes_each {
            false => self.value.num_rows() as u32,
            true => {
                let flushed = self.value.flush()?;
                let num_rows = flushed.as_ref().map_or(0, |f| f.num_rows());
                self.rows.flushed.extend(flushed);
                self.rows.num_values + num_rows as u32
            }
        };
        Ok(())
    }

    fn finish_values(&mut self) -> Result<Option<ChangelogBatch>> {
        let Some(values) = self.value.flush()? else {
            return Ok(None);
        };
        let columns = self.plan.origins.iter().map(|origin| match origin {
            Origin::Value(index) => Ok(values.column(*index).clone()),
            _ => Err(Error::internal("a column without a decoder")),
        });
        let rows = self.batch(columns.collect::<Result<_>>()?, values.num_rows())?;
        Ok(Some(values.with_rows(rows)))
    }

    fn batch(&self, columns: Vec<ArrayRef>, num_rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(num_rows));
        let schema = self.plan.schema.clone();
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }

    fn finish_tracked(
        &mut self,
        batch: &MessageBatch,
        messages: &[&Message],
    ) -> Result<Option<ChangelogBatch>> {
        let keys = match &mut self.key {
            Some(key) => key.flush()?,
            None => None,
        };
        let values = self.all_values()?;
        let num_rows = self.rows.messages.len();
        if num_rows == 0 {
            return Ok(None);
        }
        let of_rows: Vec<&Message> = self
            .rows
            .messages
            .iter()
            .map(|&m| messages[m as usize])
            .collect();
        let mut columns = Vec::with_capacity(self.plan.origins.len());
        for (origin, field) in self.plan.origins.iter().zip(self.plan.schema.fields()) {
            let declared = field.data_type();
            columns.push(match origin {
                Origin::Value(i) => picked(&values, *i, &self.rows.values, declared)?,
                Origin::Key(i) => picked(&keys, *i, &self.rows.keys, declared)?,
                Origin::Metadata(key) => key.column(batch, &of_rows, declared)?,
            });
        }
        let rows = self.batch(columns, num_rows)?;
        Ok(Some(ChangelogBatch::new(rows, self.kinds(values.as_ref()))))
    }

    fn all_values(&mut self) -> Result<Option<ChangelogBatch>> {
        if !self.rows.flushes_each {
            return self.value.flush();
        }
        let Some(first) = self.rows.flushed.first() else {
            return Ok(None);
        };
        let batches = self.rows.flushed.iter();
        let rows = concat_batches(&first.schema(), batches.clone().map(ChangelogBatch::rows))?;
        let kinds: Vec<u8> = batches
            .flat_map(|b| (0..b.num_rows()).map(|row| b.kind(row) as u8))
            .collect();
        Ok(Some(ChangelogBatch::new(rows, Some(kinds.into()))))
    }

    fn kinds(&self, values: Option<&ChangelogBatch>) -> Option<flott_core::changelog::RowKinds> {
        let of_row = |value: &Option<u32>| match (value, values) {
            (None, _) => RowKind::Delete as u8,
            (Some(_), _) if self.plan.layout.is_upsert => RowKind::UpdateAfter as u8,
            (Some(row), Some(values)) => values.kind(*row as usize) as u8,
            (Some(_), None) => RowKind::Insert as u8,
        };
        let has_kinds = values.is_some_and(|v| v.kinds().is_some());
        let is_needed = self.plan.layout.is_upsert || has_kinds;
        is_needed.then(|| {
            self.rows
                .values
                .iter()
                .map(of_row)
                .collect::<Vec<_>>()
                .into()
        })
    }
}

/// Gets what the messages of a reader need to be decoded.
pub(super) struct MessageLookahead {
    value: Option<Box<dyn Lookahead>>,
    key: Option<Box<dyn Lookahead>>,
}

impl MessageLookahead {
    pub fn look(&mut self, batch: &MessageBatch, is_wanted: &dyn Fn() -> bool) {
        if let Some(lookahead) = &mut self.value {
            let values = batch.messages.iter().filter_map(|m| batch.value(m));
            values.for_each(|value| lookahead.look(value, is_wanted));
        }
        if let Some(lookahead) = &mut self.key {
            let keys = batch.messages.iter().filter_map(|m| batch.key(m));
            keys.for_each(|key| lookahead.look(key, is_wanted));
        }
    }
}

/// A decoded column at these rows; NULL where there is none.
fn picked(
    decoded: &Option<ChangelogBatch>,
    column: usize,
    rows: &[Option<u32>],
    declared: &arrow::datatypes::DataType,
) -> Result<ArrayRef> {
    let Some(decoded) = decoded else {
        return Ok(arrow::array::new_null_array(declared, rows.len()));
    };
    let column = decoded.column(column);
    let is_all = rows.len() == column.len()
        && rows
            .iter()
            .enumerate()
            .all(|(i, row)| *row == Some(i as u32));
    match is_all {
        true => Ok(column.clone()),
        false => Ok(take(column, &UInt32Array::from(rows.to_vec()), None)?),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Int32Type, Int64Type};
    use flott_core::options::Options;
    use flott_core::schema::Schema;
    use flott_core::source::FieldPath;
    use flott_core::types::LogicalType;

    use super::super::batch::{Gathering, MessageHead};
    use super::super::table::Part;
    use super::*;

    fn request(schema: &Schema, fields: &[usize]) -> DecodeRequest {
        DecodeRequest {
            schema: schema.clone(),
            fields: fields.iter().map(|f| FieldPath::column(*f)).collect(),
            options: Options::default(),
            batch_size: 1,
        }
    }

    /// A table `(k INT, v INT)` whose key is `k`, read with the message's offset.
    fn plan(is_upsert: bool) -> DecodePlan {
        let column = |name: &str, logical: LogicalType| Column::new(name, logical.nullable());
        let (k, v) = (column("k", LogicalType::Int), column("v", LogicalType::Int));
        let part = |columns: Vec<Column>, places: Vec<usize>| Part {
            format: Arc::new(flott_formats::JsonFormat),
            options: Options::default(),
            columns: places,
            schema: Schema::new(columns),
        };
        let key = part(vec![k.clone()], vec![0]);
        let value = part(vec![k.clone(), v.clone()], vec![0, 1]);
        let schema = Schema::new(vec![k, v, column("offset", LogicalType::BigInt)]);
        DecodePlan {
            value: request(&value.schema, &[1]),
            value_metadata: Vec::new(),
            key: Some(request(&key.schema, &[0])),
            origins: vec![
                Origin::Key(0),
                Origin::Value(0),
                Origin::Metadata(MetadataKey::Offset),
            ],
            schema: schema.to_arrow(),
            layout: MessageLayout {
                key: Some(key),
                value,
                is_upsert,
            },
            dead_letters: None,
        }
    }

    fn decoded(
        is_upsert: bool,
        messages: &[(&str, Option<&str>)],
    ) -> Vec<(String, i32, Option<i32>, i64)> {
        let mut gathering = Gathering::new(100, false);
        for (offset, (key, value)) in messages.iter().enumerate() {
            let head = MessageHead {
                offset: offset as i64,
                ..MessageHead::default()
            };
            gathering.begin("t", 0, head);
            gathering.push_key(Some(key.as_bytes()));
            gathering.push_value(value.map(str::as_bytes));
        }
        let batch = gathering.take().unwrap();
        let all: Vec<&Message> = batch.messages.iter().collect();
        let mut decoder = MessageDecoder::new(Arc::new(plan(is_upsert)), 100).unwrap();
        let rows = decoder.decode(&batch, &all, 0).unwrap().unwrap();
        let (k, v) = (
            rows.column(0).as_primitive::<Int32Type>(),
            rows.column(1).as_primitive::<Int32Type>(),
        );
        let offsets = rows.column(2).as_primitive::<Int64Type>();
        (0..rows.num_rows())
            .map(|i| {
                let value = v.is_valid(i).then(|| v.value(i));
                (
                    rows.kind(i).to_string(),
                    k.value(i),
                    value,
                    offsets.value(i),
                )
            })
            .collect()
    }

    #[test]
    fn what_a_change_says_of_its_table_stands_beside_its_rows() {
        let column = |name: &str, logical: LogicalType| Column::new(name, logical.nullable());
        let (v, origin) = (
            column("v", LogicalType::Int),
            column("source.table", LogicalType::STRING),
        );
        let value = Part {
            format: Arc::new(flott_formats::ChangeFormat::DEBEZIUM),
            options: Options::default(),
            columns: vec![0],
            schema: Schema::new(vec![v.clone()]),
        };
        let plan = DecodePlan {
            value: request(&value.schema, &[0]),
            value_metadata: vec![origin.clone()],
            origins: vec![Origin::Value(1), Origin::Value(0)],
            schema: Schema::new(vec![origin, v]).to_arrow(),
            layout: MessageLayout {
                key: None,
                value,
                is_upsert: false,
            },
            ..plan(false)
        };
        let mut gathering = Gathering::new(100, false);
        gathering.begin("t", 0, MessageHead::default());
        gathering.push_key(None);
        gathering.push_value(Some(
            br#"{"before":{"v":1},"after":{"v":2},"op":"u","source":{"table":"orders"}}"#,
        ));
        let batch = gathering.take().unwrap();
        let all: Vec<&Message> = batch.messages.iter().collect();
        let plan = DecodePlan { key: None, ..plan };
        let mut decoder = MessageDecoder::new(Arc::new(plan), 100).unwrap();
        let rows = decoder.decode(&batch, &all, 0).unwrap().unwrap();
        let origins = rows.column(0).as_string_view();
        assert_eq!([origins.value(0), origins.value(1)], ["orders"; 2]);
        assert_eq!(rows.column(1).as_primitive::<Int32Type>().values(), &[1, 2]);
    }

    #[test]
    fn a_tombstone_deletes_its_key() {
        let rows = decoded(
            true,
            &[
                ("{\"k\":1}", Some("{\"k\":1,\"v\":7}")),
                ("{\"k\":1}", None),
            ],
        );
        let row = |kind: &str, v, offset| (kind.to_string(), 1, v, offset);
        assert_eq!(rows, [row("+U", Some(7), 0), row("-D", None, 1)]);
    }

    #[test]
    fn keys_values_and_offsets_stay_together() {
        let messages = [
            ("{\"k\":1}", Some("{\"v\":7}")),
            ("{\"k\":2}", None),
            ("{\"k\":3}", Some("[{\"v\":8},{\"v\":9}]")),
        ];
        let row = |k, v, offset| ("+I".to_string(), k, Some(v), offset);
        let expected = [row(1, 7, 0), row(3, 8, 2), row(3, 9, 2)];
        assert_eq!(decoded(false, &messages), expected);
    }
}
