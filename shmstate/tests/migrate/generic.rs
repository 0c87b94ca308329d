//! Generic types: their parameters are what they were, what is built of them may change.

use std::collections::HashMap;
use std::marker::PhantomData;

use rkyv::Archive;
use shmstate::{Migrate, Schema};

mod v1 {
    use super::{Archive, PhantomData, Schema};

    #[derive(Archive, Schema, Clone, PartialEq, Debug)]
    pub(crate) struct Ring<T, const N: usize> {
        pub(crate) slots: [Option<T>; N],
        pub(crate) head: u8,
        pub(crate) of: PhantomData<T>,
    }

    #[derive(Archive, Schema, Clone, PartialEq, Debug)]
    pub(crate) enum Either<A, B>
    where
        A: Clone,
    {
        Left(A),
        Right(Vec<B>),
    }
}

#[derive(Archive, Schema, Clone, PartialEq, Debug)]
#[schema(version = 2, from = v1::Ring<T, N>, back)]
struct Ring<T, const N: usize> {
    #[schema(was = "slots")]
    places: [Option<T>; N],
    head: u32,
    of: PhantomData<T>,
}

#[derive(Archive, Schema, Clone, PartialEq, Debug)]
#[schema(version = 2, from = v1::Either<A, B>, back)]
enum Either<A, B>
where
    A: Clone,
{
    #[schema(was = "Right")]
    Many(Vec<B>),
    #[schema(was = "Left")]
    One(A),
}

/// An instance of a generic type comes from another.
#[derive(Archive, Schema, Clone, PartialEq, Debug)]
#[schema(version = 2, from = Ring<u8, 2>, back)]
struct Wide {
    places: [Option<u16>; 2],
    head: u64,
    of: PhantomData<[u8]>,
}

#[derive(Archive, Schema, Clone, PartialEq, Debug)]
struct Hall<T: Clone> {
    rings: Vec<v1::Ring<T, 2>>,
    by_name: HashMap<String, v1::Either<T, u8>>,
}

#[derive(Archive, Schema, Clone, PartialEq, Debug)]
#[schema(version = 2, from = Hall<T>, back)]
struct Arena<T: Clone> {
    rings: Vec<Ring<T, 2>>,
    by_name: HashMap<String, Either<T, u8>>,
}

fn ring<T>(a: T) -> v1::Ring<T, 2> {
    v1::Ring {
        slots: [None, Some(a)],
        head: 1,
        of: PhantomData,
    }
}

#[test]
fn a_parameter_stays_what_it_is() {
    let new = Ring::migrate(ring("a".to_owned()));
    assert_eq!(new.places, [None, Some("a".to_owned())]);
    assert_eq!(v1::Ring::migrate(new), ring("a".to_owned()));

    let new = Either::migrate(v1::Either::<u8, char>::Right(vec!['a']));
    assert_eq!(new, Either::Many(vec!['a']));
    assert_eq!(v1::Either::migrate(new), v1::Either::Right(vec!['a']));
    assert_eq!(Either::migrate(v1::Either::<u8, char>::Left(3)), Either::One(3));
}

#[test]
fn an_instance_may_change_its_arguments() {
    let new = Wide::migrate(Ring::migrate(ring(5_u8)));
    assert_eq!((new.places, new.head), ([None, Some(5)], 1));
    let narrow = v1::Ring::migrate(Ring::migrate(Wide {
        places: [Some(7), Some(700)],
        ..new
    }));
    assert_eq!(narrow.slots, [Some(7), Some(255)]);
}

#[test]
fn generic_types_hold_one_another() {
    let hall = Hall {
        rings: vec![ring('a'), ring('b')],
        by_name: HashMap::from([
            ("x".to_owned(), v1::Either::Left('c')),
            ("y".to_owned(), v1::Either::Right(vec![4])),
        ]),
    };
    let arena = Arena::migrate(hall.clone());
    assert_eq!(arena.rings[1].places, [None, Some('b')]);
    assert_eq!(arena.by_name["y"], Either::Many(vec![4]));
    assert_eq!(Hall::migrate(arena), hall);
}

#[derive(Archive, Schema, Clone, PartialEq, Debug)]
#[rkyv(bytecheck(bounds(__C: rkyv::validation::ArchiveContext, __C::Error: rkyv::rancor::Source)))]
struct Tree<T> {
    of: T,
    weight: u16,
    #[rkyv(omit_bounds)]
    below: Vec<Tree<T>>,
}

#[derive(Archive, Schema, Clone, PartialEq, Debug)]
#[schema(version = 2, from = Tree<T>, back)]
#[rkyv(bytecheck(bounds(__C: rkyv::validation::ArchiveContext, __C::Error: rkyv::rancor::Source)))]
struct Wood<T> {
    #[rkyv(omit_bounds)]
    #[schema(was = "below")]
    branches: Vec<Wood<T>>,
    of: T,
    weight: u64,
}

#[test]
fn a_recursive_type_migrates_to_its_leaves() {
    let leaf = |of, weight| Tree {
        of,
        weight,
        below: Vec::new(),
    };
    let tree = Tree {
        below: vec![leaf('b', 2), leaf('c', 3)],
        ..leaf('a', 1)
    };
    let wood = Wood::migrate(tree.clone());
    assert_eq!((wood.branches[1].of, wood.branches[1].weight), ('c', 3));
    assert_eq!(Tree::migrate(wood), tree);
}
