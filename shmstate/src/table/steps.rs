//! The steps by which records of older shapes become records of a table's present shape, and the way back.
//!
//! - **W1** A step is from one declared version to another: the versions of all shapes that meet in a table differ, in their low byte too,
//!   for that is what the header of each record says (A1 of `archive`).
//! - **W2** The program's code sees values, never the region: what it returns is archived like any other value, and if it panics the
//!   transaction, or the read, that called it has changed nothing.
//!
//! It does not know tables.

use crate::archive::{self, Geometry, OwnedValue, Value};
use crate::error::Result;
use crate::region::view::View;
use crate::schema::{Description, Migrate};
use crate::table::record::{self, Home, Parts, Written};
use crate::tx::Tx;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

type Convert<Old, V> = Arc<dyn Fn(Old) -> V + Send + Sync>;
/// Reads the record whose header is given, of an older shape.
type Read<V> = Box<dyn Fn(&View, u64, Geometry) -> Result<V> + Send + Sync>;
/// Writes the twin of the record whose header is given, with the key given: anew, or in place of the one at an offset, of which it takes what
/// the record has no place for. Gives the bytes of the archive that was there, too.
type WriteBack =
    Box<dyn Fn(&mut Tx<'_>, (u64, Geometry), Home, Parts<'_>, Option<u64>) -> Result<(Written, u64)> + Send + Sync>;

/// How records of older shapes become `V`, and perhaps `V` the shape before it.
///
/// ```
/// use shmstate::{Migrate, Schema, Steps};
///
/// mod v1 {
///     #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, shmstate::Schema)]
///     pub struct Player { pub name: String, pub score: u32 }
/// }
///
/// #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, Schema)]
/// #[schema(version = 2)]
/// struct Player { name: String, score: u64 }
///
/// impl Migrate<v1::Player> for Player {
///     fn migrate(old: v1::Player) -> Self { Self { name: old.name, score: old.score.into() } }
/// }
/// impl Migrate<Player> for v1::Player {
///     fn migrate(new: Player) -> Self {
///         Self { name: new.name, score: new.score.try_into().unwrap_or(u32::MAX) }
///     }
/// }
///
/// let steps = Steps::<Player>::new().from::<v1::Player>().back::<v1::Player>();
/// # let _ = steps;
/// ```
pub struct Steps<V: Value> {
    pub(crate) sources: Vec<Source<V>>,
    pub(crate) back: Option<Back>,
    /// By type: `Convert<Old, V>`.
    ways: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    /// What cannot be meant.
    pub(crate) wrong: Option<String>,
}

/// A shape that records may still have.
pub(crate) struct Source<V> {
    pub(crate) shape: Description,
    pub(crate) geometry: fn(usize) -> Geometry,
    pub(crate) read: Read<V>,
}

/// The shape that the predecessor reads.
pub(crate) struct Back {
    pub(crate) shape: Description,
    pub(crate) geometry: fn(usize) -> Geometry,
    /// Whether a twin takes something from the one before it.
    pub(crate) wants_before: bool,
    pub(crate) write: WriteBack,
}

impl<V: Value> fmt::Debug for Steps<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let versions: Vec<u16> = self.sources.iter().map(|source| source.shape.version()).collect();
        f.debug_struct("Steps")
            .field("from", &versions)
            .field("back", &self.back.as_ref().map(|back| back.shape.version()))
            .finish_non_exhaustive()
    }
}

impl<V: Value> Default for Steps<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: Value> Steps<V> {
    /// No steps: the table must have the shape of `V`.
    #[must_use]
    pub fn new() -> Self {
        let itself: Convert<V, V> = Arc::new(|value| value);
        Self {
            sources: Vec::new(),
            back: None,
            ways: HashMap::from([(TypeId::of::<V>(), Box::new(itself) as Box<dyn Any + Send + Sync>)]),
            wrong: None,
        }
    }

    /// Records may have the shape of `Old`.
    #[must_use]
    pub fn from<Old: OwnedValue>(self) -> Self
    where
        V: Migrate<Old>,
    {
        self.through::<Old, V>()
    }

    /// Records may have the shape of `Old`, which becomes `V` by way of `Via`: for versions further back. What `Via` becomes was said
    /// before.
    ///
    /// ```
    /// # use shmstate::{Migrate, Schema, Steps};
    /// # #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, Schema)]
    /// # struct V1(u8);
    /// # #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, Schema)]
    /// # #[schema(version = 2)]
    /// # struct V2(u16);
    /// # #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, Schema)]
    /// # #[schema(version = 3)]
    /// # struct V3(u32);
    /// # impl Migrate<V1> for V2 { fn migrate(old: V1) -> Self { V2(old.0.into()) } }
    /// # impl Migrate<V2> for V3 { fn migrate(old: V2) -> Self { V3(old.0.into()) } }
    /// let steps = Steps::<V3>::new().from::<V2>().through::<V1, V2>();
    /// # let _ = steps;
    /// ```
    #[must_use]
    pub fn through<Old: OwnedValue, Via: Migrate<Old> + 'static>(mut self) -> Self {
        let way = self.ways.get(&TypeId::of::<Via>());
        let Some(way) = way.and_then(|way| way.downcast_ref::<Convert<Via, V>>()).cloned() else {
            return self.refuse(format!(
                "what {} becomes is not said before {} is said to go through it",
                std::any::type_name::<Via>(),
                std::any::type_name::<Old>()
            ));
        };
        let convert: Convert<Old, V> = Arc::new(move |old| way(Via::migrate(old)));
        let shape = Description::of::<Old>();
        let same = |other: &Description| (other.version() ^ shape.version()) & 0xff == 0;
        if same(&Description::of::<V>()) || self.sources.iter().any(|source| same(&source.shape)) {
            let why = format!(
                "version {} of {} is declared twice, or differs from another in a multiple of 256; raise #[schema(version = …)]",
                shape.version(),
                shape.name()
            );
            return self.refuse(why);
        }
        self.ways.insert(TypeId::of::<Old>(), Box::new(Arc::clone(&convert)));
        self.sources.push(Source {
            shape,
            geometry: Geometry::of::<Old>,
            read: Box::new(move |view, header, geometry| {
                archive::owned_at::<Old>(view, header, geometry).map(|old| convert(old))
            }),
        });
        self
    }

    /// What this program changes, one that knows only `Old` can read after it, until the way back is closed
    /// ([`Region::close_ways_back`](crate::Region::close_ways_back)). What only `Old` has is then what it was when the record migrated, if
    /// the step says so ([`Migrate::migrate_over`]; a derived one does). Of a record that this program has made, it is what
    /// [`Migrate::migrate`] gives.
    #[must_use]
    pub fn back<Old: OwnedValue + Migrate<V>>(mut self) -> Self
    where
        V: OwnedValue,
    {
        let shape = Description::of::<Old>();
        if !self.sources.iter().any(|source| source.shape == shape) {
            return self.refuse(format!(
                "a way back to version {} of {} needs a step from it",
                shape.version(),
                shape.name()
            ));
        }
        let wants_before = Old::wants_before();
        self.back = Some(Back {
            shape,
            geometry: Geometry::of::<Old>,
            wants_before,
            write: Box::new(move |tx, (header, geometry), home, key, before| {
                let new = archive::owned_at::<V>(tx, header, geometry)?;
                let old = match before {
                    Some(before) if wants_before => {
                        Old::migrate_over(new, archive::owned_at::<Old>(tx, before, home.geometry)?)
                    }
                    _ => Old::migrate(new),
                };
                match before {
                    Some(before) => record::replace(tx, home, before, key, &old),
                    None => record::create(tx, home, key, &old).map(|written| (written, 0)),
                }
            }),
        });
        self
    }

    /// The shapes that records may have, in the order in which they were said.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = &Description> {
        self.sources.iter().map(|source| &source.shape)
    }

    /// The shape that the program before reads.
    pub(crate) fn back_shape(&self) -> Option<&Description> {
        self.back.as_ref().map(|back| &back.shape)
    }

    fn refuse(mut self, why: String) -> Self {
        self.wrong.get_or_insert(why);
        self
    }
}
