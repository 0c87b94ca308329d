//! The header of a message, and reading and writing the fields of its body.
//!
//! - Header, 16 bytes, little-endian: `0 u32 magic "HOV1" · 4 u16 protocol version · 6 u16 kind · 8 u32 length of
//!   the body · 12 u32 message number`.
//! - Strict: a body is read to its last byte; what ends early, goes on, or means nothing is a typed error.
//!   Lengths are checked before anything is allocated by them.
//! - A version is an entry of [`Version`]; the header and the messages `hello` and `refuse` never change, so that
//!   two builds that share no version can still say so.
//!
//! This file does not know the kinds of messages.

use super::sabotage::{Left, left_out};
use crate::error::{Error, FrameProblem, Result};

/// "HOV1".
pub const MAGIC: u32 = u32::from_le_bytes(*b"HOV1");
/// Bytes of a header.
pub const HEADER_LEN: usize = 16;
/// Longest message, header included.
pub const MAX_FRAME: usize = 32 * 1024;

/// The protocol versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum Version {
    /// Hello to abort: a handover up to the cutover.
    V1 = 1,
    /// What both sides say to each other while the new owner is on probation; `offer` says how long that is.
    V2 = 2,
}

/// The lowest version this build speaks, and the one that `hello` and `refuse` are always written in.
pub const LOWEST: u16 = Version::V1 as u16;
/// The highest version this build speaks.
pub const HIGHEST: u16 = Version::V2 as u16;

/// The highest version that both sides speak, where the other speaks `lowest` to `highest`.
///
/// # Errors
/// [`Error::Unsupported`] if there is none.
pub fn common_version(lowest: u16, highest: u16) -> Result<u16> {
    common_version_with(HIGHEST, lowest, highest)
}

/// As [`common_version`], for a side that speaks no more than `ours`.
///
/// # Errors
/// [`Error::Unsupported`].
pub fn common_version_with(ours: u16, lowest: u16, highest: u16) -> Result<u16> {
    let version = highest.min(ours);
    if lowest <= highest && version >= lowest.max(LOWEST) {
        Ok(version)
    } else {
        Err(Error::Unsupported {
            ours: (LOWEST, ours),
            theirs: (lowest, highest),
        })
    }
}

/// A decoded header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Protocol version of the message.
    pub version: u16,
    /// Its kind.
    pub kind: u16,
    /// Bytes of its body.
    pub length: u32,
    /// Its number in its direction, from 0.
    pub number: u32,
}

impl Header {
    /// Reads the header of `frame` and checks everything but kind and number. Returns it and the body.
    ///
    /// # Errors
    /// [`FrameProblem`], [`Error::Unsupported`].
    pub fn decode(frame: &[u8]) -> Result<(Self, &[u8])> {
        let Some((head, body)) = frame.split_first_chunk::<HEADER_LEN>() else {
            return Err(FrameProblem::Short {
                len: frame.len(),
                header: HEADER_LEN,
            }
            .into());
        };
        let mut r = Reader::new(head);
        let found = r.u32("the magic")?;
        let header = Self {
            version: r.u16("the version")?,
            kind: r.u16("the kind")?,
            length: r.u32("the length")?,
            number: r.u32("the number")?,
        };
        if found != MAGIC {
            return Err(FrameProblem::Magic { found }.into());
        }
        common_version(header.version, header.version)?;
        if header.length as usize != body.len() {
            return Err(FrameProblem::Length {
                announced: header.length,
                received: body.len(),
            }
            .into());
        }
        Ok((header, body))
    }
}

/// Reads the fields of a body, one after the other.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self { left: body }
    }

    fn bytes(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], FrameProblem> {
        let (head, rest) = self.left.split_at_checked(len).ok_or(FrameProblem::Ends { field })?;
        self.left = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], FrameProblem> {
        let (head, rest) = self.left.split_first_chunk().ok_or(FrameProblem::Ends { field })?;
        self.left = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, FrameProblem> {
        self.array(field).map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, FrameProblem> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, FrameProblem> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, FrameProblem> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self, field: &'static str) -> Result<u128, FrameProblem> {
        self.array(field).map(u128::from_le_bytes)
    }

    /// `u16 length, bytes`, at most `limit` bytes of UTF-8.
    pub(crate) fn string(&mut self, field: &'static str, limit: usize) -> Result<String, FrameProblem> {
        let len = usize::from(self.u16(field)?);
        if len > limit {
            return Err(FrameProblem::Limit { field, len, limit });
        }
        let bytes = self.bytes(len, field)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.into()),
            Err(_) => Err(FrameProblem::NotUtf8 { field }),
        }
    }

    /// `u16 length, bytes`, at most `limit` bytes.
    pub(crate) fn blob(&mut self, field: &'static str, limit: usize) -> Result<Vec<u8>, FrameProblem> {
        let len = usize::from(self.u16(field)?);
        if len > limit {
            return Err(FrameProblem::Limit { field, len, limit });
        }
        Ok(self.bytes(len, field)?.to_vec())
    }

    /// The body must end here.
    pub(crate) fn end(self) -> Result<(), FrameProblem> {
        match self.left.len() {
            0 => Ok(()),
            _ if left_out(Left::Tail) => Ok(()),
            left => Err(FrameProblem::LeftOver { left }),
        }
    }
}

/// Writes a message: the header when it is finished, the fields one after the other.
#[derive(Debug)]
pub(crate) struct Writer {
    frame: Vec<u8>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            frame: vec![0; HEADER_LEN],
        }
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.frame.extend_from_slice(bytes);
    }

    /// `u16 length, bytes`.
    pub(crate) fn string(&mut self, text: &str, field: &'static str, limit: usize) -> Result<(), FrameProblem> {
        self.blob(text.as_bytes(), field, limit)
    }

    /// `u16 length, bytes`.
    pub(crate) fn blob(&mut self, bytes: &[u8], field: &'static str, limit: usize) -> Result<(), FrameProblem> {
        let len = bytes.len();
        let limit = limit.min(u16::MAX.into());
        match u16::try_from(len) {
            Ok(short) if len <= limit => {
                self.put(&short.to_le_bytes());
                self.put(bytes);
                Ok(())
            }
            _ => Err(FrameProblem::Limit { field, len, limit }),
        }
    }

    /// The whole message.
    pub(crate) fn finish(mut self, version: u16, kind: u16, number: u32) -> Result<Vec<u8>, FrameProblem> {
        let len = self.frame.len();
        let limit = MAX_FRAME;
        let Ok(body) = u32::try_from(len - HEADER_LEN) else {
            return Err(FrameProblem::TooLong { len, limit });
        };
        if len > limit {
            return Err(FrameProblem::TooLong { len, limit });
        }
        self.frame[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        self.frame[4..6].copy_from_slice(&version.to_le_bytes());
        self.frame[6..8].copy_from_slice(&kind.to_le_bytes());
        self.frame[8..12].copy_from_slice(&body.to_le_bytes());
        self.frame[12..16].copy_from_slice(&number.to_le_bytes());
        Ok(self.frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_strict() {
        let good = Writer::new().finish(1, 6, 9).expect("encode");
        assert_eq!(good, b"HOV1\x01\0\x06\0\0\0\0\0\x09\0\0\0");
        let (header, body) = Header::decode(&good).expect("decode");
        assert_eq!((header.kind, header.number, body.len()), (6, 9, 0));

        let with = |at: usize, value: u8| {
            let mut bad = good.clone();
            bad[at] = value;
            Header::decode(&bad).expect_err("bad")
        };
        assert!(matches!(with(0, 0), Error::Frame(FrameProblem::Magic { .. })));
        assert!(matches!(with(4, 3), Error::Unsupported { theirs: (3, 3), .. }));
        assert!(matches!(with(4, 0), Error::Unsupported { .. }));
        assert!(matches!(
            with(8, 1),
            Error::Frame(FrameProblem::Length {
                announced: 1,
                received: 0
            })
        ));
        for len in 0..HEADER_LEN {
            assert!(matches!(
                Header::decode(&good[..len]),
                Err(Error::Frame(FrameProblem::Short { .. }))
            ));
        }
    }

    #[test]
    fn too_long_is_not_written() {
        let mut w = Writer::new();
        w.put(&vec![0; MAX_FRAME - HEADER_LEN]);
        assert_eq!(w.finish(1, 1, 0).expect("fits").len(), MAX_FRAME);
        let mut w = Writer::new();
        w.put(&vec![0; MAX_FRAME - HEADER_LEN + 1]);
        assert!(matches!(w.finish(1, 1, 0), Err(FrameProblem::TooLong { .. })));
    }

    #[test]
    fn versions_meet_or_do_not() {
        assert_eq!(common_version(1, 1).expect("same"), 1);
        assert_eq!(common_version(0, 7).expect("wide"), 2);
        assert_eq!(common_version(2, 3).expect("newer"), 2);
        for (lowest, highest) in [(3, 4), (0, 0), (2, 1), (1, 0)] {
            assert!(common_version(lowest, highest).is_err(), "{lowest} to {highest}");
        }
        assert_eq!(common_version_with(1, 1, 2).expect("the older"), 1);
        let refused = common_version_with(1, 2, 3).expect_err("nothing in common").to_string();
        assert!(refused.contains('1') && refused.contains('3'), "{refused}");
    }
}
