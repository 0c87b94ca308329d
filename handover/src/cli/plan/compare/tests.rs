//! Cases: what a program declares, what there is, what comes of it.

use super::*;
use crate::cli::plan::manifest::tests::of;
use crate::{Builder, ListenOptions};
use rkyv::{Archive, Deserialize, Serialize};
use shmstate::schema::Description;
use shmstate::{Declared, Kind, Migrate, Move, MoveInfo, Schema, Steps};

#[derive(Archive, Serialize, Deserialize, Schema)]
#[schema(version = 1, name = "Player")]
struct V1(u8);
#[derive(Archive, Serialize, Deserialize, Schema)]
#[schema(version = 2, name = "Player")]
struct V2(u16);
#[derive(Archive, Serialize, Deserialize, Schema)]
#[schema(version = 3, name = "Player")]
struct V3(u32);
/// Another shape under version 1.
#[derive(Archive, Serialize, Deserialize, Schema)]
#[schema(version = 1, name = "Player")]
struct Other(i64);

macro_rules! step {
    ($old:ty, $new:ty) => {
        impl Migrate<$old> for $new {
            fn migrate(old: $old) -> Self {
                Self(old.0 as _)
            }
        }
    };
}
step!(V1, V2);
step!(V2, V1);
step!(V2, V3);
step!(V3, V2);

fn info<T: Schema>(records: u64, shapes: &[ShapeInfo]) -> TableInfo {
    let shape = Description::of::<T>();
    TableInfo {
        row: 0,
        name: "players".into(),
        kind: Some(Kind::Map),
        version: shape.version(),
        fingerprint: shape.fingerprint().as_u128(),
        records,
        older: shapes.iter().map(|shape| shape.records).sum(),
        archived_bytes: 0,
        checksums: false,
        description: format!("u64\n---\n{}", shape.text()),
        shapes: shapes.to_vec(),
        moving: None,
        moved: false,
        incoming: 0,
    }
}

/// A shape beside the row's.
fn beside<T: Schema>(records: u64, way_back: bool) -> ShapeInfo {
    let shape = Description::of::<T>();
    ShapeInfo {
        version: shape.version(),
        fingerprint: shape.fingerprint().as_u128(),
        records,
        way_back,
    }
}

fn owner() -> Serving {
    Serving {
        pid: 7,
        build_id: "old".into(),
        generation: 3,
    }
}

fn live(tables: Vec<TableInfo>) -> Live {
    Live {
        node: "arena".into(),
        owner: owner(),
        regions: vec![("world".into(), Ok(tables))],
        declared: None,
    }
}

fn plan(declared: Declared, tables: Vec<TableInfo>) -> Plan {
    let manifest = of(|builder| builder.region("world", 1 << 20).table("world", declared));
    compare(live(tables), &manifest, None)
}

fn v1() -> Declared {
    Declared::map::<u64, V1>("players")
}

fn v2() -> Declared {
    Declared::map::<u64, V2>("players")
}

fn v3() -> Declared {
    Declared::map::<u64, V3>("players")
}

/// What is to be known of the table `players`.
#[track_caller]
fn table(plan: &Plan, fate: Fate, from: &[u16], to_migrate: u64, way_back: WayBack) {
    let table = plan
        .tables
        .iter()
        .find(|table| table.table == "players")
        .expect("there");
    assert_eq!(
        (table.fate, &table.from_versions[..], table.to_migrate, table.way_back),
        (fate, from, to_migrate, way_back),
        "{table:?}"
    );
    assert_eq!(table.refusal.is_some(), fate == Fate::Refused);
}

#[test]
fn one_step_with_and_without_a_way_back() {
    let forward = || Steps::<V2>::new().from::<V1>();
    let found = || vec![info::<V1>(1_800_001, &[])];
    let with = plan(v2().steps(&forward().back::<V1>()), found());
    table(&with, Fate::Migrated, &[1], 1_800_001, WayBack::Yes);
    assert_eq!(
        (with.verdict, with.way_back, with.exit_code),
        (Prospect::Works, WayBack::Yes, 0)
    );
    assert_eq!(with.tables[0].sweep_ms, 1001);
    let without = plan(v2().steps(&forward()), found());
    table(&without, Fate::Migrated, &[1], 1_800_001, WayBack::No);
    assert_eq!((without.verdict, without.exit_code), (Prospect::OneWay, 5));
    // An empty table gets another shape all the same.
    table(
        &plan(v2().steps(&forward()), vec![info::<V1>(0, &[])]),
        Fate::Migrated,
        &[1],
        0,
        WayBack::No,
    );
}

#[test]
fn what_has_the_shape_already_is_unchanged_whatever_the_steps() {
    let steps = || Steps::<V2>::new().from::<V1>();
    let same = plan(v2(), vec![info::<V2>(4, &[])]);
    table(&same, Fate::Unchanged, &[], 0, WayBack::NotNeeded);
    assert_eq!((same.verdict, same.way_back), (Prospect::Works, WayBack::NotNeeded));
    // Some are unswept: who serves now reads both, so no way back is needed; who does not know the older one is refused.
    let swept = || vec![info::<V2>(4, &[beside::<V1>(3, false)])];
    table(
        &plan(v2().steps(&steps()), swept()),
        Fate::Unchanged,
        &[1],
        3,
        WayBack::NotNeeded,
    );
    let refused = plan(v2(), swept());
    table(&refused, Fate::Refused, &[1], 3, WayBack::NotNeeded);
    assert_eq!((refused.verdict, refused.exit_code), (Prospect::Refused, 1));
    let why = refused.tables[0].refusal.as_ref().expect("why");
    assert!(why.contains("some of its records are still of version 1"), "{why}");
    // A shape that no record has is nobody's business.
    let gone = vec![info::<V2>(4, &[beside::<V1>(0, false)])];
    table(&plan(v2(), gone), Fate::Unchanged, &[], 0, WayBack::NotNeeded);
}

#[test]
fn chains_count_what_is_left_of_each_version_and_go_back_to_the_owner_only() {
    let all = || Steps::<V3>::new().from::<V2>().through::<V1, V2>();
    // 10 records, of which 4 are still of version 1: 6 are the owner's.
    let found = || vec![info::<V2>(10, &[beside::<V1>(4, true)])];
    table(
        &plan(v3().steps(&all().back::<V2>()), found()),
        Fate::Migrated,
        &[1, 2],
        10,
        WayBack::Yes,
    );
    table(
        &plan(v3().steps(&all()), found()),
        Fate::Migrated,
        &[1, 2],
        10,
        WayBack::No,
    );
    // No step from what is left.
    let short = Steps::<V3>::new().from::<V2>().back::<V2>();
    table(
        &plan(v3().steps(&short), found()),
        Fate::Refused,
        &[1, 2],
        10,
        WayBack::NotNeeded,
    );
    // Some are of the program's shape already, left from when it served before.
    let again = vec![info::<V2>(10, &[beside::<V3>(3, false)])];
    table(
        &plan(v3().steps(&all().back::<V2>()), again),
        Fate::Migrated,
        &[2],
        7,
        WayBack::Yes,
    );
}

#[test]
fn an_older_program_goes_on_by_its_twins_and_the_newer_one_finds_back() {
    let open = || vec![info::<V2>(10, &[beside::<V1>(4, true)])];
    let down = plan(v1(), open());
    table(&down, Fate::Migrated, &[2], 6, WayBack::Yes);
    assert_eq!(down.verdict, Prospect::Works);
    // The way was closed, or the twins are of another shape.
    let closed = vec![info::<V2>(10, &[beside::<V1>(4, false)])];
    table(&plan(v1(), closed), Fate::Refused, &[2], 6, WayBack::NotNeeded);
    let other = Declared::map::<u64, Other>("players");
    table(&plan(other, open()), Fate::Refused, &[2], 6, WayBack::NotNeeded);
}

#[test]
fn what_cannot_be_opened_is_refused_with_what_differs() {
    let refused = |declared: Declared, tables: Vec<TableInfo>, what: &str| {
        let plan = plan(declared, tables);
        assert_eq!((plan.verdict, plan.tables[0].fate), (Prospect::Refused, Fate::Refused));
        let why = plan.tables[0].refusal.clone().expect("why");
        assert!(why.contains(what), "{why}");
        assert!(plan.verdict_in_words().contains("it cannot open world/players"));
    };
    refused(v2(), vec![info::<V1>(1, &[])], "u8 -> u16");
    refused(
        v3().steps(&Steps::<V3>::new().from::<V2>()),
        vec![info::<V1>(1, &[])],
        "register a migration",
    );
    refused(
        Declared::map::<u64, Other>("players"),
        vec![info::<V1>(1, &[])],
        "raise #[schema(version",
    );
    refused(
        Declared::map::<u32, V1>("players"),
        vec![info::<V1>(1, &[])],
        "its keys are \"u64\"",
    );
    refused(
        Declared::slab::<V1>("players"),
        vec![info::<V1>(1, &[])],
        "the table is a Map, the program expects a Slab",
    );
    let mut later = info::<V1>(1, &[]);
    later.kind = None;
    refused(v1(), vec![later], "kind of a later version");
    // A companion of the row's version that had another shape is in the way at the first transaction.
    let steps = Steps::<V2>::new().from::<V1>().back::<V1>();
    let reused = vec![info::<V1>(1, &[beside::<Other>(0, false)])];
    refused(v2().steps(&steps), reused, "raise the version");
}

#[test]
fn new_and_orphaned_tables_do_not_hinder_a_way_back() {
    let mut old = info::<V3>(12, &[]);
    old.name = "old".into();
    let mut companion = info::<V1>(1, &[]);
    companion.name = ".1.players".into();
    let declared = v2().steps(&Steps::<V2>::new().from::<V1>().back::<V1>());
    let manifest = of(|builder| {
        let fresh = Declared::queue::<V1>("fresh");
        builder.region("world", 1 << 20).tables("world", [declared, fresh])
    });
    let plan = compare(live(vec![info::<V1>(5, &[]), old, companion]), &manifest, None);
    let fates: Vec<(&str, Fate, u64)> = plan
        .tables
        .iter()
        .map(|t| (t.table.as_str(), t.fate, t.records))
        .collect();
    let wanted = [
        ("players", Fate::Migrated, 5),
        ("fresh", Fate::New, 0),
        ("old", Fate::Orphaned, 12),
    ];
    assert_eq!(fates, wanted);
    assert_eq!((plan.verdict, plan.way_back), (Prospect::Works, WayBack::Yes));
}

#[test]
fn a_catalog_without_rows_for_what_is_made_refuses() {
    let tables = |number: u64| -> Vec<TableInfo> {
        let table = |i| TableInfo {
            name: if i == 0 { "players".into() } else { format!("t{i}") },
            ..info::<V1>(1, &[])
        };
        (0..number).map(table).collect()
    };
    let declared = || v2().steps(&Steps::<V2>::new().from::<V1>().back::<V1>());
    assert_eq!(plan(declared(), tables(MAX_TABLES - 1)).verdict, Prospect::Works);
    let full = plan(declared(), tables(MAX_TABLES));
    assert_eq!(full.verdict, Prospect::Refused);
    assert!(
        full.verdict_in_words().contains("64 of at most 64 rows"),
        "{}",
        full.verdict_in_words()
    );
    // It has a row for the older shape already, or needs none.
    let mut known = tables(MAX_TABLES);
    known[0].shapes = vec![beside::<V1>(0, false)];
    assert_eq!(plan(declared(), known).verdict, Prospect::Works);
    assert_eq!(plan(v1(), tables(MAX_TABLES)).verdict, Prospect::Works);
}

#[test]
fn regions_are_kept_new_or_orphaned_and_what_is_not_declared_is_not_known() {
    let regions = |plan: &Plan| -> Vec<(String, RegionFate)> {
        plan.regions
            .iter()
            .map(|region| (region.region.clone(), region.fate))
            .collect()
    };
    let manifest = of(|builder| {
        let builder = builder.region("world", 1 << 20).region("rooms", 1 << 20).carry(10);
        builder.table("rooms", v1())
    });
    let mut node = live(vec![info::<V1>(1, &[])]);
    node.regions.push(("old".into(), Ok(Catalog::default())));
    node.regions.push(("carry".into(), Ok(vec![info::<V3>(1, &[])])));
    let plan = compare(node, &manifest, None);
    let wanted = [
        ("world".to_owned(), RegionFate::Kept),
        ("rooms".to_owned(), RegionFate::New),
        ("carry".to_owned(), RegionFate::Kept),
        ("old".to_owned(), RegionFate::Orphaned),
    ];
    assert_eq!(regions(&plan), wanted);
    // `rooms` is new with its table; of `world` nothing is said, and `carry` is the library's own.
    table(&plan, Fate::New, &[], 0, WayBack::NotNeeded);
    assert_eq!(
        (plan.verdict, plan.way_back, plan.exit_code),
        (Prospect::Unknown, WayBack::Unknown, 4)
    );
    assert_eq!(
        plan.unknown,
        ["region world: CMD declares no tables, so nothing is known of its 1 table"]
    );
    // An empty region can be opened by anybody.
    assert_eq!(compare(live(Vec::new()), &manifest, None).verdict, Prospect::Works);
    // One that cannot be read.
    let mut node = live(Vec::new());
    node.regions[0].1 = Err("damaged".into());
    assert_eq!(
        compare(node, &manifest, None).unknown,
        ["region world cannot be read: damaged"]
    );
    // What is known to have no way back is not made better by what is unknown.
    let manifest = of(|builder| {
        let builder = builder.region("world", 1 << 20).region("rooms", 1 << 20);
        builder.table("rooms", v2().steps(&Steps::<V2>::new().from::<V1>()))
    });
    let mut node = live(vec![info::<V1>(1, &[])]);
    node.regions.push(("rooms".into(), Ok(vec![info::<V1>(1, &[])])));
    assert_eq!(compare(node, &manifest, None).verdict, Prospect::OneWay);
}

#[test]
fn another_node_or_another_place_is_refused() {
    let manifest = of(|builder| builder.region("world", 1 << 20).table("world", v1()));
    let mut node = live(Vec::new());
    node.node = "lobby".into();
    let plan = compare(node, &manifest, None);
    assert_eq!(
        plan.verdict_in_words(),
        "CMD would be refused: it serves the node \"arena\", not \"lobby\""
    );
    let plan = compare(live(Vec::new()), &manifest, Some("/elsewhere".into()));
    assert_eq!((plan.verdict, plan.exit_code), (Prospect::Refused, 1));
}

#[test]
fn descriptors_are_compared_as_a_successor_does() {
    let address = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let mark = |build: &dyn Fn(Builder) -> Builder| of(build).descriptors[0].mark().expect("a mark");
    let declare = |builder: Builder| {
        let made = || Err(std::io::ErrorKind::Unsupported.into());
        builder
            .listener("game", address(4000))
            .listener("admin", address(4001))
            .udp("beacon", address(4002))
            .unix_listener_with("status", "@status", ListenOptions::default())
            .descriptor("feed", made)
    };
    let manifest = of(declare);
    let before = vec![
        (
            "game".to_owned(),
            mark(&|builder| builder.listener("game", address(4000))),
        ),
        (
            "admin".to_owned(),
            mark(&|builder| builder.listener("admin", address(5001))),
        ),
        ("feed".to_owned(), 12345),
        ("gone".to_owned(), 99),
    ];
    let mut node = live(Vec::new());
    node.declared = Some(Declarations {
        descriptors: before,
        complete: true,
    });
    let plan = compare(node, &manifest, None).descriptors;
    assert!(plan.known);
    assert_eq!(plan.kept, ["game", "feed"]);
    assert_eq!(plan.changed, ["admin"]);
    assert_eq!(plan.new, ["beacon", "status"]);
    assert_eq!(plan.dropped, ["gone"]);
    assert_eq!(plan.declared[3].address.as_deref(), Some("@status"));
    // An owner that says nothing, and one that does not say all.
    let plan = compare(live(Vec::new()), &manifest, None);
    assert_eq!((plan.descriptors.known, plan.verdict), (false, Prospect::Works));
    let mut node = live(Vec::new());
    node.declared = Some(Declarations {
        descriptors: vec![("gone".to_owned(), 99)],
        complete: false,
    });
    let plan = compare(node, &manifest, None).descriptors;
    assert_eq!((plan.known, plan.new.len(), plan.dropped.len()), (false, 0, 1));
}

/// Records that move to another table, with a way back or without.
fn moves(back: bool) -> [Declared; 2] {
    let declared = Move::<u64, V1>::of("players").to::<u32, V2>("citizens", |_| None, |_, _, _| Ok(Vec::new()));
    let declared = if back {
        declared.back(|_, _, _| Ok(None))
    } else {
        declared
    };
    [declared.declared(), Declared::map::<u32, V2>("citizens")]
}

fn plan_of_move(back: bool, tables: Vec<TableInfo>) -> Plan {
    let manifest = of(|builder| builder.region("world", 1 << 20).tables("world", moves(back)));
    compare(live(tables), &manifest, None)
}

fn moving(left: u64, way_back: bool, outdated: bool) -> TableInfo {
    TableInfo {
        moving: Some(MoveInfo {
            left,
            way_back,
            outdated,
        }),
        ..info::<V1>(1_200_000, &[])
    }
}

fn target(incoming: u64) -> TableInfo {
    TableInfo {
        name: "citizens".into(),
        description: format!("u32\n---\n{}", Description::of::<V2>().text()),
        incoming,
        ..info::<V2>(9, &[])
    }
}

#[test]
fn records_that_move_have_a_way_back_or_not() {
    let begins = plan_of_move(true, vec![info::<V1>(1_200_000, &[])]);
    table(&begins, Fate::Moved, &[], 1_200_000, WayBack::Yes);
    let [source, made] = &begins.tables[..] else {
        panic!("{:?}", begins.tables)
    };
    assert_eq!(
        (&source.moves_to[..], source.sweep_ms),
        (&["citizens".to_owned()][..], 2000)
    );
    assert_eq!((made.fate, begins.verdict), (Fate::New, Prospect::Works));
    let one_way = plan_of_move(false, vec![info::<V1>(5, &[])]);
    table(&one_way, Fate::Moved, &[], 5, WayBack::No);
    assert_eq!(one_way.verdict, Prospect::OneWay);
    // Who serves knows the move: it finds what this one leaves.
    let known = plan_of_move(false, vec![moving(7, false, false), target(1)]);
    table(&known, Fate::Moved, &[], 7, WayBack::NotNeeded);
    assert_eq!(known.verdict, Prospect::Works);
    // Who serves does not, and has worked: it begins anew.
    let anew = plan_of_move(true, vec![moving(1_200_000, true, true), target(1)]);
    table(&anew, Fate::Moved, &[], 1_200_000, WayBack::Yes);
    // It is over, or there never was such a table.
    let over = plan_of_move(true, vec![target(0)]);
    assert_eq!((over.tables.len(), over.verdict), (1, Prospect::Works));
}

#[test]
fn who_does_not_know_a_move_cannot_open_its_tables() {
    let moved = TableInfo {
        moved: true,
        ..moving(7, false, false)
    };
    let refused = plan(v1(), vec![moved]);
    table(&refused, Fate::Refused, &[], 0, WayBack::NotNeeded);
    assert!(
        refused.tables[0]
            .refusal
            .as_ref()
            .expect("why")
            .contains("must declare the move")
    );
    let manifest = of(|builder| {
        builder
            .region("world", 1 << 20)
            .table("world", Declared::map::<u32, V2>("citizens"))
    });
    let refused = compare(live(vec![target(1)]), &manifest, None);
    assert_eq!(refused.verdict, Prospect::Refused);
    // The version before goes on with a source that has kept all its records.
    assert_eq!(
        plan(v1(), vec![moving(7, true, false), target(1)]).verdict,
        Prospect::Works
    );
}
