//! What the attributes on a type say: `#[schema(…)]` is read, `#[rkyv(…)]` is only searched for the keys
//! that change what is archived.

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Error, Ident, LitInt, LitStr, Meta, Result, Type, ext::IdentExt};

/// The longest name that `name = "…"` accepts, in bytes.
const NAME_LIMIT: usize = 1024;

const KNOWN_KEYS: &str = "known keys are `version = N`, `name = \"…\"` and `path`";

/// The resolved `#[schema(…)]` of a type.
pub(crate) struct Declared {
    /// 1 to 65535.
    pub(crate) version: u16,
    /// The name in the description, without generic arguments.
    pub(crate) name: String,
    /// Whether the path of its module stands before the name.
    pub(crate) path: bool,
}

/// Reads all `#[schema(…)]` attributes of the type called `ident`.
pub(crate) fn declared(attributes: &[Attribute], ident: &Ident) -> Result<Declared> {
    let mut version = None;
    let mut name = None;
    let mut path = None;
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
            } else if meta.path.is_ident("path") {
                set(&mut path, (), &meta.path, "path")
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
        path: path.is_some(),
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

/// Refuses the `#[rkyv(…)]` keys after which the archived form is not that of the written type, and gives the wrapper of a field
/// (`with = …`) if it has one.
///
/// The values of those keys are types, which are no `syn::Meta`, so the tokens are searched: a key is the
/// first word after the parenthesis or a comma, with a `=` behind it.
pub(crate) fn wrapper(attributes: &[Attribute]) -> Result<Option<Type>> {
    let mut with = None;
    for attribute in attributes.iter().filter(|a| a.path().is_ident("rkyv")) {
        let Meta::List(list) = &attribute.meta else {
            continue;
        };
        let mut tokens = list.tokens.clone().into_iter().peekable();
        let mut at_start = true;
        while let Some(token) = tokens.next() {
            let is = |token: &TokenTree, c| matches!(token, TokenTree::Punct(p) if p.as_char() == c);
            if at_start
                && let TokenTree::Ident(key) = &token
                && tokens.next_if(|token| is(token, '=')).is_some()
            {
                if let Some(error) = replaced(key) {
                    return Err(error);
                }
                // Commas between angle brackets belong to the value.
                let (mut value, mut depth) = (TokenStream::new(), 0);
                while let Some(token) = tokens.next_if(|token| depth > 0 || !is(token, ',')) {
                    depth += i32::from(is(&token, '<')) - i32::from(is(&token, '>'));
                    value.extend([token]);
                }
                if key == "with" {
                    with = Some(syn::parse2(value)?);
                }
            }
            at_start = is(&token, ',') || tokens.next_if(|token| is(token, ',')).is_some();
        }
    }
    Ok(with)
}

fn replaced(key: &Ident) -> Option<Error> {
    let what = match key.to_string().as_str() {
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

fn set<T>(slot: &mut Option<T>, value: T, at: &syn::Path, key: &str) -> Result<()> {
    if slot.replace(value).is_some() {
        return Err(Error::new_spanned(
            at,
            format!("`{key}` is given twice in `#[schema(…)]`"),
        ));
    }
    Ok(())
}
