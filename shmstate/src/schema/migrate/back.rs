//! The way back of a field, and the calls of the functions that a field names. Only the derive's code uses them.

use std::any::type_name;

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

    /// The same where the older value was `before`: what `new` has no place for is taken from it (Z5).
    fn back_over(new: New, before: Self) -> Self {
        drop(before);
        Self::back(new)
    }

    /// Whether `before` makes a difference.
    fn wants_before(asked: &mut Asked) -> bool {
        let _ = asked;
        false
    }
}

/// The steps that were asked already whether they want the value before: a type may hold itself.
#[derive(Debug, Default)]
pub struct Asked(Vec<(&'static str, &'static str)>);

impl Asked {
    /// Whether the step from `New` to `Old` is asked for the first time.
    pub fn first<Old, New>(&mut self) -> bool {
        let step = (type_name::<Old>(), type_name::<New>());
        let first = !self.0.contains(&step);
        if first {
            self.0.push(step);
        }
        first
    }

    /// Whether the step back of a field wants the value before. The functions only say which field it is: they are not called.
    pub fn field<Old, New, From, To: Return<From>>(
        &mut self,
        _: impl FnOnce(Old) -> Option<To>,
        _: impl FnOnce(New) -> Option<From>,
    ) -> bool {
        To::wants_before(self)
    }
}

/// Calls what stands at a field. As an argument, a closure knows the type of its parameter.
pub fn apply<From, To>(value: From, function: impl FnOnce(From) -> To) -> To {
    function(value)
}
