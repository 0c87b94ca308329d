//! The way back of a field, and the calls of the functions that a field names. Only the derive's code uses them.

/// How a field's value becomes one of the older version again.
///
/// What [`Migrate`](super::Migrate) does forward, in reverse: the same value, a narrower number that saturates (Z2), or a derived type
/// with a way back of its own. `#[derive(Schema)]` writes the identity of each type, and with `back` the step to the older one.
#[diagnostic::on_unimplemented(
    message = "a `{New}` does not become a `{Self}` again by itself",
    label = "no way back from `{New}` is known",
    note = "a field of another type: `#[schema(migrate = path::to::function, back = path::to::function)]` on it",
    note = "two versions of a type of your own: `#[schema(from = {Self}, back)]` on the newer one"
)]
pub trait Return<New>: Sized {
    /// The older value that `new` becomes.
    fn back(new: New) -> Self;
}

/// Calls what stands at a field. As an argument, a closure knows the type of its parameter.
pub fn apply<From, To>(value: From, function: impl FnOnce(From) -> To) -> To {
    function(value)
}
