//! The keys of a type that has an older version: `from`, `back`, `removed`.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::meta::ParseNestedMeta;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Expr, Ident, Member, Path, PathArguments, Result, Token, Type, TypePath};

/// The older version that a type comes from.
pub(crate) struct Origin {
    /// As it is written, with its generic arguments.
    pub(crate) old: Path,
    /// Where `back` stands, if there is a way back.
    pub(crate) back: Option<Span>,
    /// What only the older version has, and where the list stands.
    pub(crate) removed: Option<(Span, Vec<Removed>)>,
}

impl Origin {
    /// The older type as it stands before `::Variant` in a pattern, where its arguments are inferred.
    pub(crate) fn bare(&self) -> Path {
        let mut path = self.old.clone();
        if let Some(last) = path.segments.last_mut() {
            last.arguments = PathArguments::None;
        }
        path
    }
}

/// A field or a variant of the older version alone, and what it becomes.
pub(crate) struct Removed {
    pub(crate) member: Member,
    pub(crate) value: Option<Expr>,
}

impl Parse for Removed {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let member = input.parse()?;
        let value = match input.parse::<Option<Token![=]>>()? {
            Some(_) => Some(input.parse()?),
            None => None,
        };
        Ok(Self { member, value })
    }
}

/// The value of `from`, for the type called `ident`.
pub(crate) fn older(meta: &ParseNestedMeta<'_>, ident: &Ident) -> Result<Path> {
    let of: Type = meta.value()?.parse()?;
    if let Some(lifetime) = lifetime(of.to_token_stream()) {
        return Err(Error::new(
            lifetime,
            "an older version with a lifetime was never stored in a region: `from` names a type that owns its data",
        ));
    }
    let Type::Path(TypePath { qself: None, path }) = of else {
        return Err(Error::new_spanned(
            of,
            "`from` names a struct or an enum by its path; what comes from another type implements \
             `shmstate::Migrate` by hand",
        ));
    };
    if path.is_ident("Self") || path.segments.len() == 1 && path.segments[0].ident == *ident {
        return Err(Error::new_spanned(
            path,
            "`from` names the type itself; it names the older version, which needs another name or module",
        ));
    }
    Ok(path)
}

/// The list of `removed(…)`.
pub(crate) fn removed(meta: &ParseNestedMeta<'_>) -> Result<Vec<Removed>> {
    const SHAPE: &str = "`removed` takes a list in parentheses: `removed(level, title = VALUE)`";
    if !meta.input.peek(syn::token::Paren) {
        return Err(meta.error(SHAPE));
    }
    let list;
    syn::parenthesized!(list in meta.input);
    let list = list.parse_terminated(Removed::parse, Token![,])?;
    if list.is_empty() {
        return Err(meta.error(SHAPE));
    }
    Ok(list.into_iter().collect())
}

fn lifetime(tokens: TokenStream) -> Option<Span> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Punct(mark) if mark.as_char() == '\'' => Some(mark.span()),
        TokenTree::Group(group) => lifetime(group.stream()),
        _ => None,
    })
}
