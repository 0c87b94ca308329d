//! Round trips, every truncation, every kind of bad frame, and the bytes themselves.

use super::*;

fn commands() -> Vec<Command<'static>> {
    const LONGEST: &str = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567\u{fc}";
    vec![
        Command::Join { player_id: 0, name: "" },
        Command::Join {
            player_id: u64::MAX,
            name: "12345678901234567890123456789012",
        },
        Command::Move {
            seq: 1,
            dx: i16::MIN,
            dy: i16::MAX,
        },
        Command::Pickup {
            seq: u32::MAX,
            item: 65535,
        },
        Command::Chat { seq: 7, text: "" },
        Command::Chat {
            seq: 8,
            text: "\u{1f409} \u{437}\u{430}\u{432}\u{442}\u{440}\u{430}",
        },
        Command::Chat { seq: 9, text: LONGEST },
    ]
}

fn states() -> Vec<State> {
    let mut full = State {
        from_tick: 5,
        tick: 9,
        generation: 3,
        rules: 2,
        x: i32::MIN,
        y: i32::MAX,
        score: u64::MAX,
        inventory_kinds: 32,
        inventory_digest: 0x0123_4567_89ab_cdef,
        words_digest: words_digest("gold"),
        acks: Acks::NONE,
    };
    let mut all = vec![State::default(), full];
    for seq in 0..MAX_ACKS_PER_FRAME as u32 {
        assert!(!full.acks.is_full() && full.acks.push(seq));
        all.push(full);
    }
    assert!(full.acks.is_full() && !full.acks.push(99));
    assert_eq!(full.acks.as_slice().len(), MAX_ACKS_PER_FRAME);
    all
}

fn encoded(command: Command<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    command.encode(&mut bytes).expect("within the limits");
    bytes
}

#[test]
fn commands_round_trip_and_every_truncation_is_incomplete() {
    for command in commands() {
        let mut bytes = encoded(command);
        assert!(bytes.len() <= MAX_COMMAND_FRAME);
        for cut in 0..bytes.len() {
            assert_eq!(decode_command(&bytes[..cut]), Ok(None), "{command:?} cut at {cut}");
        }
        let length = bytes.len();
        bytes.extend_from_slice(&[0xff; 5]);
        assert_eq!(decode_command(&bytes), Ok(Some((command, length))));
    }
}

#[test]
fn server_frames_round_trip_and_every_truncation_is_incomplete() {
    let mut frames: Vec<ServerFrame> = states().into_iter().map(ServerFrame::State).collect();
    frames.push(ServerFrame::Welcome(Welcome {
        player_id: 17,
        tick: u64::MAX,
    }));
    let mut longest = 0;
    for frame in frames {
        let mut bytes = Vec::new();
        match frame {
            ServerFrame::State(state) => state.encode(&mut bytes),
            ServerFrame::Welcome(welcome) => welcome.encode(&mut bytes),
        }
        for cut in 0..bytes.len() {
            assert_eq!(decode_server(&bytes[..cut]), Ok(None), "{frame:?} cut at {cut}");
        }
        let length = bytes.len();
        longest = longest.max(length);
        bytes.extend_from_slice(&[0; 4]);
        assert_eq!(decode_server(&bytes), Ok(Some((frame, length))));
    }
    assert_eq!(longest, MAX_STATE_FRAME);
}

#[test]
fn the_bytes_are_those_of_the_header() {
    assert_eq!(
        encoded(Command::Join {
            player_id: 0x0102,
            name: "ab"
        }),
        [12, 0, 1, 2, 1, 0, 0, 0, 0, 0, 0, 2, b'a', b'b']
    );
    assert_eq!(
        encoded(Command::Move { seq: 1, dx: -1, dy: 2 }),
        [9, 0, 2, 1, 0, 0, 0, 0xff, 0xff, 2, 0]
    );
    assert_eq!(
        encoded(Command::Pickup { seq: 2, item: 0x1234 }),
        [7, 0, 3, 2, 0, 0, 0, 0x34, 0x12]
    );
    assert_eq!(
        encoded(Command::Chat { seq: 3, text: "x" }),
        [7, 0, 4, 3, 0, 0, 0, 1, b'x']
    );
    let mut bytes = Vec::new();
    Welcome { player_id: 5, tick: 6 }.encode(&mut bytes);
    assert_eq!(bytes, [17, 0, 0x81, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]);
    let mut acks = Acks::NONE;
    assert!(acks.push(0x0a0b));
    let state = State {
        from_tick: 1,
        tick: 2,
        generation: 3,
        rules: 4,
        x: -1,
        y: 5,
        score: 6,
        inventory_kinds: 7,
        inventory_digest: 8,
        words_digest: 9,
        acks,
    };
    bytes.clear();
    state.encode(&mut bytes);
    let mut expected = vec![65, 0, 0x82];
    for word in [1_u64, 2, 3] {
        expected.extend_from_slice(&word.to_le_bytes());
    }
    expected.extend_from_slice(&[4, 0xff, 0xff, 0xff, 0xff, 5, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 7, 0]);
    expected.extend_from_slice(&[8, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0x0b, 0x0a, 0, 0]);
    assert_eq!(bytes, expected);
}

#[test]
fn bad_commands_are_typed_errors() {
    assert_eq!(decode_command(&[0, 0]), Err(ProtocolError::Empty));
    let unknown = decode_command(&[9, 0, 0x82]).expect_err("a server's type");
    assert!(
        matches!(
            unknown,
            ProtocolError::UnknownType {
                kind: 0x82,
                length: 9,
                ..
            }
        ),
        "{unknown}"
    );
    // Known to be bad from the header alone, before the body has arrived.
    assert_eq!(
        decode_command(&[10, 0, MOVE]),
        Err(ProtocolError::WrongLength {
            kind: MOVE,
            length: 10,
            least: 9,
            most: 9
        })
    );
    assert_eq!(
        decode_command(&[0xff, 0xff, CHAT]),
        Err(ProtocolError::WrongLength {
            kind: CHAT,
            length: 65535,
            least: 6,
            most: 126
        })
    );
    // The text's length disagrees with the frame's.
    let mut chat = encoded(Command::Chat { seq: 1, text: "abc" });
    chat[7] = 2;
    assert_eq!(
        decode_command(&chat),
        Err(ProtocolError::WrongLength {
            kind: CHAT,
            length: 9,
            least: 8,
            most: 8
        })
    );
    chat[7] = 5;
    assert_eq!(
        decode_command(&chat),
        Err(ProtocolError::WrongLength {
            kind: CHAT,
            length: 9,
            least: 11,
            most: 11
        })
    );
    chat[7] = 200;
    assert!(matches!(
        decode_command(&chat),
        Err(ProtocolError::TooMany {
            count: 200,
            limit: MAX_TEXT,
            ..
        })
    ));
    chat[7] = 3;
    chat[9] = 0xc3;
    assert_eq!(decode_command(&chat), Err(ProtocolError::NotUtf8 { kind: CHAT, at: 1 }));
    // Messages carry type, length and expectation.
    let text = ProtocolError::WrongLength {
        kind: CHAT,
        length: 9,
        least: 8,
        most: 8,
    }
    .to_string();
    assert_eq!(text, "frame type 0x04 of length 9: expected length 8");
}

#[test]
fn bad_server_frames_are_typed_errors() {
    let mut bytes = Vec::new();
    State {
        from_tick: 9,
        tick: 8,
        ..State::default()
    }
    .encode(&mut bytes);
    assert_eq!(
        decode_server(&bytes),
        Err(ProtocolError::TicksBackwards { from_tick: 9, tick: 8 })
    );
    bytes.clear();
    states().last().expect("not empty").encode(&mut bytes);
    let count_at = HEADER + STATE_FIXED - 1;
    bytes[count_at] = 33;
    assert!(matches!(
        decode_server(&bytes),
        Err(ProtocolError::WrongLength { kind: STATE, .. })
    ));
    bytes[count_at] = 31;
    assert!(matches!(
        decode_server(&bytes),
        Err(ProtocolError::WrongLength { kind: STATE, .. })
    ));
    assert!(matches!(
        decode_server(&[9, 0, MOVE]),
        Err(ProtocolError::UnknownType { kind: MOVE, .. })
    ));
}

#[test]
fn no_input_panics() {
    let mut rng = fastrand::Rng::with_seed(4);
    let mut bytes = [0; 200];
    for _ in 0..200_000 {
        rng.fill(&mut bytes);
        bytes[0] = rng.u8(..=192);
        bytes[1] = 0;
        bytes[2] = *rng
            .choice(&[JOIN, MOVE, PICKUP, CHAT, WELCOME, STATE])
            .expect("not empty");
        let _ = decode_command(&bytes[..rng.usize(..=200)]);
        let _ = decode_server(&bytes[..rng.usize(..=200)]);
    }
}

#[test]
fn too_long_to_encode_appends_nothing() {
    let long = "x".repeat(MAX_TEXT + 1);
    let mut bytes = Vec::new();
    assert!(matches!(
        Command::Chat { seq: 1, text: &long }.encode(&mut bytes),
        Err(ProtocolError::TooMany {
            count: 121,
            limit: 120,
            ..
        })
    ));
    assert!(
        Command::Join {
            player_id: 1,
            name: &long[..33]
        }
        .encode(&mut bytes)
        .is_err()
    );
    assert!(bytes.is_empty());
}

#[test]
fn digests_are_fnv_1a() {
    assert_eq!(words_digest(""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(words_digest("a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(words_digest("foobar"), 0x8594_4171_f739_67e8);
    assert_eq!(inventory_digest([]), words_digest(""));
    assert_eq!(
        inventory_digest([(1, 2), (3, 4)]),
        words_digest("\u{1}\0\u{2}\0\0\0\u{3}\0\u{4}\0\0\0")
    );
}
