//! No ways but by the key.

use crate::Result;
use crate::engine::Answer;
use crate::players::Player;
use shmstate::{Map, Pass, Region, View};

/// What is kept between operations: nothing.
#[derive(Default)]
pub(in super::super) struct Ways {
    _nothing: (),
}

impl Ways {
    /// Keeps nothing.
    pub(in super::super) fn resolve(&mut self, _: Map<u64, Player>, _: &View, _: &[u64]) -> Result<()> {
        Ok(())
    }

    /// There are no handles.
    pub(in super::super) fn get(&self, _: Map<u64, Player>, _: &View) -> Answer {
        Ok(None)
    }

    /// There are no handles.
    pub(in super::super) fn update(&self, _: Map<u64, Player>, _: &mut Region, _: &Pass<'_>) -> Answer {
        Ok(None)
    }

    /// There are no batches.
    pub(in super::super) fn get_together(&self, _: Map<u64, Player>, _: &View, _: &[u64]) -> Answer {
        Ok(None)
    }

    /// There are no passes.
    pub(in super::super) fn pass_all(&self, _: Map<u64, Player>, _: &mut Region, _: &Pass<'_>) -> Answer {
        Ok(None)
    }
}
