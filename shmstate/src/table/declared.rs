//! What a program says, before it opens a region, that it will open there: for a plan of what an upgrade would do, made while the owner serves.
//!
//! - **E1** A region that was told what to expect ([`Region::expect_only`]) opens and makes no other table, nor one of another shape or by other
//!   steps. So what a program said of itself is what it does.
//! - **E2** A table may be opened without the steps that were declared for it: then it opens only if nothing has to migrate, which is less than
//!   was declared, never more.
//! - **E3** Names that begin with a dot are the library's own, and no program's to declare.
//!
//! It does not look at records; what it compares is compared when a table is opened or made, never when it is used.

use crate::archive::Value;
use crate::error::{Error, Result};
use crate::region::Region;
use crate::region::view::View;
use crate::schema::Description;
use crate::table::catalog::{Kind, Spec, check_name};
use crate::table::cell::Cell;
use crate::table::key::Key;
use crate::table::map::Map;
use crate::table::mixed::check_name as check_migrating_name;
use crate::table::ordered::OrderedMap;
use crate::table::queue::Queue;
use crate::table::slab::Slab;
use crate::table::steps::Steps;
use crate::table::streams::Streams;
use crate::table::timers::Timers;
use std::fmt;

/// A table that a program will open or make: its name, what it is, the shape of its records, and the shapes from which they migrate.
///
/// ```
/// use shmstate::{Declared, Migrate, Schema, Steps};
/// # mod v1 {
/// #     #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, shmstate::Schema)]
/// #     pub struct Player { pub score: u32 }
/// # }
/// # #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, Schema)]
/// # #[schema(version = 2)]
/// # struct Player { score: u64 }
/// # impl Migrate<v1::Player> for Player {
/// #     fn migrate(old: v1::Player) -> Self { Self { score: old.score.into() } }
/// # }
///
/// let steps = || Steps::<Player>::new().from::<v1::Player>();
/// let players = Declared::map::<u64, Player>("players").steps(&steps());
/// assert_eq!(players.description().version(), 2);
/// assert_eq!(players.from().map(|shape| shape.version()).collect::<Vec<_>>(), [1]);
/// assert!(players.back().is_none());
/// ```
#[derive(Clone, Debug)]
pub struct Declared {
    name: Box<str>,
    spec: Spec,
    from: Vec<Description>,
    back: Option<Description>,
    moves: Option<DeclaredMove>,
    /// What cannot be meant.
    wrong: Option<String>,
}

/// Where the records of a table move ([`Move`](crate::Move)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredMove {
    /// The tables that they move to, which are to be declared as well.
    pub targets: Vec<Box<str>>,
    /// Whether a program before could go on with the table, until the way back is closed.
    pub way_back: bool,
}

impl Declared {
    fn new(name: &str, spec: Spec) -> Self {
        Self {
            name: name.into(),
            spec,
            from: Vec::new(),
            back: None,
            moves: None,
            wrong: None,
        }
    }

    /// A [`Map`].
    #[must_use]
    pub fn map<K: Key, V: Value>(name: &str) -> Self {
        Self::new(name, Map::<K, V>::spec())
    }

    /// An [`OrderedMap`].
    #[must_use]
    pub fn ordered_map<K: Key, V: Value>(name: &str) -> Self {
        Self::new(name, OrderedMap::<K, V>::spec())
    }

    /// A [`Slab`].
    #[must_use]
    pub fn slab<T: Value>(name: &str) -> Self {
        Self::new(name, Slab::<T>::spec())
    }

    /// A [`Cell`].
    #[must_use]
    pub fn cell<T: Value>(name: &str) -> Self {
        Self::new(name, Cell::<T>::spec())
    }

    /// A [`Queue`].
    #[must_use]
    pub fn queue<T: Value>(name: &str) -> Self {
        Self::new(name, Queue::<T>::spec())
    }

    /// [`Timers`].
    #[must_use]
    pub fn timers<T: Value>(name: &str) -> Self {
        Self::new(name, Timers::<T>::spec())
    }

    /// [`Streams`].
    #[must_use]
    pub fn streams(name: &str) -> Self {
        Self::new(name, Streams::spec())
    }

    /// The steps with which it will be opened ([`Map::open_migrating`]); `V` is the type of its records.
    #[must_use]
    pub fn steps<V: Value>(mut self, steps: &Steps<V>) -> Self {
        let of = Description::of::<V>();
        if of != self.spec.value || self.spec.kind == Kind::Streams {
            let why = format!(
                "its steps lead to {}, its records are {}",
                of.name(),
                self.spec.value.name()
            );
            self.wrong.get_or_insert(why);
        }
        if let Some(why) = &steps.wrong {
            self.wrong.get_or_insert_with(|| why.clone());
        }
        self.from = steps.shapes().cloned().collect();
        self.back = steps.back_shape().cloned();
        self
    }

    /// Its records move, see [`Move::declared`](crate::Move::declared).
    pub(crate) fn moving(mut self, moves: DeclaredMove) -> Self {
        self.moves = Some(moves);
        self
    }

    /// Where its records move, if they do.
    #[must_use]
    pub fn moves(&self) -> Option<&DeclaredMove> {
        self.moves.as_ref()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.spec.kind
    }

    /// The shape of its keys; empty if it has none.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.spec.key
    }

    /// The shape of its records.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.spec.value
    }

    /// The older shapes that its records may have, and migrate from.
    pub fn from(&self) -> impl Iterator<Item = &Description> {
        self.from.iter()
    }

    /// The older shape that a program before finds everything in that this one changes ([`Steps::back`]).
    #[must_use]
    pub fn back(&self) -> Option<&Description> {
        self.back.as_ref()
    }

    /// Whether a table can be declared so.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::BadSteps`].
    pub fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        if let Some(why) = &self.wrong {
            return Err(Error::BadSteps {
                table: self.name.clone(),
                why: why.as_str().into(),
            });
        }
        check_migrating_name(&self.name, self.from.is_empty())
    }

    fn undeclared(&self, why: String) -> Error {
        Error::Undeclared {
            table: self.name.clone(),
            why: why.into(),
        }
    }

    fn compare_shape(&self, spec: &Spec) -> Result<()> {
        if self.spec.is_like(spec) {
            return Ok(());
        }
        Err(self.undeclared(format!(
            "the program declared it as {}, and opens it as {}",
            Shown(&self.spec),
            Shown(spec)
        )))
    }

    fn compare_steps<V: Value>(&self, steps: &Steps<V>) -> Result<()> {
        let (said, back) = (steps.shapes().collect::<Vec<_>>(), steps.back_shape());
        // E2.
        if said.is_empty() {
            return Ok(());
        }
        let same = said.len() == self.from.len() && said.iter().all(|shape| self.from.contains(shape));
        if same && back == self.back() {
            return Ok(());
        }
        Err(self.undeclared(format!(
            "the program declared it with {}, and opens it with {}",
            ShownSteps(self.from().collect(), self.back()),
            ShownSteps(said, back),
        )))
    }
}

struct Shown<'s>(&'s Spec);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spec { kind, key, value } = self.0;
        let key = if key.is_empty() {
            String::new()
        } else {
            format!("{key}, ")
        };
        let (name, version, print) = (value.name(), value.version(), value.fingerprint());
        write!(f, "{kind:?}<{key}{name}> version {version}, fingerprint {print}")
    }
}

struct ShownSteps<'s>(Vec<&'s Description>, Option<&'s Description>);

impl fmt::Display for ShownSteps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [] => f.write_str("no steps")?,
            shapes => {
                f.write_str("steps from version ")?;
                for (i, shape) in shapes.iter().enumerate() {
                    let between = if i == 0 { "" } else { ", " };
                    write!(f, "{between}{}", shape.version())?;
                }
            }
        }
        match self.1 {
            Some(back) => write!(f, " and a way back to version {}", back.version()),
            None => f.write_str(" and no way back"),
        }
    }
}

/// What a region's program declared; `None` if it declared nothing, and may open anything.
#[derive(Debug, Default)]
pub(crate) struct Expected(Option<Vec<Declared>>);

impl Expected {
    fn find(&self, name: &str) -> Result<Option<&Declared>> {
        // E3.
        let Some(all) = self.0.as_ref().filter(|_| !name.starts_with('.')) else {
            return Ok(None);
        };
        let found = all.iter().find(|declared| &*declared.name == name);
        found.map(Some).ok_or_else(|| Error::Undeclared {
            table: name.into(),
            why: "the program declared the tables of this region, and this one is not among them; declare it too"
                .into(),
        })
    }
}

/// Refuses a table that was not declared, or declared with another shape (E1).
pub(crate) fn admit(view: &View, name: &str, spec: &Spec) -> Result<()> {
    match view.expected().find(name)? {
        Some(declared) => declared.compare_shape(spec),
        None => Ok(()),
    }
}

/// The same for one that is opened with steps.
pub(crate) fn admit_steps<V: Value>(view: &View, name: &str, spec: &Spec, steps: &Steps<V>) -> Result<()> {
    match view.expected().find(name)? {
        Some(declared) => declared
            .compare_shape(spec)
            .and_then(|()| declared.compare_steps(steps)),
        None => Ok(()),
    }
}

/// Refuses a move that was not declared, or declared otherwise.
pub(crate) fn admit_move(view: &View, name: &str, moves: &DeclaredMove) -> Result<()> {
    match view.expected().find(name)? {
        Some(declared) if declared.moves.as_ref() != Some(moves) => Err(declared.undeclared(format!(
            "the program declared {}, and opens {}",
            shown_move(declared.moves.as_ref()),
            shown_move(Some(moves))
        ))),
        _ => Ok(()),
    }
}

fn shown_move(moves: Option<&DeclaredMove>) -> String {
    let Some(DeclaredMove { targets, way_back }) = moves else {
        return "that its records stay".into();
    };
    let back = if *way_back { "a" } else { "no" };
    match &targets[..] {
        [] => format!("that its records are given up, with {back} way back"),
        targets => format!("a move of its records to {}, with {back} way back", targets.join(", ")),
    }
}

impl Region {
    /// From now on only these tables can be opened or made, each as it is declared: anything else is [`Error::Undeclared`]. For a program
    /// that was asked what it will open, and is to keep its word; `handover` does this for every region whose tables are declared there.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::BadSteps`], [`Error::TableExists`] for a name that is declared twice.
    pub fn expect_only(&mut self, tables: impl IntoIterator<Item = Declared>) -> Result<()> {
        let tables: Vec<Declared> = tables.into_iter().collect();
        for (i, table) in tables.iter().enumerate() {
            table.check()?;
            if tables[..i].iter().any(|other| other.name == table.name) {
                let name = table.name.clone();
                return Err(Error::TableExists { name });
            }
        }
        self.view.expect(Expected(Some(tables)));
        Ok(())
    }
}
