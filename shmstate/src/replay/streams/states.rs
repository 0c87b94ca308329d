//! Connections in every state, each continued by a successor after a kill: half-closed either way, over, broken, stopped by the peer,
//! urgent, just made.

use super::{DEADLINE, Line, Over, pattern, read_back, wait, wait_bytes};
use crate::{Received, Sent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{set_socket_linger, set_socket_send_buffer_size};
use rustix::net::{SendFlags, Shutdown, send, shutdown};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// Reads until the peer sees the end.
fn rest(peer: &mut File) -> Vec<u8> {
    let mut back = Vec::new();
    peer.read_to_end(&mut back).expect("peer reads");
    back
}

fn receive_last(line: &mut Line) -> Received {
    let end = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < end, "no end within {DEADLINE:?}");
        match line.receive() {
            Received::Bytes(_) => {}
            Received::Nothing => wait(&line.ours, PollFlags::IN),
            last => return last,
        }
    }
}

/// The peer has finished, with input still to consume and output still to send.
#[test]
fn half_closed_by_the_peer() {
    for over in Over::ALL {
        let mut line = Line::new(over);
        line.take_in(&pattern(0, 100));
        line.peer.write_all(&pattern(100, 250)).expect("peer writes");
        shutdown(&line.peer, Shutdown::Write).expect("peer finishes");
        wait(&line.ours, PollFlags::RDHUP);
        assert!(line.produce(&pattern(0, 900)));
        line.change_hands();
        line.consume(90);
        assert!(matches!(receive_last(&mut line), Received::End), "{over:?}");
        line.change_hands();
        assert_eq!(line.seen().input, pattern(90, 260));
        let cut = line.every_kill(Line::send_all);
        line.continue_from(&cut);
        assert!(matches!(line.receive(), Received::End));
        assert_eq!(line.seen().input, pattern(90, 260));
        assert!(line.produce(&pattern(900, 5)));
        line.send_all();
        line.write(|tx, streams, id| streams.finish(tx, id)).expect("finish");
        let cut = line.every_kill(|line| assert!(matches!(line.send(), Sent::All)));
        assert_eq!(rest(&mut line.peer), pattern(0, 905), "{over:?}");
        // Both have finished: the connection is closed.
        line.continue_from(&cut);
        assert!(matches!(line.receive(), Received::End));
        assert!(matches!(line.send(), Sent::All));
        line.change_hands();
    }
}

/// We have finished, and whoever continues knows it: nothing is sent after the end, and the end is no byte.
#[test]
fn half_closed_by_us() {
    for over in Over::ALL {
        let mut line = Line::new(over);
        // Finished in the transaction that produces the last bytes; one that is taken back finishes nothing.
        let undone = line.write(|tx, streams, id| {
            streams.finish(tx, id)?;
            assert!(!streams.produce(tx, id, b"x")?);
            Err::<(), _>(crate::Error::GateClosed)
        });
        assert!(undone.is_err());
        assert!(!line.seen().finished);
        let (streams, id) = (line.streams, line.id);
        crate::replay::every_prefix_of(
            &mut line.region,
            |region| super::seen(region, streams, id),
            1,
            |tx| {
                assert!(streams.produce(tx, id, &pattern(0, 700))?);
                streams.finish(tx, id)?;
                streams.finish(tx, id)
            },
        );
        line.change_hands();
        assert!(!line.produce(b"x"), "nothing after the end");
        assert!(line.produce(b""));
        assert_eq!(
            (line.seen().room, line.seen().finished, line.seen().told),
            (0, true, false)
        );
        // The bytes, without the end: as if the owner was killed between the two.
        let mut cut = line.region.view.start_recording();
        assert!(matches!(line.send(), Sent::All));
        let stores = line.region.view.stop_recording();
        assert!(line.seen().told);
        // Killed behind both system calls, at every store of which there can be one then: TCP's own count needs none.
        let first = match over {
            Over::Unix => line.system_call(&stores).1,
            _ => 0,
        };
        super::apply(&mut cut, &stores[..first]);
        line.continue_from(&cut);
        assert_eq!(
            (line.seen().unsent, line.seen().told),
            (Vec::new(), over != Over::Unix),
            "{over:?}"
        );
        for store in &stores[first..] {
            super::apply(&mut cut, std::slice::from_ref(store));
            line.continue_from(&cut);
            assert_eq!(line.seen().unsent, b"", "{over:?}");
            assert!(matches!(line.send(), Sent::All));
            assert!(line.seen().told);
        }
        assert_eq!(
            rest(&mut line.peer),
            pattern(0, 700),
            "the end comes once, and nothing after it"
        );
        // The other way is open.
        line.take_in(&pattern(0, 300));
        line.change_hands();
        assert!(matches!(line.send(), Sent::All), "told again");
        shutdown(&line.peer, Shutdown::Write).expect("peer finishes");
        assert!(matches!(receive_last(&mut line), Received::End));
        line.change_hands();
        assert_eq!(line.seen().input, pattern(0, 300));
    }
}

/// The end of our output waits behind bytes that the peer does not read.
#[test]
fn finished_while_the_peer_reads_nothing() {
    for over in Over::ALL {
        let mut line = Line::with(
            over,
            crate::Rings {
                input: 4096,
                output: 1 << 16,
            },
            8 << 20,
        );
        let mut produced = blocked(&mut line);
        let room = line.seen().room as usize;
        assert!(line.produce(&pattern(produced, room)));
        produced += room as u64;
        line.write(|tx, streams, id| streams.finish(tx, id)).expect("finish");
        assert!(matches!(line.send(), Sent::Left(_)));
        line.change_hands();
        assert!(!line.seen().told);
        let mut peer = line.peer.try_clone().expect("duplicate");
        let reader = std::thread::spawn(move || rest(&mut peer));
        line.send_all();
        assert!(line.seen().told);
        line.change_hands();
        let back = reader.join().expect("reader");
        assert!(back == pattern(0, produced as usize), "{over:?}: {} bytes", back.len());
    }
}

/// A socket that is not writable for so long has a peer whose window is zero.
const QUIET: Duration = Duration::from_millis(200);
/// Bytes produced at once: no more than a quarter of the ring.
const PIECE: usize = 5000;

/// Produces and sends until the socket takes no more, because the peer takes none; gives how many bytes were produced.
fn blocked(line: &mut Line) -> u64 {
    set_socket_send_buffer_size(&line.ours, 4096).expect("small buffer");
    let mut produced = 0;
    let quiet = Timespec::try_from(QUIET).expect("time");
    let end = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < end, "the socket never filled");
        if line.produce(&pattern(produced, PIECE)) {
            produced += PIECE as u64;
        }
        let sent = line.send();
        let mut writable = [PollFd::new(&line.ours, PollFlags::OUT)];
        match sent {
            Sent::All => {}
            Sent::Broken(e) => panic!("{e}"),
            // Not writable, and nothing would be taken all the same: the kernel calls a socket writable only when much has room.
            Sent::Left(left) if poll(&mut writable, Some(&quiet)).expect("poll") == 0 => match line.send() {
                Sent::Left(still) if still == left => return produced,
                _ => {}
            },
            Sent::Left(_) => {}
        }
    }
}

/// A peer that does not read: its window is zero, the output stays, and each kill on the way is exact.
#[test]
fn a_peer_that_does_not_read() {
    for over in Over::ALL {
        let mut line = Line::with(
            over,
            crate::Rings {
                input: 4096,
                output: 1 << 16,
            },
            8 << 20,
        );
        let mut produced = blocked(&mut line);
        // A probe of the window takes a little now and then, never a ring.
        let more = line.seen().room as usize;
        assert!(line.produce(&pattern(produced, more)));
        produced += more as u64;
        assert_eq!(line.tidy(), 0, "not given back");
        line.change_hands();
        let Sent::Left(left) = line.send() else {
            panic!("{over:?}: it takes more")
        };
        let accepted = (produced - left) as usize;
        assert_eq!(line.seen().unsent, pattern(produced - left, left as usize));
        line.change_hands();
        let mut back = read_back(&mut line.peer, accepted.min(100_000));
        wait(&line.ours, PollFlags::OUT);
        let image = line.region.view.image();
        // It may take some, or all.
        assert!(!matches!(line.send(), Sent::Broken(_)));
        if over != Over::Unix {
            // Killed behind the system calls, with no hint set.
            line.continue_from(&image);
        }
        line.change_hands();
        let mut peer = line.peer.try_clone().expect("duplicate");
        let more = produced as usize - back.len();
        let reader = std::thread::spawn(move || read_back(&mut peer, more));
        line.send_all();
        back.extend(reader.join().expect("reader"));
        assert!(back == pattern(0, produced as usize), "{over:?}");
    }
}

/// The peer is gone with bytes of ours that it never read.
#[test]
fn a_peer_that_is_gone() {
    for over in Over::ALL {
        for abruptly in [false, true] {
            let mut line = Line::new(over);
            line.take_in(&pattern(0, 40));
            assert!(line.produce(b"never read"));
            line.send_all();
            line.peer.write_all(&pattern(40, 60)).expect("peer writes");
            wait_bytes(&line.ours, 60);
            // Received before the reset, noted by nobody.
            let cut = line.every_kill(|line| assert!(matches!(line.receive(), Received::Bytes(60))));
            if abruptly && over != Over::Unix {
                set_socket_linger(&line.peer, Some(Duration::ZERO)).expect("linger");
            }
            line.peer = File::open("/dev/null").expect("anything else");
            wait(&line.ours, PollFlags::HUP);
            line.continue_from(&cut);
            assert_eq!(line.seen().input, pattern(0, 100), "{over:?}");
            let last = receive_last(&mut line);
            match (over, last) {
                // A Unix peer that leaves bytes unread resets too, but the kernel says so once only.
                (Over::Unix, Received::Broken(e)) => assert_eq!(e.kind(), ErrorKind::ConnectionReset),
                (Over::Unix, last) => assert!(matches!(last, Received::End), "{last:?}"),
                (_, Received::Broken(e)) => assert_eq!(e.kind(), ErrorKind::ConnectionReset),
                (_, last) => panic!("{over:?}: {last:?}"),
            }
            line.change_hands();
            // Asked again, by a successor that was not told.
            let again = line.receive();
            let is_end = matches!(again, Received::End);
            assert_eq!(is_end, over == Over::Unix, "{over:?}: {again:?}");
            assert_eq!(line.seen().input, pattern(0, 100));
            assert!(line.produce(b"nobody there"));
            assert!(matches!(line.send(), Sent::Broken(_)), "{over:?}");
            assert_eq!(line.seen().unsent, b"nobody there");
            line.change_hands();
        }
    }
}

/// An urgent byte, on both sides of a kill.
#[test]
fn an_urgent_byte_between_two_owners() {
    for over in Over::TCP {
        let mut line = Line::new(over);
        send(&line.peer, b"abC", SendFlags::OOB).expect("urgent C");
        wait_bytes(&line.ours, 3);
        let mut got = 0;
        while got < 3 {
            match line.receive() {
                Received::Bytes(n) => got += n,
                other => panic!("{other:?}"),
            }
        }
        line.change_hands();
        assert_eq!(line.seen().input, b"abC");
        send(&line.peer, b"dE", SendFlags::OOB).expect("urgent E");
        line.peer.write_all(b"fg").expect("peer writes");
        wait_bytes(&line.ours, 4);
        line.change_hands();
        while line.seen().input.len() < 7 {
            assert!(matches!(line.receive(), Received::Bytes(_)));
        }
        assert_eq!(line.seen().input, b"abCdEfg");
    }
}
