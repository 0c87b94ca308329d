//! From the keys of a type and its fields to `Migrate` and `Return` implementations. See G4 and G5 in the crate's header.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{
    Data, DataEnum, DeriveInput, Error, Expr, Fields, Generics, Member, Result, WhereClause, parse_quote,
    spanned::Spanned,
};

use crate::attributes::refuse_schema;
use crate::field::{self, Lineage, Source};
use crate::origin::{Origin, Removed};

const NO_ORIGIN: &str = "of a type without `from = Old`: there it says what the older version has in its place; put \
                         other keys on the type";

/// Writes the identity of the type, and the ways from and to its older version.
pub(crate) fn implementations(input: &DeriveInput, origin: Option<&Origin>) -> Result<TokenStream> {
    let identity = identity(input);
    let Some(origin) = origin else {
        refuse_below(&input.data)?;
        return Ok(identity);
    };
    let value = hidden("value", Span::call_site());
    let ways = match &input.data {
        Data::Struct(data) => structure(&data.fields, origin)?,
        Data::Enum(data) => enumeration(&input.ident, data, origin)?,
        Data::Union(_) => return Ok(identity),
    };

    let (ident, old) = (&input.ident, &origin.old);
    let (impl_generics, type_generics, _) = input.generics.split_for_impl();
    let this = quote!(#ident #type_generics);
    let bounds = bounds(&input.generics, &quote!(::shmstate::schema::Migrate));
    let forward = ways.forward;
    let mut implementations = quote! {
        #identity

        #[automatically_derived]
        impl #impl_generics ::shmstate::schema::Migrate<#old> for #this #bounds {
            #[allow(unused_variables)]
            fn migrate(#value: #old) -> Self {
                #forward
            }
        }
    };
    if origin.back.is_some() {
        let bounds = self::bounds(&input.generics, &quote!(::shmstate::schema::__private::Return));
        let back = ways.back;
        implementations.extend(quote! {
            #[automatically_derived]
            impl #impl_generics ::shmstate::schema::Migrate<#this> for #old #bounds {
                #[allow(unused_variables)]
                fn migrate(#value: #this) -> Self {
                    #back
                }
            }

            #[automatically_derived]
            impl #impl_generics ::shmstate::schema::__private::Return<#this> for #old #bounds {
                fn back(#value: #this) -> Self {
                    <Self as ::shmstate::schema::Migrate<#this>>::migrate(#value)
                }
            }
        });
    }
    Ok(implementations)
}

/// So that a type that did not change needs no word where another one holds it.
fn identity(input: &DeriveInput) -> TokenStream {
    let ident = &input.ident;
    let (impl_generics, type_generics, bounds) = input.generics.split_for_impl();
    let value = hidden("value", Span::call_site());
    quote! {
        #[automatically_derived]
        impl #impl_generics ::shmstate::schema::Migrate<Self> for #ident #type_generics #bounds {
            fn migrate(#value: Self) -> Self {
                #value
            }
        }

        #[automatically_derived]
        impl #impl_generics ::shmstate::schema::__private::Return<Self> for #ident #type_generics #bounds {
            fn back(#value: Self) -> Self {
                #value
            }
        }
    }
}

/// The user's where clause, and for each type parameter that it becomes itself.
fn bounds(generics: &Generics, step: &TokenStream) -> Option<WhereClause> {
    let mut generics = generics.clone();
    let parameters: Vec<Ident> = generics.type_params().map(|p| p.ident.clone()).collect();
    if !parameters.is_empty() {
        let clause = generics.make_where_clause();
        for parameter in parameters {
            clause.predicates.push(parse_quote!(#parameter: #step<#parameter>));
        }
    }
    generics.where_clause
}

fn refuse_below(data: &Data) -> Result<()> {
    let refuse = |fields: &Fields| {
        fields
            .iter()
            .try_for_each(|field| refuse_schema(&field.attrs, &format!("field {NO_ORIGIN}")))
    };
    match data {
        Data::Struct(data) => refuse(&data.fields),
        Data::Enum(data) => data.variants.iter().try_for_each(|variant| {
            refuse_schema(&variant.attrs, &format!("variant {NO_ORIGIN}"))?;
            refuse(&variant.fields)
        }),
        Data::Union(_) => Ok(()),
    }
}

/// The bodies of the two functions; of the way back it is used if there is one.
struct Ways {
    forward: TokenStream,
    back: TokenStream,
}

fn structure(fields: &Fields, origin: &Origin) -> Result<Ways> {
    let removed = match (&origin.removed, origin.back) {
        (None, _) => &[][..],
        (Some((_, removed)), Some(_)) => removed,
        (Some((at, _)), None) => return Err(field::needless_removed(*at)),
    };
    let moves = moves(fields, origin, |_, member, at| {
        let value = hidden("value", at);
        let mut member = member.clone();
        match &mut member {
            Member::Named(name) => name.set_span(value.span()),
            Member::Unnamed(position) => position.span = value.span(),
        }
        quote_spanned!(value.span() => #value.#member)
    })?;
    let forward = moves.iter().map(Move::forward);
    let back = back(&moves, removed, origin)?;
    // What is missing is said there.
    let at = origin.back.unwrap_or_else(Span::call_site);
    Ok(Ways {
        forward: quote!(Self { #(#forward),* }),
        back: quote_spanned!(site(at) => Self { #(#back),* }),
    })
}

fn enumeration(ident: &Ident, data: &DataEnum, origin: &Origin) -> Result<Ways> {
    let older = origin.bare();
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    let mut seen: Vec<Ident> = Vec::new();
    let mut once = |was: &Ident| {
        // Forward, the second would never be reached.
        if seen.contains(was) {
            return Err(Error::new(
                was.span(),
                format!("two variants come from `{was}` of the older version"),
            ));
        }
        seen.push(was.clone());
        Ok(())
    };
    for variant in &data.variants {
        let name = &variant.ident;
        let (was, removed) = match field::lineage(variant, origin)? {
            Lineage::New(None) => continue,
            Lineage::New(Some(old)) => {
                backward.push(quote!(#ident::#name { .. } => #old));
                continue;
            }
            Lineage::Old { was, removed } => (was, removed),
        };
        once(&was)?;
        let moves = moves(&variant.fields, origin, |position, _, at| {
            let binding = hidden(&format!("field_{position}"), at);
            quote!(#binding)
        })?;
        let old_fields = moves.iter().filter_map(|m| Some(Move::pattern(m.was()?, &m.place)));
        let new_fields = moves
            .iter()
            .filter_map(|m| m.was().map(|_| Move::pattern(&m.member, &m.place)));
        let values = moves.iter().map(Move::forward);
        forward.push(
            quote_spanned!(site(was.span()) => #older::#was { #(#old_fields,)* .. } => Self::#name { #(#values),* }),
        );
        let values = back(&moves, &removed, origin)?;
        backward.push(
            quote_spanned!(site(was.span()) => #ident::#name { #(#new_fields,)* .. } => Self::#was { #(#values),* }),
        );
    }
    for removed in origin.removed.iter().flat_map(|(_, removed)| removed) {
        let (Member::Named(name), Some(new)) = (&removed.member, &removed.value) else {
            return Err(Error::new_spanned(
                &removed.member,
                "a variant that is no longer there needs the new value that it becomes: `removed(Gone = VALUE)`",
            ));
        };
        once(name)?;
        forward.push(quote!(#older::#name { .. } => #new));
    }
    let (at, old) = (origin.back.unwrap_or_else(Span::call_site), origin.old.span());
    let (value_from, value_back) = (hidden("value", old), hidden("value", at));
    Ok(Ways {
        forward: quote_spanned!(site(old) => match #value_from { #(#forward,)* }),
        back: quote_spanned!(site(at) => match #value_back { #(#backward,)* }),
    })
}

/// A field on its way.
struct Move {
    /// Its name in the newer version.
    member: Member,
    /// Where the value stands that is moved, forward the old one, backward the new one. In a struct the field's name is part of it,
    /// so each direction has its own.
    place: TokenStream,
    place_back: TokenStream,
    source: Source,
    span: Span,
}

fn moves(fields: &Fields, origin: &Origin, place: impl Fn(usize, &Member, Span) -> TokenStream) -> Result<Vec<Move>> {
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
    fn was(&self) -> Option<&Member> {
        match &self.source {
            Source::New(_) => None,
            Source::Old { was, .. } => Some(was.as_ref().unwrap_or(&self.member)),
        }
    }

    fn pattern(member: &Member, place: &TokenStream) -> TokenStream {
        quote!(#member: #place)
    }

    /// `field: value` of the newer version.
    fn forward(&self) -> TokenStream {
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
    fn back(&self) -> Option<TokenStream> {
        let (was, place) = (self.was()?, &self.place_back);
        let value = match &self.source {
            Source::Old {
                back: Some(function), ..
            } => apply(place, function, self.span),
            _ => quote_spanned!(self.span => ::shmstate::schema::__private::Return::back(#place)),
        };
        Some(quote!(#was: #value))
    }
}

/// All fields of the older version, if there is a way back. Forward two fields of a struct may come from one that can be copied; backward
/// that one would have two values.
fn back(moves: &[Move], removed: &[Removed], origin: &Origin) -> Result<Vec<TokenStream>> {
    if origin.back.is_none() {
        return Ok(Vec::new());
    }
    let mut values: Vec<TokenStream> = moves.iter().filter_map(Move::back).collect();
    let mut seen: Vec<&Member> = moves.iter().filter_map(Move::was).collect();
    for removed in removed {
        let (member, span) = (&removed.member, removed.member.span());
        let value = given(removed.value.as_ref(), span);
        values.push(quote!(#member: #value));
        seen.push(member);
    }
    for (position, member) in seen.iter().enumerate() {
        if seen[..position].contains(member) {
            return Err(Error::new_spanned(
                member,
                "the way back gives this field of the older version two values",
            ));
        }
    }
    Ok(values)
}

/// Generated code that points at the user's. A call and its argument need one site, or the compiler's words on them stand at the derive;
/// and as code of a macro it is none of clippy's.
fn site(at: Span) -> Span {
    Span::mixed_site().located_at(at)
}

/// A name that no expression of the user sees.
fn hidden(name: &str, at: Span) -> Ident {
    Ident::new(name, site(at))
}

fn given(value: Option<&Expr>, span: Span) -> TokenStream {
    match value {
        Some(value) => quote!(#value),
        None => quote_spanned!(span => ::core::default::Default::default()),
    }
}

fn apply(place: &TokenStream, function: &Expr, span: Span) -> TokenStream {
    quote_spanned!(span => ::shmstate::schema::__private::apply(#place, #function))
}
