//! The 128-bit name of a shape. It knows bytes, not types.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

/// Two shapes with the same fingerprint are the same shape: 128 bits of XXH3 over the canonical text
/// without its header line (D3). It guards against mistakes, not against an adversary.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// The fingerprint of a description's text: of all that stands after the first line.
    ///
    /// A text read from a region can so be checked against the fingerprint stored beside it.
    pub fn of_text(text: &str) -> Self {
        let shape = text.split_once('\n').map_or("", |(_, shape)| shape);
        Self(xxh3_128(shape.as_bytes()))
    }

    /// The number, as it stands in a catalog.
    pub const fn from_u128(value: u128) -> Self {
        Self(value)
    }

    /// The number, to be put into a catalog as 16 little-endian bytes.
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

/// 32 hexadecimal digits, lower case.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}
