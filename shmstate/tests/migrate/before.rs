//! The way back where the older value is known as it was: what only the older version has is taken from it.

use std::collections::{BTreeMap, HashMap};

use rkyv::Archive;
use shmstate::{Migrate, Schema};

mod v1 {
    use super::*;

    #[derive(Archive, Schema, Clone, PartialEq, Debug)]
    pub(crate) struct Item {
        pub(crate) kind: u16,
        /// Dropped by version 2.
        pub(crate) wear: u8,
    }

    #[derive(Archive, Schema, Clone, PartialEq, Debug)]
    pub(crate) struct Player {
        pub(crate) name: String,
        pub(crate) hand: Item,
        pub(crate) boxed: Box<Item>,
        pub(crate) hat: Option<Item>,
        pub(crate) rings: [Item; 2],
        pub(crate) pair: (u8, Item),
        pub(crate) by_name: BTreeMap<String, Item>,
        pub(crate) by_place: HashMap<u8, Item>,
        pub(crate) bag: Vec<Item>,
    }

    #[derive(Archive, Schema, Clone, PartialEq, Debug)]
    pub(crate) enum Mood {
        Calm,
        Away { since: u32, why: String },
        Armed(Item),
        Gone,
    }

    #[derive(Archive, Schema, Clone, PartialEq, Debug)]
    #[rkyv(bytecheck(bounds(__C: rkyv::validation::ArchiveContext, __C::Error: rkyv::rancor::Source)))]
    pub(crate) struct Chain {
        pub(crate) item: Item,
        #[rkyv(omit_bounds)]
        pub(crate) next: Option<Box<Chain>>,
    }
}

#[derive(Archive, Schema, Clone, PartialEq, Debug)]
#[schema(version = 2, from = v1::Item, back, removed(wear = 99))]
struct Item {
    kind: u32,
}

/// Nothing of its own is gone.
#[derive(Archive, Schema, Clone, PartialEq, Debug)]
#[schema(version = 2, from = v1::Player, back)]
struct Player {
    #[schema(was = "name")]
    nick: String,
    hand: Item,
    boxed: Box<Item>,
    hat: Option<Item>,
    rings: [Item; 2],
    pair: (u16, Item),
    by_name: BTreeMap<String, Item>,
    by_place: HashMap<u64, Item>,
    bag: Vec<Item>,
}

#[derive(Archive, Schema, Clone, PartialEq, Debug)]
#[schema(version = 2, from = v1::Mood, back, removed(Gone = Self::Calm))]
enum Mood {
    Calm,
    #[schema(was = "Away", removed(why = "unknown".into()))]
    Absent(#[schema(was = "since")] u64),
    Armed(Item),
    #[schema(back = Self::Calm)]
    Glad,
}

#[derive(Archive, Schema, Clone, PartialEq, Debug)]
#[schema(version = 2, from = v1::Chain, back)]
#[rkyv(bytecheck(bounds(__C: rkyv::validation::ArchiveContext, __C::Error: rkyv::rancor::Source)))]
struct Chain {
    item: Item,
    #[rkyv(omit_bounds)]
    next: Option<Box<Chain>>,
}

fn item(kind: u16, wear: u8) -> v1::Item {
    v1::Item { kind, wear }
}

fn player() -> v1::Player {
    v1::Player {
        name: "Ada".to_owned(),
        hand: item(1, 1),
        boxed: Box::new(item(2, 2)),
        hat: Some(item(3, 3)),
        rings: [item(4, 4), item(5, 5)],
        pair: (6, item(6, 6)),
        by_name: [("a".to_owned(), item(7, 7)), ("b".to_owned(), item(8, 8))].into(),
        by_place: [(1, item(9, 9)), (255, item(10, 10))].into(),
        bag: vec![item(11, 11)],
    }
}

fn wants<Old: Migrate<New>, New>(_: impl Fn(Old) -> New) -> bool {
    <Old as Migrate<New>>::wants_before()
}

#[test]
fn what_has_a_place_is_as_it_was() {
    let same = v1::Player {
        // Items of lists have no place of their own.
        bag: vec![item(11, 99)],
        ..player()
    };
    assert_eq!(v1::Player::migrate_over(Player::migrate(player()), player()), same);
}

#[test]
fn what_the_newer_version_changed_is_changed() {
    let mut new = Player::migrate(player());
    new.nick = "Eve".to_owned();
    new.hand.kind = 70_000;
    new.hat = None;
    new.rings.swap(0, 1);
    new.by_name.insert("c".to_owned(), Item { kind: 12 });
    new.by_name.remove("a");
    new.by_place.insert(256, Item { kind: 13 });
    new.by_place.remove(&255);
    let old = v1::Player::migrate_over(new, player());
    assert_eq!((old.name.as_str(), old.hand), ("Eve", item(u16::MAX, 1)));
    assert_eq!((old.hat, old.rings), (None, [item(5, 4), item(4, 5)]));
    // What is new has nothing before.
    assert_eq!(
        old.by_name,
        [("b".to_owned(), item(8, 8)), ("c".to_owned(), item(12, 99))].into()
    );
    // A key that does not fit is its neighbour on the way back, and so is what it had.
    let by_place = HashMap::from([(1, item(9, 9)), (255, item(13, 10))]);
    assert_eq!(old.by_place, by_place);
    let hat = Player {
        hat: Some(Item { kind: 1 }),
        ..Player::migrate(player())
    };
    let bare = v1::Player { hat: None, ..player() };
    assert_eq!(v1::Player::migrate_over(hat, bare).hat, Some(item(1, 99)));
}

#[test]
fn a_variant_keeps_what_it_had_as_long_as_it_is_the_same() {
    let away = v1::Mood::Away {
        since: 3,
        why: "sun".to_owned(),
    };
    let over = |new, before: &v1::Mood| v1::Mood::migrate_over(new, before.clone());
    let since = |since, why: &str| v1::Mood::Away {
        since,
        why: why.to_owned(),
    };
    assert_eq!(over(Mood::Absent(4), &away), since(4, "sun"));
    assert_eq!(over(Mood::Absent(4), &v1::Mood::Calm), since(4, "unknown"));
    assert_eq!(over(Mood::Calm, &away), v1::Mood::Calm);
    assert_eq!(over(Mood::Glad, &away), v1::Mood::Calm);
    // Which variant it is, the newer version says.
    assert_eq!(over(Mood::Calm, &v1::Mood::Gone), v1::Mood::Calm);
    let armed = |kind| Mood::Armed(Item { kind });
    assert_eq!(
        over(armed(5), &v1::Mood::Armed(item(4, 4))),
        v1::Mood::Armed(item(5, 4))
    );
    assert_eq!(over(armed(5), &away), v1::Mood::Armed(item(5, 99)));
}

#[test]
fn a_type_that_holds_itself_keeps_all() {
    let chain = v1::Chain {
        item: item(1, 1),
        next: Some(Box::new(v1::Chain {
            item: item(2, 2),
            next: None,
        })),
    };
    assert_eq!(
        v1::Chain::migrate_over(Chain::migrate(chain.clone()), chain.clone()),
        chain
    );
    assert!(wants(|old: v1::Chain| Chain::migrate(old)));
}

mod plain {
    use super::*;

    #[derive(Archive, Schema, Clone, PartialEq, Debug)]
    pub(crate) struct Old {
        pub(crate) n: u8,
        pub(crate) bag: Vec<v1::Item>,
    }

    #[derive(Archive, Schema, Clone, PartialEq, Debug)]
    #[rkyv(bytecheck(bounds(__C: rkyv::validation::ArchiveContext, __C::Error: rkyv::rancor::Source)))]
    pub(crate) struct Ring {
        #[rkyv(omit_bounds)]
        pub(crate) next: Option<Box<Ring>>,
        pub(crate) n: u8,
    }

    #[derive(Archive, Schema, Clone, PartialEq, Debug)]
    pub(crate) enum Kind {
        One(u8),
        Two,
    }
}

#[derive(Archive, Schema)]
#[schema(version = 2, from = plain::Old, back)]
struct Plain {
    n: u16,
    bag: Vec<Item>,
    #[schema(default)]
    more: u8,
}

#[derive(Archive, Schema)]
#[schema(version = 2, from = plain::Ring, back)]
#[rkyv(bytecheck(bounds(__C: rkyv::validation::ArchiveContext, __C::Error: rkyv::rancor::Source)))]
struct Ring {
    #[rkyv(omit_bounds)]
    next: Option<Box<Ring>>,
    n: u16,
}

#[derive(Archive, Schema)]
#[schema(version = 2, from = plain::Kind, back)]
enum Kind {
    One(u16),
    Two,
}

/// A field that a function takes back is made of the newer value alone.
#[derive(Archive, Schema)]
#[schema(version = 2, from = Holder, back)]
struct Held {
    #[schema(migrate = Migrate::migrate, back = Migrate::migrate)]
    item: Item,
}

#[derive(Archive, Schema)]
struct Holder {
    item: v1::Item,
}

#[test]
fn only_who_lost_something_wants_the_value_before() {
    assert!(wants(|old: v1::Item| Item::migrate(old)));
    assert!(wants(|old: v1::Player| Player::migrate(old)));
    assert!(wants(|old: v1::Mood| Mood::migrate(old)));
    assert!(!wants(|old: plain::Old| Plain::migrate(old)));
    assert!(!wants(|old: plain::Ring| Ring::migrate(old)));
    assert!(!wants(|old: plain::Kind| Kind::migrate(old)));
    assert!(!wants(|old: Holder| Held::migrate(old)));
    assert!(!wants(|same: Item| same));
    let held = Held { item: Item { kind: 2 } };
    assert_eq!(
        Holder::migrate_over(held, Holder { item: item(1, 1) }).item,
        item(2, 99)
    );
}
