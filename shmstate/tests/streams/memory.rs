//! What an idle connection takes of the region: its slot, its rings, its part of the heap's own words.

use crate::harness::{World, pair, pattern};
use shmstate::{HeapStats, Received, Rings, Sent, StreamId, verify};
use std::io::{Read, Write};
use std::net::TcpStream;

/// Idle connections.
const MANY: usize = 10_000;
/// Sockets behind them: the region does not know that some share one.
const SOCKETS: usize = 50;
/// Most bytes of the region for each.
const MOST: u64 = 1024;
/// How many are busy at once in the second part.
const BUSY: usize = 250;
/// Bytes that each then gets, and answers.
const BURST: usize = 3000;
/// Bytes of the chunk table for each 64 KiB of the heap.
const CHUNK_ENTRY: u64 = 288;
const RINGS: Rings = Rings {
    input: 4096,
    output: 16 * 1024,
};

fn heap(world: &World) -> HeapStats {
    let pass = world.gate.enter().expect("pass");
    let found = verify(&world.region.read(&pass).expect("read")).expect("verify");
    assert!(found.is_sound(), "{found:?}");
    found.heap
}

/// Bytes of region memory for each of the streams, above what the region had before: blocks in use, and all that was taken from the mount,
/// with what the chunk table has for it.
fn each(world: &World, before: &HeapStats) -> (u64, u64) {
    let now = heap(world);
    let taken = now.taken - before.taken;
    let many = MANY as u64;
    let of = |bytes: u64| bytes.div_ceil(many);
    (of(now.used - before.used), of(taken + taken / (64 << 10) * CHUNK_ENTRY))
}

fn tidy_all(world: &mut World) -> u64 {
    world
        .write(|tx, streams| Ok(streams.tidy(tx, MANY * 2)? + streams.tidy(tx, MANY * 2)?))
        .expect("tidy")
}

#[test]
fn an_idle_connection_takes_less_than_a_kibibyte() {
    let mut world = World::sized(RINGS, 15 << 20);
    let before = heap(&world);
    let mut sockets: Vec<(TcpStream, TcpStream)> = (0..SOCKETS).map(|_| pair()).collect();
    let ids: Vec<StreamId> = (0..MANY).map(|i| world.adopt(&sockets[i % SOCKETS].1)).collect();
    let (used, taken) = each(&world, &before);
    println!("{MANY} new connections: {used} bytes in use, {taken} bytes taken for each");
    assert!(used <= MOST && taken <= MOST, "{used}, {taken}");

    // Every one was busy, then idle for two visits: as before.
    let bytes = pattern(0, BURST);
    for batch in ids.chunks(BUSY) {
        for id in batch {
            let (client, server) = &mut sockets[id.place() % SOCKETS];
            client.write_all(&bytes).expect("client write");
            world.receive_all(*id, &*server, BURST);
            assert!(world.produce(*id, &world.input(*id)));
            world.consume(*id, BURST);
            assert!(matches!(world.send(*id, &*server), Sent::All));
            let mut back = vec![0; BURST];
            client.read_exact(&mut back).expect("client read");
            assert!(back == bytes);
        }
        assert_eq!(tidy_all(&mut world), BUSY as u64 * (4096 - 256 + 4096));
    }
    let pass = world.gate.clone();
    let pass = pass.enter().expect("pass");
    world.region.trim(&pass, u64::MAX).expect("trim");
    drop(pass);
    let (used, taken) = each(&world, &before);
    println!("{MANY} that were busy: {used} bytes in use, {taken} bytes taken for each");
    assert!(used <= MOST && taken <= MOST, "{used}, {taken}");
    let (_, server) = &sockets[0];
    assert!(matches!(world.receive(ids[0], server), Received::Nothing));
    assert_eq!(world.sound(), ids);
}
