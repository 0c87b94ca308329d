//! Rust types written from a description: what is written compiles, and has the same description.

use super::*;
use shmstate::schema::Model;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;

#[derive(Archive, Serialize, Deserialize, Schema)]
#[schema(version = 4)]
struct Root {
    id: u64,
    tree: Node,
    pair: Pair<Vec<u8>, Option<Item>>,
    mood: Mood,
    names: BTreeMap<String, [Item; 2]>,
    index: HashMap<Place, Box<str>>,
    #[rkyv(with = rkyv::with::AsBox)]
    boxed: u32,
    #[rkyv(with = rkyv::with::Map<rkyv::with::AsBox>)]
    each: Vec<u16>,
    #[rkyv(with = rkyv::with::AsString)]
    path: PathBuf,
    #[rkyv(with = rkyv::with::AsVec)]
    set: BTreeSet<Place>,
    #[rkyv(with = rkyv::with::AtomicLoad<rkyv::with::Relaxed>)]
    count: AtomicU32,
    #[rkyv(with = rkyv::with::Niche)]
    niche: Option<Box<i64>>,
    raw: Box<[i8]>,
    at: (f32,),
    r#type: char,
    unit: Unit,
    of: PhantomData<u8>,
    one: left::Inner,
    other: right::Inner,
}

#[derive(Archive, Serialize, Deserialize, Schema, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rkyv(derive(PartialEq, Eq, PartialOrd, Ord, Hash))]
enum Place {
    Here,
    There(u8, Deep),
}

#[derive(Archive, Serialize, Deserialize, Schema, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rkyv(derive(PartialEq, Eq, PartialOrd, Ord, Hash))]
struct Deep(i32);

mod left {
    use super::*;
    #[derive(Archive, Serialize, Deserialize, Schema)]
    pub(super) struct Inner(u8);
}

mod right {
    use super::*;
    #[derive(Archive, Serialize, Deserialize, Schema)]
    pub(super) struct Inner(u8);
}

mod written {
    include!("written.txt");
}

#[test]
fn what_is_written_has_the_same_description() {
    let description = Description::of::<Root>();
    let rust = Model::read(description.text()).expect("read").rust();
    if std::env::var_os("WRITE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schema/written.txt"), &rust).expect("written");
    }
    assert_eq!(rust, include_str!("written.txt"), "WRITE=1 writes the file anew");
    assert_eq!(Description::of::<written::Root>(), description);
}
