#![expect(
    unsafe_code,
    reason = "two calls that no wrapper offers: TCP_INFO in full, and SIOCOUTQ"
)]
//! What the kernel counts of a TCP connection (rules S1–S3 of `table::streams`).

use rustix::net::sockopt::socket_cookie;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// How often two samples may disagree before the connection counts as too busy to sample. Each disagreement needs a
/// segment to arrive between two system calls; a thousand in a row do not happen while the peer's window is finite.
const MAX_SAMPLES: usize = 1000;

// Offsets in `struct tcp_info` (include/uapi/linux/tcp.h); the structure only ever grows at its end.
const STATE: usize = 0;
const BYTES_ACKED: usize = 120;
const BYTES_RECEIVED: usize = 128;
const INFO_SIZE: usize = 136;

// Values of tcpi_state after the peer's FIN has come in.
const TCP_CLOSE: u8 = 7;
const TCP_CLOSE_WAIT: u8 = 8;
const TCP_LAST_ACK: u8 = 9;
const TCP_CLOSING: u8 = 11;
const TCP_TIME_WAIT: u8 = 6;

/// The kernel's two positions of a connection, in bytes since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positions {
    /// S1: bytes this side has taken out of the socket.
    pub taken: u64,
    /// S2: bytes the socket has accepted from this side.
    pub accepted: u64,
    /// Whether the peer has said that it will send no more.
    pub fin: bool,
}

/// Samples the kernel's counts until two samples agree (S3).
pub(crate) fn positions(fd: BorrowedFd<'_>) -> io::Result<Positions> {
    let mut last = sample(fd)?;
    for _ in 0..MAX_SAMPLES {
        let next = sample(fd)?;
        if next == last {
            return Ok(next);
        }
        last = next;
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the kernel's counts did not hold still over {MAX_SAMPLES} samples"),
    ))
}

fn sample(fd: BorrowedFd<'_>) -> io::Result<Positions> {
    let info = tcp_info(fd)?;
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&info[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let fin = matches!(
        info[STATE],
        TCP_CLOSE | TCP_CLOSE_WAIT | TCP_LAST_ACK | TCP_CLOSING | TCP_TIME_WAIT
    );
    let unread = rustix::io::ioctl_fionread(fd).map_err(io::Error::from)?;
    let unacked = outq(fd)?;
    // A FIN takes one place in the sequence: bytes_received counts it, the unread bytes do not.
    Ok(Positions {
        taken: word(BYTES_RECEIVED).wrapping_sub(unread).wrapping_sub(u64::from(fin)),
        accepted: word(BYTES_ACKED).wrapping_add(unacked),
        fin,
    })
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

/// The kernel's own number for this socket, the same in every process that holds it.
pub(crate) fn cookie(fd: BorrowedFd<'_>) -> io::Result<u64> {
    socket_cookie(fd).map_err(io::Error::from)
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
