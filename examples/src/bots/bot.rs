//! One bot: what it sends, what it expects, what it counts. Bytes in, bytes out; no socket and no clock.
//!
//! - **B1** A bot joins once. Nothing in it can start a second connection or a second sequence of numbers.
//! - **B2** It sends commands only after its first `State`, so that the values in that one are its starting point.
//! - **B3** Ticks: each `State` must begin one tick after the last one covered. A later begin skips ticks (each counted), an
//!   earlier one doubles (the frame counted), a frame of several ticks is no fault.
//! - **B4** Commands: an acknowledgement of the oldest one outstanding is right. A later one skips those before it; they count
//!   as lost until they are acknowledged after all, and then as misordered instead. One acknowledged before is doubled.
//!   One never sent is misordered.
//! - **B5** The model executes commands as they are acknowledged, under the rules of the acknowledging frame, and must then
//!   equal the frame's values (see `model`).
//! - **B6** A bad frame, or one not at its place, ends the bot: nothing after it can be read.
//!
//! Nothing is allocated per frame: a partial frame waits in a fixed buffer.

mod acks;
mod error;

use std::collections::VecDeque;

use acks::{Sent, acknowledge};
pub use error::BotError;

use super::{
    model::{Effect, ITEM_KINDS, Model},
    tally::Tally,
};
use crate::protocol::{Command, MAX_SERVER_FRAME, MAX_TEXT, ServerFrame, State, Welcome, decode_server, words_digest};

/// Most commands of one bot in flight; at this number it holds back.
pub const MAX_IN_FLIGHT: usize = 1024;
/// Longest step of a move in each direction, world units.
const LONGEST_STEP: i16 = 100;
/// Most words in one chat line.
const MOST_WORDS: usize = 12;
const WORDS: &[&str] = &[
    "gg",
    "north",
    "gold",
    "wait",
    "who took my sword?",
    "\u{fc}ber",
    "\u{43c}\u{435}\u{447}",
    "\u{1f409}",
    "hp 3",
    "brb",
    "lag?",
    "no lag",
];

/// How far the bot has come.
#[derive(Debug)]
enum Phase {
    /// `Join` is on its way.
    Joining,
    /// Welcomed at this tick; no `State` yet.
    Welcomed { tick: u64 },
    /// Playing.
    Playing(Box<Play>),
}

/// What a playing bot knows.
#[derive(Debug)]
struct Play {
    model: Model,
    last_tick: u64,
    generation: u64,
    last_frame_at: u64,
}

/// One bot.
#[derive(Debug)]
pub struct Bot {
    player_id: u64,
    phase: Phase,
    partial: [u8; MAX_SERVER_FRAME],
    partial_len: usize,
    out: Vec<u8>,
    out_sent: usize,
    next_seq: u32,
    outstanding: VecDeque<Sent>,
    skipped: VecDeque<Sent>,
    rng: fastrand::Rng,
    text: String,
}

impl Bot {
    /// A bot with its `Join` waiting to be sent. The seed and the player determine all its commands.
    ///
    /// # Errors
    /// None: the name fits every player id.
    pub fn new(player_id: u64, seed: u64) -> Result<Self, BotError> {
        let mut text = String::with_capacity(MAX_TEXT);
        text.push_str("bot ");
        text.push_str(&player_id.to_string());
        let mut out = Vec::new();
        Command::Join { player_id, name: &text }.encode(&mut out)?;
        Ok(Self {
            player_id,
            phase: Phase::Joining,
            partial: [0; MAX_SERVER_FRAME],
            partial_len: 0,
            out,
            out_sent: 0,
            next_seq: 1,
            outstanding: VecDeque::new(),
            skipped: VecDeque::new(),
            rng: fastrand::Rng::with_seed(seed ^ player_id.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            text,
        })
    }

    /// Who plays.
    #[must_use]
    pub fn player_id(&self) -> u64 {
        self.player_id
    }

    /// Whether it has had its first `State`.
    #[must_use]
    pub fn is_playing(&self) -> bool {
        matches!(self.phase, Phase::Playing(_))
    }

    /// Commands sent, not acknowledged and not skipped.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.outstanding.len()
    }

    /// When its last `State` came, in the nanoseconds given to [`Bot::receive`].
    #[must_use]
    pub fn last_frame_at(&self) -> Option<u64> {
        match &self.phase {
            Phase::Playing(play) => Some(play.last_frame_at),
            Phase::Joining | Phase::Welcomed { .. } => None,
        }
    }

    /// What waits to be sent.
    #[must_use]
    pub fn outgoing(&self) -> &[u8] {
        &self.out[self.out_sent..]
    }

    /// The first `count` bytes of [`Bot::outgoing`] were sent.
    pub fn sent(&mut self, count: usize) {
        self.out_sent = (self.out_sent + count).min(self.out.len());
        if self.out_sent == self.out.len() {
            self.out.clear();
            self.out_sent = 0;
        }
    }

    /// Nanoseconds until the next command: 0.5 to 1.5 times the mean.
    pub fn pause(&mut self, mean_nanos: u64) -> u64 {
        mean_nanos / 2 + self.rng.u64(..=mean_nanos)
    }

    /// Queues one random command, or counts one held back if too many are in flight. Does nothing before the first `State` (B2).
    ///
    /// # Errors
    /// None: what a bot says fits its frame.
    pub fn command(&mut self, tally: &mut Tally) -> Result<(), BotError> {
        if !self.is_playing() {
            return Ok(());
        }
        if self.outstanding.len() >= MAX_IN_FLIGHT {
            tally.commands_held += 1;
            return Ok(());
        }
        let seq = self.next_seq;
        let effect = match self.rng.u8(..20) {
            0..10 => {
                let (dx, dy) = (
                    self.rng.i16(-LONGEST_STEP..=LONGEST_STEP),
                    self.rng.i16(-LONGEST_STEP..=LONGEST_STEP),
                );
                Command::Move { seq, dx, dy }.encode(&mut self.out)?;
                Effect::Move { dx, dy }
            }
            10..17 => {
                let item = self.rng.u16(..ITEM_KINDS);
                Command::Pickup { seq, item }.encode(&mut self.out)?;
                Effect::Pickup { item }
            }
            _ => {
                self.compose();
                Command::Chat { seq, text: &self.text }.encode(&mut self.out)?;
                Effect::Words {
                    digest: words_digest(&self.text),
                }
            }
        };
        self.outstanding.push_back(Sent { seq, effect });
        self.next_seq = self.next_seq.wrapping_add(1);
        tally.commands_sent += 1;
        Ok(())
    }

    /// A new line of chat in `text`, within [`MAX_TEXT`] bytes, at times empty.
    fn compose(&mut self) {
        self.text.clear();
        for _ in 0..self.rng.usize(..=MOST_WORDS) {
            let word = WORDS[self.rng.usize(..WORDS.len())];
            if self.text.len() + word.len() < MAX_TEXT {
                self.text.push_str(word);
                self.text.push(' ');
            }
        }
    }

    /// Takes in bytes that the server sent, read at `now` nanoseconds, and checks each frame they complete.
    ///
    /// # Errors
    /// A frame that ends the bot (B6). The caller counts it and closes the connection.
    pub fn receive(&mut self, mut bytes: &[u8], now: u64, tally: &mut Tally) -> Result<(), BotError> {
        tally.bytes += bytes.len() as u64;
        while self.partial_len > 0 && !bytes.is_empty() {
            // The bytes that complete the waiting frame: its length word first, then what that says.
            let wanted = match self.partial[..self.partial_len].split_first_chunk::<2>() {
                Some((word, _)) => 2 + usize::from(u16::from_le_bytes(*word)),
                None => 2,
            };
            let count = wanted
                .min(MAX_SERVER_FRAME)
                .saturating_sub(self.partial_len)
                .clamp(1, bytes.len());
            let (head, tail) = bytes.split_at(count);
            let Some(room) = self.partial.get_mut(self.partial_len..self.partial_len + count) else {
                break;
            };
            room.copy_from_slice(head);
            self.partial_len += count;
            bytes = tail;
            if let Some((frame, _)) = decode_server(&self.partial[..self.partial_len])? {
                self.partial_len = 0;
                self.frame(frame, now, tally)?;
            }
        }
        while let Some((frame, taken)) = decode_server(bytes)? {
            bytes = &bytes[taken..];
            self.frame(frame, now, tally)?;
        }
        // An incomplete frame that decodes without error is shorter than the longest one.
        if let Some(room) = self.partial.get_mut(self.partial_len..self.partial_len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.partial_len += bytes.len();
        }
        Ok(())
    }

    fn frame(&mut self, frame: ServerFrame, now: u64, tally: &mut Tally) -> Result<(), BotError> {
        match (frame, &self.phase) {
            (ServerFrame::Welcome(Welcome { player_id, tick }), Phase::Joining) => {
                if player_id != self.player_id {
                    return Err(BotError::WrongPlayer {
                        joined: self.player_id,
                        welcomed: player_id,
                    });
                }
                self.phase = Phase::Welcomed { tick };
                Ok(())
            }
            (ServerFrame::Welcome(_), _) => Err(BotError::OutOfPlace {
                got: "second Welcome",
                expected: "State",
            }),
            (ServerFrame::State(_), Phase::Joining) => Err(BotError::OutOfPlace {
                got: "State",
                expected: "Welcome",
            }),
            (ServerFrame::State(state), &Phase::Welcomed { tick }) => {
                let Some(model) = Model::starts_from(&state) else {
                    return Err(BotError::NotNew {
                        player_id: self.player_id,
                        inventory_kinds: state.inventory_kinds,
                    });
                };
                tally.saw_generation(state.generation);
                let play = Play {
                    model,
                    last_tick: tick,
                    generation: state.generation,
                    last_frame_at: now,
                };
                self.phase = Phase::Playing(Box::new(play));
                self.state(&state, now, tally);
                Ok(())
            }
            (ServerFrame::State(state), Phase::Playing(_)) => {
                self.state(&state, now, tally);
                Ok(())
            }
        }
    }

    fn state(&mut self, state: &State, now: u64, tally: &mut Tally) {
        let Self {
            player_id,
            phase: Phase::Playing(play),
            outstanding,
            skipped,
            next_seq,
            ..
        } = self
        else {
            return;
        };
        let player_id = *player_id;
        tally.frames += 1;
        tally.gaps.record(play.last_frame_at, now);
        play.last_frame_at = now;
        play.ticks(player_id, state, tally);
        let mut unknown_rules = false;
        for seq in state.acks.as_slice() {
            let Some(effect) = acknowledge(*seq, *next_seq, outstanding, skipped, player_id, tally) else {
                continue;
            };
            if matches!(effect, Effect::Pickup { .. }) {
                tally.saw_rules(state.rules);
            }
            unknown_rules |= play.model.apply(effect, state.rules).is_err();
        }
        let found = play.model.reconcile(state);
        if found.any() || unknown_rules {
            tally.state_mismatches += 1;
            tally.describe(|| {
                let State { tick, generation, rules, .. } = state;
                let unknown = if unknown_rules { ", the rules are unknown to the bots" } else { "" };
                format!("player {player_id}, tick {tick}, generation {generation}, rules {rules}: not what its commands imply: {found:?}{unknown}")
            });
        }
    }

    /// No more acknowledgements will be waited for: what is outstanding is lost.
    pub fn give_up(&mut self, tally: &mut Tally) {
        let lost = self.outstanding.len();
        tally.commands_lost += lost as u64;
        if let Some(first) = self.outstanding.front() {
            tally.describe(|| {
                format!(
                    "player {}: {lost} commands never acknowledged, the first is {first:?}",
                    self.player_id
                )
            });
        }
        self.outstanding.clear();
    }
}

impl Play {
    /// The checks of ticks and generation (B3).
    fn ticks(&mut self, player_id: u64, state: &State, tally: &mut Tally) {
        let &State {
            from_tick,
            tick,
            generation,
            ..
        } = state;
        let last = self.last_tick;
        if from_tick <= last {
            tally.ticks_doubled += 1;
            tally.describe(|| format!("player {player_id}: a frame from tick {from_tick} after one up to tick {last}"));
        } else if from_tick - last > 1 {
            let missing = from_tick - last - 1;
            tally.ticks_skipped = tally.ticks_skipped.saturating_add(missing);
            tally.describe(|| format!("player {player_id}: {missing} ticks missing between {last} and {from_tick}"));
        }
        tally.ticks_coalesced = tally.ticks_coalesced.saturating_add(tick.saturating_sub(from_tick));
        self.last_tick = last.max(tick);
        if generation < self.generation {
            let highest = self.generation;
            tally.generation_backwards += 1;
            tally.describe(|| format!("player {player_id}, tick {tick}: generation {generation} after {highest}"));
        } else if generation > self.generation {
            self.generation = generation;
            tally.saw_generation(generation);
        }
    }
}

#[cfg(test)]
mod tests;
