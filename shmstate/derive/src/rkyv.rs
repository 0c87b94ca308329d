//! What `#[rkyv(…)]` says that changes what is archived: it is searched for a few keys, and not read otherwise.

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Error, Ident, Meta, Result, Type};

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
