//! Every kind of key: order, reading back, what is refused.

use super::*;
use std::fmt::Debug;

fn encoded<K: Key>(key: &K, form: Form) -> Vec<u8> {
    Encoded::<K>::of(key.borrowed(), form).expect("short").to_vec()
}

/// E1: bytes sort as keys do; both forms read back.
fn agree<K: Key + Ord + Debug>(keys: &[K]) {
    for a in keys {
        for form in [Form::Hashed, Form::Ordered] {
            let bytes = encoded(a, form);
            assert!(K::VARIABLE || bytes.len() == K::SIZE, "{a:?}");
            assert_eq!(decode::<K>(form, &bytes).as_ref(), Some(a), "{form:?}");
            let longer = [&bytes[..], &[0]].concat();
            assert_ne!(decode::<K>(form, &longer).as_ref(), Some(a), "its end is part of it");
        }
        for b in keys {
            let (x, y) = (encoded(a, Form::Ordered), encoded(b, Form::Ordered));
            assert_eq!(x.cmp(&y), a.cmp(b), "{a:?} {b:?}");
            assert_eq!(encoded(a, Form::Hashed) == encoded(b, Form::Hashed), a == b);
        }
    }
}

fn strings(random: &mut fastrand::Rng) -> Vec<String> {
    let mut all: Vec<String> = [
        "",
        "\0",
        "\0\0",
        "\0\u{1}",
        "\u{1}",
        "a",
        "a\0",
        "a\0b",
        "ab",
        "ä",
        "\u{10ffff}",
    ]
    .map(String::from)
    .to_vec();
    for _ in 0..60 {
        let length = random.usize(..9);
        all.push(
            (0..length)
                .map(|_| ['\0', '\u{1}', 'a', 'b', 'ß'][random.usize(..5)])
                .collect(),
        );
    }
    all
}

#[test]
fn bytes_sort_as_keys_do() {
    let mut random = fastrand::Rng::with_seed(0x6b65);
    agree(&[0, 1, 127, 128, 255, random.u8(..)]);
    agree(&[0, 1, 255, 256, u16::MAX, random.u16(..)]);
    agree(&[i8::MIN, -1, 0, 1, i8::MAX]);
    agree(&[i16::MIN, -256, -1, 0, 1, 256, i16::MAX]);
    agree(&[i32::MIN, -65536, -1, 0, 1, 65536, i32::MAX]);
    agree(&[i128::MIN, -1, 0, 1, i128::MAX]);
    agree(&[false, true]);
    agree(&[[0, 0, 1], [0, 1, 0], [255, 0, 0]]);
    let numbers: Vec<u64> = (0..40).map(|i| random.u64(..) >> i).collect();
    agree(&numbers);
    let numbers: Vec<i64> = (0..40).map(|i| random.i64(..) >> i).collect();
    agree(&numbers);
    let pairs: Vec<(i32, u16)> = (0..60).map(|_| (random.i32(-3..3), random.u16(..4))).collect();
    agree(&pairs);
    type Nested = ((u8, bool), i64, [u8; 2], u128);
    let nested: Vec<Nested> = (0..60)
        .map(|_| {
            (
                (random.u8(..3), random.bool()),
                random.i64(-2..2),
                [random.u8(..2), 9],
                random.u128(..3),
            )
        })
        .collect();
    agree(&nested);
}

#[test]
fn strings_sort_as_strings_do_alone_and_anywhere_in_a_tuple() {
    let mut random = fastrand::Rng::with_seed(0x7374);
    let all = strings(&mut random);
    agree(&all);
    let bytes: Vec<Vec<u8>> = all.iter().map(|s| s.as_bytes().to_vec()).collect();
    agree(&bytes);
    let first: Vec<(String, u8)> = all.iter().map(|s| (s.clone(), random.u8(..3))).collect();
    agree(&first);
    let last: Vec<(i16, String)> = all.iter().map(|s| (random.i16(-2..2), s.clone())).collect();
    agree(&last);
    let two: Vec<(String, String, bool)> = all
        .iter()
        .map(|s| (s.clone(), all[random.usize(..all.len())].clone(), random.bool()))
        .collect();
    agree(&two);
    let nested: Vec<((u8, String), Vec<u8>)> = all
        .iter()
        .map(|s| {
            (
                (random.u8(..2), s.clone()),
                all[random.usize(..all.len())].clone().into_bytes(),
            )
        })
        .collect();
    agree(&nested);
}

#[test]
fn what_no_key_writes_is_refused() {
    assert_eq!(decode::<u64>(Form::Ordered, &[1, 2, 3]), None);
    assert_eq!(decode::<u16>(Form::Ordered, &[1, 2, 3]), None);
    assert_eq!(decode::<bool>(Form::Ordered, &[2]), None);
    assert_eq!(decode::<String>(Form::Ordered, &[0xff]), None);
    assert_eq!(decode::<(String, u8)>(Form::Ordered, b"ab"), None);
    assert_eq!(decode::<(String, u8)>(Form::Ordered, b"ab\0"), None);
    assert_eq!(decode::<(String, u8)>(Form::Ordered, b"ab\0\x02\x01"), None);
    assert_eq!(decode::<(String, u8)>(Form::Ordered, b"ab\0\0"), None);
    assert_eq!(
        decode::<(String, u8)>(Form::Ordered, b"ab\0\0\x01"),
        Some(("ab".into(), 1))
    );
}

#[test]
fn a_key_may_be_too_long() {
    let most = "x".repeat(MAX_LONG_KEY);
    assert!(Encoded::<String>::of(&most, Form::Ordered).is_ok());
    assert!(matches!(
        Encoded::<(String, u8)>::of(&(most, 1), Form::Ordered),
        Err(Error::KeyTooLong {
            bytes: 4099,
            most: MAX_LONG_KEY
        })
    ));
}

#[test]
fn shapes_and_sizes() {
    assert_eq!(<(u32, [u8; 5], bool)>::shape(), "(u32, [u8; 5], bool)");
    assert_eq!(<(u32, [u8; 5], bool)>::SIZE, 10);
    assert_eq!(<(String, (u8, Vec<u8>))>::shape(), "(String, (u8, Vec<u8>))");
    assert_eq!((<(u8, String)>::SIZE, <(u8, String)>::VARIABLE), (LONG_KEY_WORD, true));
}
