//! `--where FIELD=VALUE`: which records are wanted.

use shmstate::decode::{Selected, Visit};
use shmstate::schema::{Form, Scalar};
use shmstate::{AnyRecord, AnyTable, BadRecord};
use std::cmp::Ordering;

use crate::cli::exit::{Exit, Failure};

/// How a field and a value are to compare. Longer signs stand before those that they begin with.
const SIGNS: [(&str, &[Ordering], bool); 6] = [
    ("!=", &[Ordering::Less, Ordering::Greater], true),
    ("<=", &[Ordering::Less, Ordering::Equal], false),
    (">=", &[Ordering::Greater, Ordering::Equal], false),
    ("=", &[Ordering::Equal], false),
    ("<", &[Ordering::Less], false),
    (">", &[Ordering::Greater], false),
];

/// What a field can be compared with.
#[derive(Clone, Debug, PartialEq)]
enum Plain {
    Nothing,
    Bool(bool),
    Char(char),
    Signed(i128),
    Unsigned(u128),
    Float(f64),
    Text(String),
}

impl Plain {
    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Nothing, Self::Nothing) => Some(Ordering::Equal),
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Char(a), Self::Char(b)) => Some(a.cmp(b)),
            (Self::Signed(a), Self::Signed(b)) => Some(a.cmp(b)),
            (Self::Unsigned(a), Self::Unsigned(b)) => Some(a.cmp(b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(b),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// Where the field is.
#[derive(Debug)]
enum Field {
    /// In a record.
    Selected(Selected),
    /// Of a stream, which has no record.
    Stream(String),
}

/// One condition.
#[derive(Debug)]
pub(super) struct Filter {
    field: Field,
    wanted: Plain,
    single: bool,
    orders: &'static [Ordering],
    /// What cannot be compared is wanted too.
    otherwise: bool,
}

fn usage(what: String) -> Failure {
    Failure::new(Exit::Usage, what)
}

/// A value by the type of its field.
fn wanted(form: &Form, text: &str) -> Result<Option<Plain>, &'static str> {
    if text == "null" {
        return Ok(Some(Plain::Nothing));
    }
    Ok(match form {
        Form::Scalar(scalar) => match scalar {
            Scalar::Bool => text.parse().ok().map(Plain::Bool),
            Scalar::Char => text.parse().ok().map(Plain::Char),
            Scalar::F32 | Scalar::F64 => text.parse().ok().map(Plain::Float),
            Scalar::I8 | Scalar::I16 | Scalar::I32 | Scalar::I64 | Scalar::I128 => text.parse().ok().map(Plain::Signed),
            _ => text.parse().ok().map(Plain::Unsigned),
        },
        Form::String | Form::BoxedStr => Some(Plain::Text(text.into())),
        Form::Enum(cases) => cases
            .iter()
            .any(|case| case.name == text)
            .then(|| Plain::Text(text.into())),
        _ => return Err("only numbers, bool, char, strings and the names of variants can be compared"),
    })
}

impl Filter {
    pub(super) fn parse(table: &AnyTable<'_>, text: &str) -> Result<Self, Failure> {
        let at = text.find(['=', '<', '>', '!']);
        let found = at.and_then(|at| {
            let sign = SIGNS.iter().find(|(sign, ..)| text[at..].starts_with(sign))?;
            Some((text[..at].trim(), sign, text[at + sign.0.len()..].trim()))
        });
        let Some((path, (_, orders, otherwise), value)) = found.filter(|(path, ..)| !path.is_empty()) else {
            return Err(usage(format!("--where {text:?} is no condition"))
                .and("give FIELD=VALUE; other signs are != < <= > >=; a field of a field is written a.b"));
        };
        let (orders, otherwise) = (*orders, *otherwise);
        if table.kind() == Some(shmstate::Kind::Streams) {
            let plain = match value.parse() {
                Ok(number) => Plain::Unsigned(number),
                Err(_) => value.parse().map_or_else(|_| Plain::Text(value.into()), Plain::Bool),
            };
            return Ok(Self {
                field: Field::Stream(path.into()),
                wanted: plain,
                single: false,
                orders,
                otherwise,
            });
        }
        let selected = table.select(path).map_err(|error| usage(error.to_string()))?;
        let Ok(decoder) = table.decoder() else {
            return Err(usage("the records cannot be read".into()));
        };
        let of = decoder.type_of(&selected);
        let wanted = wanted(&of.form, value).map_err(|why| usage(format!("{path} is a {}: {why}", of.name)))?;
        let wanted = wanted.ok_or_else(|| {
            let failure = usage(format!("{value:?} is no {}, which is what {path} is", of.name));
            match &of.form {
                Form::Enum(cases) => {
                    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
                    failure.and(format!("it is one of {}", names.join(", ")))
                }
                _ => failure,
            }
        })?;
        Ok(Self {
            field: Field::Selected(selected),
            wanted,
            single: of.form == Form::Scalar(Scalar::F32),
            orders,
            otherwise,
        })
    }

    /// Whether the record is wanted.
    pub(super) fn admits(&self, record: &AnyRecord<'_, '_>) -> Result<bool, BadRecord> {
        let mut heard = Heard::default();
        match &self.field {
            Field::Selected(selected) => {
                if !record.visit_selected(selected, &mut heard)? {
                    heard.first = Some(Plain::Nothing);
                }
            }
            Field::Stream(name) => {
                heard.wanted = Some(name.clone());
                record.visit(&mut heard)?;
            }
        }
        let found = heard.first.unwrap_or(Plain::Nothing);
        let order = match (&found, &self.wanted) {
            // 0.1 is meant as what an f32 makes of it.
            (Plain::Float(found), Plain::Float(wanted)) if self.single => found.partial_cmp(&f64::from(*wanted as f32)),
            _ => found.compare(&self.wanted),
        };
        Ok(order.map_or(self.otherwise, |order| self.orders.contains(&order)))
    }
}

/// Hears the first thing that is told, or what is told of one field.
#[derive(Debug, Default)]
struct Heard {
    first: Option<Plain>,
    wanted: Option<String>,
    /// The field that is wanted is told now.
    now: bool,
}

impl Heard {
    fn hear(&mut self, plain: Plain) {
        if self.first.is_none() && (self.wanted.is_none() || self.now) {
            self.first = Some(plain);
        }
    }
}

impl Visit for Heard {
    fn nothing(&mut self) {
        self.hear(Plain::Nothing);
    }
    fn bool(&mut self, value: bool) {
        self.hear(Plain::Bool(value));
    }
    fn char(&mut self, value: char) {
        self.hear(Plain::Char(value));
    }
    fn unsigned(&mut self, value: u64) {
        self.hear(Plain::Unsigned(value.into()));
    }
    fn signed(&mut self, value: i64) {
        self.hear(Plain::Signed(value.into()));
    }
    fn wide_unsigned(&mut self, value: u128) {
        self.hear(Plain::Unsigned(value));
    }
    fn wide_signed(&mut self, value: i128) {
        self.hear(Plain::Signed(value));
    }
    fn single(&mut self, value: f32) {
        self.hear(Plain::Float(value.into()));
    }
    fn double(&mut self, value: f64) {
        self.hear(Plain::Float(value));
    }
    fn str(&mut self, value: &str) {
        self.hear(Plain::Text(value.into()));
    }
    fn opaque(&mut self, _: &[u8]) {}
    fn begin_list(&mut self, _: usize) {}
    fn element(&mut self) {}
    fn end_list(&mut self) {}
    fn begin_map(&mut self, _: usize, _: bool) {}
    fn key(&mut self) {}
    fn value(&mut self) {}
    fn end_map(&mut self) {}
    fn begin_struct(&mut self) {}
    fn field(&mut self, name: &str) {
        self.now = self.wanted.as_deref() == Some(name);
    }
    fn end_struct(&mut self) {}
    fn unit_variant(&mut self, name: &str) {
        self.hear(Plain::Text(name.into()));
    }
    fn begin_variant(&mut self, name: &str) {
        self.hear(Plain::Text(name.into()));
    }
    fn end_variant(&mut self) {}
}
