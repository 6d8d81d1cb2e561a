//! Options of the Nexmark generator: the keys of nexmark-flink's connector, and a seed.

use flott_core::options::{OptionDef, OptionType, Options};
use flott_core::{Error, Result};

const FIRST_RATE: OptionDef = OptionDef::new(
    "first-event.rate",
    OptionType::Integer,
    "events per second of event time: an event comes 1/rate after the last",
)
.default("10000");
const NEXT_RATE: OptionDef = OptionDef::new(
    "next-event.rate",
    OptionType::Integer,
    "events per second of processing time when 'rate.limited' is true",
)
.default("10000");
const RATE_LIMITED: OptionDef = OptionDef::new(
    "rate.limited",
    OptionType::Boolean,
    "hold events back to 'next-event.rate'",
)
.default("false");
const EVENTS_NUM: OptionDef = OptionDef::new(
    "events.num",
    OptionType::Integer,
    "events in all; 0 is without end",
)
.default("0");
const PERSONS: OptionDef = OptionDef::new(
    "person.proportion",
    OptionType::Integer,
    "persons in each round of events",
)
.default("1");
const AUCTIONS: OptionDef = OptionDef::new(
    "auction.proportion",
    OptionType::Integer,
    "auctions in each round of events",
)
.default("3");
const BIDS: OptionDef = OptionDef::new(
    "bid.proportion",
    OptionType::Integer,
    "bids in each round of events",
)
.default("46");
const HOT_AUCTIONS: OptionDef = OptionDef::new(
    "bid.hot-ratio.auctions",
    OptionType::Integer,
    "n: all but one in n bids are for a hot auction",
)
.default("2");
const HOT_BIDDERS: OptionDef = OptionDef::new(
    "bid.hot-ratio.bidders",
    OptionType::Integer,
    "n: all but one in n bids are by a hot bidder",
)
.default("4");
const HOT_SELLERS: OptionDef = OptionDef::new(
    "auction.hot-ratio.sellers",
    OptionType::Integer,
    "n: all but one in n auctions are by a hot seller",
)
.default("4");
const PERSON_SIZE: OptionDef = OptionDef::new(
    "person.avg-size",
    OptionType::MemorySize,
    "average size of a person",
)
.default("200b");
const AUCTION_SIZE: OptionDef = OptionDef::new(
    "auction.avg-size",
    OptionType::MemorySize,
    "average size of an auction",
)
.default("500b");
const BID_SIZE: OptionDef = OptionDef::new(
    "bid.avg-size",
    OptionType::MemorySize,
    "average size of a bid",
)
.default("100b");
const SEED: OptionDef =
    OptionDef::new("seed", OptionType::Integer, "equal seeds give equal events").default("0");
const BASE_TIME: OptionDef = OptionDef::new(
    "base-time",
    OptionType::Integer,
    "the first event's time, in ms since 1970-01-01 UTC",
)
.default("1436918400000");

/// Keys of nexmark-flink that change nothing here.
const IGNORED: &str = "accepted for compatibility; has no effect";

/// Every option of the connector.
pub const OPTIONS: &[OptionDef] = &[
    FIRST_RATE,
    NEXT_RATE,
    RATE_LIMITED,
    EVENTS_NUM,
    PERSONS,
    AUCTIONS,
    BIDS,
    HOT_AUCTIONS,
    HOT_BIDDERS,
    HOT_SELLERS,
    PERSON_SIZE,
    AUCTION_SIZE,
    BID_SIZE,
    SEED,
    BASE_TIME,
    OptionDef::new("rate.shape", OptionType::Enum(&["SQUARE", "SINE"]), IGNORED),
    OptionDef::new("rate.period", OptionType::Duration, IGNORED),
    OptionDef::new("keep-alive", OptionType::Boolean, IGNORED),
    OptionDef::new("stop-at", OptionType::Integer, IGNORED),
    OptionDef::new("max-emit-speed", OptionType::Boolean, IGNORED),
];

/// The generator's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct NexmarkConfig {
    /// Events per second of event time.
    pub event_rate: u64,
    /// Events per second of processing time, where limited.
    pub rate_limit: Option<u64>,
    /// `None` is without end.
    pub num_events: Option<u64>,
    pub persons: u64,
    pub auctions: u64,
    pub bids: u64,
    pub hot_auction_ratio: u64,
    pub hot_bidder_ratio: u64,
    pub hot_seller_ratio: u64,
    pub person_size: u64,
    pub auction_size: u64,
    pub bid_size: u64,
    pub seed: u64,
    pub base_time_ms: i64,
}

impl NexmarkConfig {
    /// Reads the options, checked against [`OPTIONS`] before.
    pub fn parse(options: &Options) -> Result<Self> {
        let number = |def: &OptionDef, least: i64| -> Result<u64> {
            let value = options.integer(def)?.unwrap_or_default();
            if value < least {
                let message = format!("option '{}' is {value}; it takes {least} or more", def.key);
                return Err(Error::user("INVALID_OPTION", message));
            }
            Ok(value as u64)
        };
        let size = |def: &OptionDef| Ok::<_, Error>(options.memory_size(def)?.unwrap_or_default());
        let is_limited = options.boolean(&RATE_LIMITED)?.unwrap_or_default();
        let rate_limit = number(&NEXT_RATE, 1)?;
        Ok(Self {
            event_rate: number(&FIRST_RATE, 1)?,
            rate_limit: is_limited.then_some(rate_limit),
            num_events: Some(number(&EVENTS_NUM, 0)?).filter(|n| *n > 0),
            persons: number(&PERSONS, 1)?,
            auctions: number(&AUCTIONS, 1)?,
            bids: number(&BIDS, 0)?,
            hot_auction_ratio: number(&HOT_AUCTIONS, 1)?,
            hot_bidder_ratio: number(&HOT_BIDDERS, 1)?,
            hot_seller_ratio: number(&HOT_SELLERS, 1)?,
            person_size: size(&PERSON_SIZE)?,
            auction_size: size(&AUCTION_SIZE)?,
            bid_size: size(&BID_SIZE)?,
            seed: options.integer(&SEED)?.unwrap_or_default() as u64,
            base_time_ms: options.integer(&BASE_TIME)?.unwrap_or_default(),
        })
    }

    /// Events in a round: persons, then auctions, then bids.
    pub fn round(&self) -> u64 {
        self.persons + self.auctions + self.bids
    }
}
