//! What clients and servers say to each other: requests and replies of fixed length, little-endian.
//!
//! ```text
//! request   0 u32 "ASK1" · 4 u32 0        · 8 u64 number of the request on this connection, from 1
//! reply     0 u32 "ANS1" · 4 u32 who      · 8 u64 number of the request · 16 u64 requests of this connection answered so far
//! ```
//! *who* tells the processes apart: the generation of a node, or a pid. A byte too many or too few moves the marks away, so a
//! stream that is read to its end without a wrong mark has lost and doubled none.
//!
//! This file stands alone: the peers' servers, a workspace of their own, include it.

/// Bytes of a request.
pub const REQUEST: usize = 16;
/// Bytes of a reply.
pub const REPLY: usize = 24;
const ASK: u32 = u32::from_le_bytes(*b"ASK1");
const ANSWER: u32 = u32::from_le_bytes(*b"ANS1");

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Who answered.
    pub who: u32,
    /// Which request.
    pub number: u64,
    /// How many of this connection were answered, by the server's state.
    pub answered: u64,
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A request as bytes.
#[must_use]
pub fn request(number: u64) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    bytes[..4].copy_from_slice(&ASK.to_le_bytes());
    bytes[8..].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// The number of a request; nothing if these bytes are none.
#[must_use]
pub fn asked(bytes: &[u8]) -> Option<u64> {
    (bytes.len() == REQUEST && half(bytes, 0)? == ASK && half(bytes, 4)? == 0).then(|| word(bytes, 8))?
}

impl Reply {
    /// As bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; REPLY] {
        let mut bytes = [0; REPLY];
        bytes[..4].copy_from_slice(&ANSWER.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.who.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..].copy_from_slice(&self.answered.to_le_bytes());
        bytes
    }

    /// From bytes; nothing if these are no reply.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != REPLY || half(bytes, 0)? != ANSWER {
            return None;
        }
        Some(Self {
            who: half(bytes, 4)?,
            number: word(bytes, 8)?,
            answered: word(bytes, 16)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_too_many_or_too_few_is_noticed() {
        let ask = request(7);
        assert_eq!(asked(&ask), Some(7));
        let reply = Reply {
            who: 3,
            number: 7,
            answered: 7,
        };
        let bytes = reply.bytes();
        assert_eq!(Reply::from_bytes(&bytes), Some(reply));
        let twice = [bytes, bytes].concat();
        for moved in 1..REPLY {
            assert_eq!(
                Reply::from_bytes(&twice[moved..moved + REPLY]),
                None,
                "moved by {moved}"
            );
        }
        let twice = [ask, ask].concat();
        for moved in 1..REQUEST {
            assert_eq!(asked(&twice[moved..moved + REQUEST]), None, "moved by {moved}");
        }
    }
}
