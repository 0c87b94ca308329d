//! The table: many streams, tokens that are not used again, what is refused.

use crate::harness::{DEADLINE, SMALL, World, pair, wait};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, socket_with, socketpair};
use shmstate::{Error, RING_SIZES, Received, Result, Rings, Sent, StreamId, Streams};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Streams in the large test: more than three pages of slots.
const MANY: usize = 200;

#[test]
fn two_hundred_streams_come_and_go_and_every_block_is_accounted_for() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let mut world = World::new(SMALL);
    assert!(world.sound().is_empty());
    let mut connections: Vec<(TcpStream, TcpStream)> = (0..MANY)
        .map(|_| {
            let client = TcpStream::connect(address).expect("connect");
            (client, listener.accept().expect("accept").0)
        })
        .collect();
    let adopt_all = |world: &mut World, keep: bool| -> Vec<StreamId> {
        let mut ids = Vec::new();
        let done = world.write(|tx, streams| {
            for (i, (_, server)) in connections.iter().enumerate() {
                ids.push(streams.adopt(tx, server.as_fd(), i as u64)?);
            }
            if keep { Ok(()) } else { Err(Error::GateClosed) }
        });
        assert_eq!(done.is_ok(), keep);
        ids
    };
    adopt_all(&mut world, false);
    assert!(world.sound().is_empty(), "rolled back with its pages");
    let first = adopt_all(&mut world, true);
    assert_eq!(world.sound(), first);
    assert_eq!(first.iter().map(|id| id.place()).collect::<BTreeSet<_>>().len(), MANY);

    let (ended, kept): (Vec<_>, Vec<_>) = first.iter().partition(|id| id.place() % 3 == 0);
    world
        .write(|tx, streams| ended.iter().try_for_each(|id| streams.end(tx, *id)))
        .expect("end");
    assert_eq!(world.sound(), kept);
    let second = adopt_all(&mut world, true);
    let open = world.sound();
    assert_eq!(open.len(), kept.len() + MANY);
    assert!(second.iter().all(|id| !first.contains(id)), "no token twice");
    assert!(
        ended
            .iter()
            .all(|old| second.iter().any(|new| new.place() == old.place())),
        "places are used again"
    );
    for id in &ended {
        assert!(matches!(
            world.write(|tx, streams| streams.end(tx, *id)),
            Err(Error::NoStream { token }) if token == id.token()
        ));
    }

    // They work after all that, and none has another's bytes.
    for (i, (client, server)) in connections.iter_mut().enumerate() {
        client.write_all(&[i as u8; 3]).expect("client write");
        world.receive_all(second[i], &*server, 3);
        assert_eq!(world.input(second[i]), [i as u8; 3]);
    }
    let undone: Result<()> = world.write(|tx, streams| {
        open.iter().try_for_each(|id| streams.end(tx, *id))?;
        assert!(streams.is_empty(tx)?);
        Err(Error::GateClosed)
    });
    assert!(undone.is_err());
    assert_eq!(world.sound(), open, "rolled back");
    world
        .write(|tx, streams| open.iter().try_for_each(|id| streams.end(tx, *id)))
        .expect("end all");
    assert!(world.sound().is_empty());
}

#[test]
fn those_with_something_to_do_are_found() {
    let mut world = World::new(SMALL);
    // More than a page of slots.
    let pairs: Vec<_> = (0..70).map(|_| pair()).collect();
    let ids: Vec<_> = pairs.iter().map(|(_, server)| world.adopt(server)).collect();
    assert_eq!(world.busy(), (vec![], vec![]));
    let [first, last] = [0, 69];
    for at in [last, first] {
        (&pairs[at].0).write_all(b"ping").expect("write");
        world.receive_all(ids[at], &pairs[at].1, 4);
    }
    assert_eq!(world.busy(), (vec![ids[first], ids[last]], vec![]));
    world.consume(ids[first], 3);
    assert_eq!(world.busy().0, [ids[first], ids[last]], "a byte is left");
    world.consume(ids[first], 1);
    assert!(world.produce(ids[first], b"pong"));
    assert_eq!(world.busy(), (vec![ids[last]], vec![ids[first]]));
    // What was not committed is nothing to do.
    let rolled_back = world.write(|tx, streams| {
        streams.consume(tx, ids[last], 4)?;
        streams.produce(tx, ids[last], b"pong")?;
        streams.finish(tx, ids[last])?;
        Err::<(), _>(Error::ForeignTable)
    });
    assert!(rolled_back.is_err());
    assert_eq!(world.busy(), (vec![ids[last]], vec![ids[first]]));
    assert!(matches!(world.send(ids[first], &pairs[first].1), Sent::All));
    assert_eq!(world.busy(), (vec![ids[last]], vec![]));
    // An end is something to be told, once.
    world
        .write(|tx, streams| streams.finish(tx, ids[first]))
        .expect("finish");
    assert_eq!(world.busy(), (vec![ids[last]], vec![ids[first]]));
    assert!(matches!(world.send(ids[first], &pairs[first].1), Sent::All));
    assert_eq!(world.busy(), (vec![ids[last]], vec![]));
    world.write(|tx, streams| streams.end(tx, ids[last])).expect("end");
    assert_eq!(world.busy(), (vec![], vec![]), "an ended one has nothing");
}

#[test]
fn an_ended_stream_refuses_everything() {
    let (_client, server) = pair();
    let mut world = World::new(SMALL);
    let old = world.adopt(&server);
    world.write(|tx, streams| streams.end(tx, old)).expect("end");
    let new = world.adopt(&server);
    assert_eq!((old.place(), new.place()), (0, 0));
    assert_ne!(old, new);
    let none = |token| StreamId::from_token(token);
    // The old serial, no serial, a place that was never there, and the token of a free place.
    for id in [old, none(0), none(new.token() | 1), none(new.token() | 0xffff)] {
        let refused = |result: Result<()>| assert!(matches!(result, Err(Error::NoStream { .. })), "{result:?}");
        refused(world.write(|tx, streams| streams.consume(tx, id, 0)));
        refused(world.write(|tx, streams| streams.produce(tx, id, b"x").map(|_| ())));
        refused(world.write(|tx, streams| streams.set_user(tx, id, 1)));
        refused(world.write(|tx, streams| streams.end(tx, id)));
        refused(world.write(|tx, streams| streams.input(tx, id).map(|_| ())));
        refused(world.write(|tx, streams| streams.room(tx, id).map(|_| ())));
        refused(world.resync(id, &server));
        let pass = world.gate.enter().expect("pass");
        let mut io = world.region.io(&pass).expect("io");
        refused(world.streams.receive(&mut io, id, server.as_fd()).map(|_| ()));
        refused(world.streams.send(&mut io, id, server.as_fd()).map(|_| ()));
    }
    assert_eq!(world.sound(), [new]);
}

/// The number 0, which a program may keep for "no stream", is none, also while the first place is free: of one that was there, or of one that never was.
#[test]
fn no_number_is_no_stream() {
    let (_client, server) = pair();
    let mut world = World::new(SMALL);
    let none = StreamId::from_token(0);
    for _ in 0..2 {
        let id = world.adopt(&server);
        world
            .write(|tx, streams| streams.produce(tx, id, b"left behind").map(|_| ()))
            .expect("produce");
        world.write(|tx, streams| streams.end(tx, id)).expect("end");
        let refused = |result: Result<()>| assert!(matches!(result, Err(Error::NoStream { .. })), "{result:?}");
        refused(world.write(|tx, streams| streams.produce(tx, none, b"x").map(|_| ())));
        refused(world.write(|tx, streams| streams.consume(tx, none, 0)));
        refused(world.write(|tx, streams| streams.set_user(tx, none, 1)));
        refused(world.write(|tx, streams| streams.input(tx, none).map(|_| ())));
        refused(world.write(|tx, streams| streams.end(tx, none)));
        refused(world.resync(none, &server));
        assert!(world.sound().is_empty());
    }
    let [one, two] = [world.adopt(&server), world.adopt(&server)];
    assert_ne!(one.place(), two.place());
}

#[test]
fn handles_of_another_region_and_bad_rings_are_refused() {
    let (_client, server) = pair();
    let mut world = World::new(SMALL);
    let foreign = World::new(SMALL).streams;
    assert!(matches!(
        world.write(|tx, _| foreign.adopt(tx, server.as_fd(), 0)),
        Err(Error::ForeignTable)
    ));
    let ring = |input, output| Rings { input, output };
    let too_large = world.write(|tx, _| Streams::create(tx, "large", ring(256, RING_SIZES.1 + 1)));
    assert!(matches!(too_large, Err(Error::RingTooLarge { .. })));
    for (asked, got) in [(1, 256), (257, 512), (4096, 4096)] {
        let name = format!("of-{asked}");
        let (table, id) = world
            .write(|tx, _| {
                let table = Streams::create(tx, &name, ring(asked, asked))?;
                Ok((table, table.adopt(tx, server.as_fd(), 0)?))
            })
            .expect("create");
        let pass = world.gate.enter().expect("pass");
        let reader = world.region.read(&pass).expect("read");
        assert_eq!(table.room(&reader, id).expect("room"), got);
    }
    world.sound();
}

/// A socket of this kind; `None` if the kernel has none.
fn socket(family: AddressFamily, form: SocketType, protocol: Option<Protocol>) -> Option<OwnedFd> {
    match socket_with(family, form, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, protocol) {
        Ok(fd) => Some(fd),
        Err(Errno::PROTONOSUPPORT | Errno::INVAL | Errno::NOPROTOOPT | Errno::AFNOSUPPORT) => None,
        Err(e) => panic!("{family:?} {form:?}: {e}"),
    }
}

#[test]
fn only_connected_streams_are_adopted() {
    let mut world = World::new(SMALL);
    let mut adopt = |fd: BorrowedFd<'_>| match world.write(|tx, streams| streams.adopt(tx, fd, 0)) {
        Err(Error::Io { source, .. }) => source,
        other => panic!("{other:?}"),
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    adopt(listener.as_fd());
    for form in [SocketType::DGRAM, SocketType::SEQPACKET] {
        let (a, _b) = socketpair(AddressFamily::UNIX, form, SocketFlags::CLOEXEC, None).expect("pair");
        assert_eq!(adopt(a.as_fd()).kind(), ErrorKind::Unsupported, "{form:?}");
    }
    let lonely = socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("unix");
    assert_eq!(adopt(lonely.as_fd()).kind(), ErrorKind::NotConnected);
    let udp = UdpSocket::bind("127.0.0.1:0").expect("udp");
    assert_eq!(adopt(udp.as_fd()).kind(), ErrorKind::Unsupported);
    // Its counts would be those of one of its paths.
    if let Some(mptcp) = socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::MPTCP)) {
        assert_eq!(adopt(mptcp.as_fd()).kind(), ErrorKind::Unsupported);
    }
    assert!(world.sound().is_empty());
}

/// A connection that is being made is none yet: its SYN is counted when it is acknowledged. As soon as it is made it is like any
/// other (S3).
#[test]
fn a_connection_in_the_making_is_adopted_when_it_is_made() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let mut world = World::new(SMALL);
        let listener = TcpListener::bind(address).expect("bind");
        // A listener with no room answers no SYN.
        rustix::net::listen(&listener, 0).expect("shorten the queue");
        let address = listener.local_addr().expect("address");
        let _first = TcpStream::connect_timeout(&address, DEADLINE).expect("fills the queue");
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let second = socket(family, SocketType::STREAM, None).expect("socket");
        assert_eq!(rustix::net::connect(&second, &address), Err(Errno::INPROGRESS));
        let refused = world.write(|tx, streams| streams.adopt(tx, second.as_fd(), 0));
        let Err(Error::Io { source, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(source.kind(), ErrorKind::NotConnected);
        assert!(world.sound().is_empty());
        // Room is made: its SYN is sent again, and answered.
        drop(listener.accept().expect("accept"));
        wait(&second, PollFlags::OUT);
        let (mut server, _) = listener.accept().expect("accept");
        let id = world.adopt(&second);
        assert!(world.produce(id, b"hello"));
        assert!(matches!(world.send(id, &second), Sent::All));
        world.resync(id, &second).expect("resync");
        assert_eq!(world.output(id), (256, 0), "the SYN is no byte of ours");
        let mut hello = [0; 5];
        server.read_exact(&mut hello).expect("server reads");
        assert_eq!(&hello, b"hello");
        server.write_all(b"welcome").expect("server writes");
        world.receive_all(id, &second, 7);
        world.resync(id, &second).expect("resync");
        assert_eq!((world.input(id), world.output(id)), (b"welcome".to_vec(), (256, 0)));
    }
}

/// What happened to a connection before it was accepted: bytes, an end, a reset.
#[test]
fn a_connection_accepted_late() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        for reset in [false, true] {
            let listener = TcpListener::bind(address).expect("bind");
            let mut client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
            client.write_all(b"early").expect("client write");
            if reset {
                set_socket_linger(&client, Some(Duration::ZERO)).expect("linger");
            }
            drop(client);
            let (server, _) = listener.accept().expect("accept");
            wait(&server, PollFlags::IN | PollFlags::RDHUP | PollFlags::HUP);
            if reset {
                wait(&server, PollFlags::HUP);
            } else {
                wait(&server, PollFlags::RDHUP);
            }
            let mut world = World::new(SMALL);
            let id = world.adopt(&server);
            world.resync(id, &server).expect("resync");
            let last = world.receive_last(id, &server);
            world.resync(id, &server).expect("resync");
            if reset {
                // The kernel throws away what nobody has read.
                assert!(matches!(last, Received::Broken(_)), "{last:?}");
            } else {
                assert!(matches!(last, Received::End), "{last:?}");
                assert_eq!(world.input(id), b"early");
            }
            assert_eq!(world.sound(), [id]);
        }
    }
}
