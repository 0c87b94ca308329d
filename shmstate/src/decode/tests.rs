//! Values against what rkyv wrote, altered bytes, and descriptions of another type: never a panic, never more work than there are bytes.

use super::{Decoder, KeyShape, Value};
use crate::Schema;
use crate::archive;
use crate::schema::Description;
use rkyv::api::high::HighValidator;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{self, Failure};
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Alterations of each archive.
const ALTERED: usize = 3000;

#[derive(Archive, Serialize, Schema, Clone)]
struct Player {
    name: String,
    bag: Vec<Item>,
    home: Option<(u16, i32)>,
    mood: Mood,
    friends: BTreeMap<String, u32>,
    index: HashMap<u16, Vec<u8>>,
    boxed: Box<Mood>,
    slice: Box<[u64]>,
    words: Box<str>,
}

#[derive(Archive, Serialize, Schema, Clone)]
struct Item(u16, [f32; 2]);

#[derive(Archive, Serialize, Schema, Clone)]
enum Mood {
    Calm,
    Angry { at: String, since: u128 },
}

type Serializer<'a> = rkyv::api::high::HighSerializer<AlignedVec, ArenaHandle<'a>, rancor::Error>;

fn archive<T: for<'a> Serialize<Serializer<'a>>>(value: &T) -> (AlignedVec, usize) {
    let bytes = rkyv::to_bytes::<rancor::Error>(value).expect("it serialises");
    let root = bytes.len() - size_of::<T::Archived>();
    (bytes, root)
}

fn player(rng: &mut fastrand::Rng) -> Player {
    let text = |rng: &mut fastrand::Rng| -> String {
        let length = rng.usize(..30);
        (0..length).map(|_| rng.char(..)).collect()
    };
    let mood = |rng: &mut fastrand::Rng| match rng.bool() {
        true => Mood::Calm,
        false => Mood::Angry {
            at: text(rng),
            since: rng.u128(..),
        },
    };
    let friends = rng.usize(..200);
    let index = rng.usize(..100);
    Player {
        name: text(rng),
        bag: (0..rng.u16(..5)).map(|i| Item(i, [rng.f32(), rng.f32()])).collect(),
        home: rng.bool().then(|| (rng.u16(..), rng.i32(..))),
        mood: mood(rng),
        friends: (0..friends).map(|_| (text(rng), rng.u32(..))).collect(),
        index: (0..index)
            .map(|_| (rng.u16(..), vec![rng.u8(..); rng.usize(..4)]))
            .collect(),
        boxed: Box::new(mood(rng)),
        slice: (0..rng.u64(..5)).collect(),
        words: text(rng).into(),
    }
}

/// The value as the program itself says it.
fn said(player: &Player) -> Value {
    let text = |text: &str| Value::Str(text.to_owned());
    let number = |number: u128| Value::Unsigned(number);
    let mood = |mood: &Mood| match mood {
        Mood::Calm => Value::Variant("Calm".into(), Box::new(Value::Nothing)),
        Mood::Angry { at, since } => {
            let fields = vec![("at".into(), text(at)), ("since".into(), number(*since))];
            Value::Variant("Angry".into(), Box::new(Value::Struct(fields)))
        }
    };
    let mut friends: Vec<(Value, Value)> = player
        .friends
        .iter()
        .map(|(k, v)| (text(k), number((*v).into())))
        .collect();
    friends.sort_by_cached_key(|(key, _)| key.to_string());
    let list = |bytes: &Vec<u8>| Value::List(bytes.iter().map(|b| number((*b).into())).collect());
    let mut index: Vec<(Value, Value)> = player
        .index
        .iter()
        .map(|(k, v)| (number((*k).into()), list(v)))
        .collect();
    index.sort_by_cached_key(|(key, _)| key.to_string());
    let item = |item: &Item| {
        let floats = Value::List(item.1.iter().map(|f| Value::Single(*f)).collect());
        Value::List(vec![number(item.0.into()), floats])
    };
    Value::Struct(vec![
        ("name".into(), text(&player.name)),
        ("bag".into(), Value::List(player.bag.iter().map(item).collect())),
        (
            "home".into(),
            player.home.map_or(Value::Nothing, |(x, y)| {
                Value::List(vec![number(x.into()), Value::Signed(y.into())])
            }),
        ),
        ("mood".into(), mood(&player.mood)),
        ("friends".into(), Value::Map(friends)),
        ("index".into(), Value::Map(index)),
        ("boxed".into(), mood(&player.boxed)),
        (
            "slice".into(),
            Value::List(player.slice.iter().map(|n| number((*n).into())).collect()),
        ),
        ("words".into(), text(&player.words)),
    ])
}

fn seeded() -> fastrand::Rng {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    fastrand::Rng::with_seed(seed)
}

#[test]
fn values_are_what_was_written() {
    let mut rng = seeded();
    let decoder = Decoder::new(Description::of::<Player>().text()).expect("read");
    for _ in 0..200 {
        let player = player(&mut rng);
        let (bytes, root) = archive(&player);
        assert_eq!(decoder.value(&bytes, root).expect("whole"), said(&player));
    }
}

/// What rkyv's own validation finds sound is read; the rest is read or refused, and ends.
fn altered<T>(rng: &mut fastrand::Rng, value: &T)
where
    T: crate::CheckedValue + for<'a> Serialize<Serializer<'a>>,
    T::Archived: for<'c> CheckBytes<HighValidator<'c, Failure>>,
{
    let decoder = Decoder::new(Description::of::<T>().text()).expect("read");
    let (whole, root) = archive(value);
    let (mut sound, mut refused) = (0, 0);
    for _ in 0..ALTERED {
        let mut bytes = whole.clone();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len());
            bytes[at] = match rng.u8(..4) {
                0 => 0,
                1 => 0xff,
                2 => bytes[at] ^ 1 << rng.u8(..8),
                _ => rng.u8(..),
            };
        }
        let read = decoder.value(&bytes, root);
        if archive::is_valid::<T>(&bytes, root) {
            sound += 1;
            assert!(read.is_ok(), "{read:?}");
        }
        refused += u32::from(read.is_err());
        // Cut, and from a place that is none.
        let _ = decoder.value(&bytes[..rng.usize(..=bytes.len())], root);
        let _ = decoder.value(&bytes, rng.usize(..bytes.len() + 9));
        let _ = decoder.value(&bytes, usize::MAX - rng.usize(..64));
    }
    assert!(sound > 0 && refused > 0, "{sound} sound, {refused} refused");
}

#[test]
fn altered_bytes_are_read_or_refused() {
    let mut rng = seeded();
    for _ in 0..4 {
        let player = player(&mut rng);
        altered(&mut rng, &player);
    }
    altered(&mut rng, &vec![Some(1u8), None]);
}

#[test]
fn bytes_of_another_type_are_read_or_refused() {
    let mut rng = seeded();
    let decoders = [
        Decoder::new(Description::of::<Player>().text()).expect("read"),
        Decoder::new(Description::of::<Vec<Vec<Vec<u8>>>>().text()).expect("read"),
        Decoder::new(Description::of::<BTreeMap<u8, Box<str>>>().text()).expect("read"),
        Decoder::new(Description::of::<HashMap<u128, Vec<()>>>().text()).expect("read"),
    ];
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..rng.usize(..200))
            .map(|_| rng.u8(..) & rng.choice([0, 1, 0xff]).unwrap_or(0))
            .collect();
        for decoder in &decoders {
            let _ = decoder.value(&bytes, rng.usize(..=bytes.len()));
        }
    }
}

#[test]
fn work_is_bounded() {
    // Two elements, each of which is the list itself: without a bound 2^1024 of them.
    let decoder = Decoder::new(
        "schema 1 L version 0\nlayout rkyv 0.8 little aligned pointer 32\nstruct L size 8 align 4\n  0 next: Vec<L>\ntype Vec<L> size 8 align 4\n",
    )
    .expect("read");
    let mut bytes = [0u8; 16];
    bytes[4..8].copy_from_slice(&2u32.to_le_bytes());
    bytes[8..12].copy_from_slice(&(-8i32).to_le_bytes());
    bytes[12..16].copy_from_slice(&2u32.to_le_bytes());
    assert!(decoder.value(&bytes, 0).is_err());
    // Elements without bytes.
    let decoder = Decoder::new(Description::of::<Vec<()>>().text()).expect("read");
    let list = |length: u32| {
        let mut bytes = [0u8; 8];
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        decoder.value(&bytes, 0)
    };
    assert!(matches!(list(3), Ok(Value::List(items)) if items.len() == 3));
    assert!(list(u32::MAX).is_err());
    // A chain that is deeper than anything is nested.
    let decoder = Decoder::new(
        "schema 1 B version 0\nlayout rkyv 0.8 little aligned pointer 32\nstruct B size 4 align 4\n  0 next: Box<B>\ntype Box<B> size 4 align 4\n",
    )
    .expect("read");
    let chain: Vec<u8> = (0..100_000).flat_map(|_| 4i32.to_le_bytes()).collect();
    assert_eq!(
        decoder.value(&chain, 0).expect_err("endless").what,
        "end of the nesting"
    );
}

#[test]
fn keys_are_typed_as_they_are_shown() {
    for (shape, ordered, given, shown) in [
        ("u64", false, "7", "7"),
        ("i8", true, " -7 ", "-7"),
        ("String", false, "a b", "\"a b\""),
        ("(u16, String)", true, "[7,\"a\\\"]\\u0041\"]", "[7, \"a\\\"]A\"]"),
        ("(u16, (i8, bool))", false, "(7, [-1, true])", "[7, [-1, true]]"),
        ("[u8; 3]", false, "[1, 2,3]", "[1, 2, 3]"),
        ("Vec<u8>", false, "0x00ff", "[0, 255]"),
    ] {
        let shape = KeyShape::new(shape, ordered);
        let bytes = shape.parse(given).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(shape.value(&bytes).to_string(), shown);
    }
    for (shape, given) in [
        ("u8", "256"),
        ("u8", "1 2"),
        ("bool", "yes"),
        ("[u8; 3]", "[1,2]"),
        ("(u8, u8)", "[1]"),
        ("(u8, u8)", "[1,2"),
        ("(u8, String)", "[1,a]"),
        ("Vec<u8>", "0x1"),
        ("Vec<u8>", "0xßß"),
        ("PlayerId", "7"),
        ("f32", "7"),
        ("((((", "7"),
    ] {
        assert!(KeyShape::new(shape, false).parse(given).is_err(), "{shape} {given}");
    }
    // What is no key of the shape is shown as its bytes.
    let opaque = KeyShape::new("u32", false).value(&[1, 2, 3]);
    assert_eq!(opaque.to_string(), "0x010203");
    assert_eq!(KeyShape::new("PlayerId", false).value(&[7]).to_string(), "0x07");
}

#[test]
fn fields_are_found_by_their_paths() {
    let decoder = Decoder::new(Description::of::<Player>().text()).expect("read");
    let mut rng = seeded();
    let mut player = player(&mut rng);
    player.home = Some((7, -3));
    *player.boxed = Mood::Angry {
        at: "x".into(),
        since: 9,
    };
    player.mood = Mood::Calm;
    let (bytes, root) = archive(&player);
    let get = |path: &str| {
        let selected = decoder.select(path).unwrap_or_else(|e| panic!("{e}"));
        let mut builder = super::Builder::default();
        let there = decoder
            .visit_selected(&selected, &bytes, root, &mut builder)
            .expect("whole");
        there.then(|| builder.done().to_string())
    };
    assert_eq!(get("home.1").as_deref(), Some("-3"));
    assert_eq!(get("boxed.Angry.since").as_deref(), Some("9"));
    assert_eq!(get("mood.Angry.since"), None);
    assert_eq!(get("mood").as_deref(), Some("Calm"));
    for (path, known, instead) in [
        ("nam", "", "name, bag, home"),
        ("home.2", "home", "0, 1"),
        ("mood.Sad", "mood", "Calm, Angry"),
        ("mood.Angry.x", "mood.Angry", "at, since"),
        ("name.x", "name", ""),
    ] {
        let error = decoder.select(path).expect_err(path);
        assert_eq!(error.known, known, "{path}");
        assert!(error.instead.join(", ").starts_with(instead), "{path}: {error}");
    }
}
