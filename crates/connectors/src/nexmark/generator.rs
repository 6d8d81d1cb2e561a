//! Nexmark events by column: every field of event `n` is a function of the seed and `n`, so that
//! only the columns asked for are computed, in any order, by any subtask.
//!
//! The distributions are those of the Nexmark suite (Tucker, Tufte, Papadimos, Maier: "NEXMark – A
//! Benchmark for Queries over Data Streams") as nexmark-flink runs them: rounds of persons,
//! auctions and bids; most bids go to the newest auction of each hundred and come from the second
//! newest person of each hundred; prices are log-uniform over six decades.

use flott_core::hash::mix;

use super::options::NexmarkConfig;

const FIRST_PERSON_ID: i64 = 1000;
const FIRST_AUCTION_ID: i64 = 1000;
const FIRST_CATEGORY_ID: i64 = 10;
const NUM_CATEGORIES: u64 = 5;
const PERSON_ID_LEAD: i64 = 10;
const AUCTION_ID_LEAD: i64 = 10;
const HOT_BATCH: i64 = 100;
const NUM_ACTIVE_PEOPLE: i64 = 1000;
const NUM_IN_FLIGHT_AUCTIONS: i64 = 100;

/// What an event is: the value of `event_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum EventType {
    Person = 0,
    Auction = 1,
    Bid = 2,
}

/// Names the independent random draws of an event.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
pub enum Draw {
    HotAuction = 1,
    Auction,
    HotBidder,
    Bidder,
    Price,
    HotChannel,
    Channel,
    Extra,
    ExtraSize,
    HotSeller,
    Seller,
    Category,
    Reserve,
    Expires,
    Name,
    NameSize,
    Description,
    DescriptionSize,
    FirstName,
    LastName,
    Email,
    CreditCard,
    City,
    State,
}

/// Computes fields of events.
#[derive(Debug, Clone)]
pub struct Generator {
    pub config: NexmarkConfig,
    round: u64,
    seed: u64,
    prices: PriceTable,
}

impl Generator {
    pub fn new(config: NexmarkConfig) -> Self {
        let (round, seed) = (config.round(), mix(0x6e65_786d_6172_6b00, config.seed));
        Self {
            config,
            round,
            seed,
            prices: PriceTable::new(),
        }
    }

    /// A uniform 64-bit number for one draw of one event.
    #[inline]
    pub fn draw(&self, event: u64, draw: Draw) -> u64 {
        mix(self.seed ^ event, draw as u64)
    }

    /// A uniform number below `n`.
    #[inline]
    pub fn below(&self, event: u64, draw: Draw, n: u64) -> u64 {
        ((u128::from(self.draw(event, draw)) * u128::from(n)) >> 64) as u64
    }

    #[inline]
    pub fn event_type(&self, event: u64) -> EventType {
        let position = event % self.round;
        if position < self.config.persons {
            EventType::Person
        } else if position < self.config.persons + self.config.auctions {
            EventType::Auction
        } else {
            EventType::Bid
        }
    }

    /// Event time in ms.
    #[inline]
    pub fn time_ms(&self, event: u64) -> i64 {
        let rate = self.config.event_rate;
        let elapsed_ms = match event.checked_mul(1_000) {
            Some(thousandths) => thousandths / rate,
            None => (u128::from(event) * 1_000 / u128::from(rate)) as u64,
        };
        self.config.base_time_ms + elapsed_ms as i64
    }

    /// The number of the newest person at this event, from 0.
    #[inline]
    fn newest_person(&self, event: u64) -> i64 {
        let position = (event % self.round).min(self.config.persons - 1);
        (event / self.round * self.config.persons + position) as i64
    }

    /// The number of the newest auction at this event, from 0; −1 before the first.
    #[inline]
    fn newest_auction(&self, event: u64) -> i64 {
        let (round, position) = ((event / self.round) as i64, event % self.round);
        let auctions = self.config.auctions as i64;
        if position < self.config.persons {
            (round - 1) * auctions + auctions - 1
        } else {
            let offset = (position - self.config.persons).min(self.config.auctions - 1);
            round * auctions + offset as i64
        }
    }

    /// One of the people that are active at this event, or a little ahead of them.
    #[inline]
    fn active_person(&self, event: u64, draw: Draw) -> i64 {
        let people = self.newest_person(event) + 1;
        let active = people.min(NUM_ACTIVE_PEOPLE);
        people - active + self.below(event, draw, (active + PERSON_ID_LEAD) as u64) as i64
    }

    #[inline]
    pub fn person_id(&self, event: u64) -> i64 {
        self.newest_person(event) + FIRST_PERSON_ID
    }

    #[inline]
    pub fn auction_id(&self, event: u64) -> i64 {
        self.newest_auction(event) + FIRST_AUCTION_ID
    }

    #[inline]
    pub fn seller(&self, event: u64) -> i64 {
        let is_hot = self.below(event, Draw::HotSeller, self.config.hot_seller_ratio) > 0;
        FIRST_PERSON_ID
            + if is_hot {
                self.newest_person(event) / HOT_BATCH * HOT_BATCH
            } else {
                self.active_person(event, Draw::Seller)
            }
    }

    #[inline]
    pub fn category(&self, event: u64) -> i64 {
        FIRST_CATEGORY_ID + self.below(event, Draw::Category, NUM_CATEGORIES) as i64
    }

    /// The initial bid of an auction, the price of a bid.
    #[inline]
    pub fn price(&self, event: u64) -> i64 {
        self.prices.price(self.draw(event, Draw::Price))
    }

    #[inline]
    pub fn reserve(&self, event: u64) -> i64 {
        self.price(event) + self.prices.price(self.draw(event, Draw::Reserve))
    }

    /// When an auction ends: on average when as many more auctions as are in flight have begun.
    #[inline]
    pub fn expires_ms(&self, event: u64) -> i64 {
        let ahead = NUM_IN_FLIGHT_AUCTIONS as u64 * self.round / self.config.auctions;
        let horizon = self.time_ms(event + ahead) - self.time_ms(event);
        let length = self.below(event, Draw::Expires, (horizon * 2).max(1) as u64);
        self.time_ms(event) + 1 + length as i64
    }

    /// The auction of a bid.
    #[inline]
    pub fn bid_auction(&self, event: u64) -> i64 {
        let newest = self.newest_auction(event);
        let is_hot = self.below(event, Draw::HotAuction, self.config.hot_auction_ratio) > 0;
        FIRST_AUCTION_ID
            + if is_hot {
                newest / HOT_BATCH * HOT_BATCH
            } else {
                let oldest = (newest - NUM_IN_FLIGHT_AUCTIONS).max(0);
                let choices = newest - oldest + 1 + AUCTION_ID_LEAD;
                oldest + self.below(event, Draw::Auction, choices as u64) as i64
            }
    }

    /// The bidder of a bid. The suite adds the first person's number twice; so does this.
    #[inline]
    pub fn bidder(&self, event: u64) -> i64 {
        let is_hot = self.below(event, Draw::HotBidder, self.config.hot_bidder_ratio) > 0;
        2 * FIRST_PERSON_ID
            + if is_hot {
                self.newest_person(event) / HOT_BATCH * HOT_BATCH + 1
            } else {
                self.active_person(event, Draw::Bidder)
            }
    }
}

/// `round(100 · 10^(6u))` for uniform `u`: a table over the leading bits and a quadratic between.
#[derive(Debug, Clone)]
struct PriceTable {
    steps: Vec<f64>,
}

const STEP_BITS: u32 = 10;

impl PriceTable {
    fn new() -> Self {
        let step = |i: u64| 100.0 * 10f64.powf(6.0 * i as f64 / (1u64 << STEP_BITS) as f64);
        Self {
            steps: (0..1 << STEP_BITS).map(step).collect(),
        }
    }

    #[inline]
    fn price(&self, random: u64) -> i64 {
        let index = (random >> (64 - STEP_BITS)) as usize;
        let rest = (random << STEP_BITS) as f64 / u64::MAX as f64;
        let x = rest * (6.0 * std::f64::consts::LN_10 / (1u64 << STEP_BITS) as f64);
        // Rounds to the nearest: prices are positive, and `f64::round` is a call on many targets.
        (self.steps[index] * (1.0 + x + 0.5 * x * x) + 0.5) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::NexmarkConfig;
    use super::*;

    fn generator() -> Generator {
        Generator::new(NexmarkConfig::parse(&Default::default()).unwrap())
    }

    #[test]
    fn rounds_hold_one_person_three_auctions_and_46_bids() {
        let generator = generator();
        let count = |t| (0..5000).filter(|e| generator.event_type(*e) == t).count();
        assert_eq!(count(EventType::Person), 100);
        assert_eq!(count(EventType::Auction), 300);
        assert_eq!(count(EventType::Bid), 4600);
    }

    #[test]
    fn ids_count_up_and_bids_are_for_auctions_near_the_newest() {
        let generator = generator();
        assert_eq!(generator.auction_id(1), 1000);
        assert_eq!(generator.auction_id(51), 1003);
        for event in (4..50_000).filter(|e| generator.event_type(*e) == EventType::Bid) {
            let distance = generator.auction_id(event) - generator.bid_auction(event);
            assert!((-10..=100).contains(&distance), "event {event}: {distance}");
        }
    }

    #[test]
    fn prices_are_log_uniform_over_six_decades() {
        let generator = generator();
        let prices: Vec<i64> = (0..60_000).map(|e| generator.price(e)).collect();
        assert!(prices.iter().all(|p| (100..=100_000_000).contains(p)));
        let decade = prices
            .iter()
            .filter(|p| (1000..10_000).contains(*p))
            .count();
        assert!((9_500..10_500).contains(&decade), "{decade}");
    }

    #[test]
    fn half_of_the_bids_are_for_hot_auctions() {
        let generator = generator();
        let bids: Vec<u64> = (5_000..30_000)
            .filter(|e| generator.event_type(*e) == EventType::Bid)
            .collect();
        let hot = bids
            .iter()
            .filter(|e| generator.bid_auction(**e) % 100 == 0)
            .count();
        assert!(
            (45..58).contains(&(hot * 100 / bids.len())),
            "{hot} of {}",
            bids.len()
        );
    }
}
