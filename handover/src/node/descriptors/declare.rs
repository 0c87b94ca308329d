//! What a builder declares beside regions.

use crate::node::builder::Builder;
use crate::node::descriptors::activation::Activation;
use crate::node::descriptors::spec::{Maker, Spec, What};
use crate::os::sockets::{ListenOptions, UnixName};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

fn place(path: impl AsRef<Path>) -> Result<UnixName, String> {
    UnixName::of(path.as_ref()).map_err(|e| e.to_string())
}

/// Listeners, sockets and other descriptors: each has a name, under which every version finds it again. The first process makes it, a
/// successor inherits it.
///
/// A version may declare others than the one before ([`Starting::plan`](crate::Starting::plan) says what comes of it). What is *new* is made
/// before the successor is ready; if that fails, the handover is called off and the predecessor serves on. What is *dropped* turns
/// clients away from the cutover on. What is *changed*, that is, declared with another address under the same name, is both; for a moment
/// both are there, so the addresses must not overlap.
impl Builder {
    /// A listening TCP socket. See [`listener_with`](Self::listener_with).
    #[must_use]
    pub fn listener(self, name: &str, address: SocketAddr) -> Self {
        self.listener_with(name, address, ListenOptions::default())
    }

    /// A listening TCP socket with options. They count when it is made; the backlog counts with every start. It is served over IPv4 or
    /// IPv6 as the address is; `[::]` serves both, unless [`ListenOptions::v6only`] or the system says otherwise.
    #[must_use]
    pub fn listener_with(self, name: &str, address: SocketAddr, options: ListenOptions) -> Self {
        self.declare(name, What::Tcp(address), options)
    }

    /// A listening Unix stream socket at a path, or, if it begins with `@`, at an abstract name. A socket file that a dead owner left is
    /// replaced; the file survives handovers, and goes with [`Node::stop`](crate::Node::stop) where that removes the node.
    #[must_use]
    pub fn unix_listener(self, name: &str, path: impl AsRef<Path>) -> Self {
        self.unix_listener_with(name, path, ListenOptions::default())
    }

    /// As [`unix_listener`](Self::unix_listener), with options.
    #[must_use]
    pub fn unix_listener_with(self, name: &str, path: impl AsRef<Path>, options: ListenOptions) -> Self {
        self.declare(name, What::Unix(place(path)), options)
    }

    /// A listening Unix seqpacket socket; otherwise as [`unix_listener_with`](Self::unix_listener_with). The server gets it by
    /// [`Node::descriptor`](crate::Node::descriptor).
    #[must_use]
    pub fn seqpacket_listener(self, name: &str, path: impl AsRef<Path>, options: ListenOptions) -> Self {
        self.declare(name, What::Seqpacket(place(path)), options)
    }

    /// A bound UDP socket. The server gets it by [`Node::udp`](crate::Node::udp).
    #[must_use]
    pub fn udp(self, name: &str, address: SocketAddr) -> Self {
        self.udp_with(name, address, None, ListenOptions::default())
    }

    /// A bound UDP socket with options, connected to `peer` if there is one: then it receives from nobody else.
    #[must_use]
    pub fn udp_with(self, name: &str, address: SocketAddr, peer: Option<SocketAddr>, options: ListenOptions) -> Self {
        self.declare(name, What::Udp(address, peer), options)
    }

    /// A Unix datagram socket at a path or an abstract name, as [`unix_listener_with`](Self::unix_listener_with). The server gets it by
    /// [`Node::datagrams`](crate::Node::datagrams).
    #[must_use]
    pub fn datagrams(self, name: &str, path: impl AsRef<Path>, options: ListenOptions) -> Self {
        self.declare(name, What::Datagram(place(path)), options)
    }

    /// Any descriptor: a pipe, a timerfd, an eventfd, a memfd. `make` is called in a first process only. It is to make it
    /// close-on-exec, as everything in the standard library is. The server gets it by [`Node::descriptor`](crate::Node::descriptor).
    ///
    /// ```no_run
    /// let (reader, writer) = std::io::pipe()?;
    /// let starting = handover::Node::builder("arena")
    ///     .descriptor("feed", move || Ok(reader.try_clone()?.into()))
    ///     .start()?;
    /// let feed = starting.descriptor("feed")?;
    /// # drop((writer, feed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn descriptor(self, name: &str, make: impl Fn() -> std::io::Result<OwnedFd> + Send + Sync + 'static) -> Self {
        self.declare(name, What::Made(Maker(Arc::new(make))), ListenOptions::default())
    }

    /// What a first process does with descriptors that a service manager opened for it (`LISTEN_FDS`). Default [`Activation::All`]: a
    /// listener or socket whose name is among `LISTEN_FDNAMES` is taken from there, whatever address it is declared with, and
    /// what nobody declared is closed. The environment is left as it is, because changing it is undefined behaviour while another
    /// thread reads it; children are not misled, since `LISTEN_PID` is not theirs, and they inherit no descriptor.
    #[must_use]
    pub fn activation(mut self, activation: Activation) -> Self {
        self.0.activation = activation;
        self
    }

    fn declare(mut self, name: &str, what: What, options: ListenOptions) -> Self {
        self.0.descriptors.push(Spec {
            name: name.into(),
            what,
            options,
        });
        self
    }
}
