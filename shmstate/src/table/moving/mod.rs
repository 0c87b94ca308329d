//! Moves: the records of one map, the *source*, move to other maps, the *targets*, each when it is first needed there, or when the sweep comes to
//! it. So a newer version gives its tables other keys, splits one into several, joins several into one, or drops one, without a pause.
//!
//! A move is a row of the catalog as long as it is not over: a map `.moved.SOURCE`, whose keys are the *marks*.
//!
//! - **N1** A record moves in the transaction that needs it: what becomes of it is in the targets, and it is gone from the source, or marked, or
//!   none of that. A record of the source with a mark is one that has moved.
//! - **N2** With a way back, the source keeps all records, in its own shape, and follows the targets with every commit. So a version that knows
//!   only the source reads there what the newer one has made of it, and what was not touched as it was.
//! - **N3** A version that does not know the move, but owns a region that has one, says so before it changes anything (`disown`). The next one that
//!   knows it begins anew: what the targets hold is older than what the source holds. So the targets are *set aside*, which takes a step for each
//!   64 KiB of them, and the sweep takes them away. Who does not know the move may drop its tables by name: what is in the targets counts no more.
//! - **N4** Once the way back is closed, or if there never was one, the source says that its records have moved: nobody opens it but the move. The
//!   sweep takes what is left, and drops the source and the marks with the last.
//! - **N5** A target that some records have not come to yet is not opened by who does not know the move; looked at as a whole, it is an error.
//! - **N6** The program's code sees values and a view, and may panic: the transaction has changed nothing then.
//!
//! In reading order: this file is what a program says of a move and asks of it; `core` is what has become of it; `target` one of its targets; `settle` what
//! happens when an owner begins; `aside` tables that are out of date; `sweep` the rest. It knows maps only.

mod aside;
mod core;
mod settle;
mod sweep;
mod target;

pub(crate) use settle::{check_idle, check_known, disown, forget, is_move, is_way, progress};
pub use target::Targets;
pub(crate) use target::{before, is_whole, pending};

use self::core::{Back, Core};
use crate::archive::OwnedValue;
use crate::error::{Error, Result};
use crate::region::Region;
use crate::region::view::View;
use crate::table::catalog::MAX_TABLE_NAME;
use crate::table::declared::{self, Declared, DeclaredMove};
use crate::table::key::Key;
use crate::table::mixed::Swept;
use crate::table::steps::Steps;
use crate::tx::Tx;
use std::fmt;
use std::sync::Arc;
use target::Target;

const WHAT: &str = "move";
/// In front of the name of the source stands this, for the marks.
const MARKS: &str = ".moved.";
/// In front of the name of a table that was set aside, with a number between: `.aside.63.`.
const ASIDE: &str = ".aside.";
/// Longest name of a table that takes part in a move.
const MOST_NAME: usize = MAX_TABLE_NAME - ASIDE.len() - 3;

/// How the records of a map move to other maps; opened, it is a [`Moving`].
///
/// A newer version declares it beside its new tables, in place of the old one:
///
/// ```
/// # fn main() -> shmstate::Result<()> {
/// use shmstate::{Map, Move, Region, Schema};
///
/// #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, Schema)]
/// struct Player { zone: u16, score: u64 }
///
/// # let mut region = Region::in_memory(4 << 20)?;
/// # let gate = region.gate().clone();
/// # let pass = gate.enter()?;
/// // The version before:
/// region.write(&pass, |tx| {
///     let players: Map<u32, Player> = Map::create(tx, "players")?;
///     players.insert(tx, &7, &Player { zone: 3, score: 10 })
/// })?;
///
/// // This one: the id has become wider, and says the region of the world.
/// let wide = |id: u32| u64::from(id) | 1 << 32;
/// let moving = Move::<u32, Player>::of("players")
///     .to::<u64, Player>(
///         "citizens",
///         |wide| u32::try_from(wide ^ 1 << 32).ok(),
///         move |_, id, player| Ok(vec![(wide(*id), Player { zone: player.zone, score: player.score })]),
///     )
///     .open(&region)?;
/// region.write(&pass, |tx| {
///     let citizens: Map<u64, Player> = Map::open_or_create(tx, "citizens")?;
///     // It moves because it is asked for.
///     let mut ada = citizens.get_mut(tx, &wide(7))?.expect("was there");
///     let score = ada.score.to_native() + 1;
///     ada.set(|player| &player.score, score.into())
/// })?;
/// while region.write(&pass, |tx| moving.sweep(tx, 1000))?.left > 0 {}
/// assert!(Map::<u32, Player>::open(&region, "players").is_err());
/// # Ok(())
/// # }
/// ```
pub struct Move<K: Key, V: OwnedValue> {
    source: Box<str>,
    targets: Vec<Target<K, V>>,
    back: Option<Back<K, V>>,
    steps: Steps<V>,
}

impl<K: Key, V: OwnedValue> fmt::Debug for Move<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets: Vec<&str> = self.targets.iter().map(Target::name).collect();
        f.debug_struct("Move")
            .field("source", &self.source)
            .field("targets", &targets)
            .field("back", &self.back.is_some())
            .finish()
    }
}

impl<K: Key, V: OwnedValue> Move<K, V> {
    /// The records of the map `source`, with these keys and in this shape, go. Without targets they are given up: the map is dropped piecemeal, when the way back is
    /// closed.
    #[must_use]
    pub fn of(source: &str) -> Self {
        Self {
            source: source.into(),
            targets: Vec::new(),
            back: None,
            steps: Steps::new(),
        }
    }

    /// Records of the source may still have an older shape: by these steps they become `V` first.
    #[must_use]
    pub fn steps(mut self, steps: Steps<V>) -> Self {
        self.steps = steps;
        self
    }

    /// To the map `target`, which is made if it is not there, with checksums if the source has them: `make` says which records become of one, none, one or many; `source_of` the other way
    /// round from which key of the source the record under a key comes, `None` if from none. The view is for looking into other tables.
    ///
    /// Both must agree: a record that `make` gives for a key stands under keys for which `source_of` gives that key.
    #[must_use]
    pub fn to<K2: Key, V2: OwnedValue>(
        mut self,
        target: &str,
        source_of: impl Fn(&K2) -> Option<K> + Send + Sync + 'static,
        make: impl Fn(&View, &K, &V) -> Result<Vec<(K2, V2)>> + Send + Sync + 'static,
    ) -> Self {
        self.targets.push(Target::new(target, source_of, make));
        self
    }

    /// With a way back: `back` gives the record of the source for a key, from what the targets hold now, and from the record as the source has it, for what only
    /// that has a place for; `None` if it is gone. It is called when a
    /// transaction commits, for each record of which that transaction has changed something there.
    ///
    /// The version before can then go on with the source after this one, until the way back is closed
    /// ([`Region::close_ways_back`](crate::Region::close_ways_back)), and finds there what this one committed. If it changes anything, the next version that knows the
    /// move begins it anew, with the source as it is by then: what only the targets had a place for is lost, records without a source included.
    ///
    /// A move without targets needs none: its source stays as it is until the ways back are closed.
    #[must_use]
    pub fn back(
        mut self,
        back: impl Fn(&Targets<'_>, &K, Option<V>) -> Result<Option<V>> + Send + Sync + 'static,
    ) -> Self {
        self.back = Some(Box::new(back));
        self
    }

    /// What a program says of the source before it opens anything ([`Region::expect_only`]); the targets are declared like any other table.
    #[must_use]
    pub fn declared(&self) -> Declared {
        let declared = Declared::map::<K, V>(&self.source).steps(&self.steps);
        declared.moving(self.declared_move())
    }

    fn declared_move(&self) -> DeclaredMove {
        DeclaredMove {
            targets: self.targets.iter().map(|target| target.name().into()).collect(),
            way_back: self.back.is_some() || self.targets.is_empty(),
        }
    }

    /// Enters the move in the region, before its targets are opened there, and before the first transaction of this owner. Needs no pass: a successor does this while the predecessor
    /// is at work.
    ///
    /// From the first transaction on, a key of a target that was not there yet is looked for in the source; what is read so has not moved. Before anything changes under a key, what
    /// the source has for it moves. What looks at a target as a whole (`iter`, `len`, `retain`, …) is [`Error::StillMoving`] until nothing is left. Observers of other processes see
    /// what has moved.
    ///
    /// Without a source, as in a world that never had one or when the move is over, it does nothing.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] if the source, or a target that is there, has another shape; [`Error::BadSteps`] for what cannot be meant, [`Error::Busy`], [`Error::Damaged`].
    pub fn open(self, region: &Region) -> Result<Moving<K, V>> {
        let names = || std::iter::once(&*self.source).chain(self.targets.iter().map(Target::name));
        let bad = |why: String| Error::BadSteps {
            table: self.source.clone(),
            why: why.into(),
        };
        if let Some(long) = names().find(|name| name.len() > MOST_NAME) {
            return Err(bad(format!(
                "the name of a table of a move has at most {MOST_NAME} bytes, {long} has more"
            )));
        }
        let mut all: Vec<&str> = names().collect();
        all.sort_unstable();
        if let Some(twice) = all.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(bad(format!(
                "{} is named twice; a table moves to others, once to each",
                twice[0]
            )));
        }
        let movers = region.view.moves().all();
        let others = || movers.iter().filter(|mover| mover.source() != &*self.source);
        let mut led: Vec<_> = others()
            .filter(|mover| self.targets.iter().any(|target| target.name() == mover.source()))
            .collect();
        let mut looked = 0;
        while let Some(mover) = led.get(looked).copied() {
            looked += 1;
            if mover.may_fill(&self.source) {
                return Err(bad(format!(
                    "its records would come back to it, by the move of table {}: moves do not go in a circle",
                    mover.source()
                )));
            }
            let next: Vec<_> = others()
                .filter(|next| {
                    mover.may_fill(next.source()) && !led.iter().any(|known| known.source() == next.source())
                })
                .collect();
            led.extend(next);
        }
        declared::admit_move(&region.view, &self.source, &self.declared_move())?;
        let core = Arc::new(Core::new(self.source, self.targets, self.back, region.view.tag()));
        core.compare(region, self.steps)?;
        region.view.moves().enter(Arc::<Core<K, V>>::clone(&core));
        region.look_first();
        Ok(Moving { core })
    }
}

/// A move of this process, see [`Move`].
pub struct Moving<K: Key, V: OwnedValue> {
    core: Arc<Core<K, V>>,
}

impl<K: Key, V: OwnedValue> Clone for Moving<K, V> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
        }
    }
}

impl<K: Key, V: OwnedValue> fmt::Debug for Moving<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moving")
            .field("source", &self.core.name())
            .finish_non_exhaustive()
    }
}

impl<K: Key, V: OwnedValue> Moving<K, V> {
    /// Moves the record of the source under `key` now. Says whether there was one that had not moved.
    ///
    /// # Errors
    /// What the program's code returns; [`Error::ForeignTable`], [`Error::TableGone`], those of [`Map::insert`](crate::Map::insert).
    pub fn bring(&self, tx: &mut Tx<'_>, key: &K) -> Result<bool> {
        self.core.admit(tx)?;
        self.core.bring(tx, key)
    }

    /// Moves about `budget` records, whole chunks of 64 KiB of them; then takes away what is out of date, and, when the way back is closed, the source
    /// itself. Nothing is left when it says so; calling it is then cheap. For a call each tick.
    ///
    /// # Errors
    /// What the program's code returns; [`Error::ForeignTable`], [`Error::TableGone`], those of [`Map::insert`](crate::Map::insert).
    pub fn sweep(&self, tx: &mut Tx<'_>, budget: u64) -> Result<Swept> {
        self.core.admit(tx)?;
        self.core.sweep(tx, budget)
    }

    /// How much is left for the sweep: records to move, records that are out of date, and, when the way back is closed, all that the source still holds.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn unswept(&self, view: &View) -> Result<u64> {
        self.core.admit(view)?;
        self.core.unswept(view)
    }

    /// How many records have not moved yet: none, and the targets are whole.
    ///
    /// # Errors
    /// [`Error::ForeignTable`], [`Error::TableGone`], [`Error::Damaged`].
    pub fn left(&self, view: &View) -> Result<u64> {
        self.core.admit(view)?;
        self.core.left_to_move(view)
    }
}

/// The name of the marks of a move.
fn marks_of(source: &str) -> String {
    format!("{MARKS}{source}")
}
