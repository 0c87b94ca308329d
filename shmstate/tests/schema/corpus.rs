//! Pairs of types that must differ, and what must be told of each difference.

use super::Node;
use shmstate::schema::{Change, ChangeKind, Description, Model, changes, mismatch};

/// Each pair is two modules with a root type `R`.
macro_rules! pairs {
    ($($label:ident { $($old:item)+ } { $($new:item)+ })+) => {
        $(mod $label {
            pub(crate) mod old {
                use rkyv::Archive;
                use shmstate::Schema;
                $(#[derive(Archive, Schema)] $old)+
            }
            pub(crate) mod new {
                use rkyv::Archive;
                use shmstate::Schema;
                $(#[derive(Archive, Schema)] $new)+
            }
        })+

        /// The pairs by name.
        pub(crate) fn corpus() -> Vec<(&'static str, Description, Description)> {
            vec![$((
                stringify!($label),
                Description::of::<$label::old::R>(),
                Description::of::<$label::new::R>(),
            )),+]
        }
    };
}

pairs! {
    field_added { pub(crate) struct R { a: u32 } } { pub(crate) struct R { a: u32, b: u32 } }
    field_added_into_padding { pub(crate) struct R { a: u32, b: u8 } } { pub(crate) struct R { a: u32, b: u8, c: u8 } }
    field_of_no_size_added { pub(crate) struct R { a: u32 } } { pub(crate) struct R { a: u32, b: () } }
    field_removed { pub(crate) struct R { a: u32, b: u64 } } { pub(crate) struct R { b: u64 } }
    field_renamed { pub(crate) struct R { a: u32 } } { pub(crate) struct R { b: u32 } }
    fields_reordered { pub(crate) struct R { a: u32, b: u32 } } { pub(crate) struct R { b: u32, a: u32 } }
    field_retyped { pub(crate) struct R { a: u32 } } { pub(crate) struct R { a: u64 } }
    sign { pub(crate) struct R { a: u32 } } { pub(crate) struct R { a: i32 } }
    float { pub(crate) struct R { a: u32 } } { pub(crate) struct R { a: f32 } }
    letter { pub(crate) struct R { a: u32 } } { pub(crate) struct R { a: char } }
    truth { pub(crate) struct R { a: u8 } } { pub(crate) struct R { a: bool } }
    bytes_to_text { pub(crate) struct R { a: Vec<u8> } } { pub(crate) struct R { a: String } }
    vec_to_slice { pub(crate) struct R { a: Vec<u8> } } { pub(crate) struct R { a: Box<[u8]> } }
    element { pub(crate) struct R { a: Vec<u32> } } { pub(crate) struct R { a: Vec<f32> } }
    option_added { pub(crate) struct R { a: u32 } } { pub(crate) struct R { a: Option<u32> } }
    array_length { pub(crate) struct R { a: [u8; 4] } } { pub(crate) struct R { a: [u8; 5] } }
    array_to_integer { pub(crate) struct R { a: [u8; 4] } } { pub(crate) struct R { a: u32 } }
    array_to_tuple { pub(crate) struct R { a: [u16; 2] } } { pub(crate) struct R { a: (u16, u16) } }
    newtype {
        pub(crate) struct R { a: u32 }
    } {
        pub(crate) struct R { a: Meters }
        pub(crate) struct Meters(u32);
    }
    another_newtype {
        pub(crate) struct R { a: Meters }
        pub(crate) struct Meters(u32);
    } {
        pub(crate) struct R { a: Feet }
        pub(crate) struct Feet(u32);
    }
    struct_to_tuple_struct { pub(crate) struct R { a: u32 } } { pub(crate) struct R(u32); }
    struct_to_enum { pub(crate) struct R; } { pub(crate) enum R { Only } }
    variant_added { pub(crate) enum R { A, B } } { pub(crate) enum R { A, B, C } }
    variant_removed { pub(crate) enum R { A, B } } { pub(crate) enum R { A } }
    variants_reordered { pub(crate) enum R { A, B } } { pub(crate) enum R { B, A } }
    variant_renamed { pub(crate) enum R { A, B } } { pub(crate) enum R { A, C } }
    variant_renumbered { pub(crate) enum R { A, B } } { pub(crate) enum R { A, B = 2 } }
    payload_added { pub(crate) enum R { A, B } } { pub(crate) enum R { A, B(u8) } }
    payload_in_another_variant { pub(crate) enum R { A, B(u8) } } { pub(crate) enum R { A(u8), B } }
    payload_retyped { pub(crate) enum R { A(u32) } } { pub(crate) enum R { A(f32) } }
    payload_named { pub(crate) enum R { A(u32) } } { pub(crate) enum R { A { a: u32 } } }
    two_levels_down {
        pub(crate) struct R { middle: Vec<Middle> }
        pub(crate) struct Middle { leaf: Option<Leaf> }
        pub(crate) struct Leaf { x: f32, y: f32 }
    } {
        pub(crate) struct R { middle: Vec<Middle> }
        pub(crate) struct Middle { leaf: Option<Leaf> }
        pub(crate) struct Leaf { x: f32, z: f32 }
    }
    wrapped { pub(crate) struct R { a: u32 } } { pub(crate) struct R { #[rkyv(with = rkyv::with::AsBox)] a: u32 } }
    wrapper_exchanged {
        pub(crate) struct R { #[rkyv(with = rkyv::with::AsBox)] a: u32 }
    } {
        pub(crate) struct R { #[rkyv(with = rkyv::with::Skip)] a: u32 }
    }
    key_of_a_map {
        pub(crate) struct R { a: std::collections::BTreeMap<u32, u8> }
    } {
        pub(crate) struct R { a: std::collections::BTreeMap<i32, u8> }
    }
    value_of_a_map {
        pub(crate) struct R { a: std::collections::HashMap<u32, u8> }
    } {
        pub(crate) struct R { a: std::collections::HashMap<u32, bool> }
    }
    map_to_another {
        pub(crate) struct R { a: std::collections::BTreeMap<u32, u8> }
    } {
        pub(crate) struct R { a: std::collections::HashMap<u32, u8> }
    }
    integer_widened_and_field_added {
        pub(crate) struct R { a: u16 }
    } {
        pub(crate) struct R { a: u64, b: String }
    }
    root_renamed {
        pub(crate) struct R { a: u32 }
    } {
        #[schema(name = "S")]
        pub(crate) struct R { a: u32 }
    }
}

/// One change of a pair: where, the old type, the new one, what happened.
type Told = (
    &'static str,
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
    ChangeKind,
);

/// For each pair a change that must be told.
#[rustfmt::skip]
const TOLD: &[Told] = &[
    ("field_added", "b", None, Some("u32"), ChangeKind::FieldAdded),
    ("field_added_into_padding", "c", None, Some("u8"), ChangeKind::FieldAdded),
    ("field_of_no_size_added", "b", None, Some("()"), ChangeKind::FieldAdded),
    ("field_removed", "a", Some("u32"), None, ChangeKind::FieldRemoved),
    ("field_renamed", "a", Some("a: u32"), Some("b: u32"), ChangeKind::FieldRenamed),
    ("fields_reordered", "", Some("a, b"), Some("b, a"), ChangeKind::FieldsReordered),
    ("field_retyped", "a", Some("u32"), Some("u64"), ChangeKind::Widened),
    ("sign", "a", Some("u32"), Some("i32"), ChangeKind::Retyped),
    ("float", "a", Some("u32"), Some("f32"), ChangeKind::Retyped),
    ("letter", "a", Some("u32"), Some("char"), ChangeKind::Retyped),
    ("truth", "a", Some("u8"), Some("bool"), ChangeKind::Retyped),
    ("bytes_to_text", "a", Some("Vec<u8>"), Some("String"), ChangeKind::Retyped),
    ("vec_to_slice", "a", Some("Vec<u8>"), Some("Box<[u8]>"), ChangeKind::Retyped),
    ("element", "a[]", Some("u32"), Some("f32"), ChangeKind::Retyped),
    ("option_added", "a", Some("u32"), Some("Option<u32>"), ChangeKind::MadeOptional),
    ("array_length", "a", Some("[u8;4]"), Some("[u8;5]"), ChangeKind::Retyped),
    ("array_to_integer", "a", Some("[u8;4]"), Some("u32"), ChangeKind::Retyped),
    ("array_to_tuple", "a", Some("[u16;2]"), Some("(u16,u16)"), ChangeKind::Retyped),
    ("newtype", "a", Some("u32"), Some("Meters"), ChangeKind::Retyped),
    ("another_newtype", "a", Some("Meters"), Some("Feet"), ChangeKind::TypeRenamed),
    ("struct_to_tuple_struct", "a", Some("a: u32"), Some(".0: u32"), ChangeKind::FieldRenamed),
    ("struct_to_enum", "", Some("struct R"), Some("enum R"), ChangeKind::Retyped),
    ("variant_added", "C", None, Some("tag 2"), ChangeKind::VariantAdded),
    ("variant_removed", "B", Some("tag 1"), None, ChangeKind::VariantRemoved),
    ("variants_reordered", "A", Some("tag 0"), Some("tag 1"), ChangeKind::VariantRenumbered),
    ("variant_renamed", "B", Some("B"), Some("C"), ChangeKind::VariantRenamed),
    ("variant_renumbered", "B", Some("tag 1"), Some("tag 2"), ChangeKind::VariantRenumbered),
    ("payload_added", "B.0", None, Some("u8"), ChangeKind::FieldAdded),
    ("payload_in_another_variant", "A.0", None, Some("u8"), ChangeKind::FieldAdded),
    ("payload_retyped", "A.0", Some("u32"), Some("f32"), ChangeKind::Retyped),
    ("payload_named", "A.0", Some(".0: u32"), Some("a: u32"), ChangeKind::FieldRenamed),
    ("two_levels_down", "middle[].leaf.y", Some("y: f32"), Some("z: f32"), ChangeKind::FieldRenamed),
    ("root_renamed", "", Some("R"), Some("S"), ChangeKind::TypeRenamed),
    ("wrapped", "a", Some("u32"), Some("with.AsBox<Box<u32>>"), ChangeKind::Retyped),
    ("wrapper_exchanged", "a", Some("with.AsBox<Box<u32>>"), Some("with.Skip<()>"), ChangeKind::TypeRenamed),
    ("key_of_a_map", "a[key]", Some("u32"), Some("i32"), ChangeKind::Retyped),
    ("value_of_a_map", "a[]", Some("u8"), Some("bool"), ChangeKind::Retyped),
    ("map_to_another", "a", Some("BTreeMap<u32,u8>"), Some("HashMap<u32,u8>"), ChangeKind::Retyped),
    ("integer_widened_and_field_added", "b", None, Some("String"), ChangeKind::FieldAdded),
];

fn told(old: &Description, new: &Description) -> Vec<Change> {
    let read = |description: &Description| Model::read(description.text()).expect("a description is read");
    changes(&read(old), &read(new))
}

#[test]
fn each_pair_of_the_corpus_differs() {
    let corpus = corpus();
    assert_eq!(corpus.len(), TOLD.len(), "each pair says what must be told");
    for (label, old, new) in corpus {
        assert_ne!(old.fingerprint(), new.fingerprint(), "{label}:\n{old}{new}");
        let (_, path, was, is, kind) = TOLD.iter().find(|told| told.0 == label).expect("what must be told");
        let change = Change {
            path: (*path).to_owned(),
            old: was.map(str::to_owned),
            new: is.map(str::to_owned),
            kind: *kind,
        };
        let told_of = told(&old, &new);
        assert!(told_of.contains(&change), "{label}: {change:?} is not in {told_of:#?}");
        let refusal = mismatch("things", old.text(), new.text());
        assert!(refusal.contains(&format!("\n  {change}\n")), "{label}:\n{refusal}");
        assert!(refusal.contains(kind.help()), "{label}:\n{refusal}");
        assert!(
            refusal.contains("the shape changed and the declared version did not"),
            "{label}:\n{refusal}"
        );
        // The other way round there is a change too, and none against itself.
        assert!(!told(&new, &old).is_empty(), "{label}");
        assert_eq!(told(&old, &old), [], "{label}");
    }
}

#[test]
fn a_change_in_a_recursive_type_is_told_once() {
    let old = Description::of::<Node>();
    let new = old.text().replace("0 value: u32", "0 value: f32");
    let new = format!("{new}type f32 size 4 align 4\n");
    let found = changes(&Model::read(old.text()).unwrap(), &Model::read(&new).unwrap());
    let found: Vec<String> = found.iter().map(Change::to_string).collect();
    assert_eq!(found, ["value: u32 -> f32 (another type)"]);
}

#[test]
fn a_refusal_reads_well() {
    let old = Description::of::<integer_widened_and_field_added::old::R>();
    let new = Description::of::<integer_widened_and_field_added::new::R>();
    let text = mismatch("players", old.text(), new.text());
    assert_eq!(
        text,
        format!(
            "table \"players\" holds records of another shape than this program expects
stored: R version 1, fingerprint {}
expected: R version 1, fingerprint {}
differences, field: stored -> expected
  b: nothing -> String (field added)
      old records have no such field: a migration must give it a value
  a: u16 -> u64 (wider)
      every old value fits: a migration widens it
what helps: the shape changed and the declared version did not: raise #[schema(version = …)] above 1 and register a migration from version 1, or take the change back.
",
            old.fingerprint(),
            new.fingerprint()
        )
    );
}
