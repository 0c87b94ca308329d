//! `cargo bench -p handover-benches --bench descriptors`: descriptors passed between two sockets, by the number in a message, alone and
//! with their registration with an epoll set.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use handover::os::clock::Deadline;
use handover::os::rights::{MAX_DESCRIPTORS, recv_with_fds, send_with_fds};
use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Longer than any message takes.
const WAIT: Duration = Duration::from_secs(5);

fn transfer(c: &mut Criterion) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (here, there) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("sockets");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("an address");
    // Connections, as a handover passes them: what is passed is registered as another file each.
    let connections: Vec<(TcpStream, TcpStream)> = (0..MAX_DESCRIPTORS)
        .map(|_| {
            let client = TcpStream::connect(address).expect("connect");
            (client, listener.accept().expect("accept").0)
        })
        .collect();
    let pass = |count: usize, buffer: &mut [u8]| -> Vec<OwnedFd> {
        let fds: Vec<_> = connections[..count].iter().map(|(_, fd)| fd.as_fd()).collect();
        send_with_fds(here.as_fd(), b"batch", &fds, Deadline::after(WAIT)).expect("send");
        let (_, got) = recv_with_fds(there.as_fd(), buffer, Deadline::after(WAIT)).expect("receive");
        assert_eq!(got.len(), count);
        got
    };
    let mut group = c.benchmark_group("descriptors");
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    for count in [1, 16, 64, MAX_DESCRIPTORS] {
        group.throughput(Throughput::Elements(count as u64));
        let mut buffer = [0; 16];
        group.bench_function(BenchmarkId::new("passed and closed", count), |b| {
            b.iter(|| pass(count, &mut buffer));
        });
        group.bench_function(BenchmarkId::new("passed, watched and closed", count), |b| {
            let set = epoll::create(epoll::CreateFlags::CLOEXEC).expect("a set");
            b.iter(|| {
                let got = pass(count, &mut buffer);
                for (token, fd) in got.iter().enumerate() {
                    let data = epoll::EventData::new_u64(token as u64);
                    epoll::add(&set, fd, data, epoll::EventFlags::IN).expect("watch");
                }
                // The sender still has the files: without this they would stay in the set.
                for fd in &got {
                    epoll::delete(&set, fd).expect("forget");
                }
                got
            });
        });
    }
    group.finish();
}

criterion_group!(benches, transfer);
criterion_main!(benches);
