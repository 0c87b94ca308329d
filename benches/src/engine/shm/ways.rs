//! Ways to records other than by their keys: handles, batches with prefetch, passes over all records.

use crate::Result;
use crate::engine::{Answer, PASS};
use crate::players::Player;
use shmstate::{Handle, Map, Pass, Region, View};

/// What is kept between operations: the handles that were asked for last.
#[derive(Default)]
pub(super) struct Ways {
    handles: Vec<Handle<Player>>,
}

impl Ways {
    /// Keeps the handles of `keys`, as far as they are there.
    pub(super) fn resolve(&mut self, players: Map<u64, Player>, view: &View, keys: &[u64]) -> Result<()> {
        self.handles.clear();
        for key in keys {
            self.handles.extend(players.handle(view, key)?);
        }
        Ok(())
    }

    /// Two fields of each.
    pub(super) fn get(&self, players: Map<u64, Player>, view: &View) -> Answer {
        let mut sum = 0;
        for handle in &self.handles {
            sum += players.get_at(view, *handle)?.map_or(0, super::two_fields);
        }
        Ok(Some(sum))
    }

    /// Adds one to the score of each, in a transaction of its own.
    pub(super) fn update(&self, players: Map<u64, Player>, region: &mut Region, pass: &Pass<'_>) -> Answer {
        let mut sum = 0;
        for handle in &self.handles {
            let mut tx = region.begin(pass)?;
            if let Some(mut player) = players.get_mut_at(&mut tx, *handle)? {
                let score = player.score.to_native() + 1;
                player.set(|p| &p.score, score.into())?;
                sum += score as i64;
            }
            tx.commit()?;
        }
        Ok(Some(sum))
    }

    /// Two fields of each of `keys`; the map prefetches them by groups.
    pub(super) fn get_together(&self, players: Map<u64, Player>, view: &View, keys: &[u64]) -> Answer {
        let mut sum = 0;
        players.get_many(view, keys, |_, player| {
            sum += player.map_or(0, super::two_fields);
        })?;
        Ok(Some(sum))
    }

    /// Moves each of `keys` one to the right, in one transaction; the map prefetches them.
    pub(super) fn tick(players: Map<u64, Player>, region: &mut Region, pass: &Pass<'_>, keys: &[u64]) -> Answer {
        let mut tx = region.begin(pass)?;
        let mut sum = 0;
        players.update_many(&mut tx, keys, |_, player| {
            let x = player.position[0].to_native() + 1;
            sum += i64::from(x);
            player.set(|p| &p.position[0], x.into())
        })?;
        tx.commit()?;
        Ok(Some(sum))
    }

    /// Adds one to the score of every player, a few in a transaction.
    pub(super) fn pass_all(&self, players: Map<u64, Player>, region: &mut Region, pass: &Pass<'_>) -> Answer {
        let all = players.pass(region, pass, PASS, |_, player| {
            let score = player.score.to_native() + 1;
            player.set(|p| &p.score, score.into())
        })?;
        Ok(Some(all as i64))
    }
}
