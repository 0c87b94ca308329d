//! Structs: fields that are new, gone, renamed, wider, converted, nested.

use std::collections::BTreeMap;
use std::rc::Rc;

use rkyv::{Archive, Deserialize, Serialize};
use shmstate::{Migrate, Schema};

const START: u16 = 7;

mod v1 {
    use super::{Archive, Deserialize, Schema, Serialize};

    #[derive(Archive, Serialize, Deserialize, Schema, Clone, PartialEq, Debug)]
    pub(crate) struct Player {
        pub(crate) name: String,
        pub(crate) score: u32,
        pub(crate) bag: Vec<Item>,
        pub(crate) r#type: char,
        pub(crate) level: u8,
        pub(crate) title: Option<String>,
        pub(crate) height_cm: u16,
    }

    #[derive(Archive, Serialize, Deserialize, Schema, Clone, PartialEq, Debug)]
    pub(crate) struct Item {
        pub(crate) kind: u16,
        pub(crate) count: u8,
    }
}

mod v2 {
    use super::{Archive, Deserialize, START, Schema, Serialize, v1};

    #[derive(Archive, Serialize, Deserialize, Schema, Clone, PartialEq, Debug)]
    #[schema(version = 2, from = v1::Player, back, removed(level, title = Some(format!("of {START}"))))]
    pub(crate) struct Player {
        #[schema(was = "name")]
        pub(crate) nick: String,
        pub(crate) score: u64,
        pub(crate) bag: Vec<Item>,
        #[schema(was = "type")]
        pub(crate) kind: char,
        #[schema(default)]
        pub(crate) friends: Vec<u64>,
        #[schema(default = START * 2)]
        pub(crate) lives: u16,
        #[schema(was = "height_cm", migrate = metres, back = centimetres)]
        pub(crate) height: f64,
    }

    #[derive(Archive, Serialize, Deserialize, Schema, Clone, PartialEq, Debug)]
    #[schema(version = 2, from = v1::Item, back)]
    pub(crate) struct Item {
        pub(crate) kind: u16,
        pub(crate) count: i32,
    }

    fn metres(centimetres: u16) -> f64 {
        f64::from(centimetres) / 100.0
    }

    fn centimetres(metres: f64) -> u16 {
        (metres * 100.0).round() as u16
    }
}

mod v3 {
    use super::{Archive, Deserialize, Schema, Serialize, v2};

    /// Two names swapped: neither is taken for the other.
    #[derive(Archive, Serialize, Deserialize, Schema, Clone, PartialEq, Debug)]
    #[schema(version = 3, from = v2::Player)]
    pub(crate) struct Player {
        pub(crate) nick: String,
        #[schema(was = "lives")]
        pub(crate) kind: u16,
        #[schema(was = "kind")]
        pub(crate) lives: char,
        pub(crate) score: u128,
        #[schema(migrate = |bag: Vec<v2::Item>| bag.len() as u64)]
        pub(crate) bag: u64,
    }
}

fn old() -> v1::Player {
    v1::Player {
        name: "Ada".to_owned(),
        score: 41,
        bag: vec![v1::Item { kind: 3, count: 200 }],
        r#type: 'x',
        level: 9,
        title: Some("Countess".to_owned()),
        height_cm: 165,
    }
}

#[test]
fn forward() {
    assert_eq!(
        v2::Player::migrate(old()),
        v2::Player {
            nick: "Ada".to_owned(),
            score: 41,
            bag: vec![v2::Item { kind: 3, count: 200 }],
            kind: 'x',
            friends: Vec::new(),
            lives: 14,
            height: 1.65,
        }
    );
}

#[test]
fn back_with_what_was_removed_filled_in() {
    assert_eq!(
        v1::Player::migrate(v2::Player::migrate(old())),
        v1::Player {
            level: 0,
            title: Some("of 7".to_owned()),
            ..old()
        }
    );
}

#[test]
fn back_saturates_what_does_not_fit() {
    let new = v2::Player {
        score: u64::MAX,
        bag: vec![v2::Item { kind: 1, count: -5 }, v2::Item { kind: 2, count: 256 }],
        friends: vec![1],
        ..v2::Player::migrate(old())
    };
    let old = v1::Player::migrate(new);
    assert_eq!(old.score, u32::MAX);
    assert_eq!(
        old.bag,
        [v1::Item { kind: 1, count: 0 }, v1::Item { kind: 2, count: 255 }]
    );
}

#[test]
fn steps_are_composed_to_a_chain() {
    let newest = v3::Player::migrate(v2::Player::migrate(old()));
    assert_eq!(
        newest,
        v3::Player {
            nick: "Ada".to_owned(),
            kind: 14,
            lives: 'x',
            score: 41,
            bag: 1,
        }
    );
}

#[test]
fn an_unchanged_type_is_itself() {
    assert_eq!(v1::Player::migrate(old()), old());
    let in_a_map: BTreeMap<u64, v1::Player> = Migrate::migrate(BTreeMap::from([(1_u32, old())]));
    assert_eq!(in_a_map[&1], old());
}

#[derive(Archive, Schema, Clone, PartialEq, Debug)]
struct Pair(u8, String, i16);

/// The positions are others, and one has a name now.
#[derive(Archive, Schema, Clone, PartialEq, Debug)]
#[schema(version = 2, from = Pair, back, removed(0 = 5))]
struct Swapped(#[schema(was = "2")] i64, String, #[schema(default = true)] bool);

#[derive(Archive, Schema, PartialEq, Debug)]
#[schema(version = 3, from = Swapped, back, removed(2))]
struct Named {
    #[schema(was = "1")]
    text: String,
    #[schema(was = "0")]
    number: i64,
}

#[test]
fn tuple_structs_go_by_position() {
    let pair = Pair(1, "a".to_owned(), -3);
    let swapped = Swapped::migrate(pair);
    assert_eq!(swapped, Swapped(-3, "a".to_owned(), true));
    assert_eq!(Pair::migrate(swapped.clone()), Pair(5, "a".to_owned(), -3));
    let named = Named::migrate(swapped);
    assert_eq!(
        named,
        Named {
            text: "a".to_owned(),
            number: -3
        }
    );
    assert_eq!(Swapped::migrate(named), Swapped(-3, "a".to_owned(), false));
}

#[derive(Archive, Schema, PartialEq, Debug)]
struct Marker;

#[derive(Archive, Schema, PartialEq, Debug)]
#[schema(version = 2, from = Marker, back)]
struct Flag {
    #[schema(default = Self::UP)]
    up: bool,
}

impl Flag {
    const UP: bool = true;
}

#[derive(Archive, Schema, PartialEq, Debug)]
#[schema(version = 3, from = Flag, back, removed(up = Flag::UP))]
struct Marked {}

#[test]
fn a_unit_struct_has_no_fields() {
    assert_eq!(Flag::migrate(Marker), Flag { up: true });
    assert_eq!(Marker::migrate(Flag { up: false }), Marker);
    assert_eq!(Marked::migrate(Flag { up: false }), Marked {});
    assert_eq!(Flag::migrate(Marked {}), Flag { up: true });
}

#[derive(Archive, Schema)]
struct Wrapped {
    #[rkyv(with = rkyv::with::Skip)]
    cached: Option<u8>,
    #[rkyv(with = rkyv::with::Unshare)]
    shared: Rc<String>,
    #[rkyv(with = rkyv::with::Skip)]
    dropped: Rc<()>,
}

#[derive(Archive, Schema)]
#[schema(version = 2, from = Wrapped)]
struct Rewrapped {
    #[rkyv(with = rkyv::with::Skip)]
    #[schema(migrate = Option::unwrap_or_default)]
    cached: u8,
    #[rkyv(with = rkyv::with::Unshare)]
    shared: Rc<String>,
    /// One old field for two, if it can be copied.
    #[schema(was = "cached")]
    as_it_was: Option<u8>,
}

#[test]
fn what_is_not_taken_is_dropped() {
    let rest = Rc::new(());
    let new = Rewrapped::migrate(Wrapped {
        cached: Some(3),
        shared: Rc::new("s".to_owned()),
        dropped: Rc::clone(&rest),
    });
    assert_eq!((new.cached, new.shared.as_str(), new.as_it_was), (3, "s", Some(3)));
    assert_eq!(Rc::strong_count(&rest), 1);
}

#[derive(Archive, Schema, Clone, PartialEq, Debug)]
struct Point {
    x: i32,
    y: i32,
}

/// The old names are taken, by one another: only the keys tell them apart.
#[derive(Archive, Schema, Clone, PartialEq, Debug)]
#[schema(version = 2, from = Point, back)]
struct Turned {
    #[schema(was = "y")]
    x: i32,
    #[schema(was = "x")]
    y: i64,
}

#[derive(Archive, Schema, Clone, PartialEq, Debug)]
enum Shape {
    Dot { at: Point, by: Point },
    Line(u8, u8),
}

#[derive(Archive, Schema, Clone, PartialEq, Debug)]
#[schema(version = 2, from = Shape, back)]
enum Figure {
    #[schema(was = "Line")]
    Dot(#[schema(was = "1")] u16, #[schema(was = "0")] u16),
    #[schema(was = "Dot")]
    Line {
        #[schema(was = "by")]
        at: Turned,
        #[schema(was = "at")]
        by: Turned,
    },
}

#[test]
fn names_that_are_exchanged_are_not_confused() {
    let (a, b) = (Point { x: 1, y: 2 }, Point { x: 3, y: 4 });
    let turned = Turned::migrate(a.clone());
    assert_eq!(turned, Turned { x: 2, y: 1 });
    assert_eq!(Point::migrate(turned), a);

    let dot = Shape::Dot { at: a, by: b };
    let line = Figure::migrate(dot.clone());
    assert_eq!(
        line,
        Figure::Line {
            at: Turned { x: 4, y: 3 },
            by: Turned { x: 2, y: 1 }
        }
    );
    assert_eq!(Shape::migrate(line), dot);
    assert_eq!(Figure::migrate(Shape::Line(5, 6)), Figure::Dot(6, 5));
    assert_eq!(Shape::migrate(Figure::Dot(6, 5)), Shape::Line(5, 6));
}
