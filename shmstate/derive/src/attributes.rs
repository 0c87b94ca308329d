//! What `#[schema(…)]` on a type says.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, Ident, LitInt, LitStr, Meta, Path, Result, Token, ext::IdentExt, spanned::Spanned};

use crate::origin::{self, Origin, Removed};

/// The longest name that `name = "…"` accepts, in bytes.
const NAME_LIMIT: usize = 1024;

const KNOWN_KEYS: &str = "known keys are `version = N`, `name = \"…\"`, `path`, `from = Old`, `back` and `removed(…)`";

/// The resolved `#[schema(…)]` of a type.
pub(crate) struct Declared {
    /// 1 to 65535.
    pub(crate) version: u16,
    /// The name in the description, without generic arguments.
    pub(crate) name: String,
    /// Whether the path of its module stands before the name.
    pub(crate) path: bool,
    /// The older version of the type, if it says one.
    pub(crate) origin: Option<Origin>,
}

/// Reads all `#[schema(…)]` attributes of the type called `ident`.
pub(crate) fn declared(attributes: &[Attribute], ident: &Ident) -> Result<Declared> {
    let mut version = None;
    let mut name = None;
    let mut path = None;
    let mut from = None;
    let mut back: Option<Span> = None;
    let mut removed: Option<(Span, Vec<Removed>)> = None;
    keys(attributes, KNOWN_KEYS, |meta| {
        if meta.path.is_ident("version") {
            let literal: LitInt = meta.value()?.parse()?;
            set(&mut version, version_of(&literal)?, &meta.path)?;
        } else if meta.path.is_ident("name") {
            let literal: LitStr = meta.value()?.parse()?;
            set(&mut name, name_of(&literal)?, &meta.path)?;
        } else if meta.path.is_ident("path") {
            set(&mut path, (), &meta.path)?;
        } else if meta.path.is_ident("from") {
            set(&mut from, origin::older(meta, ident)?, &meta.path)?;
        } else if meta.path.is_ident("back") {
            if meta.input.peek(Token![=]) {
                return Err(meta.error(
                    "`back` takes no value on a type; on a field it names a function, on a new variant an old value",
                ));
            }
            set(&mut back, meta.path.span(), &meta.path)?;
        } else if meta.path.is_ident("removed") {
            set(&mut removed, (meta.path.span(), origin::removed(meta)?), &meta.path)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    })?;
    let origin = match (from, back, removed) {
        (Some(old), back, removed) => Some(Origin { old, back, removed }),
        (None, Some(at), _) => {
            return Err(Error::new(
                at,
                "`back` is the way back to an older version of the type: say which with `from = Old`",
            ));
        }
        (None, None, Some((at, _))) => {
            return Err(Error::new(
                at,
                "`removed` lists what only an older version of the type has: say which with `from = Old`",
            ));
        }
        (None, None, None) => None,
    };
    Ok(Declared {
        version: version.unwrap_or(1),
        name: name.unwrap_or_else(|| ident.unraw().to_string()),
        path: path.is_some(),
        origin,
    })
}

/// Calls `read` with each key of all `#[schema(…)]`. It says whether it knows the key.
pub(crate) fn keys(
    attributes: &[Attribute],
    known: &str,
    mut read: impl FnMut(&ParseNestedMeta<'_>) -> Result<bool>,
) -> Result<()> {
    for attribute in attributes.iter().filter(|a| a.path().is_ident("schema")) {
        if !matches!(attribute.meta, Meta::List(_)) {
            return Err(Error::new_spanned(
                attribute,
                format!("`#[schema]` takes keys in parentheses; {known}"),
            ));
        }
        attribute.parse_nested_meta(|meta| {
            if read(&meta)? {
                return Ok(());
            }
            let key = match meta.path.get_ident() {
                Some(ident) => format!("unknown key `{ident}` in `#[schema(…)]`"),
                None => "unknown key in `#[schema(…)]`".to_owned(),
            };
            Err(meta.error(format!("{key}; {known}")))
        })?;
    }
    Ok(())
}

/// Takes the value of a key that may stand there once.
pub(crate) fn set<T>(slot: &mut Option<T>, value: T, key: &Path) -> Result<()> {
    if slot.replace(value).is_some() {
        let name = key.get_ident().map(Ident::to_string).unwrap_or_default();
        return Err(Error::new_spanned(
            key,
            format!("`{name}` is given twice in `#[schema(…)]`"),
        ));
    }
    Ok(())
}

/// Refuses `#[schema(…)]` where it has no meaning.
pub(crate) fn refuse_schema(attributes: &[Attribute], place: &str) -> Result<()> {
    match attributes.iter().find(|a| a.path().is_ident("schema")) {
        Some(attribute) => Err(Error::new_spanned(
            attribute,
            format!("`#[schema(…)]` has no meaning on a {place}"),
        )),
        None => Ok(()),
    }
}

fn version_of(literal: &LitInt) -> Result<u16> {
    match literal.base10_parse::<u16>() {
        Ok(version) if version > 0 => Ok(version),
        _ => Err(Error::new_spanned(
            literal,
            "a schema version is a whole number from 1 to 65535 (0 stands for types that declare none)",
        )),
    }
}

fn name_of(literal: &LitStr) -> Result<String> {
    let name = literal.value();
    // `Pair<u8,f64>`: one instance of a generic type, written out.
    let (base, arguments) = match name.find('<') {
        Some(start) => name.split_at(start),
        None => (name.as_str(), ""),
    };
    let starts_well = base.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let rest = base
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    let listed =
        arguments.is_empty() || arguments.len() > 2 && arguments.ends_with('>') && arguments.chars().all(plain);
    if !starts_well || !rest || !listed || name.len() > NAME_LIMIT {
        return Err(Error::new_spanned(
            literal,
            format!(
                "a schema name begins with a letter or `_`, goes on with letters, digits, `_`, `-` and `.`, \
                 perhaps with arguments `<…>` without spaces at its end, and is at most {NAME_LIMIT} bytes long; this one is \
                 `{name}`, {} bytes",
                name.len()
            ),
        ));
    }
    Ok(name)
}
