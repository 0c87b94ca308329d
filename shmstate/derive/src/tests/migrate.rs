//! Refusals of the keys that say how a type comes from its older version.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse_quote;

use super::refused;
use crate::expand::schema;

/// The refusal of a struct with this field, which comes from `Old` and goes back to it.
#[track_caller]
fn field_refused(keys: TokenStream, message: &str) {
    refused(
        parse_quote!(
            #[schema(from = Old, back)]
            struct A {
                #[schema(#keys)]
                a: u8,
            }
        ),
        message,
    );
}

/// The refusal of an enum with this variant, which comes from `Old` and goes back to it.
#[track_caller]
fn variant_refused(keys: TokenStream, message: &str) {
    refused(
        parse_quote!(
            #[schema(from = Old, back)]
            enum A {
                #[schema(#keys)]
                B { c: u8 },
            }
        ),
        message,
    );
}

#[test]
fn keys_need_an_older_version() {
    refused(
        parse_quote!(
            #[schema(back)]
            struct A;
        ),
        "say which with `from = Old`",
    );
    refused(
        parse_quote!(
            #[schema(version = 2, removed(a))]
            struct A;
        ),
        "say which with `from = Old`",
    );
    refused(
        parse_quote!(
            struct A {
                #[schema(default)]
                a: u8,
            }
        ),
        "no meaning on a field of a type without `from = Old`",
    );
    refused(
        parse_quote!(
            enum A {
                B(#[schema(was = "1")] u8),
            }
        ),
        "no meaning on a field of a type without `from = Old`",
    );
    refused(
        parse_quote!(
            enum A {
                #[schema(new)]
                B,
            }
        ),
        "no meaning on a variant of a type without `from = Old`",
    );
}

#[test]
fn an_older_version_is_a_path() {
    for (of, message) in [
        ("(u8, u16)", "a struct or an enum by its path"),
        ("<A as B>::C", "a struct or an enum by its path"),
        ("[Old; 3]", "a struct or an enum by its path"),
        ("Old<'static>", "with a lifetime"),
        ("&'a Old", "with a lifetime"),
        ("Option<Old<'a>>", "with a lifetime"),
        ("A", "names the type itself"),
        ("Self", "names the type itself"),
    ] {
        let of: syn::Type = syn::parse_str(of).unwrap();
        refused(
            parse_quote!(
                #[schema(from = #of)]
                struct A;
            ),
            message,
        );
    }
    refused(
        parse_quote!(
            #[schema(from = "Old")]
            struct A;
        ),
        "expected",
    );
    refused(
        parse_quote!(
            #[schema(from = V1, from = V2)]
            struct A;
        ),
        "`from` is given twice",
    );
    refused(
        parse_quote!(
            #[schema(from = Old, back)]
            union A {
                a: u8,
            }
        ),
        "a union says nowhere",
    );
    refused(
        parse_quote!(
            #[schema(from = Old)]
            struct A<'a>(&'a u8);
        ),
        "a type with a lifetime",
    );
}

#[test]
fn a_field_comes_from_one_place() {
    field_refused(
        quote!(default, was = "b"),
        "no `was`, `migrate` or `back` can stand beside it",
    );
    field_refused(quote!(default = 3, migrate = f), "can stand beside it");
    field_refused(quote!(default, back = f), "can stand beside it");
    field_refused(quote!(default, default), "`default` is given twice");
    field_refused(quote!(was = "b", was = "c"), "`was` is given twice");
    for was in ["", "a b", "self", "-1", "a.b"] {
        field_refused(quote!(was = #was), "`was` is the name of a field, or its position");
    }
    field_refused(quote!(was = b), "expected string literal");
    field_refused(quote!(version = 2), "unknown key `version`");
    field_refused(quote!(version = 2), "other keys belong on the type");
    field_refused(quote!(new), "a field's keys are `default`");
}

#[test]
fn the_way_back_is_whole_or_absent() {
    field_refused(quote!(migrate = f), "write `back = FUNCTION` beside `migrate`");
    refused(
        parse_quote!(
            #[schema(from = Old)]
            struct A {
                #[schema(migrate = f, back = g)]
                a: u8,
            }
        ),
        "add `back` beside `from` on the type",
    );
    refused(
        parse_quote!(
            #[schema(from = Old, removed(b))]
            struct A;
        ),
        "dropped unsaid",
    );
    refused(
        parse_quote!(
            #[schema(from = Old)]
            enum A {
                #[schema(removed(b))]
                B,
            }
        ),
        "dropped unsaid",
    );
    refused(
        parse_quote!(
            #[schema(from = Old, back = f)]
            struct A;
        ),
        "`back` takes no value on a type",
    );
    refused(
        parse_quote!(
            #[schema(from = Old, back, removed(b, b = 3))]
            struct A;
        ),
        "two values",
    );
    refused(
        parse_quote!(
            #[schema(from = Old, back)]
            struct A {
                a: u8,
                #[schema(was = "a")]
                b: u8,
            }
        ),
        "two values",
    );
}

#[test]
fn the_list_of_what_is_removed_has_a_shape() {
    for list in [quote!(removed), quote!(removed = "b"), quote!(removed())] {
        refused(
            parse_quote!(
                #[schema(from = Old, back, #list)]
                struct A;
            ),
            "takes a list in parentheses",
        );
    }
    refused(
        parse_quote!(
            #[schema(from = Old, removed(Gone))]
            enum A {
                B,
            }
        ),
        "needs the new value that it becomes: `removed(Gone = VALUE)`",
    );
}

#[test]
fn a_variant_comes_from_one_place() {
    variant_refused(
        quote!(new),
        "write `#[schema(back = OLD_VALUE)]` on the new variant `B`",
    );
    variant_refused(quote!(back = Old::C, was = "C"), "none of the older version");
    variant_refused(quote!(back = Old::C, removed(d)), "none of the older version");
    variant_refused(quote!(was = "0"), "a variant's old name is no number");
    variant_refused(quote!(default), "unknown key `default`");
    variant_refused(quote!(default), "a variant's keys are `new`");
    refused(
        parse_quote!(
            #[schema(from = Old)]
            enum A {
                #[schema(back = Old::C)]
                B,
            }
        ),
        "add `back` beside `from` on the type",
    );
    refused(
        parse_quote!(
            #[schema(from = Old)]
            enum A {
                #[schema(new)]
                B(#[schema(default)] u8),
            }
        ),
        "no meaning on a field of a new variant",
    );
    refused(
        parse_quote!(
            #[schema(from = Old)]
            enum A {
                B,
                #[schema(was = "B")]
                C,
            }
        ),
        "two variants come from `B`",
    );
    refused(
        parse_quote!(
            #[schema(from = Old, removed(B = Self::B))]
            enum A {
                B,
            }
        ),
        "two variants come from `B`",
    );
}

#[test]
fn what_is_right_passes() {
    for input in [
        parse_quote! {
            #[schema(version = 2, from = v1::Old<T>, back, removed(level, title = String::from("none")))]
            struct A<T> {
                #[schema(default)] a: T,
                #[schema(default = f(1, 2))] b: u8,
                #[schema(was = "type", migrate = |x: u8| x, back = g)] c: u8,
                #[schema(back = g)] d: u8,
            }
        },
        parse_quote! {
            #[schema(from = Old, back, removed(Gone = Self::B))]
            enum A {
                #[schema(was = "r#mod", removed(x = 3))] B,
                #[schema(new, back = Old::Gone)] C(u8),
            }
        },
        // Forward, one field may become two.
        parse_quote! {
            #[schema(from = Old)]
            struct A { a: u8, #[schema(was = "a")] b: u8 }
        },
    ] {
        schema(&input).unwrap();
    }
}
