//! Protobuf's wire format: numbers, lengths, tags.

/// What was expected where the bytes are not of the message's description.
pub(crate) type Fault = &'static str;
pub(crate) type Read<T> = Result<T, Fault>;

const CUT_OFF: Fault = "more bytes than there are";

/// The wire types.
pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const BYTES: u8 = 2;
const GROUP: u8 = 3;
const GROUP_END: u8 = 4;
pub(crate) const FIXED32: u8 = 5;
/// Groups of unknown fields may be nested only so deep.
const MAX_GROUPS: usize = 100;

/// A place in a message.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    pub data: &'a [u8],
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    pub fn is_done(&self) -> bool {
        self.at >= self.data.len()
    }

    #[inline]
    pub fn varint(&mut self) -> Read<u64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = *self.data.get(self.at).ok_or(CUT_OFF)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number of at most ten bytes")
    }

    #[inline]
    pub fn take(&mut self, size: usize) -> Read<&'a [u8]> {
        let end = self.at.checked_add(size);
        let bytes = end
            .and_then(|end| self.data.get(self.at..end))
            .ok_or(CUT_OFF)?;
        self.at += size;
        Ok(bytes)
    }

    #[inline]
    pub fn bytes(&mut self) -> Read<&'a [u8]> {
        let size = self.varint()?;
        self.take(usize::try_from(size).map_err(|_| CUT_OFF)?)
    }

    pub fn chunk<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| CUT_OFF)
    }

    /// A field's number and wire type.
    #[inline]
    pub fn tag(&mut self) -> Read<(u32, u8)> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| "a field number")?;
        match number {
            0 => Err("a field number above 0"),
            _ => Ok((number, (tag & 7) as u8)),
        }
    }

    #[inline]
    pub fn skip(&mut self, wire: u8, depth: usize) -> Read<()> {
        match wire {
            VARINT => drop(self.varint()?),
            FIXED64 => drop(self.take(8)?),
            BYTES => drop(self.bytes()?),
            FIXED32 => drop(self.take(4)?),
            GROUP if depth < MAX_GROUPS => loop {
                let (_, inner) = self.tag()?;
                if inner == GROUP_END {
                    break;
                }
                self.skip(inner, depth + 1)?;
            },
            _ => return Err("a known wire type"),
        }
        Ok(())
    }
}
