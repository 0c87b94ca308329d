//! A descriptor of the node as its server takes it: in the type of the standard library where there is one.

use crate::node::descriptors::spec::What;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::Arc;

/// One descriptor. Clones are the same descriptor.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Tcp(Arc<TcpListener>),
    Unix(Arc<UnixListener>),
    Udp(Arc<UdpSocket>),
    Datagram(Arc<UnixDatagram>),
    /// Seqpacket listeners, and whatever is no socket.
    Other(Arc<OwnedFd>),
}

impl Item {
    /// As it was declared.
    pub(crate) fn declared(what: &What, fd: OwnedFd) -> Self {
        match what {
            What::Tcp(_) => Self::Tcp(Arc::new(fd.into())),
            What::Unix(_) => Self::Unix(Arc::new(fd.into())),
            What::Udp(..) => Self::Udp(Arc::new(fd.into())),
            What::Datagram(_) => Self::Datagram(Arc::new(fd.into())),
            What::Seqpacket(_) | What::Made(_) => Self::Other(Arc::new(fd)),
        }
    }

    /// If it has no type of its own.
    pub(crate) fn other(&self) -> Option<Arc<OwnedFd>> {
        match self {
            Self::Other(fd) => Some(Arc::clone(fd)),
            _ => None,
        }
    }
}

impl AsFd for Item {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
            Self::Datagram(socket) => socket.as_fd(),
            Self::Other(fd) => fd.as_fd(),
        }
    }
}
