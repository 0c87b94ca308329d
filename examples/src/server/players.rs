//! Players: commands in, state frames out. Both are part of the tick's transaction, with what they change in the world.

use crate::protocol::{
    Acks, Command, MAX_COMMAND_FRAME, MAX_STATE_FRAME, State, WELCOME_FRAME, Welcome, decode_command, inventory_digest,
};
use crate::server::Rules;
use crate::server::player::Player;
use crate::server::sabotage::{Sabotage, Saboteur};
use crate::server::world::World;
use shmstate::{Result, StreamId, Tx};

/// What a connection is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on.
    Keep,
    /// It sent what no client sends, or is to be cut.
    End,
}

/// What holds for a whole tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    pub(crate) number: u64,
    pub(crate) generation: u64,
    pub(crate) rules: Rules,
}

/// Executes what `stream`'s client sent, and tells it the state after it.
pub(crate) fn tick<P: Player>(
    world: World<P>,
    tx: &mut Tx<'_>,
    stream: StreamId,
    now: Tick,
    saboteur: &mut Saboteur,
) -> Result<Verdict> {
    let mut player = world.streams.user(tx, stream)?;
    // No room for this tick's frame: leave commands and ticks for later; the next frame covers them.
    if world.streams.room(tx, stream)? < (MAX_STATE_FRAME * 2 + WELCOME_FRAME) as u64 {
        if player != 0 {
            let coalesced = world.clock.get(tx)?.coalesced.to_native() + 1;
            world.clock.get_mut(tx)?.set(|c| &c.coalesced, coalesced.into())?;
        }
        return Ok(Verdict::Keep);
    }
    let mut acks = Acks::NONE;
    let mut used = 0;
    let mut frame = [0; MAX_COMMAND_FRAME];
    while !acks.is_full() {
        let n = world.streams.input(tx, stream)?.copy_to(used, &mut frame);
        let Ok(decoded) = decode_command(&frame[..n]) else {
            return Ok(Verdict::End);
        };
        let Some((command, length)) = decoded else {
            break;
        };
        used += length;
        if let Command::Join { player_id, name } = command {
            if player != 0 || player_id == 0 {
                return Ok(Verdict::End);
            }
            player = player_id;
            world.streams.set_user(tx, stream, player)?;
            join(world, tx, player, name, now)?;
            let mut bytes = [0; WELCOME_FRAME];
            let welcome = Welcome {
                player_id,
                tick: now.number - 1,
            };
            let length = welcome.encode_to(&mut bytes);
            world.streams.produce(tx, stream, &bytes[..length])?;
            continue;
        }
        let Some(seq) = command.seq().filter(|_| player != 0) else {
            return Ok(Verdict::End);
        };
        if saboteur.strikes(Sabotage::CutOne) {
            return Ok(Verdict::End);
        }
        if saboteur.strikes(Sabotage::LoseCommand) {
            continue;
        }
        let times = 1 + u32::from(saboteur.strikes(Sabotage::DoubleCommand));
        for _ in 0..times {
            execute(world, tx, player, command, now.rules, saboteur)?;
            // Room was checked by the loop; the second of a doubled one may be one too many, which is the sabotage's affair.
            let _ = acks.push(seq);
        }
    }
    world.streams.consume(tx, stream, used)?;
    if player == 0 {
        return Ok(Verdict::Keep);
    }
    // A frame with acknowledgements is not the one left out: that would lose commands too.
    if acks.as_slice().is_empty() && saboteur.strikes(Sabotage::SkipTick) {
        if let Some(mut player) = world.players.get_mut(tx, &player)? {
            player.set(P::told, now.number.into())?;
        }
        return Ok(Verdict::Keep);
    }
    tell(world, tx, stream, player, now, acks, saboteur)?;
    Ok(Verdict::Keep)
}

fn join<P: Player>(world: World<P>, tx: &mut Tx<'_>, id: u64, name: &str, now: Tick) -> Result<()> {
    if let Some(mut player) = world.players.get_mut(tx, &id)? {
        return player.set(P::told, (now.number - 1).into());
    }
    let player = P::new(name, now.number - 1);
    world.players.insert(tx, &id, &player).map(|_| ())
}

fn execute<P: Player>(
    world: World<P>,
    tx: &mut Tx<'_>,
    id: u64,
    command: Command<'_>,
    rules: Rules,
    saboteur: &mut Saboteur,
) -> Result<()> {
    match command {
        Command::Join { .. } => Ok(()),
        Command::Move { dx, dy, .. } => {
            let Some(mut player) = world.players.get_mut(tx, &id)? else {
                return Ok(());
            };
            let [x, y] = P::position(&player).map(|p| p.to_native());
            let moved = [x.wrapping_add(dx.into()).into(), y.wrapping_add(dy.into()).into()];
            player.set(P::position, moved)
        }
        Command::Pickup { item, .. } => {
            let worth = rules.pickup_worth + u64::from(saboteur.strikes(Sabotage::WrongScore));
            pick_up(world, tx, id, item, worth)
        }
        Command::Chat { text, .. } => {
            let Some(found) = world.players.get(tx, &id)? else {
                return Ok(());
            };
            // Another length: the record is archived anew, straight into the region.
            let mut player = shmstate::owned::<P>(found)?;
            player.say(text);
            world.players.insert(tx, &id, &player)?;
            count(world, tx, id, text.len() as u64)
        }
    }
}

/// A player has said something: in the tally, and in the sum of all.
fn count<P: Player>(world: World<P>, tx: &mut Tx<'_>, id: u64, letters: u64) -> Result<()> {
    if let Some(tallies) = world.tallies {
        tallies.count(tx, id, letters)?;
    }
    let [times, all] = world.clock.get(tx)?.said.map(|said| said.to_native());
    let said = [(times + 1).into(), (all + letters).into()];
    world.clock.get_mut(tx)?.set(|clock| &clock.said, said)
}

fn pick_up<P: Player>(world: World<P>, tx: &mut Tx<'_>, id: u64, item: u16, worth: u64) -> Result<()> {
    let Some(mut player) = world.players.get_mut(tx, &id)? else {
        return Ok(());
    };
    P::picked_up(&mut player)?;
    let score = P::score(&player).to_native() + worth;
    let slot = P::inventory(&player).iter().position(|i| i.kind.to_native() == item);
    if let Some(slot) = slot {
        // Only a number changes: in place, and only its bytes are logged.
        let count = P::inventory(&player)[slot].count.to_native() + 1;
        player.set(|p| &P::inventory(p)[slot].count, count.into())?;
        let items = P::inventory(&player).iter();
        let digest = inventory_digest(items.map(|i| (i.kind.to_native(), i.count.to_native())));
        player.set(P::inventory_digest, digest.into())?;
        return player.set(P::score, score.into());
    }
    let mut player = shmstate::owned::<P>(&player)?;
    player.take(item, score);
    world.players.insert(tx, &id, &player).map(|_| ())
}

fn tell<P: Player>(
    world: World<P>,
    tx: &mut Tx<'_>,
    stream: StreamId,
    id: u64,
    now: Tick,
    acks: Acks,
    saboteur: &mut Saboteur,
) -> Result<()> {
    let Some(mut player) = world.players.get_mut(tx, &id)? else {
        return Ok(());
    };
    let [x, y] = P::position(&player).map(|p| p.to_native());
    let state = State {
        from_tick: P::told(&player).to_native() + 1,
        tick: now.number,
        generation: now.generation,
        rules: now.rules.version,
        x,
        y,
        score: P::score(&player).to_native(),
        inventory_kinds: P::inventory(&player).len() as u16,
        inventory_digest: P::inventory_digest(&player).to_native(),
        words_digest: P::words_digest(&player).to_native(),
        acks,
    };
    player.set(P::told, now.number.into())?;
    let mut frame = [0; MAX_STATE_FRAME];
    let length = state.encode_to(&mut frame);
    // Room for two was checked before.
    for _ in 0..1 + u32::from(saboteur.strikes(Sabotage::DoubleTick)) {
        world.streams.produce(tx, stream, &frame[..length])?;
    }
    Ok(())
}
