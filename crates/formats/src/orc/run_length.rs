//! ORC's run-length encodings: of integers (two versions), bytes and truth values.
//!
//! Decoders append to vectors that grow with what is decoded, so that a number in a damaged file
//! cannot ask for memory that its streams do not fill.

use arrow::array::BooleanBufferBuilder;
use arrow::buffer::BooleanBuffer;
use flott_core::Result;

use super::compression::Stream;
use super::damaged;

/// The most values in a run of integers.
const MAX_RUN: usize = 512;
/// Room is made for so many values ahead of decoding them.
const MAX_RESERVED: usize = 64 << 10;

/// Makes room for values that are expected, but not for more than a good piece of them.
pub(super) fn room_for<T>(expected: usize) -> Vec<T> {
    Vec::with_capacity(expected.min(MAX_RESERVED))
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Reads integers.
pub(super) struct Integers {
    stream: Stream,
    is_signed: bool,
    is_v2: bool,
    /// The run in hand, and how many of its values are given out.
    run: Vec<i64>,
    at: usize,
    packed: Vec<u8>,
}

impl Integers {
    pub fn new(stream: Stream, is_signed: bool, is_v2: bool) -> Self {
        Self {
            stream,
            is_signed,
            is_v2,
            run: Vec::with_capacity(MAX_RUN),
            at: 0,
            packed: Vec::new(),
        }
    }

    /// Appends the next `count` values.
    ///
    /// # Errors
    /// A user error when there are not so many.
    pub fn read(&mut self, count: usize, out: &mut Vec<i64>) -> Result<()> {
        let mut left = count;
        while left > 0 {
            if self.at == self.run.len() {
                self.next_run()?;
            }
            let rest = &self.run[self.at..];
            let piece = left.min(rest.len());
            out.extend_from_slice(&rest[..piece]);
            self.at += piece;
            left -= piece;
        }
        Ok(())
    }

    fn next_run(&mut self) -> Result<()> {
        self.run.clear();
        self.at = 0;
        let first = self.stream.byte()?;
        match (self.is_v2, first >> 6) {
            (false, _) => self.run_v1(first as i8),
            (true, 0) => self.short_repeat(first),
            (true, 1) => self.direct(first),
            (true, 2) => self.patched(first),
            (true, _) => self.delta(first),
        }
    }

    fn varint(&mut self) -> Result<i64> {
        let value = self.stream.varint()? as u64;
        Ok(self.decoded(value))
    }

    fn decoded(&self, value: u64) -> i64 {
        match self.is_signed {
            true => zigzag(value),
            false => value as i64,
        }
    }

    /// A run with a constant step, or literals.
    fn run_v1(&mut self, control: i8) -> Result<()> {
        if control < 0 {
            for _ in 0..-i32::from(control) {
                let value = self.varint()?;
                self.run.push(value);
            }
            return Ok(());
        }
        let step = i64::from(self.stream.byte()? as i8);
        let mut value = self.varint()?;
        for _ in 0..control as usize + 3 {
            self.run.push(value);
            value = value.wrapping_add(step);
        }
        Ok(())
    }

    fn big_endian(&mut self, size: usize) -> Result<u64> {
        let mut value = 0;
        for _ in 0..size {
            value = value << 8 | u64::from(self.stream.byte()?);
        }
        Ok(value)
    }

    fn short_repeat(&mut self, first: u8) -> Result<()> {
        let value = self.big_endian(usize::from(first >> 3 & 7) + 1)?;
        let value = self.decoded(value);
        self.run.resize(usize::from(first & 7) + 3, value);
        Ok(())
    }

    /// The length of a run: nine bits, of which `first` holds the highest.
    fn length(&mut self, first: u8) -> Result<usize> {
        Ok((usize::from(first & 1) << 8 | usize::from(self.stream.byte()?)) + 1)
    }

    /// Appends `count` numbers of `width` bits to the run.
    fn unpack(&mut self, width: usize, count: usize) -> Result<()> {
        self.packed.clear();
        let size = (width * count).div_ceil(8);
        self.stream.read(size, &mut self.packed)?;
        let (mut held, mut num_bits) = (0u128, 0);
        let mut bytes = self.packed.iter();
        let mask = u64::MAX >> (64 - width);
        for _ in 0..count {
            while num_bits < width {
                held = held << 8 | u128::from(bytes.next().copied().unwrap_or_default());
                num_bits += 8;
            }
            num_bits -= width;
            self.run.push(((held >> num_bits) as u64 & mask) as i64);
        }
        Ok(())
    }

    fn direct(&mut self, first: u8) -> Result<()> {
        let width = width_of(first >> 1 & 31);
        let count = self.length(first)?;
        self.unpack(width, count)?;
        if self.is_signed {
            self.run.iter_mut().for_each(|v| *v = zigzag(*v as u64));
        }
        Ok(())
    }

    /// Small distances from the least value; those that are large have their upper bits in a list
    /// of patches.
    fn patched(&mut self, first: u8) -> Result<()> {
        let width = width_of(first >> 1 & 31);
        let count = self.length(first)?;
        let (third, fourth) = (self.stream.byte()?, self.stream.byte()?);
        let base_size = usize::from(third >> 5) + 1;
        let patch_width = width_of(third & 31);
        let gap_width = usize::from(fourth >> 5) + 1;
        let num_patches = usize::from(fourth & 31);
        let sign = 1u64 << (base_size * 8 - 1);
        let base = self.big_endian(base_size)?;
        // The highest bit is the sign.
        let base = match base & sign {
            0 => base as i64,
            _ => -((base & (sign - 1)) as i64),
        };
        self.unpack(width, count)?;
        if patch_width + gap_width > 64 {
            return Err(damaged("a patch of more than 64 bits"));
        }
        self.unpack(aligned(patch_width + gap_width), num_patches)?;
        let mut place = 0;
        for patch in count..count + num_patches {
            let patch = self.run[patch] as u64;
            place += (patch >> patch_width) as usize;
            let upper = patch & (u64::MAX >> (64 - patch_width));
            let value = self.run[..count].get_mut(place);
            let value = value.ok_or_else(|| damaged("a patch behind the end of its run"))?;
            *value |= upper.checked_shl(width as u32).unwrap_or_default() as i64;
        }
        self.run.truncate(count);
        self.run.iter_mut().for_each(|v| *v = base.wrapping_add(*v));
        Ok(())
    }

    /// A value, and the steps to those that follow.
    fn delta(&mut self, first: u8) -> Result<()> {
        let code = first >> 1 & 31;
        let count = self.length(first)?;
        let mut value = self.varint()?;
        let step = zigzag(self.stream.varint()? as u64);
        if code > 0 && count > 2 {
            self.unpack(width_of(code), count - 2)?;
        } else {
            self.run.resize(count.saturating_sub(2), step);
        }
        let is_stored = code > 0;
        let rest = self.run.len();
        self.run
            .splice(0..0, std::iter::repeat_n(step, count - rest));
        for (place, slot) in self.run.iter_mut().enumerate() {
            let by = match place {
                0 => 0,
                1 => step,
                // Stored steps go where the first one goes.
                _ if is_stored && step < 0 => slot.wrapping_neg(),
                _ => *slot,
            };
            value = value.wrapping_add(by);
            *slot = value;
        }
        Ok(())
    }
}

/// How many bits a code of five bits stands for.
fn width_of(code: u8) -> usize {
    match code {
        0..=23 => usize::from(code) + 1,
        24 => 26,
        25 => 28,
        26 => 30,
        27 => 32,
        28 => 40,
        29 => 48,
        30 => 56,
        _ => 64,
    }
}

/// The next width that has a code.
fn aligned(width: usize) -> usize {
    match width {
        0..=24 => width.max(1),
        25..=32 => width.next_multiple_of(2),
        _ => width.next_multiple_of(8),
    }
}

/// Reads bytes.
pub(super) struct Bytes {
    stream: Stream,
    /// How many values of the run are left, and what they are where it repeats one.
    left: usize,
    repeated: Option<u8>,
}

impl Bytes {
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            left: 0,
            repeated: None,
        }
    }

    fn next_run(&mut self) -> Result<()> {
        let control = self.stream.byte()? as i8;
        if control < 0 {
            self.left = usize::from(control.unsigned_abs());
            self.repeated = None;
        } else {
            self.left = control as usize + 3;
            self.repeated = Some(self.stream.byte()?);
        }
        Ok(())
    }

    /// Appends the next `count` values.
    ///
    /// # Errors
    /// A user error when there are not so many.
    pub fn read(&mut self, count: usize, out: &mut Vec<u8>) -> Result<()> {
        let mut wanted = count;
        while wanted > 0 {
            if self.left == 0 {
                self.next_run()?;
            }
            let piece = wanted.min(self.left);
            match self.repeated {
                Some(value) => out.resize(out.len() + piece, value),
                None => self.stream.read(piece, out)?,
            }
            self.left -= piece;
            wanted -= piece;
        }
        Ok(())
    }
}

/// Reads truth values, eight to a byte.
pub(super) struct Booleans {
    bytes: Bytes,
    /// Bits of the last byte that are left, at its upper end.
    held: u8,
    num_held: usize,
}

impl Booleans {
    pub fn new(stream: Stream) -> Self {
        Self {
            bytes: Bytes::new(stream),
            held: 0,
            num_held: 0,
        }
    }

    /// The next `count` values.
    ///
    /// # Errors
    /// A user error when there are not so many.
    pub fn read(&mut self, count: usize) -> Result<BooleanBuffer> {
        let mut bytes = room_for(count.div_ceil(8));
        let missing = count.saturating_sub(self.num_held);
        self.bytes.read(missing.div_ceil(8), &mut bytes)?;
        let mut out = BooleanBufferBuilder::new(count);
        let mut bytes = bytes.into_iter();
        for _ in 0..count {
            if self.num_held == 0 {
                self.held = bytes.next().unwrap_or_default();
                self.num_held = 8;
            }
            out.append(self.held & 0x80 != 0);
            self.held <<= 1;
            self.num_held -= 1;
        }
        Ok(out.finish())
    }
}

#[cfg(test)]
mod tests {
    use arrow::buffer::Buffer;

    use super::super::compression::{Codec, Compression};
    use super::*;

    fn stream(bytes: &[u8]) -> Stream {
        let compression = Compression {
            codec: Codec::None,
            block_size: 0,
        };
        Stream::new(Buffer::from(bytes), compression)
    }

    fn integers(bytes: &[u8], is_signed: bool, is_v2: bool, count: usize) -> Result<Vec<i64>> {
        let mut out = Vec::new();
        let mut integers = Integers::new(stream(bytes), is_signed, is_v2);
        integers.read(count, &mut out).map(|()| out)
    }

    // The examples of the specification.
    #[test]
    fn runs_of_the_specification_are_read() {
        let read = |bytes: &[u8], is_v2, count| integers(bytes, false, is_v2, count).unwrap();
        assert_eq!(read(&[0x61, 0x00, 0x07], false, 100), [7; 100]);
        let down: Vec<i64> = (1..=100).rev().collect();
        assert_eq!(read(&[0x61, 0xff, 0x64], false, 100), down);
        assert_eq!(read(&[0xfb, 2, 3, 6, 7, 0xb], false, 5), [2, 3, 6, 7, 11]);
        assert_eq!(read(&[0x0a, 0x27, 0x10], true, 5), [10_000; 5]);
        let direct = [0x5e, 0x03, 0x5c, 0xa1, 0xab, 0x1e, 0xde, 0xad, 0xbe, 0xef];
        assert_eq!(read(&direct, true, 4), [23713, 43806, 57005, 48879]);
        let delta = [0xc6, 0x09, 0x02, 0x02, 0x22, 0x42, 0x42, 0x46];
        assert_eq!(read(&delta, true, 10), [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        let patched = [
            0x8e, 0x13, 0x2b, 0x21, 0x07, 0xd0, 0x1e, 0x00, 0x14, 0x70, 0x28, 0x32, 0x3c, 0x46,
            0x50, 0x5a, 0x64, 0x6e, 0x78, 0x82, 0x8c, 0x96, 0xa0, 0xaa, 0xb4, 0xbe, 0xfc, 0xe8,
        ];
        let mut expected: Vec<i64> = vec![2030, 2000, 2020, 1_000_000];
        expected.extend((2040..=2190).step_by(10));
        assert_eq!(read(&patched, true, 20), expected);
    }

    #[test]
    fn bytes_and_bits_are_read_over_the_borders_of_runs() {
        let mut out = Vec::new();
        let mut bytes = Bytes::new(stream(&[0x61, 0x00, 0xfe, 0x44, 0x45]));
        bytes.read(99, &mut out).unwrap();
        bytes.read(3, &mut out).unwrap();
        assert_eq!(out[..100], [0; 100]);
        assert_eq!(out[100..], [0x44, 0x45]);
        assert!(bytes.read(1, &mut out).is_err());
        let mut bits = Booleans::new(stream(&[0xff, 0x80]));
        assert!(bits.read(1).unwrap().value(0));
        assert_eq!(bits.read(7).unwrap().count_set_bits(), 0);
        assert!(bits.read(1).is_err());
    }

    #[test]
    fn runs_that_cannot_be_are_refused() {
        for bad in [
            &[][..],
            &[0x5e],
            &[0x5e, 0x03, 0x5c],
            &[0x8e, 0x13, 0x2b, 0x3f, 0x07],
        ] {
            assert!(integers(bad, true, true, 1).is_err(), "{bad:?}");
        }
        assert!(integers(&[0x61, 0x00], true, false, 1).is_err());
        let none = integers(&[0xc0, 0x00, 0x08, 0x02], true, true, 1).unwrap();
        assert_eq!(none, [4]);
    }
}
