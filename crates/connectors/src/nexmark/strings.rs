//! Text columns as views into shared pools: made once, never copied.

use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, StringViewArray, StringViewBuilder, make_view};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use flott_core::hash::mix;

use super::generator::{Draw, Generator};

const POOL_SIZE: usize = 1 << 20;
const NUM_CHANNELS: u64 = 10_000;
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CITIES: [&str; 10] = [
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
];
const FIRST_NAMES: [&str; 11] = [
    "Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter",
];
const LAST_NAMES: [&str; 9] = [
    "Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris",
];
const MIN_TEXT: u64 = 3;

/// Text in one buffer, and the view of each entry.
struct Pool {
    buffer: Buffer,
    views: Vec<u128>,
}

impl Pool {
    fn of(texts: impl Iterator<Item = String>) -> Self {
        let mut bytes = Vec::new();
        let views = texts.map(|text| {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(text.as_bytes());
            make_view(text.as_bytes(), 0, start)
        });
        let views = views.collect();
        Self {
            buffer: Buffer::from_vec(bytes),
            views,
        }
    }
}

/// The `i`-th of an endless row of pseudo-random numbers for making pools.
fn pool_random(i: u64) -> u64 {
    mix(0x706f_6f6c, i)
}

/// Letters in the odd alphabet of the suite's `extra` column.
fn extra_pool() -> &'static Buffer {
    static POOL: OnceLock<Buffer> = OnceLock::new();
    POOL.get_or_init(|| {
        let letter = |i| {
            let random = pool_random(i);
            let span = (random >> 8) % 26;
            // Runs of six letters come from one draw, upwards or downwards from 'a'.
            if pool_random(i / 6) & 1 == 0 {
                b'a' + span as u8
            } else {
                b'a' - span as u8
            }
        };
        Buffer::from_vec((0..POOL_SIZE as u64).map(letter).collect::<Vec<u8>>())
    })
}

/// Lower-case words.
fn word_pool() -> &'static Buffer {
    static POOL: OnceLock<Buffer> = OnceLock::new();
    POOL.get_or_init(|| {
        let letter = |i| {
            let random = pool_random(i ^ 0x5555_0000_0000);
            if random.is_multiple_of(13) {
                b' '
            } else {
                b'a' + ((random >> 8) % 26) as u8
            }
        };
        Buffer::from_vec((0..POOL_SIZE as u64).map(letter).collect::<Vec<u8>>())
    })
}

/// Channels: the cold ones by number, then the four hot ones; and their addresses likewise.
fn channel_pools() -> &'static (Pool, Pool) {
    static POOLS: OnceLock<(Pool, Pool)> = OnceLock::new();
    POOLS.get_or_init(|| {
        let names = (0..NUM_CHANNELS)
            .map(|i| format!("channel-{i}"))
            .chain(HOT_CHANNELS.iter().map(|name| name.to_string()));
        let addresses = (0..NUM_CHANNELS + HOT_CHANNELS.len() as u64).map(|i| {
            let has_channel = i < NUM_CHANNELS && !pool_random(i << 20).is_multiple_of(10);
            let id = i64::from((i as u32).reverse_bits() as i32).unsigned_abs();
            let query = if has_channel {
                format!("&channel_id={id}")
            } else {
                String::new()
            };
            let folder = |n: u64| path_part(i * 4 + n);
            let (a, b, c) = (folder(1), folder(2), folder(3));
            format!("https://www.nexmark.com/{a}/{b}/{c}/item.htm?query=1{query}")
        });
        (Pool::of(names), Pool::of(addresses))
    })
}

/// Three or four letters or underscores.
fn path_part(i: u64) -> String {
    let random = pool_random(i ^ 0x7061_7468_0000_0000);
    let letter = |n: u64| {
        let r = (random >> (n * 12)) & 0xfff;
        if r.is_multiple_of(13) {
            '_'
        } else {
            (b'a' + (r % 26) as u8) as char
        }
    };
    (0..3 + (random >> 60) % 2).map(letter).collect()
}

/// Builds a column of one view per event; `None` events are NULL.
fn views(events: &[Option<u64>], buffer: &Buffer, view: impl Fn(u64) -> u128) -> ArrayRef {
    let views: Vec<u128> = events.iter().map(|e| e.map_or(0, &view)).collect();
    let has_nulls = events.iter().any(Option::is_none);
    let nulls = has_nulls.then(|| NullBuffer::from_iter(events.iter().map(Option::is_some)));
    // SAFETY: each view was made by `make_view` over bytes of `buffer` at the offset it names, and
    // the pools hold ASCII only.
    let array = unsafe {
        StringViewArray::new_unchecked(ScalarBuffer::from(views), vec![buffer.clone()], nulls)
    };
    Arc::new(array)
}

impl Generator {
    #[inline]
    fn channel_index(&self, event: u64) -> usize {
        if self.below(event, Draw::HotChannel, 2) > 0 {
            (NUM_CHANNELS + self.below(event, Draw::Channel, HOT_CHANNELS.len() as u64)) as usize
        } else {
            self.below(event, Draw::Channel, NUM_CHANNELS) as usize
        }
    }

    pub(super) fn channels(&self, events: &[Option<u64>]) -> ArrayRef {
        self.pooled(events, &channel_pools().0)
    }

    pub(super) fn urls(&self, events: &[Option<u64>]) -> ArrayRef {
        self.pooled(events, &channel_pools().1)
    }

    fn pooled(&self, events: &[Option<u64>], pool: &Pool) -> ArrayRef {
        views(events, &pool.buffer, |event| {
            pool.views[self.channel_index(event)]
        })
    }

    /// Filler that brings an event of `used` bytes to about `average` bytes.
    pub(super) fn extras(&self, events: &[Option<u64>], used: u64, average: u64) -> ArrayRef {
        let pool = extra_pool();
        let wanted = average.saturating_sub(used).min(POOL_SIZE as u64 / 2);
        let delta = (wanted as f64 * 0.2).round() as u64;
        views(events, pool, |event| {
            let length = if delta == 0 {
                wanted
            } else {
                wanted - delta + self.below(event, Draw::ExtraSize, 2 * delta)
            };
            slice_view(
                pool,
                self.below(event, Draw::Extra, POOL_SIZE as u64 - length),
                length,
            )
        })
    }

    /// Words of up to `longest` letters, without blanks at the ends.
    pub(super) fn words(
        &self,
        events: &[Option<u64>],
        place: Draw,
        size: Draw,
        longest: u64,
    ) -> ArrayRef {
        let pool = word_pool();
        views(events, pool, |event| {
            let length = MIN_TEXT + self.below(event, size, longest - MIN_TEXT);
            let start = self.below(event, place, POOL_SIZE as u64 - length);
            let text = &pool[start as usize..(start + length) as usize];
            let trimmed = text.trim_ascii();
            let skipped = (text.len() - text.trim_ascii_start().len()) as u64;
            let start = if trimmed.is_empty() {
                start
            } else {
                start + skipped
            };
            slice_view(pool, start, trimmed.len() as u64)
        })
    }

    pub(super) fn person_names(&self, events: &[Option<u64>]) -> ArrayRef {
        self.built(events, |event, text| {
            text.push_str(self.pick(event, Draw::FirstName, &FIRST_NAMES));
            text.push(' ');
            text.push_str(self.pick(event, Draw::LastName, &LAST_NAMES));
        })
    }

    pub(super) fn emails(&self, events: &[Option<u64>]) -> ArrayRef {
        self.built(events, |event, text| {
            let random = self.draw(event, Draw::Email);
            let letters = |n: u64, count: u64| {
                (0..count).map(move |i| (b'a' + ((random >> (n + i * 5)) & 15) as u8) as char)
            };
            text.extend(letters(0, 3 + (random >> 60) % 4));
            text.push('@');
            text.extend(letters(32, 3 + (random >> 58) % 2));
            text.push_str(".com");
        })
    }

    pub(super) fn credit_cards(&self, events: &[Option<u64>]) -> ArrayRef {
        self.built(events, |event, text| {
            let random = self.draw(event, Draw::CreditCard);
            for group in 0..4 {
                let number = (random >> (group * 16)) & 0xffff;
                let digits = [
                    number / 1000 % 10,
                    number / 100 % 10,
                    number / 10 % 10,
                    number % 10,
                ];
                if group > 0 {
                    text.push(' ');
                }
                text.extend(digits.map(|d| (b'0' + d as u8) as char));
            }
        })
    }

    pub(super) fn cities(&self, events: &[Option<u64>]) -> ArrayRef {
        self.built(events, |event, text| {
            text.push_str(self.pick(event, Draw::City, &CITIES))
        })
    }

    pub(super) fn states(&self, events: &[Option<u64>]) -> ArrayRef {
        self.built(events, |event, text| {
            text.push_str(self.pick(event, Draw::State, &STATES))
        })
    }

    fn pick<'a>(&self, event: u64, draw: Draw, from: &[&'a str]) -> &'a str {
        from[self.below(event, draw, from.len() as u64) as usize]
    }

    fn built(&self, events: &[Option<u64>], write: impl Fn(u64, &mut String)) -> ArrayRef {
        let mut builder = StringViewBuilder::with_capacity(events.len());
        let mut text = String::new();
        for event in events {
            match event {
                Some(event) => {
                    text.clear();
                    write(*event, &mut text);
                    builder.append_value(&text);
                }
                None => builder.append_null(),
            }
        }
        Arc::new(builder.finish())
    }
}

#[inline]
fn slice_view(pool: &Buffer, start: u64, length: u64) -> u128 {
    let text = &pool[start as usize..(start + length) as usize];
    match text {
        // Most are long: their view is made in line.
        [a, b, c, d, ..] if length > 12 => {
            let prefix = u32::from_le_bytes([*a, *b, *c, *d]);
            u128::from(length) | u128::from(prefix) << 32 | u128::from(start) << 96
        }
        _ => make_view(text, 0, start as u32),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::super::options::NexmarkConfig;
    use super::*;

    #[test]
    fn text_is_valid_and_of_the_wanted_size() {
        let generator = Generator::new(NexmarkConfig::parse(&Default::default()).unwrap());
        let events: Vec<Option<u64>> = (0..1000).map(Some).chain([None]).collect();
        let extras = generator.extras(&events, 32, 100);
        extras.to_data().validate_full().unwrap();
        let total: usize = extras.as_string_view().iter().flatten().map(str::len).sum();
        assert!((60..76).contains(&(total / 1000)), "{total}");
        let words = generator.words(&events, Draw::Name, Draw::NameSize, 20);
        words.to_data().validate_full().unwrap();
        assert!(
            words
                .as_string_view()
                .iter()
                .flatten()
                .all(|w| w.trim() == w && w.len() < 20)
        );
        assert!(words.is_null(1000));
        generator.urls(&events).to_data().validate_full().unwrap();
        let channels = generator.channels(&events);
        let hot = channels
            .as_string_view()
            .iter()
            .flatten()
            .filter(|c| !c.contains('-'))
            .count();
        assert!((400..600).contains(&hot), "{hot}");
    }
}
