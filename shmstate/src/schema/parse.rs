//! From the text of a description to its types (K1, K2 of `model`).
//!
//! Two passes: the first lines of all items give the names, then the lines below them are read, which may name any of them. A name may
//! hold what it likes (the value of a const argument), so lines are taken apart from their ends, and where the name of a map
//! has several commas, the one is meant at which both halves are types.

use std::collections::HashMap;

use super::model::{Case, Form, MAX_ALIGN, MAX_SIZE, Member, Names, Scalar, Type, TypeIndex, Unreadable};

/// Lines before the first item.
const HEAD_LINES: usize = 2;
/// Longest name of a type, in bytes: that of a map is taken apart at each of its commas.
const MAX_NAME: usize = 8 << 10;

/// The first line of an item.
struct Head<'t> {
    /// Its line, counted from 0.
    line: usize,
    keyword: &'t str,
    name: &'t str,
    size: usize,
    align: usize,
}

fn wrong(line: usize, why: &'static str) -> Unreadable {
    Unreadable { line: line + 1, why }
}

/// `struct NAME size N align N`
fn head(line: usize, text: &str) -> Result<Head<'_>, Unreadable> {
    let bad = || wrong(line, "not the first line of a type");
    let (keyword, rest) = text.split_once(' ').ok_or_else(bad)?;
    let (rest, align) = rest.rsplit_once(" align ").ok_or_else(bad)?;
    let (name, size) = rest.rsplit_once(" size ").ok_or_else(bad)?;
    let (size, align): (usize, usize) = (size.parse().map_err(|_| bad())?, align.parse().map_err(|_| bad())?);
    if !matches!(keyword, "struct" | "enum" | "type") || name.is_empty() {
        return Err(bad());
    }
    if name.len() > MAX_NAME {
        return Err(wrong(line, "a name that is too long"));
    }
    if size > MAX_SIZE || align > MAX_ALIGN || !align.is_power_of_two() {
        return Err(wrong(line, "a size or an alignment that no type has"));
    }
    Ok(Head {
        line,
        keyword,
        name,
        size,
        align,
    })
}

/// The types of a description, the described one first.
pub(super) fn types(text: &str) -> Result<Vec<Type>, Unreadable> {
    let lines: Vec<&str> = text.lines().collect();
    let mut heads = Vec::new();
    for (line, text) in lines.iter().enumerate().skip(HEAD_LINES) {
        if !text.starts_with(' ') {
            heads.push(head(line, text)?);
        } else if heads.is_empty() {
            return Err(wrong(line, "a field without a type"));
        }
    }
    if heads.is_empty() {
        return Err(wrong(HEAD_LINES, "no type"));
    }
    let mut names = HashMap::new();
    for (i, head) in heads.iter().enumerate() {
        if names.insert(head.name, TypeIndex(i)).is_some() {
            return Err(wrong(head.line, "a second type of that name"));
        }
    }
    let ends = heads.iter().skip(1).map(|head| head.line).chain([lines.len()]);
    let mut types = Vec::new();
    for (head, end) in heads.iter().zip(ends) {
        let below = Below {
            first: head.line + 1,
            lines: lines.get(head.line + 1..end).unwrap_or_default(),
            names: &names,
        };
        types.push(Type {
            name: head.name.to_owned(),
            size: head.size,
            align: head.align,
            form: form(head, &below)?,
        });
    }
    Ok(types)
}

/// The lines below the first of an item.
struct Below<'b, 't> {
    first: usize,
    lines: &'b [&'t str],
    names: &'b Names<'t>,
}

impl Below<'_, '_> {
    fn of(&self, line: usize, name: &str) -> Result<TypeIndex, Unreadable> {
        let found = self.names.get(name).copied();
        found.ok_or(wrong(line, "a type that the description does not have"))
    }

    /// `OFFSET NAME: TYPE`
    fn field(&self, line: usize, text: &str) -> Result<Member, Unreadable> {
        let bad = || wrong(line, "not a field");
        let (offset, rest) = text.split_once(' ').ok_or_else(bad)?;
        let (name, of) = rest.split_once(": ").ok_or_else(bad)?;
        Ok(Member {
            name: name.to_owned(),
            offset: offset.parse().map_err(|_| bad())?,
            of: self.of(line, of)?,
        })
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().enumerate().map(|(i, text)| (self.first + i, *text))
    }

    fn fields(&self) -> Result<Vec<Member>, Unreadable> {
        self.numbered()
            .map(|(line, text)| {
                let text = text.strip_prefix("  ").ok_or(wrong(line, "not a field"))?;
                self.field(line, text)
            })
            .collect()
    }

    fn cases(&self) -> Result<Vec<Case>, Unreadable> {
        let mut cases: Vec<Case> = Vec::new();
        for (line, text) in self.numbered() {
            if let Some(variant) = text.strip_prefix("  tag ") {
                let bad = || wrong(line, "not a variant");
                let (tag, name) = variant.split_once(' ').ok_or_else(bad)?;
                let tag = tag.parse().map_err(|_| bad())?;
                if cases.iter().any(|case| case.tag == tag) {
                    return Err(wrong(line, "two variants of one tag"));
                }
                cases.push(Case {
                    name: name.to_owned(),
                    tag,
                    fields: Vec::new(),
                });
                continue;
            }
            let (Some(text), Some(case)) = (text.strip_prefix("    "), cases.last_mut()) else {
                return Err(wrong(line, "not a variant"));
            };
            case.fields.push(self.field(line, text)?);
        }
        Ok(cases)
    }
}

fn form(head: &Head<'_>, below: &Below<'_, '_>) -> Result<Form, Unreadable> {
    match head.keyword {
        "struct" if head.name.starts_with('(') => Ok(Form::Tuple(below.fields()?)),
        "struct" => Ok(Form::Struct(below.fields()?)),
        "enum" => {
            let cases = below.cases()?;
            if !head.name.starts_with("Option<") || head.name.contains('#') && !head.name.ends_with('>') {
                return Ok(Form::Enum(cases));
            }
            match cases.as_slice() {
                [none, some] if (none.tag, some.tag) == (0, 1) && none.fields.is_empty() => {
                    match some.fields.as_slice() {
                        [payload] => Ok(Form::Option(payload.of, payload.offset)),
                        _ => Err(wrong(head.line, "an Option without its value")),
                    }
                }
                _ => Err(wrong(head.line, "an Option that is none")),
            }
        }
        _ if !below.lines.is_empty() => Err(wrong(below.first, "a field of a type that has none")),
        _ => opaque(head, below),
    }
}

/// K2: what a type without fields is.
fn opaque(head: &Head<'_>, below: &Below<'_, '_>) -> Result<Form, Unreadable> {
    let name = head.name;
    let of = |name: &str| below.of(head.line, name);
    if let Some(scalar) = Scalar::named(name) {
        return Ok(Form::Scalar(scalar));
    }
    match name {
        "()" | "PhantomData" => return Ok(Form::Nothing),
        "String" => return Ok(Form::String),
        "Box<str>" => return Ok(Form::BoxedStr),
        _ => {}
    }
    let between = |open: &str, close: &str| name.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
    if let Some(element) = between("Box<[", "]>") {
        return Ok(Form::BoxedSlice(of(element)?));
    }
    if let Some(inner) = between("Box<", ">") {
        return Ok(Form::Boxed(of(inner)?));
    }
    if let Some(inner) = between("with.Niche<", ">") {
        return Ok(Form::OptionBox(of(inner)?));
    }
    if let Some(element) = between("Vec<", ">") {
        return Ok(Form::Vec(of(element)?));
    }
    if let Some((element, length)) = between("[", "]").and_then(|inner| inner.rsplit_once(';')) {
        let length = length.parse().map_err(|_| wrong(head.line, "an array of no length"))?;
        return Ok(Form::Array(of(element)?, length));
    }
    for (open, ordered) in [("BTreeMap<", true), ("HashMap<", false)] {
        let Some(inner) = between(open, ">") else { continue };
        let parted = inner.match_indices(',').find_map(|(comma, _)| {
            let (key, value) = (&inner[..comma], &inner[comma + 1..]);
            Some((*below.names.get(key)?, *below.names.get(value)?))
        });
        let (key, value) = parted.ok_or(wrong(head.line, "a map of types that the description does not have"))?;
        return Ok(match ordered {
            true => Form::BTreeMap(key, value),
            false => Form::HashMap(key, value),
        });
    }
    Ok(Form::Opaque)
}
