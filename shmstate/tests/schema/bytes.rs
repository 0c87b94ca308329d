//! The described offsets and tags against the bytes of real archives: each value is written by rkyv and
//! read back from the place that the description's text names, with no help from rkyv's types.

use std::str::from_utf8;

use rkyv::{Archive, Deserialize, Serialize, rancor, util::AlignedVec};
use shmstate::{Schema, schema::Description};

#[derive(Archive, Serialize, Deserialize, Schema)]
struct Player {
    alive: bool,
    name: String,
    score: u64,
    level: u16,
    at: (u8, f32),
    inventory: Vec<Item>,
    home: Option<i32>,
}

#[derive(Archive, Serialize, Deserialize, Schema)]
struct Item(u16, u32);

const FIRST: u8 = 3;

#[derive(Archive, Serialize, Deserialize, Schema)]
#[repr(u8)]
enum Event {
    Quiet = FIRST,
    Hit(u16, u64),
    Said { loud: bool, what: String } = 0x20,
    Moved { x: i32, y: i32 },
}

/// A description's text, read as a tool would read it.
struct Lines(Vec<String>);

impl Lines {
    fn of<T: Schema>() -> Self {
        Self(Description::of::<T>().text().lines().map(str::to_owned).collect())
    }

    /// The lines of the item whose first line begins with `head`.
    fn item(&self, head: &str) -> &[String] {
        let head = format!("{head} ");
        let start = self
            .0
            .iter()
            .position(|l| l.starts_with(&head))
            .expect("the item is described");
        let len = self.0[start + 1..].iter().take_while(|l| l.starts_with(' ')).count();
        &self.0[start..=start + len]
    }

    fn size(&self, head: &str) -> usize {
        let words: Vec<&str> = self.item(head)[0].split(' ').collect();
        words[words.len() - 3].parse().expect("a size")
    }

    fn offset(&self, head: &str, field: &str) -> usize {
        offset_in(self.item(head), field)
    }

    /// The tag of a variant and the lines of its fields.
    fn variant(&self, head: &str, name: &str) -> (u8, &[String]) {
        let item = self.item(head);
        for (i, line) in item.iter().enumerate() {
            if let [_, _, "tag", tag, found] = line.split(' ').collect::<Vec<_>>()[..]
                && found == name
            {
                let rest = &item[i + 1..];
                let len = rest.iter().take_while(|l| l.starts_with("    ")).count();
                return (tag.parse().expect("a tag"), &rest[..len]);
            }
        }
        panic!("no variant {name} in {item:?}");
    }
}

fn offset_in(lines: &[String], field: &str) -> usize {
    let field = format!("{field}:");
    for line in lines {
        if let [offset, found, _] = line.split_whitespace().collect::<Vec<_>>()[..]
            && found == field
        {
            return offset.parse().expect("an offset");
        }
    }
    panic!("no field {field} in {lines:?}");
}

fn at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("N bytes")
}

/// Where the relative pointer at `place` points to.
fn target(bytes: &[u8], place: usize) -> usize {
    place
        .checked_add_signed(i32::from_le_bytes(at(bytes, place)) as isize)
        .expect("a target inside")
}

/// The archive of a value, and where its root begins: `size` bytes before the end.
macro_rules! archive {
    ($value:expr, $size:expr) => {{
        let bytes: AlignedVec = rkyv::to_bytes::<rancor::Error>(&$value).expect("it serializes");
        let root = bytes.len() - $size;
        (bytes, root)
    }};
}

#[test]
fn a_struct_is_where_it_is_described() {
    let lines = Lines::of::<Player>();
    let player = Player {
        alive: true,
        name: "bob".to_owned(),
        score: 0x1122_3344_5566_7788,
        level: 0xabcd,
        at: (7, -2.5),
        inventory: vec![Item(1, 10), Item(2, 0xdead_beef)],
        home: Some(-9),
    };
    let (bytes, root) = archive!(player, lines.size("struct Player"));
    let field = |name| root + lines.offset("struct Player", name);

    assert_eq!(bytes[field("alive")], 1);
    assert_eq!(from_utf8(&bytes[field("name")..][..3]), Ok("bob"));
    assert_eq!(u64::from_le_bytes(at(&bytes, field("score"))), player.score);
    assert_eq!(u16::from_le_bytes(at(&bytes, field("level"))), player.level);
    let tuple = field("at");
    assert_eq!(bytes[tuple + lines.offset("struct (u8,f32)", ".0")], 7);
    assert_eq!(
        f32::from_le_bytes(at(&bytes, tuple + lines.offset("struct (u8,f32)", ".1"))),
        -2.5
    );

    let inventory = field("inventory");
    assert_eq!(u32::from_le_bytes(at(&bytes, inventory + 4)), 2);
    let second = target(&bytes, inventory) + lines.size("struct Item");
    assert_eq!(
        u16::from_le_bytes(at(&bytes, second + lines.offset("struct Item", ".0"))),
        2
    );
    assert_eq!(
        u32::from_le_bytes(at(&bytes, second + lines.offset("struct Item", ".1"))),
        0xdead_beef
    );

    let home = field("home");
    let (some, payload) = lines.variant("enum Option<i32>", "Some");
    assert_eq!(bytes[home], some);
    assert_eq!(i32::from_le_bytes(at(&bytes, home + offset_in(payload, ".0"))), -9);
}

#[test]
fn an_enum_is_where_it_is_described() {
    let lines = Lines::of::<Event>();
    let size = lines.size("enum Event");
    let variant = |name| lines.variant("enum Event", name);

    let (tag, fields) = variant("Quiet");
    let (bytes, root) = archive!(Event::Quiet, size);
    assert_eq!((bytes[root], tag, fields.len()), (FIRST, FIRST, 0));

    let (tag, fields) = variant("Hit");
    let (bytes, root) = archive!(Event::Hit(0x1234, 0x5566_7788_99aa_bbcc), size);
    assert_eq!((bytes[root], tag), (FIRST + 1, FIRST + 1));
    assert_eq!(u16::from_le_bytes(at(&bytes, root + offset_in(fields, ".0"))), 0x1234);
    assert_eq!(
        u64::from_le_bytes(at(&bytes, root + offset_in(fields, ".1"))),
        0x5566_7788_99aa_bbcc
    );

    let (tag, fields) = variant("Said");
    let (bytes, root) = archive!(
        Event::Said {
            loud: true,
            what: "hey".to_owned()
        },
        size
    );
    assert_eq!((bytes[root], tag), (0x20, 0x20));
    assert_eq!(bytes[root + offset_in(fields, "loud")], 1);
    assert_eq!(from_utf8(&bytes[root + offset_in(fields, "what")..][..3]), Ok("hey"));

    let (tag, fields) = variant("Moved");
    let (bytes, root) = archive!(Event::Moved { x: -1, y: 0x0102_0304 }, size);
    assert_eq!((bytes[root], tag), (0x21, 0x21));
    assert_eq!(i32::from_le_bytes(at(&bytes, root + offset_in(fields, "x"))), -1);
    assert_eq!(
        i32::from_le_bytes(at(&bytes, root + offset_in(fields, "y"))),
        0x0102_0304
    );
}
