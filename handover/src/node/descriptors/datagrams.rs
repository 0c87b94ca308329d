//! Datagram sockets of a node: read and written with a pass in the hand.
//!
//! - **U1** One reader at a time (H7, H12): every call takes a pass, and a closed gate has no pass out; so a process that is parked, drains, or
//!   only prepares reads nothing. What waits in the socket's buffer stays there for the next owner: nothing is lost, nothing read twice.
//! - **U2** Nothing blocks. Waiting happens outside a pass, on the descriptor.
//!
//! What a process had read when it was killed, and not committed, is lost, as UDP allows.

use crate::error::{Error, Result};
use shmstate::Pass;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::path::Path;
use std::sync::Arc;

/// A UDP socket of the node.
#[derive(Clone, Debug)]
pub struct Udp(Arc<UdpSocket>);

/// A Unix datagram socket of the node.
#[derive(Clone, Debug)]
pub struct Datagrams(Arc<UnixDatagram>);

/// `None` where it would block; errors that an earlier datagram left behind (an ICMP answer) are tried again by the caller.
fn now<T>(what: &'static str, result: std::io::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(e) => Err(Error::io(what, "a datagram socket of the node", e)),
    }
}

impl Udp {
    pub(crate) fn new(socket: Arc<UdpSocket>) -> Self {
        Self(socket)
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// The system refused.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        self.0
            .local_addr()
            .map_err(|e| Error::io("ask for", "the address of a socket", e))
    }

    /// Takes the next datagram and its sender, `None` if none waits. What does not fit into `buffer` is cut off.
    ///
    /// # Errors
    /// An earlier datagram could not be delivered ([`ErrorKind::ConnectionRefused`], on a connected socket): the next call goes on.
    pub fn recv_from(&self, _: &Pass<'_>, buffer: &mut [u8]) -> Result<Option<(usize, SocketAddr)>> {
        now("receive from", self.0.recv_from(buffer))
    }

    /// Sends a datagram to `to`, `None` if the socket's buffer is full.
    ///
    /// # Errors
    /// The system refused.
    pub fn send_to(&self, _: &Pass<'_>, bytes: &[u8], to: SocketAddr) -> Result<Option<usize>> {
        now("send on", self.0.send_to(bytes, to))
    }

    /// Sends a datagram to the peer of a connected socket, `None` if the socket's buffer is full.
    ///
    /// # Errors
    /// It is not connected; as [`recv_from`](Self::recv_from).
    pub fn send(&self, _: &Pass<'_>, bytes: &[u8]) -> Result<Option<usize>> {
        now("send on", self.0.send(bytes))
    }
}

impl AsFd for Udp {
    /// To wait for datagrams, and for options. To read by it is to break U1.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Datagrams {
    pub(crate) fn new(socket: Arc<UnixDatagram>) -> Self {
        Self(socket)
    }

    /// Takes the next datagram and its sender, `None` if none waits. What does not fit into `buffer` is cut off.
    ///
    /// # Errors
    /// The system refused.
    pub fn recv_from(&self, _: &Pass<'_>, buffer: &mut [u8]) -> Result<Option<(usize, UnixAddr)>> {
        now("receive from", self.0.recv_from(buffer))
    }

    /// Sends a datagram to the socket at `to`, `None` if that one's queue is full.
    ///
    /// # Errors
    /// Nobody is there.
    pub fn send_to(&self, _: &Pass<'_>, bytes: &[u8], to: &Path) -> Result<Option<usize>> {
        now("send on", self.0.send_to(bytes, to))
    }
}

impl AsFd for Datagrams {
    /// To wait for datagrams, and for options. To read by it is to break U1.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
