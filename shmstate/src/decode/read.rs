//! Bytes of an archive, checked: numbers, relative pointers, strings.

use std::fmt;

/// Bytes that do not hold what their description says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken {
    /// What is not there.
    pub what: &'static str,
    /// Where it should be, in bytes from the first.
    pub at: usize,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {} at byte {} of the record", self.what, self.at)
    }
}

impl std::error::Error for Broken {}

pub(super) type Result<T> = std::result::Result<T, Broken>;

#[cold]
pub(super) fn broken(what: &'static str, at: usize) -> Broken {
    Broken { what, at }
}

/// The offset of rkyv's relative pointers that lead nowhere.
const INVALID: i32 = 1;
/// Bytes of a string that lies in its place; also those of one that does not.
const INLINE: usize = 8;
/// What the two upper bits of the first byte of a string say if it lies elsewhere.
const ELSEWHERE: u8 = 0x80;
/// Behind the end of a string that lies in its place.
const FILL: u8 = 0xff;

/// The bytes of a record, and how many of them may still be followed into (Y1, Y2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'b> {
    bytes: &'b [u8],
    left: usize,
}

impl<'b> Bytes<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self {
            bytes,
            left: bytes.len(),
        }
    }

    #[inline]
    pub(super) fn get(&self, at: usize, length: usize, what: &'static str) -> Result<&'b [u8]> {
        let end = at.checked_add(length);
        end.and_then(|end| self.bytes.get(at..end))
            .ok_or_else(|| broken(what, at))
    }

    #[inline]
    pub(super) fn array<const N: usize>(&self, at: usize, what: &'static str) -> Result<[u8; N]> {
        let rest = self.bytes.get(at..).and_then(<[u8]>::first_chunk);
        rest.copied().ok_or_else(|| broken(what, at))
    }

    #[inline]
    pub(super) fn byte(&self, at: usize, what: &'static str) -> Result<u8> {
        self.bytes.get(at).copied().ok_or_else(|| broken(what, at))
    }

    #[inline]
    pub(super) fn word(&self, at: usize, what: &'static str) -> Result<u32> {
        self.array(at, what).map(u32::from_le_bytes)
    }

    /// Where the relative pointer at `at` leads; `None` if nowhere.
    #[inline]
    pub(super) fn target(&self, at: usize, what: &'static str) -> Result<Option<usize>> {
        let offset = i32::from_le_bytes(self.array(at, what)?);
        if offset == INVALID {
            return Ok(None);
        }
        let target = at.checked_add_signed(offset as isize);
        target.ok_or_else(|| broken(what, at)).map(Some)
    }

    /// Charges what lies outside of its owner's bytes (Y2).
    #[inline]
    pub(super) fn claim(&mut self, at: usize, length: usize, what: &'static str) -> Result<()> {
        let inside = at.checked_add(length).is_some_and(|end| end <= self.bytes.len());
        match self.left.checked_sub(length) {
            Some(left) if inside => {
                self.left = left;
                Ok(())
            }
            _ => Err(broken(what, at)),
        }
    }

    /// Where the pointer at `at` leads, and the length behind it.
    #[inline]
    pub(super) fn slice(&self, at: usize, what: &'static str) -> Result<(usize, usize)> {
        let length = self.word(at.wrapping_add(4), what)? as usize;
        let offset = i32::from_le_bytes(self.array(at, what)?);
        let target = at.checked_add_signed(offset as isize).ok_or_else(|| broken(what, at))?;
        Ok((target, length))
    }

    fn text(&self, at: usize, bytes: &'b [u8]) -> Result<&'b str> {
        std::str::from_utf8(bytes).map_err(|_| broken("string", at))
    }

    /// The `String` at `at`.
    #[inline]
    pub(super) fn string(&mut self, at: usize) -> Result<&'b str> {
        let own = self.get(at, INLINE, "string")?;
        if own[0] & 0xc0 != ELSEWHERE {
            let length = own.iter().position(|byte| *byte == FILL).unwrap_or(INLINE);
            return self.text(at, &own[..length]);
        }
        let word = self.word(at, "string")?;
        // The two bits that say so stand in the first byte; the rest of the length around them.
        let length = (word & 0x3f | (word & !0xff) >> 2) as usize;
        let offset = self.word(at + 4, "string")?.cast_signed();
        let start = at
            .checked_add_signed(offset as isize)
            .ok_or_else(|| broken("string", at))?;
        self.claim(start, length, "string")?;
        self.text(start, self.get(start, length, "string")?)
    }

    /// The `Box<str>` at `at`.
    pub(super) fn boxed_str(&mut self, at: usize) -> Result<&'b str> {
        let (start, length) = self.slice(at, "string")?;
        self.claim(start, length, "string")?;
        self.text(start, self.get(start, length, "string")?)
    }
}
