//! Rings that grow and shrink (G1–G3), and the note (S6): each cut after every store.

use super::{DEADLINE, Line, Over, RINGS, Seen, pattern, read_back, seen, wait, wait_bytes};
use crate::replay::every_prefix_of;
use crate::table::streams::sabotage::{Left, leave_out};
use crate::{Error, Received, Rings};
use rustix::event::PollFlags;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// A full ring of 256 bytes that wraps at 100.
fn full_ring(over: Over) -> Line {
    let mut line = Line::new(over);
    line.take_in(&pattern(0, 256));
    line.consume(100);
    line.take_in(&pattern(256, 100));
    assert_eq!(line.seen().rings, [256, 0]);
    assert_eq!(line.seen().input, pattern(100, 256));
    line
}

/// The ring grows for what the socket has, and the owner is killed at any store of it.
fn an_input_ring_that_grows(over: Over) {
    let mut line = full_ring(over);
    line.peer.write_all(&pattern(356, 700)).expect("peer writes");
    wait_bytes(&line.ours, 700);
    let cut = line.every_kill(|line| assert!(matches!(line.receive(), Received::Bytes(700))));
    assert_eq!((line.seen().rings, line.seen().input), ([1024, 0], pattern(100, 956)));
    // Whoever is next goes on at the next byte.
    line.continue_from(&cut);
    line.take_in(&pattern(1056, 2000));
    assert_eq!((line.seen().rings, line.seen().input), ([4096, 0], pattern(100, 2956)));
    line.consume(2956);
    line.change_hands();
}

#[test]
fn an_input_ring_grows_between_two_kills() {
    Over::ALL.into_iter().for_each(an_input_ring_that_grows);
}

/// Left out, each of these is seen by the tests here.
#[test]
fn a_step_left_out_is_found() {
    let broken = |left: Left, test: &dyn Fn()| {
        leave_out(left);
        let result = catch_unwind(AssertUnwindSafe(test));
        leave_out(Left::Nothing);
        assert!(result.is_err(), "{left:?} left out, and nobody noticed");
    };
    broken(Left::Log, &|| an_input_ring_that_grows(Over::Ipv4));
    broken(Left::Copy, &|| an_input_ring_that_grows(Over::Ipv4));
    broken(Left::Log, &output_grows);
    broken(Left::Copy, &output_grows);
    broken(Left::LateEmpty, &|| every_receive_and_send(Over::Unix));
}

fn output_grows() {
    let mut line = Line::new(Over::Ipv4);
    // The ring wraps, and half of it is still to be sent.
    assert!(line.produce(&pattern(0, 200)));
    line.send_all();
    assert!(line.produce(&pattern(200, 130)));
    assert_eq!(line.seen().rings, [256, 256]);
    let (streams, id) = (line.streams, line.id);
    let n = every_prefix_of(
        &mut line.region,
        |region| seen(region, streams, id),
        1,
        |tx| {
            assert!(streams.produce(tx, id, &pattern(330, 600))?);
            assert!(streams.produce(tx, id, &pattern(930, 900))?);
            assert!(!streams.produce(tx, id, &[0; 4096])?);
            streams.set_user(tx, id, 9)
        },
    );
    assert!(n > 250, "only {n} stores");
    assert_eq!(line.seen().rings, [256, 2048]);
    assert_eq!(line.seen().unsent, pattern(200, 1630));
    line.change_hands();
    line.send_all();
    assert_eq!(read_back(&mut line.peer, 1830), pattern(0, 1830));
}

/// Twice in one transaction, with what it consumes; a part that is taken back leaves no trace.
#[test]
fn an_output_ring_grows_in_the_transaction_that_produces() {
    output_grows();
    let mut line = Line::new(Over::Ipv4);
    assert!(line.produce(&pattern(0, 100)));
    let before = line.seen();
    line.write(|tx, streams, id| {
        let part: Result<(), Error> = tx.savepoint(|tx| {
            assert!(streams.produce(tx, id, &[1; 3000])?);
            Err(Error::GateClosed)
        });
        assert!(part.is_err());
        assert_eq!(streams.unsent(tx, id)?, 100);
        Ok(())
    })
    .expect("commit");
    assert_eq!(line.seen(), before);
}

/// Back to the least, at any store; then the stream goes on.
#[test]
fn rings_are_given_back_when_nothing_moves() {
    for over in Over::ALL {
        let mut line = Line::new(over);
        line.take_in(&pattern(0, 3000));
        assert!(line.produce(&pattern(0, 3000)));
        assert_eq!(line.seen().rings, [4096, 4096]);
        assert_eq!(line.tidy(), 0, "neither is empty");
        line.consume(3000);
        line.send_all();
        assert_eq!(read_back(&mut line.peer, 3000), pattern(0, 3000));
        let visit = |line: &mut Line| line.write(|tx, streams, _| streams.tidy(tx, 64)).expect("tidy");
        assert_eq!(visit(&mut line), 0, "they were in use a moment ago");
        assert!(line.produce(b"still"));
        line.send_all();
        assert_eq!(read_back(&mut line.peer, 5), b"still");
        assert_eq!(visit(&mut line), 0, "and again");
        let (streams, id) = (line.streams, line.id);
        let n = every_prefix_of(
            &mut line.region,
            |region| seen(region, streams, id),
            1,
            |tx| {
                assert_eq!(streams.tidy(tx, 64)?, 4096 - 256 + 4096);
                Ok(())
            },
        );
        assert!(n > 30, "only {n} stores");
        assert_eq!(line.seen().rings, [256, 0]);
        assert_eq!(line.tidy(), 0, "there is nothing left to give");
        line.change_hands();
        line.take_in(&pattern(3000, 500));
        assert_eq!(line.seen().input, pattern(3000, 500));
        assert!(line.produce(&pattern(0, 4096)), "the whole room");
        assert!(!line.produce(b"x"));
    }
}

/// A transaction that consumed all, gave the ring back, and was taken back.
#[test]
fn a_ring_given_back_comes_back_with_a_rollback() {
    let mut line = Line::new(Over::Ipv4);
    line.take_in(&pattern(0, 900));
    let before = line.seen();
    for _ in 0..2 {
        let undone = line.write(|tx, streams, id| {
            streams.consume(tx, id, 900)?;
            streams.tidy(tx, 64)?;
            let given = streams.tidy(tx, 64)?;
            assert_eq!(given, 1024 - 256);
            Err::<(), _>(Error::GateClosed)
        });
        assert!(matches!(undone, Err(Error::GateClosed)));
        assert_eq!(line.seen(), before);
    }
    line.change_hands();
}

/// Small and large pieces, either way, each cut at every store.
fn every_receive_and_send(over: Over) {
    let mut line = Line::new(over);
    let (mut came, mut went) = (0, 0);
    for (round, n) in [10usize, 20, 1, 255, 200, 3].into_iter().enumerate() {
        line.peer.write_all(&pattern(came, n)).expect("peer writes");
        wait_bytes(&line.ours, n as u64);
        let cut = line.every_kill(|line| assert!(matches!(line.receive(), Received::Bytes(_))));
        if round % 2 == 1 {
            line.continue_from(&cut);
        }
        while line.seen().input.len() < n {
            line.receive();
        }
        assert_eq!(line.seen().input, pattern(came, n));
        line.consume(n);
        came += n as u64;
        assert!(line.produce(&pattern(went, n)));
        let cut = line.every_kill(|line| line.send_all());
        assert_eq!(read_back(&mut line.peer, n), pattern(went, n));
        went += n as u64;
        if round % 2 == 0 {
            line.continue_from(&cut);
        }
        assert_eq!(line.seen().unsent, b"");
    }
    line.change_hands();
}

#[test]
fn calls_cut_at_every_store() {
    Over::ALL.into_iter().for_each(every_receive_and_send);
}

/// A note that was left by a stream which is no more, or by another than the one that is continued.
#[test]
fn a_note_counts_for_its_own_stream_only() {
    let mut line = Line::new(Over::Unix);
    let (other_peer, other) = Over::Unix.pair();
    let second = line
        .write(|tx, streams, _| streams.adopt(tx, std::os::fd::AsFd::as_fd(&other), 8))
        .expect("adopt");
    line.peer.write_all(b"eleven byte").expect("peer writes");
    let cut = line.every_kill(|line| assert!(matches!(line.receive(), Received::Bytes(11))));
    line.continue_from(&cut);
    let both = |line: &mut Line| {
        let gate = line.region.gate().clone();
        let pass = gate.enter().expect("pass");
        let mut io = line.region.io(&pass).expect("io");
        line.streams
            .resync(&mut io, second, std::os::fd::AsFd::as_fd(&other))
            .expect("resync");
    };
    both(&mut line);
    assert_eq!(seen(&line.region, line.streams, second).input, b"");
    assert_eq!(line.seen().input, b"eleven byte");
    // The one whose call was cut is ended without a look: the region stays sound.
    line.region = crate::Region::from_image(&cut).expect("region");
    line.streams = crate::Streams::open(&line.region, "line").expect("open");
    let first = line.id;
    line.write(|tx, streams, _| streams.end(tx, first)).expect("end");
    both(&mut line);
    assert_eq!(seen(&line.region, line.streams, second).input, b"");
    drop(other_peer);
}

/// No memory for a larger ring: what can be held is held, the rest stays in the socket; output is refused with a typed error.
#[test]
fn a_full_region_loses_nothing() {
    for over in Over::ALL {
        let rings = Rings {
            input: 1 << 17,
            output: 1 << 17,
        };
        let mut line = Line::with(over, rings, super::CAPACITY);
        let hog = line
            .write(|tx, _, _| {
                let hog: crate::Map<u64, Vec<u8>> = crate::Map::create(tx, "hog")?;
                Ok(hog)
            })
            .expect("table");
        let mut filled = 0;
        for size in [60_000usize, 1000, 200] {
            let full = loop {
                match line.write(|tx, _, _| hog.insert(tx, &filled, &vec![1; size])) {
                    Ok(_) => filled += 1,
                    Err(e) => break e,
                }
            };
            assert!(matches!(full, Error::RegionFull { .. }), "{full}");
        }
        line.peer.write_all(&pattern(0, 70_000)).expect("peer writes");
        wait_bytes(&line.ours, 20_000);
        let mut got = 0;
        let end = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < end, "the ring never filled");
            match line.receive() {
                Received::Bytes(n) => got += n,
                Received::Nothing => wait(&line.ours, PollFlags::IN),
                Received::Full => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(got < 70_000, "there was memory: {got}");
        assert_eq!(line.seen().input, pattern(0, got));
        let before: Seen = line.seen();
        let refused = line.write(|tx, streams, id| streams.produce(tx, id, &vec![1; 100_000]));
        assert!(matches!(refused, Err(Error::RegionFull { .. })), "{refused:?}");
        assert_eq!(line.seen(), before);
        line.change_hands();
        // Room is made: all comes.
        line.write(|tx, _, _| hog.clear(tx)).expect("clear");
        while got < 70_000 {
            match line.receive() {
                Received::Bytes(n) => got += n,
                Received::Nothing => wait(&line.ours, PollFlags::IN),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(line.seen().input, pattern(0, 70_000));
        assert!(line.produce(&vec![1; 100_000]));
    }
}

/// A full ring that may grow is full only if there is more; it says the end of a connection all the same.
#[test]
fn a_full_ring_tells_what_the_socket_has() {
    for over in Over::ALL {
        let mut line = full_ring(over);
        assert!(matches!(line.receive(), Received::Nothing), "{over:?}");
        assert_eq!(line.seen().rings, [256, 0]);
        rustix::net::shutdown(&line.peer, rustix::net::Shutdown::Write).expect("shutdown");
        wait(&line.ours, PollFlags::RDHUP);
        assert!(matches!(line.receive(), Received::End), "{over:?}");
        assert_eq!(line.seen().input, pattern(100, 256));
        let most = RINGS.input as usize;
        let mut line = Line::new(over);
        line.take_in(&pattern(0, most));
        assert!(matches!(line.receive(), Received::Full));
    }
}
