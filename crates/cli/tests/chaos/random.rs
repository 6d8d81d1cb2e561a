//! Seeded random numbers: a failing seed gives the same schedule again.

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(u64);

impl Random {
    /// Another one for the part of this name: parts do not disturb each other.
    pub fn part(seed: u64, name: &str) -> Self {
        let mixed = name
            .bytes()
            .fold(seed, |sum, byte| Self(sum ^ u64::from(byte)).next());
        Self(mixed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `limit`, which is more than 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
