//! Metadata columns: what a message says beside its key and value.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType as ArrowType, Field, Fields, TimeUnit};
use flott_core::connector::MetadataColumn;
use flott_core::types::DataType;
use flott_core::{Error, Result};

use super::batch::{Message, MessageBatch};

/// The metadata columns of `kafka`.
pub(super) fn columns() -> Vec<MetadataColumn> {
    let column = |key, sql_type, is_writable, doc| MetadataColumn {
        key,
        sql_type,
        is_writable,
        doc,
    };
    vec![
        column("topic", "STRING NOT NULL", false, "the message's topic"),
        column("partition", "INT NOT NULL", false, "its partition's number"),
        column(
            "headers",
            "MAP<STRING, BYTES> NOT NULL",
            true,
            "its headers; the last one of a name",
        ),
        column(
            "leader-epoch",
            "INT NULL",
            false,
            "the epoch of the partition's leader that wrote it",
        ),
        column(
            "offset",
            "BIGINT NOT NULL",
            false,
            "its place in the partition",
        ),
        column(
            "timestamp",
            "TIMESTAMP_LTZ(3) NOT NULL",
            true,
            "its time, given by the producer or the broker",
        ),
        column(
            "timestamp-type",
            "STRING NOT NULL",
            false,
            "whose time it is: NoTimestampType, CreateTime (the producer's) or LogAppendTime (the broker's)",
        ),
    ]
}

/// A metadata column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetadataKey {
    Topic,
    Partition,
    Headers,
    LeaderEpoch,
    Offset,
    Timestamp,
    TimestampType,
}

impl MetadataKey {
    /// # Errors
    /// A user error that names the nearest known key, or says that the type does not fit.
    pub fn new(name: &str, declared: &DataType, connector: &str) -> Result<Self> {
        let key = match name {
            "topic" => Self::Topic,
            "partition" => Self::Partition,
            "headers" => Self::Headers,
            "leader-epoch" => Self::LeaderEpoch,
            "offset" => Self::Offset,
            "timestamp" => Self::Timestamp,
            "timestamp-type" => Self::TimestampType,
            _ => {
                let known = columns();
                let hint = flott_core::error::did_you_mean(name, known.iter().map(|c| c.key));
                let message =
                    format!("connector '{connector}' has no metadata column '{name}'{hint}");
                return Err(Error::user("UNKNOWN_METADATA", message));
            }
        };
        let (from, to) = (key.arrow_type(), declared.to_arrow());
        let fits = match key {
            Self::Headers => from == to,
            _ => can_cast_types(&from, &to),
        };
        if !fits {
            let message = format!(
                "metadata column '{name}' cannot be read as {}",
                declared.logical
            );
            return Err(Error::user("UNSUPPORTED_TYPE", message));
        }
        Ok(key)
    }

    pub fn arrow_type(self) -> ArrowType {
        match self {
            Self::Topic | Self::TimestampType => ArrowType::Utf8View,
            Self::Partition | Self::LeaderEpoch => ArrowType::Int32,
            Self::Offset => ArrowType::Int64,
            Self::Timestamp => ArrowType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Self::Headers => ArrowType::Map(Arc::new(entries_field()), false),
        }
    }

    /// The column of these messages, as `declared`.
    pub fn column(
        self,
        batch: &MessageBatch,
        messages: &[&Message],
        declared: &ArrowType,
    ) -> Result<ArrayRef> {
        let place = |m: &Message| &batch.places[m.place as usize];
        let all = messages.iter();
        let column: ArrayRef = match self {
            Self::Topic => Arc::new(
                all.map(|m| Some(place(m).topic.as_str()))
                    .collect::<StringViewArray>(),
            ),
            Self::Partition => Arc::new(Int32Array::from_iter_values(
                all.map(|m| place(m).partition),
            )),
            Self::Offset => Arc::new(Int64Array::from_iter_values(all.map(|m| m.head.offset))),
            Self::LeaderEpoch => Arc::new(
                all.map(|m| Some(m.head.leader_epoch).filter(|e| *e >= 0))
                    .collect::<Int32Array>(),
            ),
            Self::Timestamp => {
                let times = all.map(|m| m.head.timestamp_ms);
                Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC"))
            }
            Self::TimestampType => {
                let name = |m: &&Message| match m.head.timestamp_type {
                    1 => "CreateTime",
                    2 => "LogAppendTime",
                    _ => "NoTimestampType",
                };
                Arc::new(all.map(|m| Some(name(m))).collect::<StringViewArray>())
            }
            Self::Headers => headers(batch, messages)?,
        };
        match column.data_type() == declared {
            true => Ok(column),
            false => Ok(cast(&column, declared)?),
        }
    }
}

fn entry_fields() -> Fields {
    Fields::from(vec![
        Field::new("key", ArrowType::Utf8View, false),
        Field::new("value", ArrowType::BinaryView, true),
    ])
}

fn entries_field() -> Field {
    Field::new("entries", ArrowType::Struct(entry_fields()), false)
}

/// A map's keys are told apart: of headers with one name the last one counts, as in Flink.
fn headers(batch: &MessageBatch, messages: &[&Message]) -> Result<ArrayRef> {
    let mut names = StringViewBuilder::new();
    let mut values = BinaryViewBuilder::new();
    let mut lengths = Vec::with_capacity(messages.len());
    let mut last: Vec<(&[u8], Option<&[u8]>)> = Vec::new();
    for message in messages {
        last.clear();
        for (name, value) in batch.headers(message) {
            match last.iter_mut().find(|(n, _)| *n == name) {
                Some(earlier) => earlier.1 = value,
                None => last.push((name, value)),
            }
        }
        for (name, value) in &last {
            names.append_value(String::from_utf8_lossy(name));
            values.append_option(*value);
        }
        lengths.push(last.len());
    }
    let columns: Vec<ArrayRef> = vec![Arc::new(names.finish()), Arc::new(values.finish())];
    let entries = StructArray::new(entry_fields(), columns, None::<NullBuffer>);
    Ok(Arc::new(MapArray::try_new(
        Arc::new(entries_field()),
        OffsetBuffer::from_lengths(lengths),
        entries,
        None,
        false,
    )?))
}
