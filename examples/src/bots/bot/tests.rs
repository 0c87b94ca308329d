//! One bot against hand-made frames: each misbehaviour moves its own counter, and nothing else.

use super::*;
use crate::protocol::{Acks, Command, ProtocolError, decode_command, inventory_digest};

const ID: u64 = 7;
const MS: u64 = 1_000_000;

/// A server for one player: executes what it is told to and makes frames.
struct Server {
    bot: Bot,
    tally: Tally,
    state: State,
    items: [u32; ITEM_KINDS as usize],
    waiting: VecDeque<(u32, Effect)>,
    now: u64,
}

impl Server {
    fn joined() -> Self {
        let mut server = Self {
            bot: Bot::new(ID, 3).expect("a short name"),
            tally: Tally::default(),
            state: State {
                tick: 100,
                generation: 1,
                rules: 1,
                inventory_digest: inventory_digest([]),
                words_digest: words_digest(""),
                ..State::default()
            },
            items: [0; ITEM_KINDS as usize],
            waiting: VecDeque::new(),
            now: 0,
        };
        assert!(matches!(
            decode_command(server.bot.outgoing()),
            Ok(Some((
                Command::Join {
                    player_id: ID,
                    name: "bot 7"
                },
                _
            )))
        ));
        server.bot.sent(server.bot.outgoing().len());
        let mut bytes = Vec::new();
        Welcome {
            player_id: ID,
            tick: 100,
        }
        .encode(&mut bytes);
        server.deliver(&bytes).expect("a good frame");
        assert!(!server.bot.is_playing());
        server.tick(&[]);
        assert!(server.bot.is_playing());
        server
    }

    fn deliver(&mut self, bytes: &[u8]) -> Result<(), BotError> {
        self.now += 16 * MS;
        self.bot.receive(bytes, self.now, &mut self.tally)
    }

    /// Has the bot send `count` commands and takes them in.
    fn commands(&mut self, count: usize) {
        for _ in 0..count {
            self.bot.command(&mut self.tally).expect("within the limits");
        }
        while let Some((command, taken)) = decode_command(self.bot.outgoing()).expect("the bot's own frames") {
            let (seq, effect) = match command {
                Command::Join { .. } => panic!("a second join"),
                Command::Move { seq, dx, dy } => (seq, Effect::Move { dx, dy }),
                Command::Pickup { seq, item } => (seq, Effect::Pickup { item }),
                Command::Chat { seq, text } => (
                    seq,
                    Effect::Words {
                        digest: words_digest(text),
                    },
                ),
            };
            self.waiting.push_back((seq, effect));
            self.bot.sent(taken);
        }
    }

    /// Executes one command that waits.
    fn execute(&mut self, seq: u32) {
        let place = self
            .waiting
            .iter()
            .position(|(waiting, _)| *waiting == seq)
            .expect("a command that was sent");
        match self.waiting.remove(place).expect("just found").1 {
            Effect::Move { dx, dy } => {
                self.state.x += i32::from(dx);
                self.state.y += i32::from(dy);
            }
            Effect::Pickup { item } => {
                self.items[usize::from(item)] += 1;
                self.state.score += u64::from(self.state.rules);
                let held = || self.items.iter().enumerate().filter(|(_, count)| **count > 0);
                self.state.inventory_kinds = held().count() as u16;
                self.state.inventory_digest = inventory_digest(held().map(|(item, count)| (item as u16, *count)));
            }
            Effect::Words { digest } => self.state.words_digest = digest,
        }
    }

    /// The next tick's frame with these acknowledgements, as it is.
    fn frame(&mut self, acks: &[u32]) -> State {
        self.state.tick += 1;
        self.state.from_tick = self.state.tick;
        let mut frame = State {
            acks: Acks::NONE,
            ..self.state
        };
        for seq in acks {
            assert!(frame.acks.push(*seq), "too many for one frame");
        }
        frame
    }

    fn send(&mut self, frame: State) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.deliver(&bytes).expect("a good frame");
    }

    /// A tick that executes and acknowledges these.
    fn tick(&mut self, seqs: &[u32]) {
        for seq in seqs {
            self.execute(*seq);
        }
        let frame = self.frame(seqs);
        self.send(frame);
    }

    /// The report at the end of the run.
    fn end(mut self) -> crate::bots::report::Report {
        self.bot.give_up(&mut self.tally);
        self.tally.to_report()
    }
}

/// The nine fault counters by name, those at zero left out.
fn faults(report: &crate::bots::report::Report) -> Vec<(&'static str, u64)> {
    let all = [
        ("disconnects", report.disconnects),
        ("protocol_errors", report.protocol_errors),
        ("ticks_skipped", report.ticks_skipped),
        ("ticks_doubled", report.ticks_doubled),
        ("commands_lost", report.commands_lost),
        ("commands_doubled", report.commands_doubled),
        ("commands_misordered", report.commands_misordered),
        ("state_mismatches", report.state_mismatches),
        ("generation_backwards", report.generation_backwards),
    ];
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

#[test]
fn a_clean_run_has_no_fault() {
    let mut server = Server::joined();
    let mut seq = 0;
    for round in 0..400 {
        if round == 200 {
            server.state.rules = 2;
            server.state.generation = 2;
        }
        server.commands(3);
        server.tick(&[seq + 1]);
        server.tick(&[seq + 2, seq + 3]);
        server.tick(&[]);
        seq += 3;
    }
    let report = server.end();
    assert_eq!(faults(&report), []);
    assert_eq!((report.commands_sent, report.commands_acked), (1200, 1200));
    assert_eq!((report.frames, report.ticks_coalesced), (1201, 0));
    assert_eq!(
        (report.rules_seen, report.generations_seen, report.generation_last),
        (vec![1, 2], 2, 2)
    );
    assert_eq!(report.first_faults, Vec::<String>::new());
}

#[test]
fn frames_may_be_cut_anywhere() {
    for size in 1..=40 {
        let mut server = Server::joined();
        server.commands(30);
        let mut bytes = Vec::new();
        for seq in 1..=30 {
            server.execute(seq);
            server.frame(&[seq]).encode(&mut bytes);
        }
        for piece in bytes.chunks(size * 5 - 4) {
            server.deliver(piece).expect("good frames");
        }
        let report = server.end();
        assert_eq!(
            (faults(&report), report.commands_acked, report.frames),
            (vec![], 30, 31),
            "pieces of {size}"
        );
    }
}

#[test]
fn a_lost_command() {
    let mut server = Server::joined();
    server.commands(4);
    server.tick(&[1]);
    // The second is never executed.
    server.tick(&[3, 4]);
    assert_eq!(faults(&server.end()), [("commands_lost", 1)]);
}

#[test]
fn a_command_never_acknowledged() {
    let mut server = Server::joined();
    server.commands(3);
    server.tick(&[1]);
    server.tick(&[]);
    assert_eq!(server.bot.in_flight(), 2);
    let report = server.end();
    assert_eq!(faults(&report), [("commands_lost", 2)]);
    assert!(
        report.first_faults[0].contains("never acknowledged"),
        "{:?}",
        report.first_faults
    );
}

#[test]
fn an_acknowledgement_doubled() {
    let mut server = Server::joined();
    server.commands(3);
    server.tick(&[1, 2]);
    let frame = server.frame(&[2]);
    server.send(frame);
    server.tick(&[3]);
    assert_eq!(faults(&server.end()), [("commands_doubled", 1)]);
}

#[test]
fn a_command_executed_twice_shows_in_the_state() {
    let mut server = Server::joined();
    server.commands(40);
    let (seq, item) = server
        .waiting
        .iter()
        .find_map(|(seq, effect)| {
            if let Effect::Pickup { item } = effect {
                Some((*seq, *item))
            } else {
                None
            }
        })
        .expect("a pickup among 40 commands");
    for before in 1..seq {
        server.tick(&[before]);
    }
    server.waiting.push_back((seq, Effect::Pickup { item }));
    server.tick(&[seq, seq]);
    let report = server.end();
    assert_eq!((report.commands_doubled, report.state_mismatches), (1, 1));
}

#[test]
fn acknowledgements_out_of_order() {
    let mut server = Server::joined();
    server.commands(4);
    server.tick(&[1, 3, 2, 4]);
    let report = server.end();
    assert_eq!(
        (faults(&report), report.commands_acked),
        (vec![("commands_misordered", 1)], 4)
    );

    let mut server = Server::joined();
    server.commands(1);
    let frame = server.frame(&[2]);
    server.send(frame);
    server.tick(&[1]);
    assert_eq!(faults(&server.end()), [("commands_misordered", 1)], "never sent");
}

#[test]
fn ticks_skipped_doubled_and_coalesced() {
    let mut server = Server::joined();
    server.state.tick += 3;
    server.tick(&[]);
    server.tick(&[]);
    assert_eq!(faults(&server.end()), [("ticks_skipped", 3)]);

    let mut server = Server::joined();
    let frame = server.frame(&[]);
    server.send(frame);
    server.send(frame);
    server.tick(&[]);
    assert_eq!(faults(&server.end()), [("ticks_doubled", 1)]);

    let mut server = Server::joined();
    let mut frame = server.frame(&[]);
    frame.tick += 4;
    server.state.tick += 4;
    server.send(frame);
    server.tick(&[]);
    let report = server.end();
    assert_eq!((faults(&report), report.ticks_coalesced), (vec![], 4));
}

#[test]
fn the_first_state_must_follow_the_welcome() {
    let mut server = Server::joined();
    server.bot = Bot::new(ID, 3).expect("a short name");
    let mut bytes = Vec::new();
    Welcome {
        player_id: ID,
        tick: 50,
    }
    .encode(&mut bytes);
    server.deliver(&bytes).expect("a good frame");
    server.state.tick = 51;
    server.tick(&[]);
    assert_eq!(faults(&server.end()), [("ticks_skipped", 1)]);
}

#[test]
fn each_wrong_value_is_one_mismatch() {
    let wrong: [fn(&mut State); 5] = [
        |state| state.score += 1,
        |state| state.x -= 1,
        |state| state.inventory_kinds += 1,
        |state| state.inventory_digest ^= 1,
        |state| state.words_digest ^= 1,
    ];
    for change in wrong {
        let mut server = Server::joined();
        server.commands(3);
        server.tick(&[1, 2, 3]);
        change(&mut server.state);
        let frame = server.frame(&[]);
        server.send(frame);
        server.send(State {
            from_tick: frame.tick + 1,
            tick: frame.tick + 1,
            ..frame
        });
        assert_eq!(faults(&server.end()), [("state_mismatches", 1)]);
    }
}

#[test]
fn rules_the_bots_do_not_know() {
    let mut server = Server::joined();
    server.commands(60);
    server.state.rules = 3;
    for seq in 1..=60 {
        server.tick(&[seq]);
    }
    let report = server.end();
    assert!(report.state_mismatches > 0);
    assert_eq!(report.rules_seen, [3]);
}

#[test]
fn generation_backwards() {
    let mut server = Server::joined();
    server.state.generation = 5;
    server.tick(&[]);
    server.state.generation = 4;
    server.tick(&[]);
    server.state.generation = 6;
    server.tick(&[]);
    let report = server.end();
    assert_eq!(faults(&report), [("generation_backwards", 1)]);
    assert_eq!(report.generations_seen, 3);
}

#[test]
fn frames_out_of_place_end_the_bot() {
    let mut server = Server::joined();
    let mut bytes = Vec::new();
    Welcome { player_id: ID, tick: 1 }.encode(&mut bytes);
    assert!(matches!(server.deliver(&bytes), Err(BotError::OutOfPlace { .. })));
    assert!(matches!(
        server.deliver(&[1, 0, 0x33]),
        Err(BotError::Frame(ProtocolError::UnknownType { kind: 0x33, .. }))
    ));

    let mut bot = Bot::new(ID, 3).expect("a short name");
    bytes.clear();
    Welcome {
        player_id: ID + 1,
        tick: 1,
    }
    .encode(&mut bytes);
    let refused = bot.receive(&bytes, 0, &mut Tally::default());
    assert_eq!(
        refused,
        Err(BotError::WrongPlayer {
            joined: ID,
            welcomed: ID + 1
        })
    );

    let mut bot = Bot::new(ID, 3).expect("a short name");
    bytes.clear();
    State::default().encode(&mut bytes);
    assert!(matches!(
        bot.receive(&bytes, 0, &mut Tally::default()),
        Err(BotError::OutOfPlace { .. })
    ));
    bytes.clear();
    Welcome { player_id: ID, tick: 0 }.encode(&mut bytes);
    State {
        tick: 1,
        from_tick: 1,
        inventory_kinds: 4,
        ..State::default()
    }
    .encode(&mut bytes);
    let refused = bot.receive(&bytes, 0, &mut Tally::default());
    assert_eq!(
        refused,
        Err(BotError::NotNew {
            player_id: ID,
            inventory_kinds: 4
        })
    );
}

#[test]
fn garbage_never_panics() {
    let mut rng = fastrand::Rng::with_seed(9);
    for _ in 0..20_000 {
        let mut server = Server::joined();
        let mut bytes = Vec::new();
        server.frame(&[1, 2, 3]).encode(&mut bytes);
        let at = rng.usize(..bytes.len());
        bytes[at] = rng.u8(..);
        bytes.truncate(rng.usize(..=bytes.len()));
        for piece in bytes.chunks(rng.usize(1..40)) {
            if server.deliver(piece).is_err() {
                break;
            }
        }
    }
}

#[test]
fn a_bot_holds_back_when_nothing_is_acknowledged() {
    let mut server = Server::joined();
    server.commands(MAX_IN_FLIGHT + 3);
    assert_eq!(server.bot.in_flight(), MAX_IN_FLIGHT);
    let report = server.end();
    assert_eq!((report.commands_sent, report.commands_held), (MAX_IN_FLIGHT as u64, 3));
    assert_eq!(report.commands_lost, MAX_IN_FLIGHT as u64);
}

#[test]
fn the_same_seed_says_the_same() {
    let said = |seed| {
        let mut bot = Server::joined().bot;
        bot.rng = fastrand::Rng::with_seed(seed);
        let mut tally = Tally::default();
        for _ in 0..200 {
            bot.command(&mut tally).expect("within the limits");
        }
        bot.outgoing().to_vec()
    };
    assert_eq!(said(1), said(1));
    assert_ne!(said(1), said(2));
}
