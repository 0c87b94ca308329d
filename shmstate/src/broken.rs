//! Switches for builds that are broken on purpose: the torture test must show violations in each of them.
//!
//! Such a build is a package of its own (`tests/broken/*`) that compiles these sources with `--cfg broken="…"`. In the
//! library that users link, all are false and cost nothing.

/// The length of the undo log is never published: recovery finds nothing to take back.
pub(crate) const PUBLISH: bool = cfg!(broken = "publish");
/// The order that the compiler fence keeps is given up: an entry is published only after the data it covers.
pub(crate) const FENCE: bool = cfg!(broken = "fence");
/// Freed blocks are forgotten at commit.
pub(crate) const FREE: bool = cfg!(broken = "free");
/// The entries of an ordered map's node that an insertion moves are not logged.
pub(crate) const ENTRY: bool = cfg!(broken = "entry");
/// Blocks that a savepoint's part wanted freed are freed although the part was taken back.
pub(crate) const SAVEPOINT: bool = cfg!(broken = "savepoint");
/// A record that was changed gets no twin in the older shape that there is a way back to.
pub(crate) const TWIN: bool = cfg!(broken = "twin");
/// The source of a move does not follow its targets, although there is a way back.
pub(crate) const FOLLOW: bool = cfg!(broken = "follow");
