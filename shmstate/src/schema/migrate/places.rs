//! Containers in which what they hold has a place, by which it is known again on the way back (Z5).

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};

use super::{Asked, Migrate, Return};

/// What was in the place of `new`, or nothing.
fn over<Old: Return<New>, New>(new: New, before: Option<Old>) -> Old {
    match before {
        Some(before) => Old::back_over(new, before),
        None => Old::back(new),
    }
}

impl<A, B: Migrate<A>> Migrate<Box<A>> for Box<B> {
    fn migrate(old: Box<A>) -> Self {
        Self::new(B::migrate(*old))
    }
}

impl<A, B: Return<A>> Return<Box<A>> for Box<B> {
    fn back(new: Box<A>) -> Self {
        Self::new(B::back(*new))
    }

    fn back_over(new: Box<A>, before: Self) -> Self {
        Self::new(B::back_over(*new, *before))
    }

    fn wants_before(asked: &mut Asked) -> bool {
        B::wants_before(asked)
    }
}

impl<A, B: Migrate<A>> Migrate<Option<A>> for Option<B> {
    fn migrate(old: Option<A>) -> Self {
        old.map(B::migrate)
    }
}

impl<A, B: Return<A>> Return<Option<A>> for Option<B> {
    fn back(new: Option<A>) -> Self {
        new.map(B::back)
    }

    fn back_over(new: Option<A>, before: Self) -> Self {
        new.map(|new| over(new, before))
    }

    fn wants_before(asked: &mut Asked) -> bool {
        B::wants_before(asked)
    }
}

impl<A, B: Migrate<A>, const N: usize> Migrate<[A; N]> for [B; N] {
    fn migrate(old: [A; N]) -> Self {
        old.map(B::migrate)
    }
}

impl<A, B: Return<A>, const N: usize> Return<[A; N]> for [B; N] {
    fn back(new: [A; N]) -> Self {
        new.map(B::back)
    }

    fn back_over(new: [A; N], before: Self) -> Self {
        let mut before = before.into_iter();
        new.map(|new| over(new, before.next()))
    }

    fn wants_before(asked: &mut Asked) -> bool {
        B::wants_before(asked)
    }
}

impl<J, U, K, V> Migrate<BTreeMap<J, U>> for BTreeMap<K, V>
where
    K: Migrate<J> + Ord,
    V: Migrate<U>,
{
    fn migrate(old: BTreeMap<J, U>) -> Self {
        let pairs = old.into_iter();
        pairs.map(|(key, value)| (K::migrate(key), V::migrate(value))).collect()
    }
}

impl<J, U, K, V> Return<BTreeMap<J, U>> for BTreeMap<K, V>
where
    K: Return<J> + Ord,
    V: Return<U>,
{
    fn back(new: BTreeMap<J, U>) -> Self {
        Self::back_over(new, Self::new())
    }

    fn back_over(new: BTreeMap<J, U>, mut before: Self) -> Self {
        let pairs = new.into_iter().map(|(key, value)| (K::back(key), value));
        pairs
            .map(|(key, value)| {
                let value = over(value, before.remove(&key));
                (key, value)
            })
            .collect()
    }

    fn wants_before(asked: &mut Asked) -> bool {
        V::wants_before(asked)
    }
}

impl<J, U, R, K, V, S> Migrate<HashMap<J, U, R>> for HashMap<K, V, S>
where
    K: Migrate<J> + Hash + Eq,
    V: Migrate<U>,
    S: BuildHasher + Default,
{
    fn migrate(old: HashMap<J, U, R>) -> Self {
        let pairs = old.into_iter();
        pairs.map(|(key, value)| (K::migrate(key), V::migrate(value))).collect()
    }
}

impl<J, U, R, K, V, S> Return<HashMap<J, U, R>> for HashMap<K, V, S>
where
    K: Return<J> + Hash + Eq,
    V: Return<U>,
    S: BuildHasher + Default,
{
    fn back(new: HashMap<J, U, R>) -> Self {
        Self::back_over(new, Self::default())
    }

    fn back_over(new: HashMap<J, U, R>, mut before: Self) -> Self {
        let pairs = new.into_iter().map(|(key, value)| (K::back(key), value));
        pairs
            .map(|(key, value)| {
                let value = over(value, before.remove(&key));
                (key, value)
            })
            .collect()
    }

    fn wants_before(asked: &mut Asked) -> bool {
        V::wants_before(asked)
    }
}

macro_rules! tuples {
    ($($($old:ident $new:ident $index:tt),+;)*) => {
        $(tuples! { @one $($old $new $index),+ })*
    };
    (@one $($old:ident $new:ident $index:tt),+) => {
        impl<$($old, $new: Migrate<$old>),+> Migrate<($($old,)+)> for ($($new,)+) {
            fn migrate(old: ($($old,)+)) -> Self {
                ($($new::migrate(old.$index),)+)
            }
        }

        impl<$($old, $new: Return<$old>),+> Return<($($old,)+)> for ($($new,)+) {
            fn back(new: ($($old,)+)) -> Self {
                ($($new::back(new.$index),)+)
            }

            fn back_over(new: ($($old,)+), before: Self) -> Self {
                ($($new::back_over(new.$index, before.$index),)+)
            }

            fn wants_before(asked: &mut Asked) -> bool {
                $($new::wants_before(asked))||+
            }
        }
    };
}

tuples! {
    A J 0;
    A J 0, B K 1;
    A J 0, B K 1, C L 2;
    A J 0, B K 1, C L 2, D M 3;
    A J 0, B K 1, C L 2, D M 3, E N 4;
    A J 0, B K 1, C L 2, D M 3, E N 4, F O 5;
}
