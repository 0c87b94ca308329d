//! Keys of tables by the shape that the catalog has of them: from the bytes of a record to what is told of it, and from what a user types to
//! bytes.
//!
//! The bytes are those of `table::key` (E1 to E3). A shape that is not one of its own (a key type of a program's own may call itself as it
//! likes) is shown as bytes, and cannot be typed.

use std::fmt;

use super::Visit;
use crate::schema::Scalar;
use crate::table::key::{Form, Key};

/// Most parts of a key that is a tuple, and how deep they may be nested: more than any key has.
const MOST_PARTS: usize = 64;

/// What a key consists of.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Scalar(Scalar),
    /// `[u8; N]`
    Bytes(usize),
    /// `String`
    Text,
    /// `Vec<u8>`
    Long,
    Tuple(Vec<Part>),
}

/// The shape of a table's keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyShape {
    text: String,
    part: Option<Part>,
    form: Form,
}

/// Why a text is no key of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadKey {
    /// What was typed.
    pub given: String,
    /// The shape of the table's keys.
    pub shape: String,
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no key of this table: its keys are {}",
            self.given, self.shape
        )
    }
}

impl std::error::Error for BadKey {}

fn part(text: &str, left: &mut usize) -> Option<Part> {
    *left = left.checked_sub(1)?;
    let text = text.trim();
    if let Some(scalar) = Scalar::named(text) {
        let is_key = !matches!(scalar, Scalar::Char | Scalar::F32 | Scalar::F64);
        return is_key.then_some(Part::Scalar(scalar));
    }
    match text {
        "String" => return Some(Part::Text),
        "Vec<u8>" => return Some(Part::Long),
        _ => {}
    }
    if let Some(length) = text.strip_prefix("[u8; ").and_then(|rest| rest.strip_suffix(']')) {
        return length.parse().ok().map(Part::Bytes);
    }
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (i, c) in inner.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(part(&inner[start..i], left)?);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(part(&inner[start..], left)?);
    Some(Part::Tuple(parts))
}

impl KeyShape {
    /// Reads a shape, of the keys of an ordered map or of a map.
    pub(crate) fn new(text: &str, ordered: bool) -> Self {
        let mut left = MOST_PARTS;
        Self {
            part: part(text, &mut left),
            text: text.to_owned(),
            form: if ordered { Form::Ordered } else { Form::Hashed },
        }
    }

    /// Tells `visit` of a stored key.
    pub(crate) fn visit<V: Visit>(&self, bytes: &[u8], visit: &mut V) {
        let Some(part) = &self.part else {
            return visit.opaque(bytes);
        };
        // First without telling, so that a broken key is told as its bytes and not as half a key.
        if self.told(part, true, &mut &*bytes, &mut super::value::Deaf) != Some(()) {
            return visit.opaque(bytes);
        }
        let _ = self.told(part, true, &mut &*bytes, visit);
    }

    /// `whole`: the part is the whole key, so what is left are its bytes.
    fn told<V: Visit>(&self, part: &Part, whole: bool, input: &mut &[u8], visit: &mut V) -> Option<()> {
        let form = self.form;
        fn list<V: Visit>(bytes: &[u8], visit: &mut V) {
            visit.begin_list(bytes.len());
            for byte in bytes {
                visit.element();
                visit.unsigned((*byte).into());
            }
            visit.end_list();
        }
        match part {
            Part::Scalar(scalar) => match scalar {
                Scalar::Bool => visit.bool(bool::read(form, input)?),
                Scalar::U8 => visit.unsigned(u8::read(form, input)?.into()),
                Scalar::U16 => visit.unsigned(u16::read(form, input)?.into()),
                Scalar::U32 => visit.unsigned(u32::read(form, input)?.into()),
                Scalar::U64 => visit.unsigned(u64::read(form, input)?),
                Scalar::U128 => visit.wide_unsigned(u128::read(form, input)?),
                Scalar::I8 => visit.signed(i8::read(form, input)?.into()),
                Scalar::I16 => visit.signed(i16::read(form, input)?.into()),
                Scalar::I32 => visit.signed(i32::read(form, input)?.into()),
                Scalar::I64 => visit.signed(i64::read(form, input)?),
                Scalar::I128 => visit.wide_signed(i128::read(form, input)?),
                Scalar::Char | Scalar::F32 | Scalar::F64 => return None,
            },
            Part::Bytes(length) => {
                let (bytes, rest) = input.split_at_checked(*length)?;
                *input = rest;
                list(bytes, visit);
            }
            Part::Text if whole => visit.str(std::str::from_utf8(std::mem::take(input)).ok()?),
            Part::Text => visit.str(&String::read(form, input)?),
            Part::Long if whole => list(std::mem::take(input), visit),
            Part::Long => list(&Vec::<u8>::read(form, input)?, visit),
            Part::Tuple(parts) => {
                visit.begin_list(parts.len());
                for part in parts {
                    visit.element();
                    self.told(part, false, input, visit)?;
                }
                visit.end_list();
            }
        }
        (!whole || input.is_empty()).then_some(())
    }

    /// The stored form of a key that was typed: a number, `true`, a string as it is, bytes as `0x…` or `[1,2]`, a tuple as `[…]` with strings in
    /// quotes.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn parse(&self, given: &str) -> Result<Vec<u8>, BadKey> {
        let bad = || BadKey {
            given: given.to_owned(),
            shape: self.text.clone(),
        };
        let part = self.part.as_ref().ok_or_else(bad)?;
        let mut out = Vec::new();
        let mut input = given;
        // A string alone needs no quotes.
        if *part == Part::Text {
            return Ok(given.as_bytes().to_vec());
        }
        self.typed(part, true, &mut input, &mut out).ok_or_else(bad)?;
        input.trim().is_empty().then_some(out).ok_or_else(bad)
    }

    fn typed(&self, part: &Part, whole: bool, input: &mut &str, out: &mut Vec<u8>) -> Option<()> {
        let form = self.form;
        macro_rules! number {
            ($($scalar:ident $type:ty,)*) => {
                match part {
                    $(Part::Scalar(Scalar::$scalar) => <$type>::write(&word(input).parse().ok()?, form, out),)*
                    _ => return None,
                }
            };
        }
        match part {
            Part::Bytes(length) => {
                let bytes = typed_bytes(input)?;
                (bytes.len() == *length).then(|| out.extend(bytes))?;
            }
            Part::Text => String::write(&quoted(input)?, form, out),
            Part::Long if whole => out.extend(typed_bytes(input)?),
            Part::Long => Vec::<u8>::write(&typed_bytes(input)?, form, out),
            Part::Tuple(parts) => {
                *input = input.trim_start().strip_prefix(['[', '('])?;
                for (i, part) in parts.iter().enumerate() {
                    if i > 0 {
                        *input = input.trim_start().strip_prefix(',')?;
                    }
                    self.typed(part, false, input, out)?;
                }
                *input = input.trim_start().strip_prefix([']', ')'])?;
            }
            _ => {
                number!(Bool bool, U8 u8, U16 u16, U32 u32, U64 u64, U128 u128, I8 i8, I16 i16, I32 i32, I64 i64, I128 i128,)
            }
        }
        Some(())
    }
}

impl fmt::Display for KeyShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What stands before the next comma or bracket.
fn word<'t>(input: &mut &'t str) -> &'t str {
    *input = input.trim_start();
    let end = input.find([',', ']', ')']).unwrap_or(input.len());
    let (word, rest) = input.split_at(end);
    *input = rest;
    word.trim_end()
}

/// `0x0102`, or `[1, 2]`.
fn typed_bytes(input: &mut &str) -> Option<Vec<u8>> {
    *input = input.trim_start();
    if let Some(rest) = input.strip_prefix('[') {
        let (list, rest) = rest.split_once(']')?;
        *input = rest;
        let list = list.trim();
        if list.is_empty() {
            return Some(Vec::new());
        }
        return list.split(',').map(|byte| byte.trim().parse().ok()).collect();
    }
    let digits = word(input).strip_prefix("0x")?;
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|i| u8::from_str_radix(&digits[i..i + 2], 16).ok()).collect()
}

/// A string in quotes, in which `\` takes the next character as it is, but for `\n`, `\r`, `\t` and `\uXXXX`, as in JSON.
fn quoted(input: &mut &str) -> Option<String> {
    let rest = input.trim_start().strip_prefix('"')?;
    let mut text = String::new();
    let mut chars = rest.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => {
                *input = &rest[i + 1..];
                return Some(text);
            }
            '\\' => match chars.next()?.1 {
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                'u' => {
                    let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    text.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
    None
}
