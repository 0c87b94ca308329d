//! From the keys of a type and its fields to `Migrate` and `Return` implementations. See G4 and G5 in the crate's header.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{
    Data, DataEnum, DeriveInput, Error, Fields, Generics, Member, Result, WhereClause, parse_quote, spanned::Spanned,
};

use crate::attributes::refuse_schema;
use crate::back::{self, WayBack};
use crate::field::{self, Lineage};
use crate::moves::{Move, hidden, moves, site};
use crate::origin::Origin;

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
    let (ident, old) = (&input.ident, &origin.old);
    let (impl_generics, type_generics, _) = input.generics.split_for_impl();
    let this = quote!(#ident #type_generics);
    let ways = match &input.data {
        Data::Struct(data) => structure(&this, &data.fields, origin)?,
        Data::Enum(data) => enumeration(ident, &this, data, origin)?,
        Data::Union(_) => return Ok(identity),
    };
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
        implementations.extend(
            ways.back
                .implementations(&quote!(impl #impl_generics), &this, old, bounds.as_ref()),
        );
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

/// Both ways; that back is used if there is one.
struct Ways {
    /// The body of the function.
    forward: TokenStream,
    back: WayBack,
}

fn structure(this: &TokenStream, fields: &Fields, origin: &Origin) -> Result<Ways> {
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
    Ok(Ways {
        forward: quote!(Self { #(#forward),* }),
        back: back::of_structure(this, &moves, removed, origin)?,
    })
}

fn enumeration(ident: &Ident, this: &TokenStream, data: &DataEnum, origin: &Origin) -> Result<Ways> {
    let older = origin.bare();
    let mut forward = Vec::new();
    let mut back = back::OfEnumeration::new(ident, this, origin);
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
                back.add_new(name, &old);
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
        let values = moves.iter().map(Move::forward);
        forward.push(
            quote_spanned!(site(was.span()) => #older::#was { #(#old_fields,)* .. } => Self::#name { #(#values),* }),
        );
        back.add(name, &was, &moves, &removed)?;
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
    let old = origin.old.span();
    let value = hidden("value", old);
    Ok(Ways {
        forward: quote_spanned!(site(old) => match #value { #(#forward,)* }),
        back: back.finish(),
    })
}
