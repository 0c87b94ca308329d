//! What the attributes on a type say: `#[schema(…)]` is read, `#[rkyv(…)]` is only searched for the keys
//! that change what is archived.

use proc_macro2::TokenTree;
use syn::{Attribute, Error, Ident, LitInt, LitStr, Meta, Result, ext::IdentExt};

/// The longest name that `name = "…"` accepts, in bytes.
const NAME_LIMIT: usize = 128;

const KNOWN_KEYS: &str = "known keys are `version = N` and `name = \"…\"`";

/// The resolved `#[schema(…)]` of a type.
pub(crate) struct Declared {
    /// 1 to 65535.
    pub(crate) version: u16,
    /// The name in the description, without generic arguments.
    pub(crate) name: String,
}

/// Reads all `#[schema(…)]` attributes of the type called `ident`.
pub(crate) fn declared(attributes: &[Attribute], ident: &Ident) -> Result<Declared> {
    let mut version = None;
    let mut name = None;
    for attribute in attributes.iter().filter(|a| a.path().is_ident("schema")) {
        if !matches!(attribute.meta, Meta::List(_)) {
            return Err(Error::new_spanned(
                attribute,
                format!("`#[schema]` takes keys in parentheses; {KNOWN_KEYS}"),
            ));
        }
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("version") {
                let literal: LitInt = meta.value()?.parse()?;
                set(&mut version, version_of(&literal)?, &meta.path, "version")
            } else if meta.path.is_ident("name") {
                let literal: LitStr = meta.value()?.parse()?;
                set(&mut name, name_of(&literal)?, &meta.path, "name")
            } else {
                let key = match meta.path.get_ident() {
                    Some(ident) => format!("unknown key `{ident}` in `#[schema(…)]`"),
                    None => "unknown key in `#[schema(…)]`".to_owned(),
                };
                Err(meta.error(format!("{key}; {KNOWN_KEYS}")))
            }
        })?;
    }
    Ok(Declared {
        version: version.unwrap_or(1),
        name: name.unwrap_or_else(|| ident.unraw().to_string()),
    })
}

/// Refuses `#[schema(…)]` where it has no meaning.
pub(crate) fn refuse_schema(attributes: &[Attribute], place: &str) -> Result<()> {
    match attributes.iter().find(|a| a.path().is_ident("schema")) {
        Some(attribute) => Err(Error::new_spanned(
            attribute,
            format!("`#[schema(…)]` has no meaning on a {place}; put it on the type"),
        )),
        None => Ok(()),
    }
}

/// Refuses the `#[rkyv(…)]` keys after which the archived form is not that of the written type.
///
/// The values of those keys are types, which are no `syn::Meta`, so the tokens are searched: a key is the
/// first word after the parenthesis or a comma, with a `=` behind it.
pub(crate) fn refuse_wrappers(attributes: &[Attribute]) -> Result<()> {
    for attribute in attributes.iter().filter(|a| a.path().is_ident("rkyv")) {
        let Meta::List(list) = &attribute.meta else {
            continue;
        };
        let mut key: Option<Ident> = None;
        let mut at_start = true;
        for token in list.tokens.clone() {
            let punctuation = match &token {
                TokenTree::Punct(punctuation) => Some(punctuation.as_char()),
                _ => None,
            };
            if punctuation == Some('=')
                && let Some(error) = key.as_ref().and_then(wrapper_error)
            {
                return Err(error);
            }
            key = match token {
                TokenTree::Ident(ident) if at_start => Some(ident),
                _ => None,
            };
            at_start = punctuation == Some(',');
        }
    }
    Ok(())
}

fn wrapper_error(key: &Ident) -> Option<Error> {
    let what = match key.to_string().as_str() {
        "with" => {
            "a field with `#[rkyv(with = …)]` is archived as something else than its type, which \
             `#[derive(Schema)]` cannot describe yet; give the field the type that is stored, and convert \
             in the program"
        }
        "as" => {
            "`#[rkyv(as = …)]` replaces the generated archived type, which `#[derive(Schema)]` cannot \
             describe; drop it, or implement `Schema` by hand"
        }
        "remote" => {
            "`#[rkyv(remote = …)]` archives a type of another crate, which `#[derive(Schema)]` cannot \
             describe; store a type of your own"
        }
        _ => return None,
    };
    Some(Error::new_spanned(key, what))
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
    let starts_well = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let rest = name
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if !starts_well || !rest || name.len() > NAME_LIMIT {
        return Err(Error::new_spanned(
            literal,
            format!(
                "a schema name begins with a letter or `_`, goes on with letters, digits, `_`, `-` and `.`, \
                 and is at most {NAME_LIMIT} bytes long; this one is `{name}`, {} bytes",
                name.len()
            ),
        ));
    }
    Ok(name)
}

fn set<T>(slot: &mut Option<T>, value: T, at: &syn::Path, key: &str) -> Result<()> {
    if slot.replace(value).is_some() {
        return Err(Error::new_spanned(
            at,
            format!("`{key}` is given twice in `#[schema(…)]`"),
        ));
    }
    Ok(())
}
