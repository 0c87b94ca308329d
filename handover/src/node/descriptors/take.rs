//! How a server gets at its descriptors, before and after it owns the node.

use crate::error::{Error, Result};
use crate::node::descriptors::datagrams::{Datagrams, Udp};
use crate::node::descriptors::item::Item;
use crate::node::descriptors::plan::DescriptorPlan;
use crate::node::probation;
use crate::node::serving::Node;
use crate::node::starting::Starting;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

/// Descriptors, before this process owns them: to look at, to register, not to read or accept.
impl Starting {
    /// What becomes of the node's descriptors with this version. What is listed as dropped can still be claimed by
    /// [`descriptor`](Self::descriptor).
    #[must_use]
    pub fn plan(&self) -> DescriptorPlan {
        self.shared.descriptors.plan()
    }

    /// A descriptor that was declared with [`Builder::descriptor`](crate::Builder::descriptor), or a seqpacket listener. One that the owner
    /// before kept, or declared and this version does not, is claimed by this call; what nobody claims is closed when this process
    /// owns the node.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn descriptor(&self, name: &str) -> Result<Arc<OwnedFd>> {
        self.shared.descriptors.claim(name)
    }
}

/// Descriptors by name. They belong to the node: whoever owns it accepts and reads, inside a pass, nobody else.
impl Node {
    /// A listening TCP socket by its name.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn listener(&self, name: &str) -> Result<Arc<TcpListener>> {
        self.shared.descriptors.get("listener", name, |item| match item {
            Item::Tcp(listener) => Some(Arc::clone(listener)),
            _ => None,
        })
    }

    /// A listening Unix stream socket by its name; it does not block.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn unix_listener(&self, name: &str) -> Result<Arc<UnixListener>> {
        self.shared.descriptors.get("Unix listener", name, |item| match item {
            Item::Unix(listener) => Some(Arc::clone(listener)),
            _ => None,
        })
    }

    /// A UDP socket by its name.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn udp(&self, name: &str) -> Result<Udp> {
        self.shared.descriptors.get("UDP socket", name, |item| match item {
            Item::Udp(socket) => Some(Udp::new(Arc::clone(socket))),
            _ => None,
        })
    }

    /// A Unix datagram socket by its name.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn datagrams(&self, name: &str) -> Result<Datagrams> {
        self.shared
            .descriptors
            .get("Unix datagram socket", name, |item| match item {
                Item::Datagram(socket) => Some(Datagrams::new(Arc::clone(socket))),
                _ => None,
            })
    }

    /// Any other descriptor by its name: one that was declared with [`Builder::descriptor`](crate::Builder::descriptor) or claimed by
    /// [`Starting::descriptor`], a seqpacket listener, or one that was kept.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn descriptor(&self, name: &str) -> Result<Arc<OwnedFd>> {
        self.shared.descriptors.get("descriptor", name, Item::other)
    }

    /// Keeps a descriptor under a name: from now on it goes to every successor, which has to claim or declare it, or it is closed
    /// there. The server may go on using its own clone.
    ///
    /// # Errors
    /// [`Error::Descriptor`]: the name is taken; a handover is about to be decided (keep it again in the next pass).
    pub fn keep(&self, name: &str, fd: impl Into<Arc<OwnedFd>>) -> Result<()> {
        let fd = fd.into();
        let kept = self
            .shared
            .while_serving(|| self.shared.descriptors.keep(name, Arc::clone(&fd)));
        match kept {
            Some(Ok(())) => {
                // Not under the lock of the stage: the probation's thread takes the two the other way round.
                probation::mirror_kept(&self.shared, name, fd);
                Ok(())
            }
            Some(error) => error,
            None => Err(Error::Descriptor {
                name: name.into(),
                problem: "this process does not serve the node any more",
            }),
        }
    }

    /// Takes a kept descriptor back; `None` if none of this name was kept.
    pub fn forget(&self, name: &str) -> Option<Arc<OwnedFd>> {
        self.shared.descriptors.forget(name)
    }

    /// What became of the node's descriptors when this process started.
    #[must_use]
    pub fn plan(&self) -> DescriptorPlan {
        self.shared.descriptors.plan()
    }
}
