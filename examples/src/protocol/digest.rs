//! The digests in a `State`: how a client checks what is too long to send each tick.

/// FNV-1a of 64 bits: a small digest that any client can compute. It keeps nobody out.
#[derive(Debug, Clone, Copy)]
pub struct Fnv64(u64);

impl Fnv64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;

    /// The digest of no bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self(Self::OFFSET_BASIS)
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(Self::PRIME);
        }
    }

    /// The digest so far.
    #[must_use]
    pub const fn finish(self) -> u64 {
        self.0
    }
}

impl Default for Fnv64 {
    fn default() -> Self {
        Self::new()
    }
}

/// Digest of an inventory: `item u16, count u32`, little-endian, for each kind held. `items` ascends by item and has no count of zero.
pub fn inventory_digest(items: impl IntoIterator<Item = (u16, u32)>) -> u64 {
    let mut digest = Fnv64::new();
    for (item, count) in items {
        digest.update(&item.to_le_bytes());
        digest.update(&count.to_le_bytes());
    }
    digest.finish()
}

/// Digest of a player's last words.
#[must_use]
pub fn words_digest(words: &str) -> u64 {
    let mut digest = Fnv64::new();
    digest.update(words.as_bytes());
    digest.finish()
}
