//! Commands on their way, and what an acknowledgement means for them (B4).

use std::collections::VecDeque;

use crate::bots::{model::Effect, tally::Tally};

/// Most skipped commands a bot remembers, to tell a late acknowledgement from a doubled one.
const MAX_SKIPPED: usize = 1024;

/// A command that was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) seq: u32,
    pub(super) effect: Effect,
}

/// Settles one acknowledgement (B4); the effect to execute, or `None` if there is none.
pub(super) fn acknowledge(
    seq: u32,
    next_seq: u32,
    outstanding: &mut VecDeque<Sent>,
    skipped: &mut VecDeque<Sent>,
    player_id: u64,
    tally: &mut Tally,
) -> Option<Effect> {
    let oldest = outstanding.front().map_or(next_seq, |sent| sent.seq);
    if seq >= next_seq || seq == 0 {
        tally.commands_misordered += 1;
        tally.describe(|| format!("player {player_id}: command {seq} acknowledged, the next to be sent is {next_seq}"));
        return None;
    }
    if seq < oldest {
        if let Some(place) = skipped.iter().position(|sent| sent.seq == seq) {
            tally.commands_lost = tally.commands_lost.saturating_sub(1);
            tally.commands_misordered += 1;
            tally.commands_acked += 1;
            tally.describe(|| format!("player {player_id}: command {seq} acknowledged after a later one"));
            return skipped.remove(place).map(|sent| sent.effect);
        }
        tally.commands_doubled += 1;
        tally.describe(|| format!("player {player_id}: command {seq} acknowledged a second time"));
        return None;
    }
    while let Some(sent) = outstanding.pop_front() {
        if sent.seq == seq {
            tally.commands_acked += 1;
            return Some(sent.effect);
        }
        tally.commands_lost += 1;
        tally.describe(|| {
            format!(
                "player {player_id}: command {} skipped by the acknowledgement of {seq}",
                sent.seq
            )
        });
        if skipped.len() == MAX_SKIPPED {
            skipped.pop_front();
        }
        skipped.push_back(sent);
    }
    None
}
