//! The two rings: wrapping, full, blocked, and what a rolled-back transaction leaves.

use crate::harness::{DEADLINE, SMALL, World, pair, pattern, wait};
use rustix::event::PollFlags;
use rustix::net::sockopt::set_socket_send_buffer_size;
use shmstate::{Error, Received, Result, Sent};
use std::io::{Read, Write};
use std::time::Instant;

const RING: usize = 256;

#[test]
fn both_rings_wrap_at_every_offset() {
    let (mut client, server) = pair();
    let mut world = World::new(SMALL);
    let id = world.adopt(&server);
    let mut position = 0;
    // A full ring at each offset, then one byte on to the next offset.
    for _ in 0..RING + 1 {
        for length in [RING, 1] {
            let bytes = pattern(position, length);
            client.write_all(&bytes).expect("client write");
            world.receive_all(id, &server, length);
            {
                let pass = world.gate.enter().expect("pass");
                let reader = world.region.read(&pass).expect("read");
                let input = world.streams.input(&reader, id).expect("input");
                let wraps_after = RING - position as usize % RING;
                assert_eq!(input.pieces().0.len(), length.min(wraps_after));
                assert_eq!(input.contiguous(), bytes);
                for from in [0, wraps_after.saturating_sub(1), wraps_after, wraps_after + 1, length] {
                    let mut out = [0; 7];
                    let n = input.copy_to(from, &mut out);
                    let expected = &bytes[from.min(length)..(from + 7).min(length)];
                    assert_eq!(&out[..n], expected, "from {from} at {position}");
                }
            }
            world.consume(id, length);
            assert!(world.produce(id, &bytes));
            assert!(matches!(world.send(id, &server), Sent::All));
            let mut back = vec![0; length];
            client.read_exact(&mut back).expect("client read");
            assert_eq!(back, bytes, "at {position}");
            position += length as u64;
        }
    }
    world.resync(id, &server).expect("the kernel counts the same");
    assert!(world.input(id).is_empty());
}

#[test]
fn a_full_input_ring_waits_for_the_commit_that_consumes() {
    let (mut client, server) = pair();
    let mut world = World::new(SMALL);
    let id = world.adopt(&server);
    let bytes = pattern(0, RING + 40);
    client.write_all(&bytes).expect("client write");
    world.receive_all(id, &server, RING);
    assert!(matches!(world.receive(id, &server), Received::Full));
    let undone: Result<()> = world.write(|tx, streams| {
        streams.consume(tx, id, 100)?;
        assert_eq!(streams.input(tx, id)?.contiguous(), &bytes[100..RING]);
        Err(Error::GateClosed)
    });
    assert!(matches!(undone, Err(Error::GateClosed)));
    assert!(matches!(world.receive(id, &server), Received::Full), "rolled back");
    assert_eq!(world.input(id), &bytes[..RING]);
    world.consume(id, 30);
    world.receive_all(id, &server, 30);
    assert!(matches!(world.receive(id, &server), Received::Full));
    assert_eq!(world.input(id), &bytes[30..RING + 30]);
    world.resync(id, &server).expect("resync");
    assert_eq!(
        world.input(id),
        &bytes[30..RING + 30],
        "ten bytes are still in the socket"
    );
    let short = world.write(|tx, streams| streams.consume(tx, id, RING + 1));
    assert!(matches!(
        short,
        Err(Error::ShortInput {
            asked: 257,
            there: 256,
            ..
        })
    ));
    world.consume(id, 0);
    assert_eq!(world.input(id), &bytes[30..RING + 30]);
}

#[test]
fn output_is_produced_whole_or_not_at_all() {
    let (mut client, server) = pair();
    let mut world = World::new(SMALL);
    let id = world.adopt(&server);
    let bytes = pattern(7, RING);
    assert!(!world.produce(id, &[0; RING + 1]), "larger than the ring");
    assert!(world.produce(id, &bytes[..200]));
    assert_eq!(world.output(id), (56, 200));
    assert!(!world.produce(id, &[0; 57]), "one byte too many");
    assert!(world.produce(id, &[]));
    assert_eq!(world.output(id), (56, 200), "nothing was added");
    world.resync(id, &server).expect("resync");
    assert_eq!(world.output(id), (56, 200), "the socket has taken nothing");
    assert!(world.produce(id, &bytes[200..]));
    assert_eq!(world.output(id), (0, 256));
    assert!(matches!(world.send(id, &server), Sent::All));
    assert_eq!(world.output(id), (256, 0));
    let mut back = [0; RING];
    client.read_exact(&mut back).expect("client read");
    assert_eq!(back[..], bytes);
}

#[test]
fn a_rolled_back_transaction_changes_no_stream() {
    let (mut client, server) = pair();
    let mut world = World::new(SMALL);
    let id = world.adopt(&server);
    client.write_all(b"input").expect("client write");
    world.receive_all(id, &server, 5);
    assert!(world.produce(id, b"kept "));
    {
        let pass = world.gate.enter().expect("pass");
        let mut tx = world.region.begin(&pass).expect("begin");
        world.streams.consume(&mut tx, id, 3).expect("consume");
        assert!(world.streams.produce(&mut tx, id, &[b'x'; 200]).expect("produce"));
        world.streams.set_user(&mut tx, id, 9).expect("user");
        assert_eq!(world.streams.user(&tx, id).expect("user"), 9);
        tx.rollback();
        let reader = world.region.read(&pass).expect("read");
        assert_eq!(world.streams.user(&reader, id).expect("user"), 0);
    }
    assert_eq!(world.input(id), b"input");
    assert_eq!(world.output(id), (251, 5));
    assert!(world.produce(id, b"and sent"));
    assert!(matches!(world.send(id, &server), Sent::All));
    let mut back = [0; 13];
    client.read_exact(&mut back).expect("client read");
    assert_eq!(&back, b"kept and sent");
    world.sound();
}

#[test]
fn a_socket_that_takes_no_more_leaves_the_rest_in_the_ring() {
    let (mut client, server) = pair();
    set_socket_send_buffer_size(&server, 4096).expect("small buffer");
    let mut world = World::new(SMALL);
    let id = world.adopt(&server);
    let mut produced = 0;
    let end = Instant::now() + DEADLINE;
    let left = loop {
        assert!(Instant::now() < end, "the socket never filled");
        let (room, _) = world.output(id);
        assert!(world.produce(id, &pattern(produced, room as usize)));
        produced += room;
        match world.send(id, &server) {
            Sent::All => {}
            Sent::Left(left) => break left,
            Sent::Broken(e) => panic!("{e}"),
        }
    };
    world.resync(id, &server).expect("resync of a blocked stream");
    assert_eq!(world.output(id).1, left);
    let expected = pattern(0, produced as usize);
    let reader = std::thread::spawn(move || {
        let mut back = vec![0; expected.len()];
        client.read_exact(&mut back).expect("client read");
        assert_eq!(back, expected);
    });
    while let Sent::Left(_) = world.send(id, &server) {
        wait(&server, PollFlags::OUT);
    }
    reader.join().expect("all bytes in order");
    assert_eq!(world.output(id).1, 0);
}
