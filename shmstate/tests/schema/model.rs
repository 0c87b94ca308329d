//! Wrappers and paths, and descriptions that are read back: whole, cut and altered.

use super::corpus::corpus;
use super::*;
use shmstate::schema::{Form, Model};

mod wrappers {
    use super::*;
    use std::collections::{BTreeSet, HashSet};
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    #[derive(Archive, Schema)]
    pub(super) struct Wrapped {
        #[rkyv(with = rkyv::with::AsBox)]
        boxed: u64,
        #[rkyv(with = rkyv::with::AsString)]
        path: PathBuf,
        #[rkyv(with = rkyv::with::AsVec)]
        list: HashMap<u8, u32>,
        #[rkyv(with = rkyv::with::AsVec)]
        set: BTreeSet<u16>,
        #[rkyv(with = rkyv::with::AsVec)]
        other: HashSet<u16>,
        #[rkyv(with = rkyv::with::AtomicLoad<rkyv::with::Relaxed>)]
        count: AtomicU64,
        #[rkyv(with = rkyv::with::Map<rkyv::with::AsBox>)]
        each: Vec<u32>,
        #[rkyv(with = rkyv::with::Map<rkyv::with::AsBox>)]
        perhaps: Option<u32>,
        #[rkyv(with = rkyv::with::Niche)]
        niche: Option<Box<u32>>,
        #[rkyv(with = rkyv::with::Skip)]
        skipped: std::time::Instant,
        #[rkyv(with = rkyv::with::Unshare)]
        shared: Arc<i8>,
    }

    #[derive(Archive, Schema)]
    pub(super) enum Chosen {
        Plain(u32),
        Boxed(#[rkyv(with = rkyv::with::AsBox)] u32, u8),
    }
}

#[test]
fn golden_wrappers() {
    golden::<wrappers::Wrapped>(
        "schema 1 Wrapped version 1
layout rkyv 0.8 little aligned pointer 32
struct Wrapped size 72 align 8
  0 boxed: with.AsBox<Box<u64>>
  4 path: with.AsString<String>
  12 list: with.AsVec<Vec<(u8,u32)>>
  20 set: with.AsVec<Vec<u16>>
  28 other: with.AsVec<Vec<u16>>
  40 count: with.AtomicLoad<u64>
  48 each: Vec<with.AsBox<Box<u32>>>
  56 perhaps: Option<with.AsBox<Box<u32>>>
  64 niche: with.Niche<u32>
  68 skipped: with.Skip<()>
  68 shared: with.Unshare<i8>
type () size 0 align 1
struct (u8,u32) size 8 align 4
  0 .0: u8
  4 .1: u32
type Box<u32> size 4 align 4
type Box<u64> size 4 align 4
enum Option<with.AsBox<Box<u32>>> size 8 align 4
  tag 0 None
  tag 1 Some
    4 .0: with.AsBox<Box<u32>>
type String size 8 align 4
type Vec<(u8,u32)> size 8 align 4
type Vec<u16> size 8 align 4
type Vec<with.AsBox<Box<u32>>> size 8 align 4
type i8 size 1 align 1
type u16 size 2 align 2
type u32 size 4 align 4
type u64 size 8 align 8
type u8 size 1 align 1
struct with.AsBox<Box<u32>> size 4 align 4
  0 .0: Box<u32>
struct with.AsBox<Box<u64>> size 4 align 4
  0 .0: Box<u64>
struct with.AsString<String> size 8 align 4
  0 .0: String
struct with.AsVec<Vec<(u8,u32)>> size 8 align 4
  0 .0: Vec<(u8,u32)>
struct with.AsVec<Vec<u16>> size 8 align 4
  0 .0: Vec<u16>
struct with.AtomicLoad<u64> size 8 align 8
  0 .0: u64
type with.Niche<u32> size 4 align 4
struct with.Skip<()> size 0 align 1
  0 .0: ()
struct with.Unshare<i8> size 1 align 1
  0 .0: i8
",
        "a07814ae0bf9e33c261fc187dbf415a3",
    );
    golden::<wrappers::Chosen>(
        "schema 1 Chosen version 1
layout rkyv 0.8 little aligned pointer 32
enum Chosen size 12 align 4
  tag 0 Plain
    4 .0: u32
  tag 1 Boxed
    4 .0: with.AsBox<Box<u32>>
    8 .1: u8
type Box<u32> size 4 align 4
type u32 size 4 align 4
type u8 size 1 align 1
struct with.AsBox<Box<u32>> size 4 align 4
  0 .0: Box<u32>
",
        "af124301938b85fde4c3509ee406e505",
    );
}

#[test]
fn the_path_counts_if_it_is_asked_for() {
    #[derive(Archive, Schema)]
    #[schema(path)]
    struct Here(u32);
    assert_eq!(Description::of::<Here>().name(), "schema.model.Here");
    assert_eq!(Description::of::<here::Inner>().name(), "Inner");
}

#[test]
fn every_description_is_read_back() {
    let mut texts = vec![
        text::<Player>(),
        text::<Node>(),
        text::<Pair<Vec<Item>, Pair<u8, f64>>>(),
        text::<Ring<Item, 4>>(),
        text::<Id<Player>>(),
        text::<Everything>(),
        text::<Unit>(),
        text::<wrappers::Wrapped>(),
        text::<HashMap<(u8, u8), BTreeMap<String, Vec<Pair<u8, u8>>>>>(),
    ];
    texts.extend(corpus().iter().map(|(_, old, _)| old.text().to_owned()));
    for text in texts {
        let model = Model::read(&text).unwrap_or_else(|e| panic!("{e} in\n{text}"));
        assert!(model.has_this_layout());
        for (_, of) in model.types() {
            assert!(of.form != Form::Opaque, "{of:?}");
        }
        // Nothing that is cut or altered makes it panic; what is left out is noticed, or is another description.
        let lines: Vec<&str> = text.lines().collect();
        for left_out in 0..lines.len() {
            let mut rest = lines.clone();
            rest.remove(left_out);
            if let Ok(other) = Model::read(&(rest.join("\n") + "\n")) {
                assert_ne!(other, model, "without line {left_out} of\n{text}");
            }
        }
        let bytes = text.as_bytes();
        for i in 0..bytes.len() {
            for with in [b' ', b'9', b'<', b'\n', bytes[i] ^ 1] {
                let mut bytes = bytes.to_vec();
                bytes[i] = with;
                let _ = Model::read(&String::from_utf8_lossy(&bytes));
            }
        }
    }
}

#[test]
fn what_contradicts_itself_is_not_read() {
    let head = "schema 1 A version 1\nlayout rkyv 0.8 little aligned pointer 32\n";
    for (items, why) in [
        ("", "no type"),
        ("struct A size 4 align 4\n  0 a: A\n", "holds itself"),
        (
            "struct A size 4 align 4\n  0 a: (a)\nstruct (a) size 4 align 4\n  0 .0: Box<(a)>\ntype Box<(a)> size 4 align 4\n",
            "names itself",
        ),
        (
            "struct A size 4 align 4\n  0 a: u64\ntype u64 size 8 align 8\n",
            "as large",
        ),
        (
            "struct A size 4 align 4\n  0 a: u32\n  0 b: u32\ntype u32 size 4 align 4\n",
            "as large",
        ),
        ("struct A size 4 align 4\n  0 a: u32\n", "does not have"),
        ("struct A size 4 align 3\n", "alignment"),
        ("type [u8;4] size 5 align 1\ntype u8 size 1 align 1\n", "as large"),
        ("enum A size 1 align 1\n  tag 1 B\n  tag 1 C\n", "one tag"),
        ("type u8 size 1 align 1\ntype u8 size 1 align 1\n", "second type"),
        (
            "struct A size 8 align 4\n  0 a: Option<A>\nenum Option<A> size 8 align 4\n  tag 0 None\n  tag 1 Some\n    4 .0: A\n",
            "as large",
        ),
    ] {
        let error = Model::read(&format!("{head}{items}")).expect_err(items).to_string();
        assert!(error.contains(why), "{items}: {error}");
    }
}
