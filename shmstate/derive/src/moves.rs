//! A field on its way from one version to the other, in both directions.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Expr, Fields, Member, Result, spanned::Spanned};

use crate::field::{self, Source};
use crate::origin::Origin;

/// A field on its way.
pub(crate) struct Move {
    /// Its name in the newer version.
    pub(crate) member: Member,
    /// Where the value stands that is moved, forward the old one, backward the new one. In a struct the field's name is part of it,
    /// so each direction has its own.
    pub(crate) place: TokenStream,
    place_back: TokenStream,
    source: Source,
    pub(crate) span: Span,
}

pub(crate) fn moves(
    fields: &Fields,
    origin: &Origin,
    place: impl Fn(usize, &Member, Span) -> TokenStream,
) -> Result<Vec<Move>> {
    let members = fields.iter().zip(fields.members()).enumerate();
    members
        .map(|(position, (field, member))| {
            let source = field::source(field, origin)?;
            let span = site(field.ident.as_ref().map_or_else(|| field.ty.span(), Ident::span));
            let (old, at) = match &source {
                Source::Old { was: Some(was), .. } => (was, was.span()),
                _ => (&member, span),
            };
            Ok(Move {
                place: place(position, old, at),
                place_back: place(position, &member, span),
                source,
                span,
                member,
            })
        })
        .collect()
}

impl Move {
    /// The field's name in the older version, if it is there.
    pub(crate) fn was(&self) -> Option<&Member> {
        match &self.source {
            Source::New(_) => None,
            Source::Old { was, .. } => Some(was.as_ref().unwrap_or(&self.member)),
        }
    }

    pub(crate) fn pattern(member: &Member, place: &TokenStream) -> TokenStream {
        quote!(#member: #place)
    }

    /// `field: value` of the newer version.
    pub(crate) fn forward(&self) -> TokenStream {
        let (member, place) = (&self.member, &self.place);
        let value = match &self.source {
            Source::New(value) => given(value.as_ref(), self.span),
            Source::Old {
                migrate: Some(function),
                ..
            } => apply(place, function, self.span),
            Source::Old { migrate: None, .. } => {
                quote_spanned!(self.span => ::shmstate::schema::Migrate::migrate(#place))
            }
        };
        quote!(#member: #value)
    }

    /// `field: value` of the older version, if it is there.
    pub(crate) fn back(&self) -> Option<TokenStream> {
        let (was, place) = (self.was()?, &self.place_back);
        let value = match &self.source {
            Source::Old {
                back: Some(function), ..
            } => apply(place, function, self.span),
            _ => quote_spanned!(self.span => ::shmstate::schema::__private::Return::back(#place)),
        };
        Some(quote!(#was: #value))
    }

    /// The same where it stood at `before`.
    pub(crate) fn back_over(&self, before: &TokenStream) -> Option<TokenStream> {
        let (was, place) = (self.was()?, &self.place_back);
        if !self.is_returned() {
            return self.back();
        }
        let value = quote_spanned!(self.span => ::shmstate::schema::__private::Return::back_over(#place, #before));
        Some(quote!(#was: #value))
    }

    /// Whether it comes back as its type says, and not as a function does.
    pub(crate) fn is_returned(&self) -> bool {
        matches!(self.source, Source::Old { back: None, .. })
    }
}

/// Generated code that points at the user's. A call and its argument need one site, or the compiler's words on them stand at the derive;
/// and as code of a macro it is none of clippy's.
pub(crate) fn site(at: Span) -> Span {
    Span::mixed_site().located_at(at)
}

/// A name that no expression of the user sees.
pub(crate) fn hidden(name: &str, at: Span) -> Ident {
    Ident::new(name, site(at))
}

pub(crate) fn given(value: Option<&Expr>, span: Span) -> TokenStream {
    match value {
        Some(value) => quote!(#value),
        None => quote_spanned!(span => ::core::default::Default::default()),
    }
}

fn apply(place: &TokenStream, function: &Expr, span: Span) -> TokenStream {
    quote_spanned!(span => ::shmstate::schema::__private::apply(#place, #function))
}
