//! Writing and reading the bytes of one frame: the length word, little-endian numbers, counted text.
//!
//! Reading never panics: what the counts ask for and the frame does not have is a `WrongLength`.
//! Writing trusts its callers' constants: the buffer of each frame type is as long as its longest frame.
//!
//! Not known here: which frames there are.

use super::ProtocolError;

/// Writes one frame to a buffer that the constants above make long enough.
pub(super) struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// Leaves room for the length word.
    pub(super) fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 2 }
    }

    pub(super) fn put<const N: usize>(&mut self, bytes: [u8; N]) -> &mut Self {
        self.put_slice(&bytes)
    }

    pub(super) fn put_slice(&mut self, bytes: &[u8]) -> &mut Self {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
        self
    }

    /// Fills in the length word; the frame's length in bytes.
    pub(super) fn finish(self) -> usize {
        // A frame has at most MAX_STATE_FRAME bytes.
        let length = (self.at - 2) as u16;
        self.out[..2].copy_from_slice(&length.to_le_bytes());
        self.at
    }
}

/// A complete frame's body, read from the front.
pub(super) struct Body<'a> {
    pub(super) kind: u8,
    length: usize,
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    /// The first frame of `bytes` and its length in bytes. `bounds` gives the least and most body bytes of a type.
    pub(super) fn first(
        bytes: &'a [u8],
        bounds: impl Fn(u8) -> Option<(usize, usize)>,
        expected: &'static str,
    ) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some((word, rest)) = bytes.split_first_chunk::<2>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_le_bytes(*word));
        if length == 0 {
            return Err(ProtocolError::Empty);
        }
        let Some(&kind) = rest.first() else {
            return Ok(None);
        };
        let Some((least, most)) = bounds(kind) else {
            return Err(ProtocolError::UnknownType { kind, length, expected });
        };
        if length < 1 + least || length > 1 + most {
            return Err(ProtocolError::WrongLength {
                kind,
                length,
                least: 1 + least,
                most: 1 + most,
            });
        }
        let Some(rest) = rest.get(1..length) else {
            return Ok(None);
        };
        Ok(Some((Self { kind, length, rest }, 2 + length)))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let Some((head, tail)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.short_by(N - self.rest.len()));
        };
        self.rest = tail;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ProtocolError> {
        self.take().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ProtocolError> {
        self.take().map(u16::from_le_bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16, ProtocolError> {
        self.take().map(i16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, ProtocolError> {
        self.take().map(u64::from_le_bytes)
    }

    /// A length byte and that many bytes of UTF-8.
    pub(super) fn text(&mut self, what: &'static str, limit: usize) -> Result<&'a str, ProtocolError> {
        let count = usize::from(self.u8()?);
        if count > limit {
            return Err(ProtocolError::TooMany {
                kind: self.kind,
                what,
                count,
                limit,
            });
        }
        let Some((head, tail)) = self.rest.split_at_checked(count) else {
            return Err(self.short_by(count - self.rest.len()));
        };
        self.rest = tail;
        std::str::from_utf8(head).map_err(|error| ProtocolError::NotUtf8 {
            kind: self.kind,
            at: error.valid_up_to(),
        })
    }

    /// The body must be used up.
    pub(super) fn end(self) -> Result<(), ProtocolError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        let needed = self.length - self.rest.len();
        Err(ProtocolError::WrongLength {
            kind: self.kind,
            length: self.length,
            least: needed,
            most: needed,
        })
    }

    /// The counts within ask for `missing` bytes more than the frame has.
    fn short_by(&self, missing: usize) -> ProtocolError {
        let needed = self.length + missing;
        ProtocolError::WrongLength {
            kind: self.kind,
            length: self.length,
            least: needed,
            most: needed,
        }
    }
}
