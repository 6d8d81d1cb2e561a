//! The fields of the Nexmark table, and how each becomes a column.

use std::cell::OnceCell;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StructArray, TimestampMillisecondArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType as ArrowType, Fields};
use flott_core::source::FieldPath;
use flott_core::{Error, Result};

use super::generator::{Draw, EventType, Generator};

/// The table's columns and the fields of each row.
pub const FIELDS: [(&str, &[&str]); 4] = [
    ("event_type", &[]),
    (
        "person",
        &[
            "id",
            "name",
            "emailAddress",
            "creditCard",
            "city",
            "state",
            "dateTime",
            "extra",
        ],
    ),
    (
        "auction",
        &[
            "id",
            "itemName",
            "description",
            "initialBid",
            "reserve",
            "dateTime",
            "expires",
            "seller",
            "category",
            "extra",
        ],
    ),
    (
        "bid",
        &[
            "auction", "bidder", "price", "channel", "url", "dateTime", "extra",
        ],
    ),
];

/// A batch's events: `numbers[i]` is the event of row `i`.
pub struct Events<'a> {
    pub generator: &'a Generator,
    pub numbers: &'a [u64],
    /// The events of each type, once they are asked for.
    by_type: [OnceCell<Vec<Option<u64>>>; 3],
}

impl<'a> Events<'a> {
    pub fn new(generator: &'a Generator, numbers: &'a [u64]) -> Self {
        Self {
            generator,
            numbers,
            by_type: Default::default(),
        }
    }

    /// The column of a field path into the table's columns; `arrow_type` is what the table
    /// declares for it.
    pub fn column(&self, path: &FieldPath, arrow_type: &ArrowType) -> Result<ArrayRef> {
        match path.0.as_slice() {
            [0] => Ok(self.event_types()),
            [column] => self.row(*column, arrow_type),
            [column, field] => {
                let event_type = row_type(*column)?;
                self.field(event_type, *field, self.of_type(event_type))
            }
            _ => Err(unknown(path)),
        }
    }

    fn event_types(&self) -> ArrayRef {
        let types = self
            .numbers
            .iter()
            .map(|e| self.generator.event_type(*e) as i32);
        Arc::new(Int32Array::from_iter_values(types))
    }

    /// The events of one type; the others are `None`.
    fn of_type(&self, event_type: EventType) -> &[Option<u64>] {
        let keep = |e: &u64| (self.generator.event_type(*e) == event_type).then_some(*e);
        let events = &self.by_type[event_type as usize];
        events.get_or_init(|| self.numbers.iter().map(keep).collect())
    }

    fn row(&self, column: usize, arrow_type: &ArrowType) -> Result<ArrayRef> {
        let event_type = row_type(column)?;
        let ArrowType::Struct(fields) = arrow_type else {
            return Err(Error::internal(format!(
                "column {column} is {arrow_type}, not a row"
            )));
        };
        let events = self.of_type(event_type);
        let children = (0..fields.len())
            .map(|field| self.field(event_type, field, events))
            .collect::<Result<Vec<_>>>()?;
        let nulls = NullBuffer::from_iter(events.iter().map(Option::is_some));
        Ok(Arc::new(StructArray::try_new(
            Fields::clone(fields),
            children,
            Some(nulls),
        )?))
    }

    fn field(
        &self,
        event_type: EventType,
        field: usize,
        events: &[Option<u64>],
    ) -> Result<ArrayRef> {
        let name = FIELDS[event_type as usize + 1].1.get(field).copied();
        let name = name.ok_or_else(|| unknown(&FieldPath(vec![event_type as usize + 1, field])))?;
        Ok(match event_type {
            EventType::Person => self.person_field(name, events),
            EventType::Auction => self.auction_field(name, events),
            EventType::Bid => self.bid_field(name, events),
        })
    }

    fn person_field(&self, name: &str, events: &[Option<u64>]) -> ArrayRef {
        let g = self.generator;
        match name {
            "id" => integers(events, |e| g.person_id(e)),
            "name" => g.person_names(events),
            "emailAddress" => g.emails(events),
            "creditCard" => g.credit_cards(events),
            "city" => g.cities(events),
            "state" => g.states(events),
            "dateTime" => times(events, |e| g.time_ms(e)),
            // 8 bytes of id, about 60 of name, address, card, city and state.
            _ => g.extras(events, 68, g.config.person_size),
        }
    }

    fn auction_field(&self, name: &str, events: &[Option<u64>]) -> ArrayRef {
        let g = self.generator;
        match name {
            "id" => integers(events, |e| g.auction_id(e)),
            "itemName" => g.words(events, Draw::Name, Draw::NameSize, 20),
            "description" => g.words(events, Draw::Description, Draw::DescriptionSize, 100),
            "initialBid" => integers(events, |e| g.price(e)),
            "reserve" => integers(events, |e| g.reserve(e)),
            "dateTime" => times(events, |e| g.time_ms(e)),
            "expires" => times(events, |e| g.expires_ms(e)),
            "seller" => integers(events, |e| g.seller(e)),
            "category" => integers(events, |e| g.category(e)),
            // Six numbers of 8 bytes, about 61 of name and description.
            _ => g.extras(events, 109, g.config.auction_size),
        }
    }

    fn bid_field(&self, name: &str, events: &[Option<u64>]) -> ArrayRef {
        let g = self.generator;
        match name {
            "auction" => integers(events, |e| g.bid_auction(e)),
            "bidder" => integers(events, |e| g.bidder(e)),
            "price" => integers(events, |e| g.price(e)),
            "channel" => g.channels(events),
            "url" => g.urls(events),
            "dateTime" => times(events, |e| g.time_ms(e)),
            _ => g.extras(events, 32, g.config.bid_size),
        }
    }
}

fn row_type(column: usize) -> Result<EventType> {
    match column {
        1 => Ok(EventType::Person),
        2 => Ok(EventType::Auction),
        3 => Ok(EventType::Bid),
        _ => Err(unknown(&FieldPath::column(column))),
    }
}

fn unknown(path: &FieldPath) -> Error {
    Error::internal(format!("the nexmark table has no field {:?}", path.0))
}

fn integers(events: &[Option<u64>], value: impl Fn(u64) -> i64) -> ArrayRef {
    if events.iter().all(Option::is_some) {
        let values = events.iter().map(|e| value(e.unwrap_or_default()));
        return Arc::new(Int64Array::from_iter_values(values));
    }
    Arc::new(Int64Array::from_iter(events.iter().map(|e| e.map(&value))))
}

fn times(events: &[Option<u64>], value: impl Fn(u64) -> i64) -> ArrayRef {
    if events.iter().all(Option::is_some) {
        let values = events.iter().map(|e| value(e.unwrap_or_default()));
        return Arc::new(TimestampMillisecondArray::from_iter_values(values));
    }
    Arc::new(TimestampMillisecondArray::from_iter(
        events.iter().map(|e| e.map(&value)),
    ))
}
