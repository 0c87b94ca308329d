//! What became of a type between two descriptions, field by field.
//!
//! Fields and variants are matched by name, types by name and make. A type that appears at many places is compared once: its changes
//! are told at the first of them. What moved only because something before it grew is not told.

use std::collections::HashSet;
use std::fmt;

use super::lines::printable;
use super::model::{Case, Form, Member, Model, Scalar, TypeIndex};

/// At most so many changes are told; more are only counted.
pub(super) const MOST_CHANGES: usize = 200;

/// What happened to a field, a variant or a type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ChangeKind {
    /// A field that was not there.
    FieldAdded,
    /// A field that is there no more.
    FieldRemoved,
    /// A field of the same type under another name, in the place of the old one.
    FieldRenamed,
    /// The same fields in another order.
    FieldsReordered,
    /// Another type. [`Widened`](Self::Widened) and [`MadeOptional`](Self::MadeOptional) are told apart.
    Retyped,
    /// An integer of the same sign with more bits, or `f32` that became `f64`.
    Widened,
    /// `T` became `Option<T>`.
    MadeOptional,
    /// A type of the same fields under another name.
    TypeRenamed,
    /// A variant that was not there.
    VariantAdded,
    /// A variant that is there no more.
    VariantRemoved,
    /// A variant of the same tag and fields under another name.
    VariantRenamed,
    /// A variant with another tag.
    VariantRenumbered,
    /// The layout of all archives.
    Layout,
}

/// One difference between two descriptions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Where: names of fields and variants with dots between, `[]` for what is in a container, `[key]` for the keys of a map.
    /// Empty for the described type itself.
    pub path: String,
    /// What was there.
    pub old: Option<String>,
    /// What is there now.
    pub new: Option<String>,
    /// What happened.
    pub kind: ChangeKind,
}

impl ChangeKind {
    /// What would help, in half a sentence.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::FieldAdded => "old records have no such field: a migration must give it a value",
            Self::FieldRemoved => "a migration drops it; its values are lost",
            Self::FieldRenamed => "if it means the same, a migration moves it; or keep the old name",
            Self::FieldsReordered => "the order is part of the shape: put the fields back in the stored order",
            Self::Retyped => "a migration converts it; or keep the old type and add a field of the new one",
            Self::Widened => "every old value fits: a migration widens it",
            Self::MadeOptional => "every old value fits: a migration wraps it in Some",
            Self::TypeRenamed => "if it means the same, keep the stored name with #[schema(name = \"…\")]",
            Self::VariantAdded => "the shape changed, although no old record has it: raise the version and migrate",
            Self::VariantRemoved => "a migration must say what becomes of records that have it",
            Self::VariantRenamed => "if it means the same, keep the stored name",
            Self::VariantRenumbered => "give the variant its stored tag: NAME = TAG",
            Self::Layout => "build rkyv with the features of the stored layout",
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::FieldAdded => "field added",
            Self::FieldRemoved => "field removed",
            Self::FieldRenamed => "field renamed?",
            Self::FieldsReordered => "fields in another order",
            Self::Retyped => "another type",
            Self::Widened => "wider",
            Self::MadeOptional => "made optional",
            Self::TypeRenamed => "type renamed",
            Self::VariantAdded => "variant added",
            Self::VariantRemoved => "variant removed",
            Self::VariantRenamed => "variant renamed?",
            Self::VariantRenumbered => "another tag",
            Self::Layout => "archive format",
        }
    }
}

/// `inventory[].count: u32 -> u64 (wider)`
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |side: &Option<String>| side.as_deref().map_or_else(|| "nothing".to_owned(), printable);
        let path = if self.path.is_empty() {
            "the record".to_owned()
        } else {
            printable(&self.path)
        };
        write!(
            f,
            "{path}: {} -> {} ({})",
            side(&self.old),
            side(&self.new),
            self.kind.what()
        )
    }
}

/// All differences between what is stored and what is expected, in the order of the stored fields. Two descriptions with the same
/// fingerprint have none.
#[must_use]
pub fn changes(stored: &Model, expected: &Model) -> Vec<Change> {
    let mut walk = Walk {
        old: stored,
        new: expected,
        seen: HashSet::new(),
        changes: Vec::new(),
    };
    if stored.layout() != expected.layout() {
        walk.tell("", Some(stored.layout()), Some(expected.layout()), ChangeKind::Layout);
    }
    // A list instead of recursion: a chain of types may be long.
    let mut open = vec![(String::new(), stored.root_index(), expected.root_index())];
    while let Some((path, old, new)) = open.pop() {
        let mut below = walk.types(&path, old, new);
        below.reverse();
        open.append(&mut below);
    }
    walk.changes
}

/// What is to be compared next.
type Below = Vec<(String, TypeIndex, TypeIndex)>;

struct Walk<'m> {
    old: &'m Model,
    new: &'m Model,
    seen: HashSet<(TypeIndex, TypeIndex)>,
    changes: Vec<Change>,
}

fn joined(path: &str, name: &str) -> String {
    let name = name.strip_prefix('.').unwrap_or(name);
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

impl Walk<'_> {
    fn tell(&mut self, path: &str, old: Option<&str>, new: Option<&str>, kind: ChangeKind) {
        self.changes.push(Change {
            path: path.to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
            kind,
        });
    }

    fn types(&mut self, path: &str, old: TypeIndex, new: TypeIndex) -> Below {
        if !self.seen.insert((old, new)) {
            return Vec::new();
        }
        let (a, b) = (self.old.get(old), self.new.get(new));
        let held = |old: TypeIndex, new: TypeIndex, what: &str| (format!("{path}{what}"), old, new);
        match (&a.form, &b.form) {
            (Form::Struct(old), Form::Struct(new)) => {
                self.renamed(path, &a.name, &b.name);
                self.fields(path, old, new)
            }
            (Form::Tuple(old), Form::Tuple(new)) if old.len() == new.len() => self.fields(path, old, new),
            (Form::Enum(old), Form::Enum(new)) => {
                self.renamed(path, &a.name, &b.name);
                self.cases(path, old, new)
            }
            (Form::Vec(old), Form::Vec(new)) | (Form::BoxedSlice(old), Form::BoxedSlice(new)) => {
                vec![held(*old, *new, "[]")]
            }
            (Form::Array(old, n), Form::Array(new, m)) if n == m => vec![held(*old, *new, "[]")],
            (Form::OptionBox(old), Form::OptionBox(new))
            | (Form::Boxed(old), Form::Boxed(new))
            | (Form::Option(old, _), Form::Option(new, _)) => {
                vec![held(*old, *new, "")]
            }
            (Form::BTreeMap(k, v), Form::BTreeMap(l, w)) | (Form::HashMap(k, v), Form::HashMap(l, w)) => {
                vec![held(*k, *l, "[key]"), held(*v, *w, "[]")]
            }
            (x, y) if x == y && a.name == b.name && a.size == b.size => Vec::new(),
            (Form::Scalar(x), Form::Scalar(y)) if widens(*x, *y) => {
                self.tell(path, Some(&a.name), Some(&b.name), ChangeKind::Widened);
                Vec::new()
            }
            (_, Form::Option(payload, _)) if self.new.get(*payload).name == a.name => {
                self.tell(path, Some(&a.name), Some(&b.name), ChangeKind::MadeOptional);
                vec![held(old, *payload, "")]
            }
            _ => {
                // A struct and an enum of one name are no change of name.
                let of = |model: &super::model::Type| match (a.name == b.name, &model.form) {
                    (false, _) => model.name.clone(),
                    (true, Form::Struct(_)) => format!("struct {}", model.name),
                    (true, Form::Enum(_)) => format!("enum {}", model.name),
                    (true, _) => format!("{} of {} bytes", model.name, model.size),
                };
                self.tell(path, Some(&of(a)), Some(&of(b)), ChangeKind::Retyped);
                Vec::new()
            }
        }
    }

    fn renamed(&mut self, path: &str, old: &str, new: &str) {
        // Where only the arguments differ, the fields say how; where they do not either, the name is all there is.
        if old != new {
            self.tell(path, Some(old), Some(new), ChangeKind::TypeRenamed);
        }
    }

    fn fields(&mut self, path: &str, old: &[Member], new: &[Member]) -> Below {
        let mut below = Vec::new();
        let in_new = |name: &str| new.iter().find(|field| field.name == name);
        let in_old = |name: &str| old.iter().any(|field| field.name == name);
        let mut added: Vec<&Member> = new.iter().filter(|field| !in_old(&field.name)).collect();
        let type_of = |model: &Model, field: &Member| model.get(field.of).name.clone();
        for (i, field) in old.iter().enumerate() {
            let at = joined(path, &field.name);
            if let Some(now) = in_new(&field.name) {
                below.push((at, field.of, now.of));
                continue;
            }
            let was = type_of(self.old, field);
            // In its place stands a new one of the same type.
            let in_place = new.get(i).filter(|now| type_of(self.new, now) == was);
            let place = in_place.and_then(|now| added.iter().position(|field| std::ptr::eq(*field, now)));
            match place {
                Some(place) => {
                    let now = added.remove(place);
                    let (old, new) = (format!("{}: {was}", field.name), format!("{}: {was}", now.name));
                    self.tell(&at, Some(&old), Some(&new), ChangeKind::FieldRenamed);
                    below.push((joined(path, &now.name), field.of, now.of));
                }
                None => self.tell(&at, Some(&was), None, ChangeKind::FieldRemoved),
            }
        }
        for field in added {
            let now = type_of(self.new, field);
            self.tell(&joined(path, &field.name), None, Some(&now), ChangeKind::FieldAdded);
        }
        let kept = |fields: &[Member], other: &[Member]| -> Vec<String> {
            let both = fields.iter().filter(|field| other.iter().any(|o| o.name == field.name));
            both.map(|field| field.name.clone()).collect()
        };
        let (before, now) = (kept(old, new), kept(new, old));
        if before != now {
            let (before, now) = (before.join(", "), now.join(", "));
            self.tell(path, Some(&before), Some(&now), ChangeKind::FieldsReordered);
        }
        below
    }

    fn cases(&mut self, path: &str, old: &[Case], new: &[Case]) -> Below {
        let mut below = Vec::new();
        let mut added: Vec<&Case> = new.iter().filter(|c| !old.iter().any(|o| o.name == c.name)).collect();
        let tag = |case: &Case| format!("tag {}", case.tag);
        for case in old {
            let at = joined(path, &case.name);
            let now = match new.iter().find(|c| c.name == case.name) {
                Some(now) => {
                    if now.tag != case.tag {
                        self.tell(&at, Some(&tag(case)), Some(&tag(now)), ChangeKind::VariantRenumbered);
                    }
                    Some(now)
                }
                None => {
                    let like = |c: &&Case| c.tag == case.tag && c.fields.len() == case.fields.len();
                    let place = added.iter().position(like);
                    match place {
                        Some(place) => {
                            let now = added.remove(place);
                            self.tell(&at, Some(&case.name), Some(&now.name), ChangeKind::VariantRenamed);
                            Some(now)
                        }
                        None => {
                            self.tell(&at, Some(&tag(case)), None, ChangeKind::VariantRemoved);
                            None
                        }
                    }
                }
            };
            if let Some(now) = now {
                below.append(&mut self.fields(&at, &case.fields, &now.fields));
            }
        }
        for case in added {
            self.tell(
                &joined(path, &case.name),
                None,
                Some(&tag(case)),
                ChangeKind::VariantAdded,
            );
        }
        let order = |cases: &[Case], other: &[Case]| -> Vec<String> {
            let both = cases.iter().filter(|c| other.iter().any(|o| o.name == c.name));
            both.map(|c| c.name.clone()).collect()
        };
        let (before, now) = (order(old, new), order(new, old));
        // With other tags the order is told already.
        let tags_kept = old
            .iter()
            .all(|c| new.iter().all(|n| n.name != c.name || n.tag == c.tag));
        if before != now && tags_kept {
            self.tell(
                path,
                Some(&before.join(", ")),
                Some(&now.join(", ")),
                ChangeKind::FieldsReordered,
            );
        }
        below
    }
}

/// Whether every value of the one is one of the other.
fn widens(old: Scalar, new: Scalar) -> bool {
    use Scalar::{F32, F64, I8, I16, I32, I64, I128, U8, U16, U32, U64, U128};
    let rank = |scalar: Scalar| match scalar {
        U8 | U16 | U32 | U64 | U128 => Some((0, scalar.size())),
        I8 | I16 | I32 | I64 | I128 => Some((1, scalar.size())),
        F32 | F64 => Some((2, scalar.size())),
        Scalar::Bool | Scalar::Char => None,
    };
    matches!((rank(old), rank(new)), (Some((a, x)), Some((b, y))) if a == b && x < y)
}
