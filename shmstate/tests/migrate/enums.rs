//! Enums: variants that are new, gone, renamed, and their fields.

use rkyv::{Archive, Deserialize, Serialize};
use shmstate::{Migrate, Schema};

mod v1 {
    use super::{Archive, Deserialize, Schema, Serialize};

    #[derive(Archive, Serialize, Deserialize, Schema, Clone, PartialEq, Debug)]
    pub(crate) enum Mood {
        Calm,
        Angry(u32, u8),
        Away {
            since: u32,
            why: Box<str>,
        },
        Gone,
        Asleep(u64),
        Dead {
            #[allow(dead_code, reason = "its variant is removed")]
            at: u64,
        },
    }
}

mod v2 {
    use super::{Archive, Deserialize, Schema, Serialize, v1};

    #[derive(Archive, Serialize, Deserialize, Schema, Clone, PartialEq, Debug)]
    #[schema(
        version = 2,
        from = v1::Mood,
        back,
        removed(Asleep = Self::Calm, Dead = Self::Furious { at: 1, depth: 2.0, cause: '?' }),
    )]
    pub(crate) enum Mood {
        Calm,
        #[schema(was = "Angry")]
        Furious {
            #[schema(was = "0")]
            at: u64,
            #[schema(was = "1")]
            depth: f32,
            #[schema(default = '!')]
            cause: char,
        },
        #[schema(removed(why = "unknown".into()))]
        Away {
            since: u64,
        },
        #[schema(was = "Gone")]
        Left(#[schema(default)] Vec<u8>),
        #[schema(back = Self::Angry(8, 9))]
        Jealous(u16),
        #[schema(new, back = v1::Mood::Gone)]
        Missing,
    }
}

mod v3 {
    use super::{Archive, Schema, v2};

    /// Forward only.
    #[derive(Archive, Schema, PartialEq, Debug)]
    #[schema(version = 3, from = v2::Mood, removed(Jealous = Mood::Calm, Missing = Mood::Calm))]
    pub(crate) enum Mood {
        Calm,
        Furious(
            #[schema(was = "cause", migrate = String::from)] String,
            #[schema(was = "at")] u128,
        ),
        #[schema(new)]
        Happy,
        Left(Vec<u16>),
        Away,
    }
}

fn why(text: &str) -> Box<str> {
    text.into()
}

#[test]
fn forward() {
    use v1::Mood as Old;
    use v2::Mood as New;
    for (old, new) in [
        (Old::Calm, New::Calm),
        (
            Old::Angry(3, 4),
            New::Furious {
                at: 3,
                depth: 4.0,
                cause: '!',
            },
        ),
        (
            Old::Away {
                since: 5,
                why: why("sun"),
            },
            New::Away { since: 5 },
        ),
        (Old::Gone, New::Left(Vec::new())),
        (Old::Asleep(6), New::Calm),
        (
            Old::Dead { at: 7 },
            New::Furious {
                at: 1,
                depth: 2.0,
                cause: '?',
            },
        ),
    ] {
        assert_eq!(New::migrate(old), new);
    }
}

#[test]
fn back() {
    use v1::Mood as Old;
    use v2::Mood as New;
    for (new, old) in [
        (New::Calm, Old::Calm),
        (
            New::Furious {
                at: u64::MAX,
                depth: 255.9,
                cause: 'x',
            },
            Old::Angry(u32::MAX, 255),
        ),
        (
            New::Away { since: 5 },
            Old::Away {
                since: 5,
                why: why("unknown"),
            },
        ),
        (New::Left(vec![1]), Old::Gone),
        (New::Jealous(1), Old::Angry(8, 9)),
        (New::Missing, Old::Gone),
    ] {
        assert_eq!(Old::migrate(new), old);
    }
}

#[test]
fn steps_are_composed_to_a_chain() {
    let there = |old| v3::Mood::migrate(v2::Mood::migrate(old));
    assert_eq!(there(v1::Mood::Angry(3, 4)), v3::Mood::Furious("!".to_owned(), 3));
    assert_eq!(there(v1::Mood::Gone), v3::Mood::Left(Vec::new()));
    assert_eq!(
        there(v1::Mood::Away {
            since: 5,
            why: why("sun")
        }),
        v3::Mood::Away
    );
    assert_eq!(v3::Mood::migrate(v2::Mood::Missing), v3::Mood::Calm);
    assert_ne!(there(v1::Mood::Calm), v3::Mood::Happy);
}

#[derive(Archive, Schema, PartialEq, Debug)]
struct Guest {
    mood: v1::Mood,
    past: Vec<(u32, v1::Mood)>,
}

/// Enums and structs hold one another without a word.
#[derive(Archive, Schema, PartialEq, Debug)]
#[schema(version = 2, from = Guest, back)]
struct Visitor {
    mood: v2::Mood,
    past: Vec<(u64, v2::Mood)>,
}

#[test]
fn an_enum_in_a_struct_goes_with_it() {
    let guest = |why_away: &str| Guest {
        mood: v1::Mood::Angry(1, 2),
        past: vec![
            (1, v1::Mood::Calm),
            (
                2,
                v1::Mood::Away {
                    since: 3,
                    why: why(why_away),
                },
            ),
        ],
    };
    let visitor = Visitor::migrate(guest("sun"));
    assert_eq!(visitor.past, [(1, v2::Mood::Calm), (2, v2::Mood::Away { since: 3 })]);
    assert_eq!(Guest::migrate(visitor), guest("unknown"));
}
