//! What the derive refuses, and that the refusal says why.

mod migrate;

use quote::quote;
use syn::{DeriveInput, Type, parse_quote};

use crate::expand::schema;
use crate::rkyv;

/// The message of the refusal; that code without the fault is accepted is shown by shmstate's tests.
#[track_caller]
fn refused(input: DeriveInput, message: &str) {
    let error = schema(&input).expect_err("the derive refuses").to_string();
    assert!(error.contains(message), "{message:?} is not in: {error}");
}

#[test]
fn bad_keys_are_named() {
    refused(
        parse_quote!(
            #[schema(verison = 2)]
            struct A;
        ),
        "unknown key `verison`",
    );
    refused(
        parse_quote!(
            #[schema(verison = 2)]
            struct A;
        ),
        "known keys are `version = N`, `name",
    );
    refused(
        parse_quote!(
            #[schema(a::b = 2)]
            struct A;
        ),
        "unknown key in",
    );
    refused(
        parse_quote!(
            #[schema]
            struct A;
        ),
        "takes keys in parentheses",
    );
    refused(
        parse_quote!(
            #[schema = 2]
            struct A;
        ),
        "takes keys in parentheses",
    );
    refused(
        parse_quote!(
            #[schema(version = 1, version = 2)]
            struct A;
        ),
        "`version` is given twice",
    );
    refused(
        parse_quote!(
            #[schema(name = "a")]
            #[schema(name = "b")]
            struct A;
        ),
        "`name` is given twice",
    );
    refused(
        parse_quote!(
            struct A {
                #[schema(version = 2)]
                a: u8,
            }
        ),
        "no meaning on a field",
    );
    refused(
        parse_quote!(
            enum A {
                #[schema(name = "b")]
                B,
            }
        ),
        "no meaning on a variant",
    );
}

#[test]
fn bad_values_are_named() {
    for version in ["0", "65536", "70000u32"] {
        let literal: syn::LitInt = syn::parse_str(version).unwrap();
        refused(
            parse_quote!(
                #[schema(version = #literal)]
                struct A;
            ),
            "from 1 to 65535",
        );
    }
    refused(
        parse_quote!(
            #[schema(version = "2")]
            struct A;
        ),
        "expected integer",
    );
    let long = "n".repeat(2000);
    for name in ["", "the player", "a<b", "a<>", "a<b >", "7up", "a#2", &long] {
        refused(
            parse_quote!(
                #[schema(name = #name)]
                struct A;
            ),
            "a schema name begins with",
        );
    }
}

#[test]
fn what_cannot_be_described_is_refused() {
    refused(
        parse_quote!(
            #[rkyv(as = B)]
            struct A;
        ),
        "#[rkyv(as = …)]",
    );
    refused(
        parse_quote!(
            #[rkyv(derive(Debug), remote = b::A)]
            struct A;
        ),
        "#[rkyv(remote = …)]",
    );
    refused(
        parse_quote!(
            struct A<'a>(PhantomData<&'a u8>);
        ),
        "a type with a lifetime",
    );
    refused(parse_quote!(union A { a: u8 }), "a union says nowhere");
    refused(
        parse_quote!(
            enum A {}
        ),
        "an enum without variants",
    );
}

#[test]
fn a_wrapper_is_found_among_other_keys() {
    let of = |attribute: syn::Attribute| {
        let with = rkyv::wrapper(&[attribute]).expect("it is read");
        with.map(|with| quote!(#with).to_string())
    };
    let with = |text: &str| Some(quote::ToTokens::to_token_stream(&syn::parse_str::<Type>(text).unwrap()).to_string());
    assert_eq!(of(parse_quote!(#[rkyv(with = C)])), with("C"));
    assert_eq!(
        of(parse_quote!(#[rkyv(with = Map<B, C>, omit_bounds)])),
        with("Map<B, C>")
    );
    assert_eq!(
        of(parse_quote!(#[rkyv(omit_bounds, with = a::B<C<D, E>>)])),
        with("a::B<C<D, E>>")
    );
    assert_eq!(of(parse_quote!(#[rkyv(omit_bounds)])), None);
    assert_eq!(of(parse_quote!(#[rkyv(attr(with = C))])), None);
}

#[test]
fn harmless_rkyv_keys_pass() {
    let input = parse_quote! {
        #[rkyv(derive(Debug), compare(PartialEq), archived = Stored, bytecheck(bounds(__C: With)))]
        struct A { #[rkyv(omit_bounds)] a: Vec<A> }
    };
    assert!(schema(&input).is_ok());
}

#[test]
fn too_many_variants_are_counted() {
    let variants = (0..257).map(|i| quote::format_ident!("V{i}"));
    refused(
        parse_quote!(enum A { #(#variants),* }),
        "257 variants are more than 256",
    );
}
