#![expect(
    unsafe_code,
    reason = "rkyv's way to a field of a Seal, munge!, writes unsafe blocks of its own into the caller"
)]
//! Changes of a sealed player: its fixed fields, through rkyv's `Seal`.

use super::world::ArchivedPlayer;
use rkyv::munge::munge;
use rkyv::seal::Seal;

/// Writes score and step.
pub(super) fn play(player: Seal<'_, ArchivedPlayer>, score: u32, step: u64) {
    munge!(let ArchivedPlayer { score: mut to, step: mut at, .. } = player);
    *to = score.into();
    *at = step.into();
}

/// Writes the checksum.
pub(super) fn sign(player: Seal<'_, ArchivedPlayer>, checksum: u64) {
    munge!(let ArchivedPlayer { mut sum, .. } = player);
    *sum = checksum.into();
}
