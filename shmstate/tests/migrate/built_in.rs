//! The types that come with Rust: identities, what is wider, containers.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::marker::PhantomData;

use rkyv::Archive;
use shmstate::schema::{Describer, TypeRef};
use shmstate::{Migrate, Schema};

fn there<Old, New: Migrate<Old>>(old: Old) -> New {
    New::migrate(old)
}

/// Compiles if every built-in type that has a schema becomes itself.
#[test]
fn what_has_a_schema_becomes_itself() {
    fn same<T: Schema + Migrate<T>>() {}
    macro_rules! same {
        ($($type:ty),* $(,)?) => { $(same::<$type>();)* };
    }
    same!(
        (), bool, char, u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64, String, Box<str>,
        Box<u8>, Box<[u8]>, Vec<u8>, BTreeMap<u8, u8>, HashMap<u8, u8>, PhantomData<str>, [u8; 3], Option<u8>,
        (u8,), (u8, u8), (u8, u8, u8), (u8, u8, u8, u8), (u8, u8, u8, u8, u8), (u8, u8, u8, u8, u8, u8),
    );
}

#[test]
fn containers_migrate_what_they_hold() {
    assert_eq!(there::<_, Vec<u32>>(vec![1_u8, 2]), [1, 2]);
    assert_eq!(there::<_, Box<i64>>(Box::new(3_u32)), Box::new(3));
    assert_eq!(there::<Box<[u8]>, Box<[u16]>>([1, 2].into()), [1, 2].into());
    assert_eq!(there::<_, Option<f64>>(Some(1.5_f32)), Some(1.5));
    assert_eq!(there::<_, Option<f64>>(None::<f32>), None);
    assert_eq!(there::<_, [u16; 2]>([1_u8, 2]), [1, 2]);
    assert_eq!(there::<_, (u16,)>((1_u8,)), (1,));
    assert_eq!(
        there::<_, (u16, char, i32, f64, String, Vec<u64>)>((1_u8, 'a', -2_i16, 1_u32, "b".to_owned(), vec![3_u32])),
        (1, 'a', -2, 1.0, "b".to_owned(), vec![3])
    );
    assert_eq!(
        there::<_, BTreeMap<(u16, String), Option<i64>>>(BTreeMap::from([((1_u8, "k".to_owned()), Some(4_i32))])),
        BTreeMap::from([((1, "k".to_owned()), Some(4))])
    );
    assert_eq!(
        there::<_, HashMap<u64, Vec<u32>>>(HashMap::from([(1_u8, vec![2_u16])])),
        HashMap::from([(1, vec![2])])
    );
    assert_eq!(there::<_, BTreeSet<i16>>(BTreeSet::from([1_u8])), BTreeSet::from([1]));
    assert_eq!(there::<_, HashSet<i16>>(HashSet::from([1_u8])), HashSet::from([1]));
    assert_eq!(
        there::<_, Vec<Option<Box<u32>>>>(vec![Some(Box::new(1_u16)), None]),
        [Some(Box::new(1)), None]
    );
}

#[derive(Archive, Schema)]
struct Narrow {
    bag: BTreeMap<u8, Vec<(u16, Option<i8>)>>,
    one: Box<f32>,
    many: Box<[i32]>,
    fixed: [u8; 2],
}

#[derive(Archive, Schema)]
#[schema(version = 2, from = Narrow, back)]
struct Wide {
    bag: BTreeMap<u16, Vec<(u32, Option<i64>)>>,
    one: Box<f64>,
    many: Box<[i128]>,
    fixed: [f32; 2],
}

#[test]
fn containers_saturate_what_they_hold() {
    let narrow = Narrow::migrate(Wide {
        bag: BTreeMap::from([
            (2, vec![(70_000, Some(-200)), (1, None)]),
            // Equal keys afterwards: the greatest is kept.
            (255, Vec::new()),
            (300, vec![(9, None)]),
        ]),
        one: Box::new(-1e60),
        many: Box::new([i128::MIN, 5]),
        fixed: [-0.5, 1e9],
    });
    assert_eq!(
        narrow.bag,
        BTreeMap::from([(2, vec![(65_535, Some(-128)), (1, None)]), (255, vec![(9, None)])])
    );
    assert_eq!(*narrow.one, f32::MIN);
    assert_eq!(*narrow.many, [i32::MIN, 5]);
    assert_eq!(narrow.fixed, [0, 255]);
}

#[derive(Archive, Schema)]
struct Measured {
    way: u16,
    free: Option<u8>,
}

#[derive(Archive, Schema)]
#[schema(version = 2, from = Measured, back)]
struct Optional {
    #[schema(migrate = Some, back = Option::unwrap_or_default)]
    way: Option<u16>,
    #[schema(back = |free| free.map(|free| (free % 256) as u8))]
    free: Option<u64>,
}

#[test]
fn a_function_takes_the_place_of_what_the_types_say() {
    let new = Optional::migrate(Measured { way: 3, free: Some(4) });
    assert_eq!((new.way, new.free), (Some(3), Some(4)));
    let old = Measured::migrate(Optional {
        way: None,
        free: Some(257),
    });
    assert_eq!((old.way, old.free), (0, Some(1)));
}

/// Neither derives `Schema`, so neither has a way back that the derive knows.
#[derive(Archive, PartialEq, Debug)]
struct Feet(u32);
#[derive(Archive, PartialEq, Debug)]
struct Metres(u32);

macro_rules! by_hand {
    ($($new:ident <- $old:ident: $step:expr;)*) => {$(
        impl Migrate<$old> for $new {
            fn migrate(old: $old) -> Self {
                Self($step(old.0))
            }
        }
    )*};
}

by_hand! {
    Feet <- Feet: |feet| feet;
    Metres <- Feet: |feet| feet * 3048 / 10_000;
    Feet <- Metres: |metres| metres * 10_000 / 3048;
}

#[expect(unsafe_code, reason = "vouches for a description made by hand")]
// SAFETY: a number of its own, archived by rkyv's derive.
unsafe impl Schema for Feet {
    fn describe(describer: &mut Describer) -> TypeRef {
        describer.opaque::<Self>("Feet")
    }
}

#[expect(unsafe_code, reason = "vouches for a description made by hand")]
// SAFETY: a number of its own, archived by rkyv's derive.
unsafe impl Schema for Metres {
    fn describe(describer: &mut Describer) -> TypeRef {
        describer.opaque::<Self>("Metres")
    }
}

#[derive(Archive, Schema)]
struct Climb {
    up: Vec<Feet>,
    down: Feet,
}

#[derive(Archive, Schema)]
#[schema(version = 2, from = Climb, back)]
struct Hike {
    #[schema(migrate = Migrate::migrate, back = Migrate::migrate)]
    up: Vec<Metres>,
    #[schema(migrate = Migrate::migrate, back = Migrate::migrate)]
    down: Feet,
}

/// Forward it goes without a word.
#[derive(Archive, Schema)]
#[schema(version = 2, from = Climb)]
struct Descent {
    up: Vec<Metres>,
}

#[test]
fn ways_written_by_hand_are_named() {
    let climb = || Climb {
        up: vec![Feet(10_000)],
        down: Feet(7),
    };
    assert_eq!(Descent::migrate(climb()).up, [Metres(3048)]);
    let hike = Hike::migrate(climb());
    assert_eq!((&hike.up[..], &hike.down), (&[Metres(3048)][..], &Feet(7)));
    let climb = Climb::migrate(hike);
    assert_eq!((&climb.up[..], &climb.down), (&[Feet(10_000)][..], &Feet(7)));
}
