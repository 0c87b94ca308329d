//! The named descriptors of a process: what it declared, what it inherited, what it kept; and what a handover sends of them.
//!
//! - **N1** One name, one descriptor; regions have names of their own.
//! - **N2** What is made anew is made before `ready`: a failure refuses, and the predecessor serves (H2).
//! - **N3** What was neither declared nor claimed is let go of when this process owns the node, and reported (H6). Before that it is held,
//!   so that a handover that is called off changes nothing.
//! - **N4** A listener that is let go of turns clients away from then on, in every process that holds it (H11): it is silenced, see
//!   `os::silence`. A process that gets the node back revives its own ([`Descriptors::come_back`]).
//! - **N5** What is kept while a handover is under way goes over late; from `ready` to the cutover nothing can be kept, as nothing is
//!   accepted.
//!
//! It does not know messages, nor when an owner changes.

use crate::error::{ActivationProblem, Error, Result};
use crate::node::descriptors::activation::{Activation, Pool};
use crate::node::descriptors::item::Item;
use crate::node::descriptors::plan::DescriptorPlan;
use crate::node::descriptors::spec::{KEPT, MADE, Spec, What};
use crate::os::dir::check_node_name;
use crate::os::estate::Estate;
use crate::os::silence::{self, Silenced, silence};
use crate::os::sockets::{self, UnixName, start_listening};
use crate::wire::frame::Version;
use crate::wire::message::{Descriptor, DescriptorKind, MAX_NAME};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Protocol version from which descriptors other than TCP listeners travel: an older peer does not know their kind.
const SINCE: u16 = Version::V2 as u16;

/// A descriptor as it came from the owner before: mark, descriptor.
pub(crate) type Inherited = (String, u64, OwnedFd);

#[derive(Clone, Debug)]
struct Entry {
    mark: u64,
    item: Item,
}

/// What nobody here has a use for, yet.
#[derive(Debug)]
struct Left {
    mark: u64,
    fd: OwnedFd,
}

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<String, Entry>,
    /// Inherited, and let go of when this process owns the node (N3).
    leftover: BTreeMap<String, Left>,
    /// Declared otherwise by this version: what was inherited under the name.
    replaced: Vec<Left>,
    /// Names that came since the last snapshot.
    added: Vec<String>,
    /// Socket files that are out of the way as long as a predecessor may come back.
    parked: Vec<PathBuf>,
    /// Names of sockets that this process made, and that go with it as long as it is not settled that it stays.
    made: Vec<String>,
    plan: DescriptorPlan,
    paused: bool,
}

/// The named descriptors of a process.
#[derive(Debug, Default)]
pub(crate) struct Descriptors(Mutex<Inner>);

impl Descriptors {
    /// Of a first process: from a service manager, from an owner that has ended and keeps others from its addresses, or made.
    pub(crate) fn first(specs: &[Spec], activation: Activation, estate: &mut Estate) -> Result<Self> {
        let set = Self::default();
        let mut inner = set.inner();
        let mut pool = match activation {
            Activation::Off => None,
            Activation::All | Activation::Named => Some(Pool::look()?),
        };
        for spec in specs {
            let found = pool
                .as_mut()
                .map_or(Ok(None), |pool| pool.take(&spec.name, |fd| spec.fits(fd)));
            let found = found.map_err(|()| ActivationProblem::Kind {
                name: spec.name.clone(),
                expected: spec.noun(),
            })?;
            match found {
                Some(fd) => {
                    inner.plan.activated.push(spec.name.clone());
                    inner.put(spec, fd);
                }
                None => match estate.socket(|fd| spec.is_there(fd)) {
                    Some(fd) => {
                        inner.plan.kept.push(spec.name.clone());
                        inner.put(spec, fd);
                        inner.announce(spec);
                    }
                    None => inner.make(spec)?,
                },
            }
        }
        inner.give_up(pool, activation);
        drop(inner);
        Ok(set)
    }

    /// Of a successor: inherited by name, or made where the name is new or means something else now (N2).
    pub(crate) fn joining(specs: &[Spec], inherited: Vec<Inherited>, activation: Activation) -> Result<Self> {
        let set = Self::default();
        let mut inner = set.inner();
        for (name, mark, fd) in inherited {
            inner.leftover.insert(name, Left { mark, fd });
        }
        for spec in specs {
            match inner.leftover.remove(&spec.name) {
                None => inner.make(spec)?,
                Some(Left { mark, fd }) if spec.accepts(mark, &fd) => {
                    inner.plan.kept.push(spec.name.clone());
                    inner.put(spec, fd);
                }
                Some(old) => {
                    let made = spec.make()?;
                    inner.replaced.push(old);
                    inner.plan.changed.push(spec.name.clone());
                    inner.made.push(spec.name.clone());
                    inner.put(spec, made);
                }
            }
        }
        if activation == Activation::All {
            inner.give_up(Some(Pool::look()?), activation);
        }
        drop(inner);
        Ok(set)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What becomes of each, as it is now.
    pub(crate) fn plan(&self) -> DescriptorPlan {
        let inner = self.inner();
        let mut plan = inner.plan.clone();
        plan.dropped.extend(inner.leftover.keys().cloned());
        plan.sort();
        plan
    }

    /// What was declared: names and marks.
    pub(crate) fn declared(&self) -> Vec<(String, u64)> {
        let inner = self.inner();
        let declared = inner.entries.iter().filter(|(_, entry)| entry.mark != KEPT);
        declared.map(|(name, entry)| (name.clone(), entry.mark)).collect()
    }

    /// The descriptor with this name, if it is of the type that `wanted` picks.
    pub(crate) fn get<T>(&self, what: &'static str, name: &str, wanted: impl FnOnce(&Item) -> Option<T>) -> Result<T> {
        let inner = self.inner();
        let found = inner.entries.get(name).and_then(|entry| wanted(&entry.item));
        found.ok_or_else(|| Error::Unknown {
            what,
            name: name.into(),
        })
    }

    /// As [`get`](Self::get), of any type that has none of its own; what was inherited and not declared is claimed.
    pub(crate) fn claim(&self, name: &str) -> Result<Arc<OwnedFd>> {
        let mut inner = self.inner();
        if let Some(left) = inner.leftover.remove(name) {
            inner.plan.kept.push(name.into());
            let item = Item::Other(Arc::new(left.fd));
            inner.entries.insert(name.into(), Entry { mark: KEPT, item });
        }
        drop(inner);
        self.get("descriptor", name, Item::other)
    }

    /// Keeps a descriptor under a name: it goes to every version from now on (N5).
    pub(crate) fn keep(&self, name: &str, fd: Arc<OwnedFd>) -> Result<()> {
        let refuse = |problem| {
            let name = name.into();
            Err(Error::Descriptor { name, problem })
        };
        if name.is_empty() || name.len() > MAX_NAME {
            return refuse("a name has 1 to 255 bytes");
        }
        let mut inner = self.inner();
        if inner.entries.contains_key(name) {
            return refuse("there is one of this name; `forget` it first");
        }
        if inner.paused {
            return refuse("a handover is about to be decided: keep it when a pass can be had again");
        }
        let item = Item::Other(fd);
        inner.entries.insert(name.into(), Entry { mark: KEPT, item });
        inner.added.push(name.into());
        Ok(())
    }

    /// Takes a kept descriptor out.
    pub(crate) fn forget(&self, name: &str) -> Option<Arc<OwnedFd>> {
        let mut inner = self.inner();
        let kept = inner.entries.get(name).is_some_and(|entry| entry.mark == KEPT);
        let entry = kept.then(|| inner.entries.remove(name))??;
        entry.item.other()
    }

    /// Everything that an owner sends at protocol `version`; from now on [`since`](Self::since) gives what comes.
    pub(crate) fn snapshot(&self, version: u16) -> Vec<(Descriptor, Item)> {
        let mut inner = self.inner();
        inner.added.clear();
        inner
            .entries
            .iter()
            .filter_map(|(name, entry)| entry.sent(name, version))
            .collect()
    }

    /// What came since the last snapshot and is still there.
    pub(crate) fn since(&self, version: u16) -> Vec<(Descriptor, Item)> {
        let mut inner = self.inner();
        let added = std::mem::take(&mut inner.added);
        let entry = |name: &String| inner.entries.get(name)?.sent(name, version);
        added.iter().filter_map(entry).collect()
    }

    /// Takes in what came late: it was kept while this process prepared, so nobody here can have declared it.
    pub(crate) fn late(&self, inherited: Vec<Inherited>) {
        let mut inner = self.inner();
        for (name, mark, fd) in inherited {
            inner.leftover.insert(name, Left { mark, fd });
        }
    }

    /// Stops or resumes keeping (N5).
    pub(crate) fn pause(&self, paused: bool) {
        self.inner().paused = paused;
    }

    /// This process owns the node: lets go of what it does not go on with (N3, N4), and says to the kernel that it is this process
    /// that listens. With `may_return` a predecessor may take the node back: then socket files are only moved out of the
    /// way, until [`settle`](Self::settle).
    pub(crate) fn own(&self, specs: &[Spec], may_return: bool) {
        let mut inner = self.inner();
        let leftover = std::mem::take(&mut inner.leftover);
        let replaced = std::mem::take(&mut inner.replaced);
        let names: Vec<String> = leftover.keys().cloned().collect();
        inner.plan.dropped.extend(names);
        for left in leftover.into_values().chain(replaced) {
            // What cannot be silenced is closed all the same, and the last one who holds it closes it for clients.
            if !is_address(left.mark) {
                continue;
            }
            match silence(&left.fd) {
                Ok(Silenced::Moved(path)) if may_return => inner.parked.push(path),
                Ok(Silenced::Moved(path)) => _ = std::fs::remove_file(path),
                _ => {}
            }
        }
        for spec in specs {
            inner.announce(spec);
        }
    }

    /// No predecessor comes back any more: what was made here stays, what was only out of the way is removed.
    pub(crate) fn settle(&self) {
        let mut inner = self.inner();
        inner.made.clear();
        for path in std::mem::take(&mut inner.parked) {
            // Nobody finds it there; a leftover is not worth an error.
            let _ = std::fs::remove_file(path);
        }
    }

    /// This process has got the node back: its listeners take clients again, also those that the other one had let go of (N4).
    ///
    /// # Errors
    /// The first that could not be revived; the others are.
    pub(crate) fn come_back(&self, specs: &[Spec]) -> Result<()> {
        self.own(specs, false);
        let mut inner = self.inner();
        inner.paused = false;
        let mut first = Ok(());
        for (name, entry) in inner.entries.iter().filter(|(_, entry)| is_address(entry.mark)) {
            let backlog = specs
                .iter()
                .find(|spec| spec.name == *name)
                .and_then(|spec| spec.options.backlog);
            first = first.and(silence::revive(&entry.item, backlog));
        }
        first
    }

    /// Lets go of everything, and says how many there were. Held by a process that drains, they would take connections that nobody
    /// accepts once their owner is dead, and keep the next owner from binding the address.
    pub(crate) fn close(&self) -> usize {
        let mut inner = self.inner();
        inner.leftover.clear();
        inner.replaced.clear();
        std::mem::take(&mut inner.entries).len()
    }

    /// The predecessor owns the node again, or never ceased to: closes everything, and removes the socket files that were made here.
    pub(crate) fn withdraw(&self) {
        let mut inner = self.inner();
        let made = std::mem::take(&mut inner.made);
        for entry in made.iter().filter_map(|name| inner.entries.get(name)) {
            // What cannot be removed is found by whoever binds the path next, with nobody behind it.
            let _ = end(&entry.item);
        }
        inner.leftover.clear();
        inner.replaced.clear();
        inner.entries.clear();
    }

    /// The node ends for good: closes everything, and removes socket files that nobody is behind any more.
    pub(crate) fn remove(&self) -> Result<()> {
        let entries = {
            let mut inner = self.inner();
            inner.leftover.clear();
            inner.replaced.clear();
            std::mem::take(&mut inner.entries)
        };
        self.settle();
        let mut first = Ok(());
        for entry in entries.into_values() {
            if is_address(entry.mark) {
                first = first.and(end(&entry.item));
            }
        }
        first
    }
}

impl Drop for Descriptors {
    /// A handover that was called off leaves nothing.
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// Ends a socket for all who hold it, this process's server for one, and removes its file.
fn end(item: &Item) -> Result<()> {
    if let Some(UnixName::Path(path)) = sockets::unix_name(item) {
        // A datagram socket does not listen, and is not refused to: its file goes whoever holds it.
        match item {
            Item::Datagram(_) => match std::fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io("remove", path.display(), e)),
                _ => {}
            },
            _ => {
                let _ = rustix::net::shutdown(item, rustix::net::Shutdown::Read);
                sockets::remove_dead(&path)?;
            }
        }
    }
    Ok(())
}

impl Inner {
    fn put(&mut self, spec: &Spec, fd: OwnedFd) {
        let item = Item::declared(&spec.what, fd);
        let mark = spec.mark();
        self.entries.insert(spec.name.clone(), Entry { mark, item });
    }

    /// Says to the kernel that it is this process that listens.
    fn announce(&self, spec: &Spec) {
        let ours = self.entries.get(&spec.name);
        let listens = matches!(spec.what, What::Tcp(_) | What::Unix(_) | What::Seqpacket(_));
        // A Unix client sees who listened last; another backlog begins to count.
        let tell = !matches!(spec.what, What::Tcp(_)) || spec.options.backlog.is_some();
        if let Some(entry) = ours.filter(|_| listens && tell) {
            let _ = start_listening(&entry.item, spec.options.backlog);
        }
    }

    fn make(&mut self, spec: &Spec) -> Result<()> {
        let fd = spec.make()?;
        self.plan.new.push(spec.name.clone());
        self.made.push(spec.name.clone());
        self.put(spec, fd);
        Ok(())
    }

    fn give_up(&mut self, pool: Option<Pool>, activation: Activation) {
        if let Some(mut pool) = pool
            && activation == Activation::All
        {
            self.plan.unclaimed = pool.rest().into_iter().map(|(name, _)| name).collect();
        }
    }
}

impl Entry {
    fn sent(&self, name: &str, version: u16) -> Option<(Descriptor, Item)> {
        let kind = match self.item {
            Item::Tcp(_) => DescriptorKind::Listener,
            _ if version >= SINCE => DescriptorKind::Named,
            _ => return None,
        };
        let entry = Descriptor {
            kind,
            token: self.mark,
            name: name.into(),
        };
        Some((entry, self.item.clone()))
    }
}

/// Whether this library made it for clients to come to. What a server made or kept itself is closed and nothing else.
fn is_address(mark: u64) -> bool {
    !matches!(mark, KEPT | MADE)
}

/// Names that can be declared together: each once, each fit for a message.
pub(crate) fn check(specs: &[Spec]) -> Result<()> {
    for (i, spec) in specs.iter().enumerate() {
        check_node_name(&spec.name)?;
        if specs[..i].iter().any(|other| other.name == spec.name) {
            return Err(Error::Descriptor {
                name: spec.name.clone(),
                problem: "it is declared twice; listeners, sockets and other descriptors share their names",
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::descriptors::spec::UNKNOWN;
    use crate::os::sockets::ListenOptions;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::path::Path;

    const ANY: &str = "127.0.0.1:0";

    fn spec(name: &str, what: What) -> Spec {
        Spec {
            name: name.into(),
            what,
            options: ListenOptions::default(),
        }
    }

    fn tcp(name: &str, address: &str) -> Spec {
        spec(name, What::Tcp(address.parse().expect("an address")))
    }

    fn unix(name: &str, path: &Path) -> Spec {
        spec(name, What::Unix(UnixName::of(path).map_err(|e| e.to_string())))
    }

    /// As it is after a handover: duplicates with their marks.
    fn sent(from: &Descriptors) -> Vec<Inherited> {
        let all = from.snapshot(SINCE).into_iter();
        all.map(|(entry, item)| {
            (
                entry.name,
                entry.token,
                item.as_fd().try_clone_to_owned().expect("duplicate"),
            )
        })
        .collect()
    }

    fn address(set: &Descriptors, name: &str) -> SocketAddr {
        set.get("listener", name, |item| sockets::ip_name(item).ok())
            .expect("bound")
    }

    fn first(specs: &[Spec]) -> Descriptors {
        let set = Descriptors::first(specs, Activation::Off, &mut Estate::default()).expect("made");
        set.settle();
        set
    }

    fn joining(specs: &[Spec], from: &Descriptors) -> Result<Descriptors> {
        Descriptors::joining(specs, sent(from), Activation::Off)
    }

    /// Where no other test listens.
    const APART: &str = "127.77.0.1:0";

    #[test]
    fn kept_new_changed_and_dropped() {
        let dir = tempfile::tempdir().expect("tempdir");
        let old_specs = [
            tcp("stays", ANY),
            tcp("moves", ANY),
            tcp("goes", ANY),
            unix("door", &dir.path().join("door")),
        ];
        let old = first(&old_specs);
        assert_eq!(old.plan().to_string(), "new door, goes, moves, stays");
        old.keep("kept", Arc::new(std::fs::File::open("/dev/null").expect("open").into()))
            .expect("keep");

        let specs = [tcp("stays", ANY), tcp("moves", "127.0.0.2:0"), tcp("comes", APART)];
        let new = joining(&specs, &old).expect("joined");
        assert_eq!(
            new.plan().to_string(),
            "kept stays; new comes; changed moves; dropped door, goes, kept"
        );
        assert_eq!(address(&new, "stays"), address(&old, "stays"));
        // Nothing has changed for clients yet.
        for name in ["stays", "moves", "goes"] {
            TcpStream::connect(address(&old, name)).expect(name);
        }
        let before = [address(&old, "moves"), address(&old, "goes")];
        new.claim("kept").expect("there");
        new.own(&specs, true);
        assert_eq!(
            new.plan().to_string(),
            "kept kept, stays; new comes; changed moves; dropped door, goes"
        );
        for gone in before {
            assert!(
                TcpStream::connect(gone).is_err(),
                "{gone} refuses although the old process holds it"
            );
        }
        for name in ["stays", "moves", "comes"] {
            TcpStream::connect(address(&new, name)).expect(name);
        }
        assert!(UnixStream::connect(dir.path().join("door")).is_err());

        // The old process gets the node back.
        let added = address(&new, "comes");
        drop(new);
        old.come_back(&old_specs).expect("revived");
        assert_eq!(before, [address(&old, "moves"), address(&old, "goes")]);
        for gone in before {
            TcpStream::connect(gone).expect("it is back");
        }
        UnixStream::connect(dir.path().join("door")).expect("it is back");
        assert!(TcpStream::connect(added).is_err(), "nobody has it any more");
        old.remove().expect("removed");
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0);
    }

    #[test]
    fn what_was_only_out_of_the_way_goes_when_nobody_comes_back() {
        let dir = tempfile::tempdir().expect("tempdir");
        let old = first(&[unix("door", &dir.path().join("door"))]);
        let new = joining(&[], &old).expect("joined");
        new.own(&[], true);
        assert!(silence::parked(&dir.path().join("door")).exists());
        new.settle();
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0);
        let old = first(&[unix("door", &dir.path().join("door"))]);
        let new = joining(&[], &old).expect("joined");
        new.own(&[], false);
        assert_eq!(
            std::fs::read_dir(dir.path()).expect("list").count(),
            0,
            "without probation at once"
        );
    }

    #[test]
    fn a_socket_file_that_was_made_goes_with_a_handover_that_is_called_off() {
        let dir = tempfile::tempdir().expect("tempdir");
        let door = |name: &str| unix(name, &dir.path().join(name));
        let files = || std::fs::read_dir(dir.path()).expect("list").count();
        let old = first(&[door("a")]);
        let specs = [door("a"), door("b")];
        drop(joining(&specs, &old).expect("joined"));
        assert_eq!(files(), 1, "refused before ready");
        let new = joining(&specs, &old).expect("joined");
        let held = new.get("Unix listener", "b", |item| Some(item.clone())).expect("there");
        new.own(&specs, true);
        new.withdraw();
        assert_eq!(files(), 1, "given back, although the server holds its listener still");
        drop(held);
        let new = joining(&specs, &old).expect("joined");
        new.own(&specs, true);
        new.settle();
        drop(new);
        assert_eq!(files(), 2, "confirmed, they stay");
        let taken = first(&[door("c")]);
        let both = [door("d"), door("c")];
        assert!(joining(&both, &old).is_err(), "c is taken");
        assert_eq!(files(), 3, "and d went with the attempt");
        drop(taken);
    }

    #[test]
    fn an_address_that_cannot_be_had_fails_before_anything_changes() {
        let other = TcpListener::bind(ANY).expect("bind");
        let taken = other.local_addr().expect("name").to_string();
        let old = first(&[tcp("a", ANY)]);
        let error = joining(&[tcp("a", ANY), tcp("b", &taken)], &old).expect_err("it is taken");
        assert!(error.to_string().contains(&taken), "{error}");
        TcpStream::connect(address(&old, "a")).expect("as before");
        let moved = address(&old, "a").to_string();
        let error = joining(&[tcp("b", &moved)], &old).expect_err("the old one has it still");
        assert!(error.to_string().contains(&moved), "{error}");
    }

    #[test]
    fn an_owner_that_marks_nothing_is_believed_by_address() {
        let old = first(&[tcp("a", ANY), tcp("b", ANY)]);
        let inherited = sent(&old)
            .into_iter()
            .map(|(name, _, fd)| (name, UNKNOWN, fd))
            .collect();
        let specs = [tcp("a", ANY), tcp("b", "127.0.0.3:0")];
        let new = Descriptors::joining(&specs, inherited, Activation::Off).expect("joined");
        assert_eq!(new.plan().to_string(), "kept a; changed b");
    }

    #[test]
    fn what_is_kept_has_one_name_and_goes_over_late() {
        let null = || Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").expect("open")));
        let set = first(&[tcp("a", ANY)]);
        set.keep("x", null()).expect("keep");
        for name in ["a", "x", "", &"n".repeat(MAX_NAME + 1)] {
            assert!(
                matches!(set.keep(name, null()), Err(Error::Descriptor { .. })),
                "{name:?}"
            );
        }
        assert_eq!(set.snapshot(SINCE).len(), 2);
        assert!(set.since(SINCE).is_empty());
        set.keep("y", null()).expect("keep");
        set.keep("z", null()).expect("keep");
        set.forget("z").expect("kept");
        let late = set.since(SINCE);
        assert_eq!(late.len(), 1);
        assert_eq!((late[0].0.kind, &*late[0].0.name), (DescriptorKind::Named, "y"));
        set.pause(true);
        assert!(set.keep("z", null()).is_err(), "from ready to the cutover");
        set.pause(false);
        set.keep("z", null()).expect("again");
        assert!(set.forget("a").is_none(), "declared, not kept");
        assert_eq!(set.close(), 4);
    }

    #[test]
    fn a_name_is_declared_once() {
        assert!(check(&[tcp("a", ANY), tcp("b", ANY)]).is_ok());
        let twice = check(&[tcp("a", ANY), unix("a", Path::new("/x"))]);
        assert!(matches!(twice, Err(Error::Descriptor { name, .. }) if name == "a"));
        assert!(check(&[tcp("a/b", ANY)]).is_err());
    }
}
