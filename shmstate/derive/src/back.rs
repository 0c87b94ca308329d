//! The way back to the older version: from the newer value alone, or from it and the older value before.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Error, Expr, Member, Result, WhereClause, spanned::Spanned};

use crate::moves::{Move, given, hidden, site};
use crate::origin::{Origin, Removed};

/// The bodies of the functions of `Return`.
#[derive(Default)]
pub(crate) struct WayBack {
    plain: TokenStream,
    over: TokenStream,
    wants: TokenStream,
}

impl WayBack {
    /// Everything that `Old` implements for the type `this`. `start`: `impl` and the generic parameters.
    pub(crate) fn implementations(
        &self,
        start: &TokenStream,
        this: &TokenStream,
        old: &impl quote::ToTokens,
        bounds: Option<&WhereClause>,
    ) -> TokenStream {
        let Self { plain, over, wants } = self;
        let [value, before, asked] = ["value", "before", "asked"].map(|name| hidden(name, Span::call_site()));
        let back = quote!(::shmstate::schema::__private::Return<#this>);
        quote! {
            #[automatically_derived]
            #start ::shmstate::schema::Migrate<#this> for #old #bounds {
                #[allow(unused_variables)]
                fn migrate(#value: #this) -> Self {
                    #plain
                }

                fn migrate_over(#value: #this, #before: Self) -> Self {
                    <Self as #back>::back_over(#value, #before)
                }

                fn wants_before() -> ::core::primitive::bool {
                    <Self as #back>::wants_before(&mut ::core::default::Default::default())
                }
            }

            #[automatically_derived]
            #start #back for #old #bounds {
                fn back(#value: #this) -> Self {
                    <Self as ::shmstate::schema::Migrate<#this>>::migrate(#value)
                }

                #[allow(unused_variables, unreachable_patterns)]
                fn back_over(#value: #this, #before: Self) -> Self {
                    #over
                }

                #[allow(unused_variables, unreachable_patterns)]
                fn wants_before(
                    #asked: &mut ::shmstate::schema::__private::Asked,
                ) -> ::core::primitive::bool {
                    #wants
                }
            }
        }
    }
}

pub(crate) fn of_structure(
    this: &TokenStream,
    moves: &[Move],
    removed: &[Removed],
    origin: &Origin,
) -> Result<WayBack> {
    let Some(at) = origin.back else {
        return Ok(WayBack::default());
    };
    let plain = all(moves, removed)?;
    let old = |name: &str, member: &Member| {
        let (value, mut member) = (hidden(name, at), member.clone());
        match &mut member {
            Member::Named(name) => name.set_span(value.span()),
            Member::Unnamed(position) => position.span = value.span(),
        }
        quote_spanned!(value.span() => #value.#member)
    };
    let kept = removed.iter().map(|removed| {
        let (member, value) = (&removed.member, old("before", &removed.member));
        quote!(#member: #value)
    });
    let moved = moves.iter().filter_map(|m| m.back_over(&old("before", m.was()?)));
    let over = moved.chain(kept);
    let asked = moves.iter().filter(|m| m.is_returned()).filter_map(|m| {
        let (from, to) = (old("value", &m.member), old("value", m.was()?));
        let value = hidden("value", at);
        Some(quote! {
            |#value: Self| ::core::option::Option::Some(#to),
            |#value: #this| ::core::option::Option::Some(#from)
        })
    });
    Ok(WayBack {
        // What is missing is said there.
        plain: quote_spanned!(site(at) => Self { #(#plain),* }),
        over: quote_spanned!(site(at) => Self { #(#over),* }),
        wants: wants(this, !removed.is_empty(), asked),
    })
}

/// The way back of an enum, variant by variant.
pub(crate) struct OfEnumeration<'a> {
    ident: &'a Ident,
    this: &'a TokenStream,
    at: Option<Span>,
    plain: Vec<TokenStream>,
    over: Vec<TokenStream>,
    /// Fields whose types may want the value before.
    asked: Vec<TokenStream>,
    removes: bool,
}

impl<'a> OfEnumeration<'a> {
    pub(crate) fn new(ident: &'a Ident, this: &'a TokenStream, origin: &Origin) -> Self {
        Self {
            ident,
            this,
            at: origin.back,
            plain: Vec::new(),
            over: Vec::new(),
            asked: Vec::new(),
            removes: false,
        }
    }

    /// A variant that the older version does not have, and what it becomes.
    pub(crate) fn add_new(&mut self, name: &Ident, old: &Expr) {
        let path = self.newer(name);
        self.plain.push(quote!(#path { .. } => #old));
    }

    /// A variant that the older version has, as `was`.
    pub(crate) fn add(&mut self, name: &Ident, was: &Ident, moves: &[Move], removed: &[Removed]) -> Result<()> {
        if self.at.is_none() {
            return Ok(());
        }
        let (path, at) = (self.newer(name), site(was.span()));
        let there = || moves.iter().enumerate().filter_map(|(n, m)| Some((n, m, m.was()?)));
        let new_fields: Vec<_> = there().map(|(_, m, _)| Move::pattern(&m.member, &m.place)).collect();
        let plain = all(moves, removed)?;
        self.plain
            .push(quote_spanned!(at => #path { #(#new_fields,)* .. } => Self::#was { #(#plain),* }));

        let before = |n: usize| {
            let name = hidden(&format!("before_{n}"), was.span());
            quote!(#name)
        };
        let kept = || {
            removed
                .iter()
                .enumerate()
                .map(|(n, r)| Move::pattern(&r.member, &before(moves.len() + n)))
        };
        let old_fields = there().map(|(n, _, was)| Move::pattern(was, &before(n))).chain(kept());
        let values = there().filter_map(|(n, m, _)| m.back_over(&before(n))).chain(kept());
        self.over.push(quote_spanned! { at =>
            (#path { #(#new_fields,)* .. }, Self::#was { #(#old_fields,)* .. }) => Self::#was { #(#values),* }
        });
        let value = hidden("value", was.span());
        for (_, m, was_field) in there().filter(|(_, m, _)| m.is_returned()) {
            let one = |path: &TokenStream, member: &Member| {
                quote! {
                    match #value {
                        #path { #member: #value, .. } => ::core::option::Option::Some(#value),
                        _ => ::core::option::Option::None,
                    }
                }
            };
            let (to, from) = (one(&quote!(Self::#was), was_field), one(&path, &m.member));
            let this = self.this;
            self.asked.push(quote!(|#value: Self| #to, |#value: #this| #from));
        }
        self.removes |= !removed.is_empty();
        Ok(())
    }

    pub(crate) fn finish(self) -> WayBack {
        let Some(at) = self.at else {
            return WayBack::default();
        };
        let Self { this, plain, over, .. } = &self;
        let [value, before] = ["value", "before"].map(|name| hidden(name, at));
        WayBack {
            plain: quote_spanned!(site(at) => match #value { #(#plain,)* }),
            // Of another variant there is nothing to keep.
            over: quote_spanned! { site(at) =>
                match (#value, #before) {
                    #(#over,)*
                    (#value, _) => <Self as ::shmstate::schema::__private::Return<#this>>::back(#value),
                }
            },
            wants: wants(this, self.removes, self.asked.iter().cloned()),
        }
    }

    /// A variant of the newer version, whose arguments are inferred.
    fn newer(&self, name: &Ident) -> TokenStream {
        let ident = self.ident;
        quote!(#ident::#name)
    }
}

/// Whether the value before makes a difference: where a field was removed it does, else as the types of the fields say.
fn wants(this: &TokenStream, removes: bool, asked: impl Iterator<Item = TokenStream>) -> TokenStream {
    if removes {
        return quote!(true);
    }
    let state = hidden("asked", Span::call_site());
    let fields = asked.map(|functions| quote!(#state.field(#functions)));
    quote!(#state.first::<Self, #this>() && (false #(|| #fields)*))
}

/// All fields of the older version. Forward two fields of a struct may come from one that can be copied; backward that one would have two
/// values.
fn all(moves: &[Move], removed: &[Removed]) -> Result<Vec<TokenStream>> {
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
