//! Why a bot gives up.

use std::fmt;

use crate::protocol::ProtocolError;

/// Why a bot gave its connection up (B6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BotError {
    /// Not a frame of the protocol.
    Frame(ProtocolError),
    /// A frame that may not come now: a second `Welcome`, or a `State` before it.
    OutOfPlace {
        /// What came.
        got: &'static str,
        /// What should have.
        expected: &'static str,
    },
    /// A `Welcome` for somebody else.
    WrongPlayer {
        /// Who joined.
        joined: u64,
        /// Who was welcomed.
        welcomed: u64,
    },
    /// The player already has items or last words, which a digest does not tell apart.
    NotNew {
        /// The player.
        player_id: u64,
        /// Kinds of item held.
        inventory_kinds: u16,
    },
}

impl fmt::Display for BotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => error.fmt(f),
            Self::OutOfPlace { got, expected } => {
                write!(f, "a {got} frame where a {expected} frame was expected")
            }
            Self::WrongPlayer { joined, welcomed } => {
                write!(f, "joined as player {joined}, welcomed as player {welcomed}")
            }
            Self::NotNew {
                player_id,
                inventory_kinds,
            } => write!(
                f,
                "player {player_id} is not new: it has {inventory_kinds} kinds of item, or last words. \
                 The bots can check new players only; choose others with --first-id, or start the server with an empty world"
            ),
        }
    }
}

impl std::error::Error for BotError {}

impl From<ProtocolError> for BotError {
    fn from(error: ProtocolError) -> Self {
        Self::Frame(error)
    }
}
