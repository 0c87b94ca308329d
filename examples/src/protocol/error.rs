//! What can be wrong with a frame.

use std::fmt;

/// A frame that is not one of this protocol. The connection that carries it cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A length word of zero: no room for the type.
    Empty,
    /// No frame of this direction has this type.
    UnknownType {
        /// The type byte found.
        kind: u8,
        /// The announced length (type and body).
        length: usize,
        /// The types that may come in this direction.
        expected: &'static str,
    },
    /// The announced length does not fit the type or the counts within.
    WrongLength {
        /// The type byte.
        kind: u8,
        /// The announced length (type and body).
        length: usize,
        /// The shortest length allowed.
        least: usize,
        /// The longest length allowed.
        most: usize,
    },
    /// A name, a text or a list of acknowledgements above its limit.
    TooMany {
        /// The type byte.
        kind: u8,
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        count: usize,
        /// How much there may be.
        limit: usize,
    },
    /// A name or a text that is not UTF-8.
    NotUtf8 {
        /// The type byte.
        kind: u8,
        /// The first bad byte's place in the name or text.
        at: usize,
    },
    /// A `State` whose range of ticks runs backwards.
    TicksBackwards {
        /// First tick covered.
        from_tick: u64,
        /// Last tick covered, which is lower.
        tick: u64,
    },
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => write!(f, "frame of length 0: expected at least 1, the type byte"),
            Self::UnknownType { kind, length, expected } => {
                write!(f, "frame type {kind:#04x} of length {length}: expected {expected}")
            }
            Self::WrongLength {
                kind,
                length,
                least,
                most,
            } if least == most => {
                write!(f, "frame type {kind:#04x} of length {length}: expected length {least}")
            }
            Self::WrongLength {
                kind,
                length,
                least,
                most,
            } => {
                write!(
                    f,
                    "frame type {kind:#04x} of length {length}: expected length {least} to {most}"
                )
            }
            Self::TooMany {
                kind,
                what,
                count,
                limit,
            } => {
                write!(
                    f,
                    "frame type {kind:#04x} with {count} {what}: expected at most {limit}"
                )
            }
            Self::NotUtf8 { kind, at } => {
                write!(f, "frame type {kind:#04x}: expected UTF-8 text, byte {at} of it is not")
            }
            Self::TicksBackwards { from_tick, tick } => {
                write!(
                    f,
                    "frame type 0x82 from tick {from_tick} to {tick}: expected a tick not below from_tick"
                )
            }
        }
    }
}

impl std::error::Error for ProtocolError {}
