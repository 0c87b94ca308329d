//! A type with everything that can be described, and random values of it.

use fastrand::Rng;
use rkyv::rancor;
use rkyv::{Archive, Deserialize, Serialize};
use shmstate::Schema;
use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;
use std::path::PathBuf;

#[derive(Archive, Serialize, Deserialize, Schema, serde::Serialize, Clone, Debug, PartialEq)]
#[schema(version = 3)]
pub(crate) struct Everything {
    pub(crate) truth: bool,
    letter: char,
    small: (u8, i8, u16, i16),
    pub(crate) middle: (u32, i32, u64, i64),
    wide: (u128, i128),
    floats: (f32, f64),
    unit: (),
    pub(crate) text: String,
    boxed_text: Box<str>,
    boxed: Box<u16>,
    bytes: Vec<u8>,
    slice: Box<[i64]>,
    array: [u16; 3],
    empty: [u32; 0],
    texts: Vec<String>,
    pub(crate) option: Option<u32>,
    nested: Option<Vec<Option<String>>>,
    pub(crate) mood: Mood,
    moods: Vec<Mood>,
    tree: Node,
    names: BTreeMap<String, u32>,
    numbers: BTreeMap<i16, Vec<u8>>,
    index: HashMap<u64, String>,
    letters: HashMap<char, bool>,
    of_moods: BTreeMap<Plain, u8>,
    pub(crate) metres: Metres,
    pair: Pair<u8, Option<f32>>,
    nothing: Nothing,
    phantom: PhantomData<u32>,
    #[rkyv(with = rkyv::with::AsBox)]
    as_box: u64,
    #[rkyv(with = rkyv::with::AsString)]
    path: PathBuf,
    #[rkyv(with = rkyv::with::Niche)]
    niche: Option<Box<u32>>,
    #[rkyv(with = rkyv::with::Map<rkyv::with::AsBox>)]
    each: Vec<u8>,
    #[serde(rename = "type")]
    r#type: u8,
}

#[derive(Archive, Serialize, Deserialize, Schema, serde::Serialize, Clone, Debug, PartialEq)]
#[repr(u8)]
pub(crate) enum Mood {
    Calm,
    Angry(u32),
    Torn(i8, String),
    Away { since: u64, why: Option<Box<str>> } = 9,
}

#[derive(
    Archive, Serialize, Deserialize, Schema, serde::Serialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord,
)]
#[rkyv(derive(PartialEq, Eq, PartialOrd, Ord))]
pub(crate) enum Plain {
    One,
    Two,
    Three,
}

#[derive(Archive, Serialize, Deserialize, Schema, serde::Serialize, Clone, Debug, PartialEq)]
pub(crate) struct Metres(pub(crate) u32);

#[derive(Archive, Serialize, Deserialize, Schema, serde::Serialize, Clone, Debug, PartialEq)]
pub(crate) struct Pair<A, B> {
    left: A,
    right: B,
}

#[derive(Archive, Serialize, Deserialize, Schema, serde::Serialize, Clone, Debug, PartialEq)]
pub(crate) struct Nothing;

#[derive(Archive, Serialize, Deserialize, Schema, serde::Serialize, Clone, Debug, PartialEq)]
#[rkyv(
    serialize_bounds(__S: rkyv::ser::Writer + rkyv::ser::Allocator, __S::Error: rancor::Source),
    deserialize_bounds(__D::Error: rancor::Source),
    bytecheck(bounds(__C: rkyv::validation::ArchiveContext, __C::Error: rancor::Source))
)]
pub(crate) struct Node {
    value: u16,
    #[rkyv(omit_bounds)]
    children: Vec<Node>,
    #[rkyv(omit_bounds)]
    next: Option<Box<Node>>,
}

pub(crate) fn text(rng: &mut Rng) -> String {
    let length = rng.usize(..20);
    (0..length)
        .map(|_| match rng.u8(..20) {
            0 => '"',
            1 => '\\',
            2 => '\n',
            3 => '\u{1}',
            4 => 'ß',
            5 => '🦀',
            6 => ',',
            _ => rng.alphanumeric(),
        })
        .collect()
}

fn list<T>(rng: &mut Rng, most: usize, mut each: impl FnMut(&mut Rng) -> T) -> Vec<T> {
    let length = rng.usize(..=most);
    (0..length).map(|_| each(rng)).collect()
}

fn mood(rng: &mut Rng) -> Mood {
    match rng.u8(..4) {
        0 => Mood::Calm,
        1 => Mood::Angry(rng.u32(..)),
        2 => Mood::Torn(rng.i8(..), text(rng)),
        _ => Mood::Away {
            since: rng.u64(..),
            why: rng.bool().then(|| text(rng).into()),
        },
    }
}

fn node(rng: &mut Rng, depth: u8) -> Node {
    Node {
        value: rng.u16(..),
        children: if depth == 0 {
            Vec::new()
        } else {
            list(rng, 3, |rng| node(rng, depth - 1))
        },
        next: (depth > 0 && rng.bool()).then(|| Box::new(node(rng, depth - 1))),
    }
}

impl Everything {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        Self {
            truth: rng.bool(),
            letter: rng.char(..),
            small: (rng.u8(..), rng.i8(..), rng.u16(..), rng.i16(..)),
            middle: (rng.u32(..), rng.i32(..), rng.u64(..), rng.i64(..)),
            // What serde_json can hold without its arbitrary precision.
            wide: (rng.u64(..).into(), rng.i64(..).into()),
            floats: (rng.f32() * 1e6, rng.f64() / 3.0),
            unit: (),
            text: text(rng),
            boxed_text: text(rng).into(),
            boxed: Box::new(rng.u16(..)),
            bytes: list(rng, 40, |rng| rng.u8(..)),
            slice: list(rng, 4, |rng| rng.i64(..)).into(),
            array: [rng.u16(..), rng.u16(..), rng.u16(..)],
            empty: [],
            texts: list(rng, 4, text),
            option: rng.bool().then(|| rng.u32(..)),
            nested: rng.bool().then(|| list(rng, 3, |rng| rng.bool().then(|| text(rng)))),
            mood: mood(rng),
            moods: list(rng, 5, mood),
            tree: node(rng, 3),
            names: list(rng, 60, |rng| (text(rng), rng.u32(..))).into_iter().collect(),
            numbers: list(rng, 9, |rng| (rng.i16(..), list(rng, 3, |rng| rng.u8(..))))
                .into_iter()
                .collect(),
            index: list(rng, 60, |rng| (rng.u64(..), text(rng))).into_iter().collect(),
            letters: list(rng, 5, |rng| (rng.char(..), rng.bool())).into_iter().collect(),
            of_moods: list(rng, 3, |rng| {
                let plain = [Plain::One, Plain::Two, Plain::Three];
                (*rng.choice(&plain).expect("three"), rng.u8(..))
            })
            .into_iter()
            .collect(),
            metres: Metres(rng.u32(..)),
            pair: Pair {
                left: rng.u8(..),
                right: rng.bool().then(|| rng.f32()),
            },
            nothing: Nothing,
            phantom: PhantomData,
            as_box: rng.u64(..),
            path: text(rng).into(),
            niche: rng.bool().then(|| Box::new(rng.u32(..))),
            each: list(rng, 5, |rng| rng.u8(..)),
            r#type: rng.u8(..),
        }
    }
}
