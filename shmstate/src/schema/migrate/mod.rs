//! Placeholder.

/// How a value of an older shape becomes one of this shape.
pub trait Migrate<Old>: Sized {
    /// The value that the older one becomes.
    fn migrate(old: Old) -> Self;
}
