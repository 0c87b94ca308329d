//! What a table refers to, as a walk over it tells who does not know its types.

/// A block of the heap that a table refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// A record, by its header, which ends its block.
    Record(u64),
    /// Part of the table's structure: the block that starts there must hold so many bytes.
    Block {
        /// Where it starts.
        at: u64,
        /// Bytes that are used of it.
        bytes: u64,
    },
}

impl Held {
    /// The offset by which it is referred to.
    pub(crate) const fn at(self) -> u64 {
        match self {
            Self::Record(at) | Self::Block { at, .. } => at,
        }
    }
}
