//! What `#[schema(…)]` on a field or a variant says: where its value comes from in the older version.
//!
//! A field or a variant without keys has the name that it has in the older version.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::{Error, Expr, Field, Ident, LitStr, Member, Result, Token, Variant, spanned::Spanned};

use crate::attributes::{keys, refuse_schema, set};
use crate::origin::{self, Origin, Removed};

const FIELD_KEYS: &str = "a field's keys are `default`, `default = VALUE`, `was = \"…\"`, `migrate = FUNCTION` and \
                          `back = FUNCTION`; other keys belong on the type";
const VARIANT_KEYS: &str = "a variant's keys are `new`, `was = \"…\"`, `back = OLD_VALUE` and `removed(…)`; other keys \
                            belong on the type";

/// Where the value of a field comes from.
pub(crate) enum Source {
    /// The older version has no such field.
    New(Option<Expr>),
    Old {
        /// Another name than the field has now.
        was: Option<Member>,
        /// Functions in place of what the types say.
        migrate: Option<Expr>,
        back: Option<Expr>,
    },
}

/// Where a variant comes from.
pub(crate) enum Lineage {
    /// The older version has no such variant. On the way back it becomes this value, which is there if there is a way back.
    New(Option<Expr>),
    Old {
        /// The variant's name there.
        was: Ident,
        /// Fields that only the older version has.
        removed: Vec<Removed>,
    },
}

/// Reads the keys of a field.
pub(crate) fn source(field: &Field, origin: &Origin) -> Result<Source> {
    let (mut default, mut was, mut migrate, mut back) = (None, None, None, None);
    keys(&field.attrs, FIELD_KEYS, |meta| {
        if meta.path.is_ident("default") {
            let value = match meta.input.peek(Token![=]) {
                true => Some(meta.value()?.parse::<Expr>()?),
                false => None,
            };
            set(&mut default, (meta.path.span(), value), &meta.path)?;
        } else if meta.path.is_ident("was") {
            set(&mut was, former(meta)?, &meta.path)?;
        } else if meta.path.is_ident("migrate") {
            set(&mut migrate, keyed(meta)?, &meta.path)?;
        } else if meta.path.is_ident("back") {
            set(&mut back, keyed(meta)?, &meta.path)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    })?;
    if let Some((at, value)) = default {
        if was.is_some() || migrate.is_some() || back.is_some() {
            return Err(Error::new(
                at,
                "`default` is for a field that the older version does not have, so no `was`, `migrate` or `back` can \
                 stand beside it",
            ));
        }
        return Ok(Source::New(value));
    }
    match (&migrate, &back, origin.back) {
        (Some((at, _)), None, Some(_)) => Err(Error::new(
            *at,
            "the type has a way `back`, so this field needs one too: write `back = FUNCTION` beside `migrate`, from the \
             field's type to the old one",
        )),
        (_, Some((at, _)), None) => Err(no_way_back(*at)),
        _ => Ok(Source::Old {
            was: was.map(|(_, member)| member),
            migrate: migrate.map(|(_, function)| function),
            back: back.map(|(_, function)| function),
        }),
    }
}

/// Reads the keys of a variant.
pub(crate) fn lineage(variant: &Variant, origin: &Origin) -> Result<Lineage> {
    let (mut new, mut was, mut back, mut removed) = (None, None, None, None);
    keys(&variant.attrs, VARIANT_KEYS, |meta| {
        if meta.path.is_ident("new") {
            set(&mut new, (), &meta.path)?;
        } else if meta.path.is_ident("was") {
            set(&mut was, former(meta)?, &meta.path)?;
        } else if meta.path.is_ident("back") {
            set(&mut back, keyed(meta)?, &meta.path)?;
        } else if meta.path.is_ident("removed") {
            set(&mut removed, (meta.path.span(), origin::removed(meta)?), &meta.path)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    })?;
    if let (Some((at, _)), None) = (&back, origin.back) {
        return Err(no_way_back(*at));
    }
    if new.is_some() || back.is_some() {
        if was.is_some() || removed.is_some() {
            return Err(Error::new_spanned(
                variant,
                "a variant with `new` or `back` is none of the older version, so no `was` or `removed` can stand beside it",
            ));
        }
        if back.is_none() && origin.back.is_some() {
            return Err(Error::new_spanned(
                variant,
                format!(
                    "the type has a way `back`: write `#[schema(back = OLD_VALUE)]` on the new variant `{}`, the value of \
                     the older version that it becomes",
                    variant.ident
                ),
            ));
        }
        for field in &variant.fields {
            refuse_schema(&field.attrs, "field of a new variant: no older value has it")?;
        }
        return Ok(Lineage::New(back.map(|(_, value)| value)));
    }
    let was = match was {
        None => variant.ident.clone(),
        Some((_, Member::Named(name))) => name,
        Some((at, Member::Unnamed(_))) => return Err(Error::new(at, "a variant's old name is no number")),
    };
    let removed = match (removed, origin.back) {
        (None, _) => Vec::new(),
        (Some((_, removed)), Some(_)) => removed,
        (Some((at, _)), None) => return Err(needless_removed(at)),
    };
    Ok(Lineage::Old { was, removed })
}

/// For `removed` where fields are dropped forward anyway.
pub(crate) fn needless_removed(at: Span) -> Error {
    Error::new(
        at,
        "forward, fields that are no longer there are dropped unsaid; `removed` fills them on the way back: add `back` \
         to the type, or drop this",
    )
}

fn no_way_back(at: Span) -> Error {
    Error::new(
        at,
        "there is no way back to say anything of: add `back` beside `from` on the type",
    )
}

/// A key's expression, and where the key stands.
fn keyed(meta: &ParseNestedMeta<'_>) -> Result<(Span, Expr)> {
    Ok((meta.path.span(), meta.value()?.parse()?))
}

/// The value of `was`: a name, or the position in a tuple.
fn former(meta: &ParseNestedMeta<'_>) -> Result<(Span, Member)> {
    let literal: LitStr = meta.value()?.parse()?;
    let text = literal.value();
    let member = syn::parse_str::<Member>(&text)
        // Keywords are names of fields as raw identifiers.
        .or_else(|_| syn::parse_str::<Member>(&format!("r#{text}")))
        .map_err(|_| {
            Error::new_spanned(
                &literal,
                format!("`was` is the name of a field, or its position in a tuple; this one is {text:?}"),
            )
        })?;
    Ok(match member {
        Member::Named(mut name) => {
            name.set_span(literal.span());
            (literal.span(), Member::Named(name))
        }
        Member::Unnamed(mut position) => {
            position.span = literal.span();
            (literal.span(), Member::Unnamed(position))
        }
    })
}
