//! Descriptions and fingerprints: golden texts, a corpus of pairs that must differ, what must stay equal,
//! and the described offsets against the bytes of real archives.
//!
//! A golden that changes means that regions written before are refused: raise the grammar's version and
//! say so in DESIGN.md, never only the golden.

#![allow(dead_code, reason = "most types exist to be described")]

mod bytes;
mod corpus;
mod model;
mod rust;

use std::{
    collections::{BTreeMap, HashMap},
    marker::PhantomData,
};

use rkyv::{Archive, Deserialize, Serialize, rancor};
use shmstate::{
    Schema,
    schema::{Describer, Description, Fingerprint, TypeRef},
};

#[derive(Archive, Serialize, Deserialize, Schema)]
#[schema(version = 3)]
struct Player {
    alive: bool,
    name: String,
    score: u64,
    inventory: Vec<Item>,
    home: Option<(u16, i32)>,
    mood: Mood,
    r#type: char,
}

#[derive(Archive, Serialize, Deserialize, Schema)]
struct Item {
    kind: u16,
    count: u32,
}

#[derive(Archive, Serialize, Deserialize, Schema)]
#[repr(u8)]
enum Mood {
    Calm,
    Angry(u32, u8),
    Away { since: u64, why: Box<str> } = 7,
    Gone,
}

/// Recursive, so rkyv needs to be told the bounds of its derived code.
#[derive(Archive, Serialize, Deserialize, Schema)]
#[rkyv(
    serialize_bounds(__S: rkyv::ser::Writer + rkyv::ser::Allocator, __S::Error: rancor::Source),
    deserialize_bounds(__D::Error: rancor::Source),
    bytecheck(bounds(__C: rkyv::validation::ArchiveContext, __C::Error: rancor::Source))
)]
struct Node {
    value: u32,
    #[rkyv(omit_bounds)]
    children: Vec<Self>,
    #[rkyv(omit_bounds)]
    next: Option<Box<Node>>,
}

#[derive(Archive, Serialize, Deserialize, Schema)]
struct Pair<A, B> {
    left: A,
    right: B,
}

#[derive(Archive, Serialize, Deserialize, Schema)]
struct Ring<T, const N: usize>
where
    T: Archive,
{
    slots: [T; N],
}

#[derive(Archive, Serialize, Deserialize, Schema)]
struct Id<T> {
    raw: u64,
    of: PhantomData<T>,
}

#[derive(Archive, Serialize, Deserialize, Schema)]
struct Unit;

#[derive(Archive, Serialize, Deserialize, Schema)]
struct Everything {
    small: (u8, i8, bool, ()),
    wide: (u128, i128),
    numbers: (u16, i16, u32, i32, u64, i64),
    floats: (f32, f64),
    letters: [char; 3],
    one: (String,),
    bytes: Box<[u8]>,
    boxed: Box<u16>,
    names: BTreeMap<String, u32>,
    index: HashMap<u64, Unit>,
}

fn text<T: Schema>() -> String {
    Description::of::<T>().text().to_owned()
}

fn print<T: Schema>() -> Fingerprint {
    Description::of::<T>().fingerprint()
}

// --- golden texts -------------------------------------------------------------------------------------

#[track_caller]
fn golden<T: Schema>(text: &str, fingerprint: &str) {
    let description = Description::of::<T>();
    assert_eq!(description.text(), text);
    assert_eq!(description.fingerprint().to_string(), fingerprint);
}

#[test]
fn golden_player() {
    golden::<Player>(
        "schema 1 Player version 3
layout rkyv 0.8 little aligned pointer 32
struct Player size 80 align 8
  0 alive: bool
  4 name: String
  16 score: u64
  24 inventory: Vec<Item>
  32 home: Option<(u16,i32)>
  48 mood: Mood
  72 type: char
enum Mood size 24 align 8
  tag 0 Calm
  tag 1 Angry
    4 .0: u32
    8 .1: u8
  tag 7 Away
    8 since: u64
    16 why: Box<str>
  tag 8 Gone
struct Item size 8 align 4
  0 kind: u16
  4 count: u32
struct (u16,i32) size 8 align 4
  0 .0: u16
  4 .1: i32
type Box<str> size 8 align 4
enum Option<(u16,i32)> size 12 align 4
  tag 0 None
  tag 1 Some
    4 .0: (u16,i32)
type String size 8 align 4
type Vec<Item> size 8 align 4
type bool size 1 align 1
type char size 4 align 4
type i32 size 4 align 4
type u16 size 2 align 2
type u32 size 4 align 4
type u64 size 8 align 8
type u8 size 1 align 1
",
        "1536642ae66a33985ee0b7fcf88f2894",
    );
}

#[test]
fn golden_recursive() {
    golden::<Node>(
        "schema 1 Node version 1
layout rkyv 0.8 little aligned pointer 32
struct Node size 20 align 4
  0 value: u32
  4 children: Vec<Node>
  12 next: Option<Box<Node>>
type Box<Node> size 4 align 4
enum Option<Box<Node>> size 8 align 4
  tag 0 None
  tag 1 Some
    4 .0: Box<Node>
type Vec<Node> size 8 align 4
type u32 size 4 align 4
",
        "df290682a7d9116d99f5eadebc520b00",
    );
}

#[test]
fn golden_generic() {
    golden::<Pair<Vec<Item>, Pair<u8, f64>>>(
        "schema 1 Pair<Vec<Item>,Pair<u8,f64>> version 1
layout rkyv 0.8 little aligned pointer 32
struct Pair<Vec<Item>,Pair<u8,f64>> size 24 align 8
  0 left: Vec<Item>
  8 right: Pair<u8,f64>
struct Pair<u8,f64> size 16 align 8
  0 left: u8
  8 right: f64
struct Item size 8 align 4
  0 kind: u16
  4 count: u32
type Vec<Item> size 8 align 4
type f64 size 8 align 8
type u16 size 2 align 2
type u32 size 4 align 4
type u8 size 1 align 1
",
        "ac58f78aa272e466ef2594523436db5c",
    );
    golden::<Ring<Item, 4>>(
        "schema 1 Ring<Item,4> version 1
layout rkyv 0.8 little aligned pointer 32
struct Ring<Item,4> size 32 align 4
  0 slots: [Item;4]
struct Item size 8 align 4
  0 kind: u16
  4 count: u32
type [Item;4] size 32 align 4
type u16 size 2 align 2
type u32 size 4 align 4
",
        "9e0279c5e8d51c9eb98875e95cecda7c",
    );
}

#[test]
fn golden_built_in() {
    golden::<u64>(
        "schema 1 u64 version 0
layout rkyv 0.8 little aligned pointer 32
type u64 size 8 align 8
",
        "c0b0df93ff4b02f18ce4c71bdf708ea6",
    );
    golden::<Vec<Option<Item>>>(
        "schema 1 Vec<Option<Item>> version 0
layout rkyv 0.8 little aligned pointer 32
type Vec<Option<Item>> size 8 align 4
struct Item size 8 align 4
  0 kind: u16
  4 count: u32
enum Option<Item> size 12 align 4
  tag 0 None
  tag 1 Some
    4 .0: Item
type u16 size 2 align 2
type u32 size 4 align 4
",
        "75c76617b2a5d7d8622c99b9d79dfdf9",
    );
}

#[test]
fn every_supported_type_has_a_line() {
    let text = text::<Everything>();
    assert_eq!(print::<Everything>().to_string(), "2a2fa7f3415fb38e3d7e1748cf553437");
    for line in [
        "struct Unit size 0 align 1",
        "struct (u16,i16,u32,i32,u64,i64) size 32 align 8",
        "  16 .4: u64",
        "struct (String,) size 8 align 4",
        "type () size 0 align 1",
        "type [char;3] size 12 align 4",
        "type Box<[u8]> size 8 align 4",
        "type Box<u16> size 4 align 4",
        "type BTreeMap<String,u32> size 8 align 4",
        "type HashMap<u64,Unit> size 12 align 4",
        "type u128 size 16 align 16",
        "type f64 size 8 align 8",
    ] {
        assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
    }
}

#[test]
fn generic_arguments_differ() {
    assert_ne!(print::<Pair<u32, f32>>(), print::<Pair<f32, u32>>());
    assert_ne!(print::<Ring<u8, 4>>(), print::<Ring<u8, 5>>());
    assert_ne!(print::<Id<Player>>(), print::<Id<Item>>());
    assert_ne!(print::<HashMap<u32, u64>>(), print::<BTreeMap<u32, u64>>());
    assert_ne!(print::<(u32,)>(), print::<u32>());
}

// --- what must be equal -------------------------------------------------------------------------------

mod here {
    use super::*;
    #[derive(Archive, Schema)]
    pub(super) struct Thing {
        item: Inner,
        next: Vec<Thing2>,
    }
    #[derive(Archive, Schema)]
    pub(super) struct Inner(u32);
    #[derive(Archive, Schema)]
    pub(super) enum Thing2 {
        One(Inner),
        Two,
    }
}

mod there {
    pub(super) mod deeper {
        use super::super::*;
        #[derive(Archive, Schema)]
        pub(in super::super) enum Thing2 {
            One(Inner),
            Two,
        }
        #[derive(Archive, Schema)]
        #[rkyv(archived = StoredInner)]
        pub(in super::super) struct Inner(u32);
        #[derive(Archive, Schema)]
        pub(in super::super) struct Thing {
            item: Inner,
            next: Vec<Thing2>,
        }
    }
}

#[test]
fn one_shape_in_two_modules_is_equal() {
    assert_eq!(text::<here::Thing>(), text::<there::deeper::Thing>());
    assert_eq!(
        Description::of::<here::Thing>(),
        Description::of::<there::deeper::Thing>()
    );
}

#[test]
fn two_types_of_one_name_stay_apart() {
    type Both = Pair<here::Inner, there::deeper::Inner>;
    type Twice = Pair<here::Inner, here::Inner>;
    assert!(
        text::<Both>().contains("struct Pair<Inner,Inner#2> size"),
        "{}",
        text::<Both>()
    );
    assert!(text::<Both>().contains("\n  4 right: Inner#2\n"), "{}", text::<Both>());
    assert_ne!(print::<Both>(), print::<Twice>());

    /// A derived type may have the name of a built-in one.
    #[derive(Archive, Schema)]
    #[schema(name = "String")]
    struct Rope(u64);
    let text = text::<Pair<Rope, String>>();
    assert!(text.contains("struct String#2 size 8 align 8\n"), "{text}");
    assert!(text.contains("type String size 8 align 4\n"), "{text}");
}

#[test]
fn the_version_is_beside_the_fingerprint() {
    #[derive(Archive, Schema)]
    #[schema(version = 4, name = "Item")]
    struct ItemV4 {
        kind: u16,
        count: u32,
    }
    assert_eq!((ItemV4::VERSION, Item::VERSION, u32::VERSION), (4, 1, 0));
    let (new, old) = (Description::of::<ItemV4>(), Description::of::<Item>());
    assert_eq!(new.fingerprint(), old.fingerprint());
    assert_ne!(new, old);
    assert_eq!(new.text().lines().next(), Some("schema 1 Item version 4"));
    assert_eq!((new.name(), new.version()), ("Item", 4));
    assert_eq!(new.to_string(), new.text());
}

#[test]
fn a_phantom_argument_is_named_and_not_described() {
    let text = text::<Id<Player>>();
    assert!(text.contains("struct Id<Player> size 8 align 8\n"), "{text}");
    assert!(!text.contains("score"), "{text}");
}

#[test]
fn the_hasher_does_not_count() {
    type Other = HashMap<u32, u64, std::hash::BuildHasherDefault<std::hash::DefaultHasher>>;
    assert_eq!(print::<HashMap<u32, u64>>(), print::<Other>());
    let both = text::<(HashMap<u32, u64>, Other)>();
    assert_eq!(both.matches("\ntype HashMap<u32,u64> ").count(), 1, "{both}");
}

#[test]
fn a_stored_text_gives_its_fingerprint_again() {
    let description = Description::of::<Player>();
    let stored = description.fingerprint().as_u128();
    assert_eq!(Fingerprint::from_u128(stored), Fingerprint::of_text(description.text()));
    let damaged = description.text().replacen("score", "scare", 1);
    assert_ne!(Fingerprint::from_u128(stored), Fingerprint::of_text(&damaged));
}

#[test]
fn a_schema_may_be_written_by_hand() {
    #[derive(Archive)]
    struct Odd(u32);
    #[expect(unsafe_code, reason = "vouches for a description made by hand")]
    // SAFETY: a number of its own, archived by rkyv's derive.
    unsafe impl Schema for Odd {
        fn describe(describer: &mut Describer) -> TypeRef {
            describer.opaque::<Self>("odd type\n")
        }
    }
    assert!(
        text::<Vec<Odd>>().contains("\ntype odd_type_ size 4 align 4\n"),
        "{}",
        text::<Vec<Odd>>()
    );
}
