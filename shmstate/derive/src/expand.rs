//! From a type's definition to its `Schema` implementation. See G1 to G3 in the crate's header.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{
    Data, DataEnum, DeriveInput, Error, Field, Fields, GenericParam, Generics, Ident, Result, Type, WhereClause,
    ext::IdentExt, parse_quote,
};

use crate::attributes::{self, Declared};
use crate::{migrate, rkyv};

/// rkyv's tag is one byte.
const VARIANT_LIMIT: usize = 256;

/// Writes `impl Schema for …` and what belongs to it, or says why the type cannot have one.
pub(crate) fn schema(input: &DeriveInput) -> Result<TokenStream> {
    let Declared {
        version,
        name,
        path,
        origin,
    } = attributes::declared(&input.attrs, &input.ident)?;
    rkyv::wrapper(&input.attrs)?;
    let name = match path {
        true => quote!(::core::concat!(::core::module_path!(), "::", #name)),
        false => quote!(#name),
    };
    if let Some(lifetime) = input.generics.lifetimes().next() {
        return Err(Error::new_spanned(
            lifetime,
            "a type with a lifetime cannot be stored in a region; own the data (String, Vec, Box)",
        ));
    }

    let arguments = arguments(&input.generics);
    let body = match &input.data {
        Data::Struct(data) => structure(&data.fields)?,
        Data::Enum(data) => enumeration(&input.ident, data)?,
        Data::Union(data) => {
            return Err(Error::new_spanned(
                data.union_token,
                "a union says nowhere which field is valid, so it has no description; use an enum",
            ));
        }
    };
    let define = match &input.data {
        Data::Enum(_) => quote!(enumeration),
        _ => quote!(structure),
    };

    let migrations = migrate::implementations(input, origin.as_ref())?;
    let ident = &input.ident;
    let (impl_generics, type_generics, _) = input.generics.split_for_impl();
    let bounds = bounds(&input.generics);
    Ok(quote! {
        #[automatically_derived]
        // SAFETY: the description is made of the fields that rkyv's derive archives, and its size and alignment are those of the archived type.
        unsafe impl #impl_generics ::shmstate::schema::Schema for #ident #type_generics #bounds {
            const VERSION: ::core::primitive::u16 = #version;

            fn describe(
                describer: &mut ::shmstate::schema::Describer,
            ) -> ::shmstate::schema::TypeRef {
                describer.#define::<Self>(#name, |outline| {
                    #arguments
                    #body
                })
            }
        }

        #migrations
    })
}

/// The user's where clause, and `Schema` for each type parameter. Bounds on field types would never
/// resolve for a recursive type.
fn bounds(generics: &Generics) -> Option<WhereClause> {
    let mut generics = generics.clone();
    let parameters: Vec<Ident> = generics.type_params().map(|p| p.ident.clone()).collect();
    if !parameters.is_empty() {
        let clause = generics.make_where_clause();
        for parameter in parameters {
            clause
                .predicates
                .push(parse_quote!(#parameter: ::shmstate::schema::Schema));
        }
    }
    generics.where_clause
}

/// The arguments of a generic type, which are part of its name.
fn arguments(generics: &Generics) -> TokenStream {
    let calls = generics.params.iter().map(|parameter| match parameter {
        GenericParam::Type(parameter) => {
            let ident = &parameter.ident;
            quote!(outline.argument::<#ident>();)
        }
        GenericParam::Const(parameter) => {
            let ident = &parameter.ident;
            quote!(outline.constant(&#ident);)
        }
        GenericParam::Lifetime(_) => TokenStream::new(),
    });
    quote!(#(#calls)*)
}

fn structure(fields: &Fields) -> Result<TokenStream> {
    let mut calls = TokenStream::new();
    for (position, (field, member)) in fields.iter().zip(fields.members()).enumerate() {
        let with = rkyv::wrapper(&field.attrs)?;
        let name = field_name(field, position);
        let of = &field.ty;
        let archived = archived(of, with.as_ref());
        let call = match &with {
            Some(with) => quote!(field_with::<#with, #of>),
            None => quote!(field::<#of>),
        };
        // The closure is never called. It makes the compiler prove that the archived field has the
        // archived type of the written field (G3).
        calls.extend(quote! {
            let _ = |archived: &<Self as ::shmstate::schema::__private::Archive>::Archived|
                -> *const #archived {
                &raw const archived.#member
            };
            outline.#call(
                #name,
                ::core::mem::offset_of!(
                    <Self as ::shmstate::schema::__private::Archive>::Archived,
                    #member
                ),
            );
        });
    }
    Ok(calls)
}

fn enumeration(ident: &Ident, data: &DataEnum) -> Result<TokenStream> {
    if data.variants.is_empty() {
        return Err(Error::new_spanned(
            ident,
            "an enum without variants has no value to store",
        ));
    }
    if data.variants.len() > VARIANT_LIMIT {
        return Err(Error::new_spanned(
            ident,
            format!(
                "an archived enum has a tag of one byte: {} variants are more than {VARIANT_LIMIT}",
                data.variants.len()
            ),
        ));
    }

    let tag = Ident::new("tag", Span::mixed_site());
    let mut calls = TokenStream::new();
    let mut layouts = Vec::new();
    for (index, variant) in data.variants.iter().enumerate() {
        // rkyv copies an explicit discriminant to the archived enum, where it is the `u8` tag; without
        // one the tag is the previous tag plus one, as in any enum.
        let value = match (&variant.discriminant, index) {
            (Some((_, expression)), _) => quote!(#expression),
            (None, 0) => quote!(0),
            // rustc refuses an enum in which this would wrap.
            (None, _) => quote!(::core::primitive::u8::wrapping_add(#tag, 1)),
        };
        let name = variant.ident.unraw().to_string();
        calls.extend(quote! {
            let #tag: ::core::primitive::u8 = #value;
            outline.variant(#name, #tag);
        });
        let mut sizes = Vec::new();
        for (position, field) in variant.fields.iter().enumerate() {
            let with = rkyv::wrapper(&field.attrs)?;
            let name = field_name(field, position);
            let of = &field.ty;
            calls.extend(match &with {
                Some(with) => quote!(outline.payload_with::<#with, #of>(#name);),
                None => quote!(outline.payload::<#of>(#name);),
            });
            let archived = archived(of, with.as_ref());
            sizes.push(quote!(::shmstate::schema::__private::size_and_align::<#archived>()));
        }
        layouts.push(quote!(&[#(#sizes),*]));
    }
    Ok(quote! {
        const {
            ::core::assert!(
                ::shmstate::schema::__private::enum_layout_holds(
                    &[#(#layouts),*],
                    ::shmstate::schema::__private::size_and_align::<
                        <Self as ::shmstate::schema::__private::Archive>::Archived
                    >(),
                ),
                "the archived enum is not laid out as repr(u8), so its field offsets are unknown; \
                 is there a repr in #[rkyv(attr(…))], or an rkyv that lays enums out in another way?"
            )
        };
        #calls
    })
}

/// The archived form of a field.
fn archived(of: &Type, with: Option<&Type>) -> TokenStream {
    match with {
        Some(with) => quote!(<#with as ::shmstate::schema::__private::ArchiveWith<#of>>::Archived),
        None => quote!(<#of as ::shmstate::schema::__private::Archive>::Archived),
    }
}

/// `name` of a named field, `.0` of a numbered one.
fn field_name(field: &Field, position: usize) -> String {
    match &field.ident {
        Some(ident) => ident.unraw().to_string(),
        None => format!(".{position}"),
    }
}
