//! The arena's wire protocol: length-prefixed binary frames over one long-lived TCP connection.
//!
//! All numbers are little-endian. A frame is `length: u16` (of what follows), `type: u8`, body:
//!
//! ```text
//! client to server                                      body bytes
//!   0x01 Join    player_id u64, name_len u8, name       9 + name, name <= 32 bytes of UTF-8
//!   0x02 Move    seq u32, dx i16, dy i16                8
//!   0x03 Pickup  seq u32, item u16                      6
//!   0x04 Chat    seq u32, text_len u8, text             5 + text, text <= 120 bytes of UTF-8
//! server to client
//!   0x81 Welcome player_id u64, tick u64                16
//!   0x82 State   from_tick u64, tick u64, generation u64, rules u8,
//!                x i32, y i32, score u64, inventory_kinds u16, inventory_digest u64,
//!                words_digest u64, acks u8, acks * seq u32      60 + 4 * acks, acks <= 32
//! ```
//!
//! Rules:
//!
//! - **P1** `Join` is the first frame of a connection, sent once. Commands are numbered per connection from 1, one more each.
//! - **P2** `Welcome` answers `Join`; the first `State` after it has `from_tick == tick of Welcome + 1`. Then the ticks of
//!   consecutive `State` frames join without gap or overlap. One frame per tick; a server may cover several ticks with one frame
//!   for a slow reader (`from_tick < tick`).
//! - **P3** Each command is acknowledged once and in order. All acknowledgements in a frame were executed by that frame's
//!   generation under that frame's rules, and the values in the frame are those after the commands.
//! - **P4** Decoding takes any prefix of a stream: too few bytes are `Ok(None)`, a bad frame is an error as soon as it can be
//!   known to be bad, and no input panics.
//! - **P5** Nothing here allocates, except that a `Vec` written to may grow.
//!
//! Not known here: sockets, what a command does to the world, what a rules version means.

mod bytes;
mod digest;
mod error;

use bytes::{Body, Writer};
pub use digest::{Fnv64, inventory_digest, words_digest};
pub use error::ProtocolError;

/// Bytes before a frame's body: `u16` length and `u8` type.
pub const HEADER: usize = 3;
/// Longest player name, in bytes of UTF-8.
pub const MAX_NAME: usize = 32;
/// Longest chat text, in bytes of UTF-8.
pub const MAX_TEXT: usize = 120;
/// Most acknowledgements in one `State` frame; what is left waits for the next tick's frame.
pub const MAX_ACKS_PER_FRAME: usize = 32;
/// Longest frame a client sends, in bytes with its header.
pub const MAX_COMMAND_FRAME: usize = HEADER + CHAT_FIXED + MAX_TEXT;
/// Longest `State` frame, in bytes with its header.
pub const MAX_STATE_FRAME: usize = HEADER + STATE_FIXED + 4 * MAX_ACKS_PER_FRAME;
/// Length of a `Welcome` frame, in bytes with its header.
pub const WELCOME_FRAME: usize = HEADER + WELCOME_BODY;
/// Longest frame a server sends.
pub const MAX_SERVER_FRAME: usize = MAX_STATE_FRAME;

const JOIN: u8 = 0x01;
const MOVE: u8 = 0x02;
const PICKUP: u8 = 0x03;
const CHAT: u8 = 0x04;
const WELCOME: u8 = 0x81;
const STATE: u8 = 0x82;

const JOIN_FIXED: usize = 8 + 1;
const MOVE_BODY: usize = 4 + 2 + 2;
const PICKUP_BODY: usize = 4 + 2;
const CHAT_FIXED: usize = 4 + 1;
const WELCOME_BODY: usize = 8 + 8;
const STATE_FIXED: usize = 8 + 8 + 8 + 1 + 4 + 4 + 8 + 2 + 8 + 8 + 1;

const _: () = assert!(STATE_FIXED == 60 && MAX_STATE_FRAME == 191 && MAX_COMMAND_FRAME == 128);
const _: () = assert!(HEADER + JOIN_FIXED + MAX_NAME <= MAX_COMMAND_FRAME && WELCOME_FRAME <= MAX_SERVER_FRAME);
// Counts travel in one byte.
const _: () = assert!(MAX_NAME <= 255);
const _: () = assert!(MAX_TEXT <= 255);
const _: () = assert!(MAX_ACKS_PER_FRAME <= 255);

/// What a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// First frame of a connection; not numbered, answered by `Welcome`.
    Join {
        /// Who plays.
        player_id: u64,
        /// At most [`MAX_NAME`] bytes.
        name: &'a str,
    },
    /// Moves by `dx`, `dy` world units; the position wraps at the ends of `i32`.
    Move {
        /// Number of the command.
        seq: u32,
        /// Added to x.
        dx: i16,
        /// Added to y.
        dy: i16,
    },
    /// Takes one of `item`: one more in the inventory, and its worth to the score.
    Pickup {
        /// Number of the command.
        seq: u32,
        /// Kind of item.
        item: u16,
    },
    /// Replaces the player's last words.
    Chat {
        /// Number of the command.
        seq: u32,
        /// At most [`MAX_TEXT`] bytes; may be empty.
        text: &'a str,
    },
}

impl Command<'_> {
    /// The number to acknowledge; `None` for `Join`.
    #[must_use]
    pub fn seq(&self) -> Option<u32> {
        match *self {
            Self::Join { .. } => None,
            Self::Move { seq, .. } | Self::Pickup { seq, .. } | Self::Chat { seq, .. } => Some(seq),
        }
    }

    /// Appends the frame.
    ///
    /// # Errors
    /// [`ProtocolError::TooMany`] for a name or text above its limit; nothing is appended then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let mut frame = [0; MAX_COMMAND_FRAME];
        let mut writer = Writer::new(&mut frame);
        match *self {
            Self::Join { player_id, name } => {
                let name_len = bounded(JOIN, "bytes of name", name.len(), MAX_NAME)?;
                writer
                    .put([JOIN])
                    .put(player_id.to_le_bytes())
                    .put([name_len])
                    .put_slice(name.as_bytes());
            }
            Self::Move { seq, dx, dy } => {
                writer
                    .put([MOVE])
                    .put(seq.to_le_bytes())
                    .put(dx.to_le_bytes())
                    .put(dy.to_le_bytes());
            }
            Self::Pickup { seq, item } => {
                writer.put([PICKUP]).put(seq.to_le_bytes()).put(item.to_le_bytes());
            }
            Self::Chat { seq, text } => {
                let text_len = bounded(CHAT, "bytes of text", text.len(), MAX_TEXT)?;
                writer
                    .put([CHAT])
                    .put(seq.to_le_bytes())
                    .put([text_len])
                    .put_slice(text.as_bytes());
            }
        }
        let length = writer.finish();
        out.extend_from_slice(&frame[..length]);
        Ok(())
    }
}

/// Decodes the first command of `bytes` and says how many bytes it took; `None` if it is not complete.
///
/// # Errors
/// A bad frame, see [`ProtocolError`].
pub fn decode_command(bytes: &[u8]) -> Result<Option<(Command<'_>, usize)>, ProtocolError> {
    let bounds = |kind| match kind {
        JOIN => Some((JOIN_FIXED, JOIN_FIXED + MAX_NAME)),
        MOVE => Some((MOVE_BODY, MOVE_BODY)),
        PICKUP => Some((PICKUP_BODY, PICKUP_BODY)),
        CHAT => Some((CHAT_FIXED, CHAT_FIXED + MAX_TEXT)),
        _ => None,
    };
    let Some((mut body, taken)) = Body::first(bytes, bounds, "0x01 Join, 0x02 Move, 0x03 Pickup or 0x04 Chat")? else {
        return Ok(None);
    };
    let command = match body.kind {
        JOIN => Command::Join {
            player_id: body.u64()?,
            name: body.text("bytes of name", MAX_NAME)?,
        },
        MOVE => Command::Move {
            seq: body.u32()?,
            dx: body.i16()?,
            dy: body.i16()?,
        },
        PICKUP => Command::Pickup {
            seq: body.u32()?,
            item: body.u16()?,
        },
        _ => Command::Chat {
            seq: body.u32()?,
            text: body.text("bytes of text", MAX_TEXT)?,
        },
    };
    body.end()?;
    Ok(Some((command, taken)))
}

/// The numbers of the commands that a `State` acknowledges, in the order in which they were executed.
#[derive(Debug, Clone, Copy)]
pub struct Acks {
    count: usize,
    seqs: [u32; MAX_ACKS_PER_FRAME],
}

impl Acks {
    /// No acknowledgement.
    pub const NONE: Self = Self {
        count: 0,
        seqs: [0; MAX_ACKS_PER_FRAME],
    };

    /// Adds one; `false`, and nothing added, if the frame is full.
    #[must_use]
    pub fn push(&mut self, seq: u32) -> bool {
        let Some(slot) = self.seqs.get_mut(self.count) else {
            return false;
        };
        *slot = seq;
        self.count += 1;
        true
    }

    /// Whether another would fit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.count == MAX_ACKS_PER_FRAME
    }

    /// The numbers.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        &self.seqs[..self.count]
    }
}

impl Default for Acks {
    fn default() -> Self {
        Self::NONE
    }
}

impl PartialEq for Acks {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Acks {}

/// One player's view after a tick (or after several, see P2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State {
    /// First tick covered.
    pub from_tick: u64,
    /// Last tick covered; the values are those after it.
    pub tick: u64,
    /// Generation of the node that ran the ticks.
    pub generation: u64,
    /// Version of the rules the ticks ran under.
    pub rules: u8,
    /// Position, world units.
    pub x: i32,
    /// Position, world units.
    pub y: i32,
    /// Sum of the worth of all pickups.
    pub score: u64,
    /// Kinds of item of which the player has at least one.
    pub inventory_kinds: u16,
    /// [`inventory_digest`] of the player's items.
    pub inventory_digest: u64,
    /// [`words_digest`] of the player's last words; that of the empty text before the first.
    pub words_digest: u64,
    /// The commands executed in these ticks.
    pub acks: Acks,
}

impl State {
    /// Appends the frame, at most [`MAX_STATE_FRAME`] bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut frame = [0; MAX_STATE_FRAME];
        let length = self.encode_to(&mut frame);
        out.extend_from_slice(&frame[..length]);
    }

    /// Writes the frame to the start of `out` and returns its length in bytes.
    pub fn encode_to(&self, out: &mut [u8; MAX_STATE_FRAME]) -> usize {
        let mut writer = Writer::new(out);
        writer
            .put([STATE])
            .put(self.from_tick.to_le_bytes())
            .put(self.tick.to_le_bytes());
        writer.put(self.generation.to_le_bytes()).put([self.rules]);
        writer
            .put(self.x.to_le_bytes())
            .put(self.y.to_le_bytes())
            .put(self.score.to_le_bytes());
        writer
            .put(self.inventory_kinds.to_le_bytes())
            .put(self.inventory_digest.to_le_bytes());
        // At most MAX_ACKS_PER_FRAME, which fits a byte (asserted above).
        writer.put(self.words_digest.to_le_bytes()).put([self.acks.count as u8]);
        for seq in self.acks.as_slice() {
            writer.put(seq.to_le_bytes());
        }
        writer.finish()
    }
}

/// The answer to `Join`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// The player who joined.
    pub player_id: u64,
    /// The tick before the first that the next `State` covers.
    pub tick: u64,
}

impl Welcome {
    /// Appends the frame, [`WELCOME_FRAME`] bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut frame = [0; WELCOME_FRAME];
        self.encode_to(&mut frame);
        out.extend_from_slice(&frame);
    }

    /// Writes the frame and returns its length in bytes.
    pub fn encode_to(&self, out: &mut [u8; WELCOME_FRAME]) -> usize {
        let mut writer = Writer::new(out);
        writer
            .put([WELCOME])
            .put(self.player_id.to_le_bytes())
            .put(self.tick.to_le_bytes());
        writer.finish()
    }
}

/// What a server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerFrame {
    /// 0x81
    Welcome(Welcome),
    /// 0x82
    State(State),
}

/// Decodes the first server frame of `bytes` and says how many bytes it took; `None` if it is not complete.
///
/// # Errors
/// A bad frame, see [`ProtocolError`].
pub fn decode_server(bytes: &[u8]) -> Result<Option<(ServerFrame, usize)>, ProtocolError> {
    let bounds = |kind| match kind {
        WELCOME => Some((WELCOME_BODY, WELCOME_BODY)),
        STATE => Some((STATE_FIXED, STATE_FIXED + 4 * MAX_ACKS_PER_FRAME)),
        _ => None,
    };
    let Some((mut body, taken)) = Body::first(bytes, bounds, "0x81 Welcome or 0x82 State")? else {
        return Ok(None);
    };
    if body.kind == WELCOME {
        let welcome = Welcome {
            player_id: body.u64()?,
            tick: body.u64()?,
        };
        body.end()?;
        return Ok(Some((ServerFrame::Welcome(welcome), taken)));
    }
    let mut state = State {
        from_tick: body.u64()?,
        tick: body.u64()?,
        generation: body.u64()?,
        rules: body.u8()?,
        x: body.u32()?.cast_signed(),
        y: body.u32()?.cast_signed(),
        score: body.u64()?,
        inventory_kinds: body.u16()?,
        inventory_digest: body.u64()?,
        words_digest: body.u64()?,
        acks: Acks::NONE,
    };
    let count = usize::from(body.u8()?);
    for _ in 0..count {
        let seq = body.u32()?;
        if !state.acks.push(seq) {
            return Err(ProtocolError::TooMany {
                kind: STATE,
                what: "acks",
                count,
                limit: MAX_ACKS_PER_FRAME,
            });
        }
    }
    body.end()?;
    if state.tick < state.from_tick {
        return Err(ProtocolError::TicksBackwards {
            from_tick: state.from_tick,
            tick: state.tick,
        });
    }
    Ok(Some((ServerFrame::State(state), taken)))
}

/// `count` as the byte that announces it, or the error that names the limit.
fn bounded(kind: u8, what: &'static str, count: usize, limit: usize) -> Result<u8, ProtocolError> {
    match u8::try_from(count) {
        Ok(byte) if count <= limit => Ok(byte),
        _ => Err(ProtocolError::TooMany {
            kind,
            what,
            count,
            limit,
        }),
    }
}

#[cfg(test)]
mod tests;
