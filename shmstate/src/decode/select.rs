//! A field by its path: `home.x`, `mood.Away.since`. Paths go through structs, tuples (`at.0`), variants, `Option` and `Box`, not into lists and maps.

use std::fmt;

use super::read::{Bytes, Result, broken};
use super::walk::case_of;
use super::{Broken, Decoder, Visit};
use crate::schema::{Form, Member, Type, TypeIndex};

/// A step on the way to a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// So many bytes on.
    Inside(usize),
    /// If the enum at this place is this variant: so many bytes on.
    If { tag: u8, offset: usize },
    /// Where the `Box` at this place leads.
    Follow(usize),
    /// The same of an `Option<Box>`.
    FollowIf(usize),
}

/// A field of the records that a [`Decoder`] reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selected {
    of: TypeIndex,
    steps: Vec<Step>,
    path: Box<str>,
}

impl Selected {
    /// The path that was asked for.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// There is no such field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoField {
    /// What was asked for.
    pub path: String,
    /// How far it could be followed; empty if not at all.
    pub known: String,
    /// The type there.
    pub of: String,
    /// What that has instead.
    pub instead: Vec<String>,
}

impl fmt::Display for NoField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = match self.known.as_str() {
            "" => format!("the record ({})", self.of),
            known => format!("{known} ({})", self.of),
        };
        write!(f, "there is no field {:?}: {of} has ", self.path)?;
        match self.instead.as_slice() {
            [] => f.write_str("no fields"),
            fields => f.write_str(&fields.join(", ")),
        }
    }
}

impl std::error::Error for NoField {}

fn shown(name: &str) -> String {
    name.strip_prefix('.').unwrap_or(name).to_owned()
}

fn member<'m>(fields: &'m [Member], name: &str) -> Option<&'m Member> {
    fields.iter().find(|field| shown(&field.name) == name)
}

/// The only field of a newtype.
fn newtype(form: &Form) -> Option<&Member> {
    match form {
        Form::Struct(fields) => match fields.as_slice() {
            [one] if one.name.starts_with('.') => Some(one),
            _ => None,
        },
        _ => None,
    }
}

impl Decoder {
    /// Finds a field.
    ///
    /// # Errors
    /// [`NoField`], which says what there is instead.
    pub fn select(&self, path: &str) -> std::result::Result<Selected, NoField> {
        let mut selected = Selected {
            of: self.model().root_index(),
            steps: Vec::new(),
            path: path.into(),
        };
        let mut known: Vec<&str> = Vec::new();
        let mut names = path.split('.');
        let mut next = names.next();
        while let Some(name) = next {
            let of = self.model().get(selected.of);
            let case = match &of.form {
                Form::Enum(cases) => cases.iter().find(|case| case.name == name),
                _ => None,
            };
            if let Some(case) = case {
                known.push(name);
                next = names.next();
                let field = match (case.fields.as_slice(), next) {
                    // `mood.Hit`: the only field of the variant.
                    ([one], None) => Some(one),
                    (fields, Some(name)) => member(fields, name),
                    _ => None,
                };
                let fields = || case.fields.iter().map(|field| shown(&field.name)).collect();
                let Some(field) = field else {
                    return Err(self.no_field(path, &known, format!("variant {}", case.name), fields()));
                };
                selected.steps.push(Step::If {
                    tag: case.tag,
                    offset: field.offset,
                });
                selected.of = field.of;
            } else if let (Form::Struct(fields) | Form::Tuple(fields), false) = (&of.form, newtype(&of.form).is_some())
            {
                let field = member(fields, name);
                let Some(field) = field else {
                    return Err(self.no_field(path, &known, of.name.clone(), self.names(of)));
                };
                selected.steps.push(Step::Inside(field.offset));
                selected.of = field.of;
            } else if self.through(&mut selected) {
                continue;
            } else {
                return Err(self.no_field(path, &known, of.name.clone(), self.names(of)));
            }
            known.extend(next);
            next = names.next();
        }
        while self.through(&mut selected) {}
        Ok(selected)
    }

    /// Goes through a newtype, an `Option` or a `Box`, if that is where the path is.
    fn through(&self, selected: &mut Selected) -> bool {
        let of = self.model().get(selected.of);
        let (step, inner) = match &of.form {
            Form::Option(inner, offset) => (
                Step::If {
                    tag: 1,
                    offset: *offset,
                },
                *inner,
            ),
            Form::Boxed(inner) => (Step::Follow(self.model().get(*inner).size), *inner),
            Form::OptionBox(inner) => (Step::FollowIf(self.model().get(*inner).size), *inner),
            form => match newtype(form) {
                Some(one) => (Step::Inside(one.offset), one.of),
                None => return false,
            },
        };
        selected.steps.push(step);
        selected.of = inner;
        // A box in a box in itself would have no end.
        selected.steps.len() <= crate::archive::MAX_NESTING
    }

    fn names(&self, of: &Type) -> Vec<String> {
        match &of.form {
            Form::Struct(fields) | Form::Tuple(fields) => fields.iter().map(|field| shown(&field.name)).collect(),
            Form::Enum(cases) => cases.iter().map(|case| case.name.clone()).collect(),
            _ => Vec::new(),
        }
    }

    fn no_field(&self, path: &str, known: &[&str], of: String, instead: Vec<String>) -> NoField {
        NoField {
            path: path.to_owned(),
            known: known.join("."),
            of,
            instead,
        }
    }

    /// What the selected field is, behind `Option`, `Box` and newtypes.
    #[must_use]
    pub fn type_of(&self, selected: &Selected) -> &Type {
        self.model().get(selected.of)
    }

    /// Tells `visit` of the field of the record whose own bytes start at `root`. `false` if it is not there: another variant, `None`.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn visit_selected<V: Visit>(
        &self,
        selected: &Selected,
        bytes: &[u8],
        root: usize,
        visit: &mut V,
    ) -> std::result::Result<bool, Broken> {
        match place(&selected.steps, bytes, root)? {
            Some(at) => self.visit_at(selected.of, bytes, at, visit).map(|()| true),
            None => Ok(false),
        }
    }

    /// The name of the variant of the enum that is selected.
    pub fn variant_of(
        &self,
        selected: &Selected,
        bytes: &[u8],
        root: usize,
    ) -> std::result::Result<Option<&str>, Broken> {
        let (Form::Enum(cases), Some(at)) = (&self.type_of(selected).form, place(&selected.steps, bytes, root)?) else {
            return Ok(None);
        };
        let tag = Bytes::new(bytes).byte(at, "enum")?;
        let case = case_of(cases, tag).ok_or_else(|| broken("variant of an enum", at))?;
        Ok(Some(&case.name))
    }
}

fn place(steps: &[Step], bytes: &[u8], root: usize) -> Result<Option<usize>> {
    let bytes = Bytes::new(bytes);
    let mut at = root;
    for step in steps {
        at = match *step {
            Step::Inside(offset) => at + offset,
            Step::If { tag, offset } => {
                if bytes.byte(at, "enum")? != tag {
                    return Ok(None);
                }
                at + offset
            }
            Step::Follow(size) | Step::FollowIf(size) => match bytes.target(at, "Box")? {
                Some(target) => {
                    bytes.get(target, size, "Box")?;
                    target
                }
                None if matches!(step, Step::FollowIf(_)) => return Ok(None),
                None => return Err(broken("Box", at)),
            },
        };
    }
    Ok(Some(at))
}
