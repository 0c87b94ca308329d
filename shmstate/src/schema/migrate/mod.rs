//! From a value of one version of a record's type to a value of another.
//!
//! - **Z1** Forward nothing is lost unasked: a number becomes one that holds every value of the old type, or it does not compile. Fields
//!   and variants that are dropped are so by what the type's author wrote.
//! - **Z2** Backward a widened number saturates. That narrowing is [`back::Return`], which only the derive's way back uses, so that it can
//!   never happen forward.
//! - **Z3** No blanket implementation: each type has its identity. Containers migrate what they hold. So the pair of two types
//!   of one's own can always be written by hand.
//! - **Z4** A value is moved, not copied; what the new version does not take is dropped.
//! - **Z5** Backward, what the newer version has no place for is what it was in the older value before, if there is one. A part of a
//!   value is known again by its place: a field of a struct or of the same variant, an item of an array or a tuple, what a `Box` or an
//!   `Option` holds, a key's value in a map. Items of lists and sets have no place of their own: they have no value before.
//!
//! It does not know archives, tables or version numbers: only values. `#[derive(Schema)]` writes the implementations for structs and
//! enums (`from = …`, `back`).

mod back;
mod containers;
mod places;
mod width;

pub use back::{Asked, Return, apply};

/// How a value of an older shape becomes one of this shape.
///
/// `Migrate<V1> for V2` is the way forward, `Migrate<V2> for V1` the way back. Both are written by
/// [`#[derive(Schema)]`](derive@crate::Schema) for a type with `#[schema(from = V1, back)]`; its documentation has the keys. Versions
/// that are further apart are composed: `V3::migrate(V2::migrate(v1))`.
///
/// ```
/// use shmstate::Migrate;
///
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// #[schema(version = 1, name = "Player")]
/// struct PlayerV1 { name: String, score: u32, level: u8 }
///
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// #[schema(version = 2, from = PlayerV1, back, removed(level = 1))]
/// struct Player {
///     #[schema(was = "name")]
///     nick: String,
///     score: u64,
///     #[schema(default = 3)]
///     lives: u8,
/// }
///
/// let new = Player::migrate(PlayerV1 { name: "Ada".to_owned(), score: 41, level: 9 });
/// assert_eq!((new.nick.as_str(), new.score, new.lives), ("Ada", 41, 3));
/// let old = PlayerV1::migrate(Player { score: u64::MAX, ..new });
/// assert_eq!((old.name.as_str(), old.score, old.level), ("Ada", u32::MAX, 1));
/// // Where it is known what the older value was, nothing of it is lost.
/// let before = PlayerV1 { level: 9, ..old };
/// let old = PlayerV1::migrate_over(Player { nick: "Eve".to_owned(), score: 5, lives: 2 }, before);
/// assert_eq!((old.name.as_str(), old.score, old.level), ("Eve", 5, 9));
/// ```
///
/// Implemented are
///
/// - the identity of every type that has a built-in [`Schema`](super::Schema), and of what rkyv's wrappers archive (`PathBuf`, `Rc`,
///   `Arc`, atomics …);
/// - what holds all values of the old type: every pair of integers and floats for which std has `From` (`u8` to `u16`, `u32` to `i64`,
///   `i32` to `f64` …), but not `bool` or `char` to a number, which is another meaning and not more width;
/// - `Vec`, `Option`, `Box`, arrays, tuples of one to six, maps and sets, where what they hold migrates, keys too. Of keys that are
///   equal afterwards the last one visited keeps its value: the greatest of a `BTreeMap`, any of a `HashMap`.
///
/// `#[derive(Schema)]` adds the identity of the type itself; a type whose [`Schema`](super::Schema) is written by hand writes its own:
///
/// ```
/// use shmstate::Migrate;
///
/// struct Metres(f64);
///
/// /// What was stored as whole kilometres.
/// impl Migrate<u32> for Metres {
///     fn migrate(kilometres: u32) -> Self {
///         Self(f64::from(kilometres) * 1000.0)
///     }
/// }
/// impl Migrate<Self> for Metres {
///     fn migrate(same: Self) -> Self {
///         same
///     }
/// }
///
/// let way: Vec<Metres> = Migrate::migrate(vec![2_u32, 3]);
/// assert_eq!(way[1].0, 3000.0);
/// ```
///
/// Forward, a number never becomes a narrower one, alone or in a type:
///
/// ```compile_fail,E0277
/// let narrow: u8 = shmstate::Migrate::migrate(1_u16);
/// ```
/// ```compile_fail,E0277
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// struct Old { level: u16 }
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// #[schema(version = 2, from = Old)]
/// struct New { level: u8 }
/// ```
///
/// What only the old version has must be named, a variant forward, a field on the way back; and a variant that is new:
///
/// ```compile_fail,E0004
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// enum Old { Calm, Gone }
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// #[schema(version = 2, from = Old)] // removed(Gone = Self::Calm)
/// enum New { Calm }
/// ```
/// ```compile_fail,E0063
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// struct Old { name: String, level: u16 }
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// #[schema(version = 2, from = Old, back)] // removed(level)
/// struct New { name: String }
/// ```
/// ```compile_fail,E0599
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// enum Old { Calm }
/// #[derive(rkyv::Archive, shmstate::Schema)]
/// #[schema(version = 2, from = Old, back)]
/// enum New { Calm, Angry } // #[schema(back = Self::Calm)] on Angry
/// ```
#[diagnostic::on_unimplemented(
    message = "a `{Old}` does not become a `{Self}` by itself",
    label = "no migration from `{Old}` is known",
    note = "a field of another type: `#[schema(migrate = path::to::function)]` on it",
    note = "two versions of a type of your own: `#[schema(from = {Old})]` on the newer one"
)]
pub trait Migrate<Old>: Sized {
    /// The value that `old` becomes.
    fn migrate(old: Old) -> Self;

    /// The same on a way back, where `Old` is the newer version and `before` is what the older value was when it migrated, or what the
    /// last way back made of it: so that what only the older version has is not lost when the newer one changes the rest. Unless it is
    /// written, `before` is dropped.
    ///
    /// ```
    /// # use shmstate::Migrate;
    /// # struct PlayerV1 { score: u32, title: u8 }
    /// # struct Player { score: u64 }
    /// impl Migrate<Player> for PlayerV1 {
    ///     fn migrate(new: Player) -> Self {
    ///         Self { score: new.score as u32, title: 0 }
    ///     }
    ///
    ///     fn migrate_over(new: Player, before: Self) -> Self {
    ///         Self { title: before.title, ..Self::migrate(new) }
    ///     }
    ///
    ///     fn wants_before() -> bool {
    ///         true
    ///     }
    /// }
    /// # let before = PlayerV1 { score: 1, title: 5 };
    /// # let old = PlayerV1::migrate_over(Player { score: 2 }, before);
    /// # assert!(old.score == 2 && old.title == 5 && <PlayerV1 as Migrate<Player>>::wants_before());
    /// ```
    fn migrate_over(old: Old, before: Self) -> Self {
        drop(before);
        Self::migrate(old)
    }

    /// Whether [`migrate_over`](Self::migrate_over) is another thing than [`migrate`](Self::migrate). Only then a table with a way back
    /// keeps each older record as it was before it is changed.
    fn wants_before() -> bool {
        false
    }
}
