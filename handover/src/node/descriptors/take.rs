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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::builder::Builder;
    use crate::node::shared::Stage;
    use crate::node::tether::Terms;
    use crate::os::clock::Deadline;
    use crate::os::pidfd::{Pidfd, ProcessId};
    use crate::wire::channel::Channel;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(10);

    /// The probation's thread asks for the stage while it holds the probation: who keeps a descriptor must not wait for that with the stage in
    /// its hand.
    #[test]
    fn keeping_on_probation_takes_one_lock_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let builder = Builder::new("keep").directory(directory.path().join("nodes"));
        let node = builder.start().expect("first").ready().expect("ready");
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (here, _there) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("socketpair");
        let me = ProcessId::current().expect("this process");
        let terms = Terms {
            channel: Channel::new(here).expect("own uid"),
            predecessor: Pidfd::open(me).expect("open").expect("alive"),
            slot: 1,
            length: LIMIT,
            word: None,
        };
        let shared = &Arc::clone(&node.shared);
        shared.probation.begin(terms).expect("begun");
        std::thread::scope(|s| {
            let probation = shared.probation.lock();
            let kept = s.spawn(|| node.keep("x", std::fs::File::open("/dev/null").map(OwnedFd::from).expect("open")));
            let end = Deadline::after(LIMIT);
            while node.descriptor("x").is_err() {
                assert!(end.pause(Duration::from_millis(1)), "it is not kept");
            }
            // From here on the other thread comes to wait for the probation, if it does not yet.
            let (sender, stage) = channel();
            s.spawn(move || sender.send(shared.stage()));
            let found = stage.recv_timeout(LIMIT);
            drop(probation);
            assert_eq!(
                found,
                Ok(Stage::Serving),
                "the stage is held by one that waits for the probation"
            );
            kept.join().expect("no panic").expect("kept");
        });
        shared.probation.end();
        node.stop(Vec::new(), true).expect("removed");
    }
}
