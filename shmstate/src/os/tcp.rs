#![expect(
    unsafe_code,
    reason = "three calls that no wrapper offers: TCP_INFO in full, SIOCOUTQ and TCP_INQ"
)]
//! What the kernel counts of a TCP connection (rules S1–S3 of `table::streams`).
//!
//! - **K1** A sample counts only if no segment came in while it was taken: `bytes_received`, `bytes_acked` and the state are
//!   the same before and after the two queues are asked. To compare sums of two samples is not enough: under a peer that
//!   sends bytes one by one both are often wrong by the same byte.
//! - **K2** A FIN takes a place in the sequence. The peer's counts in `bytes_received`, our own in the output queue and then
//!   in `bytes_acked`. The state says which of them are there; of a closed connection only `TCP_INQ` says it, and whether our
//!   own FIN was sent is not known (it does not matter: nothing more can be sent).
//! - **K3** An urgent byte must lie in line: otherwise the kernel counts it and `recv` leaves it out (`socket::in_line`).

use nix::sys::socket::{ControlMessageOwned, MsgFlags};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// How often a sample may be disturbed before the connection counts as too busy to sample. Each disturbance needs a segment
/// to arrive between a few system calls; a thousand in a row do not happen while the peer's window is finite.
const MAX_SAMPLES: usize = 1000;

// Offsets in `struct tcp_info` (include/uapi/linux/tcp.h); the structure only ever grows at its end.
const STATE: usize = 0;
const BYTES_ACKED: usize = 120;
const BYTES_RECEIVED: usize = 128;
const INFO_SIZE: usize = 136;

// Values of tcpi_state (include/net/tcp_states.h).
const TCP_SYN_SENT: u8 = 2;
const TCP_SYN_RECV: u8 = 3;
const TCP_FIN_WAIT1: u8 = 4;
const TCP_FIN_WAIT2: u8 = 5;
const TCP_TIME_WAIT: u8 = 6;
const TCP_CLOSE: u8 = 7;
const TCP_CLOSE_WAIT: u8 = 8;
const TCP_LAST_ACK: u8 = 9;
const TCP_CLOSING: u8 = 11;

/// The kernel's two positions of a connection, in bytes since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positions {
    /// S1: bytes this side has taken out of the socket.
    pub taken: u64,
    /// S2: bytes the socket has accepted from this side; one more, perhaps, if the connection is closed (K2).
    pub accepted: u64,
    /// Whether the peer has said that it will send no more.
    pub fin: bool,
    /// Whether the connection is over in both directions: reset, timed out, or both sides have finished.
    pub closed: bool,
    /// Whether this side has said that it will send no more; not known of a closed connection (K2).
    pub own_fin: bool,
}

/// Samples the kernel's counts until nothing comes in meanwhile (S3, K1).
pub(crate) fn positions(fd: BorrowedFd<'_>) -> io::Result<Positions> {
    let mut before = counts(fd)?;
    for _ in 0..MAX_SAMPLES {
        if matches!(before.state, TCP_SYN_SENT | TCP_SYN_RECV) {
            // The SYN is counted when it is acknowledged: a baseline of now would be wrong then.
            return Err(io::ErrorKind::NotConnected.into());
        }
        let unread = rustix::io::ioctl_fionread(fd).map_err(io::Error::from)?;
        let unacked = outq(fd)?;
        let after = counts(fd)?;
        if after == before {
            let closed = after.state == TCP_CLOSE;
            let fin = match after.state {
                TCP_CLOSE => fin_of_closed(fd, unread)?,
                state => matches!(state, TCP_CLOSE_WAIT | TCP_LAST_ACK | TCP_CLOSING | TCP_TIME_WAIT),
            };
            let own_fin = matches!(
                after.state,
                TCP_FIN_WAIT1 | TCP_FIN_WAIT2 | TCP_CLOSING | TCP_LAST_ACK | TCP_TIME_WAIT
            );
            return Ok(Positions {
                taken: after.received.wrapping_sub(unread).wrapping_sub(fin.into()),
                accepted: after.acked.wrapping_add(unacked).wrapping_sub(own_fin.into()),
                fin,
                closed,
                own_fin,
            });
        }
        before = after;
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the kernel's counts did not hold still over {MAX_SAMPLES} samples"),
    ))
}

/// What one call of `TCP_INFO` says.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Counts {
    state: u8,
    acked: u64,
    received: u64,
}

fn counts(fd: BorrowedFd<'_>) -> io::Result<Counts> {
    let info = tcp_info(fd)?;
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&info[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    Ok(Counts {
        state: info[STATE],
        acked: word(BYTES_ACKED),
        received: word(BYTES_RECEIVED),
    })
}

/// Whether the peer's FIN had come in before a connection closed, of which `unread` bytes are still to be read. A connection
/// that was reset has none.
fn fin_of_closed(fd: BorrowedFd<'_>, unread: u64) -> io::Result<bool> {
    let yes: libc::c_int = 1;
    // SAFETY: the kernel reads one int.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INQ,
            (&raw const yes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut byte = [0];
    let mut parts = [io::IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!(libc::c_int);
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    let message = match nix::sys::socket::recvmsg::<()>(fd.as_raw_fd(), &mut parts, Some(&mut space), flags) {
        Ok(message) => message,
        // Neither bytes nor a FIN are there to be read before the error.
        Err(_) => return Ok(false),
    };
    for control in message.cmsgs().map_err(io::Error::from)? {
        if let ControlMessageOwned::Unknown(other) = control
            && other.cmsg_header.cmsg_level == libc::IPPROTO_TCP
            && other.cmsg_header.cmsg_type == libc::TCP_INQ
            && let Ok(bytes) = <[u8; 4]>::try_from(&other.data_bytes[..])
        {
            // This count has the FIN in it, read or not; SIOCINQ has not.
            return Ok(u64::from(u32::from_le_bytes(bytes)) != unread);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this kernel does not say TCP_INQ (Linux 4.18 or newer)",
    ))
}

fn tcp_info(fd: BorrowedFd<'_>) -> io::Result<[u8; INFO_SIZE]> {
    let mut info = [0u8; INFO_SIZE];
    let mut length = INFO_SIZE as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `info`.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if (length as usize) < INFO_SIZE {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("this kernel's tcp_info has {length} bytes, {INFO_SIZE} are needed (Linux 4.1 or newer)"),
        ));
    }
    Ok(info)
}

fn outq(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (the same number as TIOCOUTQ) writes one int.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn counts_follow_every_read_and_write_and_the_fin() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let mut client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let (mut server, _) = listener.accept().expect("accept");
        let base = positions(server.as_fd()).expect("sample");
        let (mut taken, mut accepted) = (0u64, 0u64);
        for round in 1..200u64 {
            let n = (round * 37 % 1500 + 1) as usize;
            client.write_all(&vec![1; n]).expect("client write");
            let mut got = vec![0; n / 2 + 1];
            server.read_exact(&mut got).expect("server read");
            taken += got.len() as u64;
            server.write_all(&vec![2; n / 3]).expect("server write");
            accepted += (n / 3) as u64;
            let now = positions(server.as_fd()).expect("sample");
            assert_eq!(now.taken - base.taken, taken);
            assert_eq!(now.accepted - base.accepted, accepted);
        }
        client.shutdown(Shutdown::Write).expect("shutdown");
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).expect("rest");
        taken += rest.len() as u64;
        let now = positions(server.as_fd()).expect("sample");
        assert!(now.fin);
        assert_eq!(now.taken - base.taken, taken, "the FIN does not count");
        assert_eq!(now.accepted - base.accepted, accepted);
    }
}
