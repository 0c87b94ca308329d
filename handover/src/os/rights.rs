//! Sending and receiving messages with descriptors (SCM_RIGHTS) over a `SOCK_SEQPACKET` socket.
//!
//! - One message is received by one call, with its descriptors, or not at all.
//! - Descriptors are `OwnedFd` from the moment they arrive, close-on-exec (H6). A message whose data or
//!   descriptors do not fit is an error, and everything that came with it is closed.
//! - No call blocks in the kernel: waiting is a poll with a deadline. No call raises SIGPIPE.
//!
//! This file does not know what the bytes mean.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Resource, getrlimit};

use super::clock::Deadline;
use super::limits;
use super::peer::Peer;
use super::poll;
use crate::error::{Error, FrameProblem, Result};

/// Descriptors that one message can carry: SCM_MAX_FD of the kernel.
pub const MAX_DESCRIPTORS: usize = 253;

/// Between two attempts to send while too many descriptors are in flight.
const IN_FLIGHT: Duration = Duration::from_millis(1);

/// Sends one message. Returns when the kernel has it.
///
/// # Errors
/// [`Error::TooManyDescriptors`] above [`MAX_DESCRIPTORS`], [`Error::Closed`] if the other side is gone (a reason
/// it sent may still be waiting), [`Error::Deadline`] if its queue stayed full.
pub fn send_with_fds(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>], deadline: Deadline) -> Result<()> {
    if fds.len() > MAX_DESCRIPTORS {
        return Err(Error::TooManyDescriptors {
            given: fds.len(),
            limit: MAX_DESCRIPTORS,
        });
    }
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    loop {
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Error::TooManyDescriptors {
                given: fds.len(),
                limit: MAX_DESCRIPTORS,
            });
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags) {
            // A message of this socket type goes whole or not at all.
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                if !poll::writable(socket, deadline)? {
                    return Err(deadline.error("room in the other side's queue"));
                }
            }
            Err(e) if gone(e) => return Err(closed(socket)),
            Err(Errno::MSGSIZE) => {
                return Err(Error::io(
                    "send",
                    format!("{} bytes: more than SO_SNDBUF holds", bytes.len()),
                    Errno::MSGSIZE,
                ));
            }
            // More descriptors of this user are under way, in messages that nobody has received yet, than this process may have
            // open. Others receive theirs in time.
            Err(Errno::TOOMANYREFS) => {
                if !limits::raise_to_the_limit() && !deadline.pause(IN_FLIGHT) {
                    return Err(Error::io(
                        "send",
                        format!(
                            "{} descriptors: those of this user that are in flight are more than RLIMIT_NOFILE allows, which is {} \
                             here; raise it (`ulimit -n`, systemd LimitNOFILE=), or end what does not receive",
                            fds.len(),
                            open_limit()
                        ),
                        Errno::TOOMANYREFS,
                    ));
                }
            }
            Err(e) => return Err(Error::io("send on", "the handover channel", e)),
        }
    }
}

/// Receives one message into `buffer`. Returns its length and its descriptors.
///
/// # Errors
/// [`Error::Closed`] at the end of the connection; [`Error::Deadline`] if nothing came;
/// [`FrameProblem::TooLong`] if the message is longer than `buffer`; [`Error::Truncated`] if not all descriptors
/// could be installed: the data is in `buffer` then.
pub fn recv_with_fds(socket: BorrowedFd<'_>, buffer: &mut [u8], deadline: Deadline) -> Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    recv_into(socket, buffer, &mut space, deadline)
}

fn recv_into(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    space: &mut [MaybeUninit<u8>],
    deadline: Deadline,
) -> Result<(usize, Vec<OwnedFd>)> {
    let mut was_reset = false;
    loop {
        let mut control = RecvAncillaryBuffer::new(space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let message = match recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
            Ok(message) => message,
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => {
                if deadline.passed() || !poll::readable(socket, deadline)? {
                    return Err(deadline.error("a message of the other side"));
                }
                continue;
            }
            // A peer that closed with our messages unread: the kernel says so once, before what that peer sent.
            Err(Errno::CONNRESET) if !was_reset => {
                was_reset = true;
                continue;
            }
            Err(e) if gone(e) => return Err(closed(socket)),
            Err(e) => return Err(Error::io("receive on", "the handover channel", e)),
        };
        // Whatever is not taken out of `control` is closed by it.
        let mut fds = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                fds.extend(rights);
            }
        }
        if message.flags.contains(ReturnFlags::CTRUNC) {
            return Err(Error::Truncated {
                received: fds.len(),
                needed: None,
                limit: open_limit(),
            });
        }
        if message.flags.contains(ReturnFlags::TRUNC) {
            return Err(FrameProblem::TooLong {
                len: message.bytes,
                limit: buffer.len(),
            }
            .into());
        }
        if message.bytes == 0 {
            return Err(closed(socket));
        }
        return Ok((message.bytes, fds));
    }
}

/// Errors that say that nobody is at the other end any more.
fn gone(e: Errno) -> bool {
    matches!(e, Errno::PIPE | Errno::CONNRESET | Errno::CONNREFUSED | Errno::NOTCONN)
}

fn closed(socket: BorrowedFd<'_>) -> Error {
    Error::Closed {
        pid: Peer::of(&socket).map_or(0, |peer| peer.pid),
    }
}

/// The soft limit of open descriptors of this process.
fn open_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, AsRawFd};

    use rustix::io::{FdFlags, fcntl_getfd};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use rustix::process::{Rlimit, setrlimit};

    use super::*;
    use crate::os::alone::{alone, open_descriptors};

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("socketpair")
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(30))
    }

    #[test]
    fn none_one_and_the_most_pass_and_one_more_does_not() {
        alone(
            "os::rights::tests::none_one_and_the_most_pass_and_one_more_does_not",
            || {
                let before = open_descriptors();
                let (a, b) = pair();
                let mut buffer = [0; 16];
                for count in [0, 1, 252, MAX_DESCRIPTORS] {
                    let fds = vec![a.as_fd(); count];
                    send_with_fds(a.as_fd(), b"hello", &fds, soon()).expect("send");
                    let (len, got) = recv_with_fds(b.as_fd(), &mut buffer, soon()).expect("recv");
                    assert_eq!((&buffer[..len], got.len()), (&b"hello"[..], count));
                    for fd in &got {
                        assert!(fcntl_getfd(fd).expect("flags").contains(FdFlags::CLOEXEC));
                    }
                }
                let fds = vec![a.as_fd(); MAX_DESCRIPTORS + 1];
                assert!(matches!(
                    send_with_fds(a.as_fd(), b"hello", &fds, soon()),
                    Err(Error::TooManyDescriptors { given: 254, limit: 253 })
                ));
                drop(fds);
                drop((a, b));
                assert_eq!(open_descriptors(), before, "descriptors leaked");
            },
        );
    }

    #[test]
    fn a_low_limit_is_an_error_that_leaks_nothing() {
        alone("os::rights::tests::a_low_limit_is_an_error_that_leaks_nothing", || {
            let (a, b) = pair();
            let before = open_descriptors();
            let fds = [a.as_fd(); 10];
            send_with_fds(a.as_fd(), b"hello", &fds, soon()).expect("send");

            let normal = getrlimit(Resource::Nofile);
            let free = a.as_fd().try_clone_to_owned().expect("dup");
            let low = free.as_raw_fd().unsigned_abs() + 3;
            drop(free);
            let limit = Rlimit {
                current: Some(low.into()),
                ..normal
            };
            setrlimit(Resource::Nofile, limit).expect("lower the limit");
            let mut buffer = [0; 16];
            let result = recv_with_fds(b.as_fd(), &mut buffer, soon());
            setrlimit(Resource::Nofile, normal).expect("raise the limit");

            match result {
                Err(Error::Truncated {
                    received,
                    needed: None,
                    limit,
                }) => {
                    assert_eq!((received, limit), (3, u64::from(low)));
                    assert_eq!(&buffer[..5], b"hello");
                }
                other => panic!("expected a truncation, got {other:?}"),
            }
            assert_eq!(open_descriptors(), before, "descriptors leaked");
        });
    }

    /// The kernel counts what is in flight for each user; who may do everything is not counted, so the test gives that up.
    #[test]
    fn too_many_in_flight_are_waited_for_and_then_an_error() {
        alone(
            "os::rights::tests::too_many_in_flight_are_waited_for_and_then_an_error",
            || {
                use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
                let mut mine = capabilities(None).expect("capabilities");
                mine.effective
                    .remove(CapabilitySet::SYS_RESOURCE | CapabilitySet::SYS_ADMIN);
                set_capabilities(None, mine).expect("give up rights");
                let (a, b) = pair();
                let fds = [a.as_fd(); 10];
                let limit = |current, maximum| {
                    let limit = Rlimit {
                        current: Some(current),
                        maximum: Some(maximum),
                    };
                    setrlimit(Resource::Nofile, limit).expect("lower the limit");
                };
                limit(30, 60);
                let brief = || Deadline::after(Duration::from_millis(20));
                let mut sent = 0;
                let error = loop {
                    match send_with_fds(a.as_fd(), b"hello", &fds, brief()) {
                        Ok(()) => sent += 1,
                        Err(e) => break e,
                    }
                    assert!(sent < 20, "no limit at all");
                };
                assert_eq!(open_limit(), 60, "the soft limit was raised first");
                let text = error.to_string();
                for part in ["10 descriptors", "in flight", "which is 60", "ulimit -n"] {
                    assert!(text.contains(part), "{part}: {text}");
                }
                // Received meanwhile, they are no reason any more.
                let thread = std::thread::spawn(move || {
                    let mut buffer = [0; 16];
                    for _ in 0..=sent {
                        recv_with_fds(b.as_fd(), &mut buffer, soon()).expect("recv");
                    }
                });
                send_with_fds(a.as_fd(), b"hello", &fds, soon()).expect("it was waited for");
                thread.join().expect("received");
            },
        );
    }

    #[test]
    fn too_little_room_is_an_error_that_leaks_nothing() {
        alone(
            "os::rights::tests::too_little_room_is_an_error_that_leaks_nothing",
            || {
                let (a, b) = pair();
                let before = open_descriptors();
                let fds = [a.as_fd(); 10];

                send_with_fds(a.as_fd(), b"hello", &fds, soon()).expect("send");
                let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
                let mut buffer = [0; 16];
                let result = recv_into(b.as_fd(), &mut buffer, &mut space, soon());
                assert!(matches!(result, Err(Error::Truncated { .. })), "{result:?}");

                send_with_fds(a.as_fd(), b"hello", &fds, soon()).expect("send");
                let result = recv_with_fds(b.as_fd(), &mut buffer[..4], soon());
                assert!(
                    matches!(result, Err(Error::Frame(FrameProblem::TooLong { limit: 4, .. }))),
                    "{result:?}"
                );
                assert_eq!(open_descriptors(), before, "descriptors leaked");
            },
        );
    }

    #[test]
    fn the_end_comes_after_what_was_sent() {
        alone("os::rights::tests::the_end_comes_after_what_was_sent", || {
            let (a, b) = pair();
            send_with_fds(a.as_fd(), b"reason", &[], soon()).expect("send");
            send_with_fds(b.as_fd(), b"unread", &[], soon()).expect("send");
            drop(a);
            assert!(matches!(
                send_with_fds(b.as_fd(), b"x", &[], soon()),
                Err(Error::Closed { .. })
            ));
            let mut buffer = [0; 16];
            let (len, _) = recv_with_fds(b.as_fd(), &mut buffer, soon()).expect("still there");
            assert_eq!(&buffer[..len], b"reason");
            let end = recv_with_fds(b.as_fd(), &mut buffer, soon());
            assert!(matches!(end, Err(Error::Closed { pid }) if pid == std::process::id()));

            // The same without a send in between, which takes the reset away.
            let (a, b) = pair();
            send_with_fds(a.as_fd(), b"reason", &[], soon()).expect("send");
            send_with_fds(b.as_fd(), b"unread", &[], soon()).expect("send");
            drop(a);
            let (len, _) = recv_with_fds(b.as_fd(), &mut buffer, soon()).expect("still there");
            assert_eq!(&buffer[..len], b"reason");
        });
    }

    #[test]
    fn waits_end() {
        let (a, b) = pair();
        let mut buffer = [0; 16];
        let short = Deadline::after(Duration::from_millis(3));
        assert!(matches!(
            recv_with_fds(b.as_fd(), &mut buffer, short),
            Err(Error::Deadline { .. })
        ));
        let full = loop {
            match send_with_fds(a.as_fd(), &[0; 4096], &[], Deadline::now()) {
                Ok(()) => {}
                Err(e) => break e,
            }
        };
        assert!(matches!(full, Error::Deadline { .. }), "{full:?}");
    }
}
