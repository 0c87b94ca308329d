//! A hostile predecessor: it has the control socket's name and duplicates of everything that a node hands over, and says to a starting
//! successor what it should not. The successor refuses, owns nothing, and leaves the node as it is.
//!
//! It does not know how a real predecessor goes on.

use crate::frames::{Said, Speaker, hello};
use crate::{Before, assert_upgradable, rounds, scene, soon, until_closed};
use actors::node::{Actor, Scene, Swarm};
use handover::control::{ControlBlock, NodeIdentity, ParticipantState};
use handover::os::clock::Deadline;
use handover::os::dir::NodeId;
use handover::os::pidfd::ProcessId;
use handover::wire::{Channel, Descriptor, DescriptorKind, Listener, Message, Offer};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Rounds with the other tests, each with a process.
const ROUNDS: u64 = 40;
/// The successor gives up soon.
const HASTY: &[&str] = &[
    "--deadline",
    "hello=500",
    "--deadline",
    "batch=500",
    "--deadline",
    "stand-by=300",
    "--deadline",
    "tick=100",
    "--deadline",
    "quiet=100",
    "--deadline",
    "take=100",
];
/// It gives up soon only where it waits for the lease.
const PATIENT: &[&str] = &[
    "--deadline",
    "tick=100",
    "--deadline",
    "quiet=100",
    "--deadline",
    "take=100",
];

/// Where the successor is when it hears something else than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Greeting,
    Receiving,
    Received,
    Ready,
    Standing,
}

const WHEN: [When; 5] = [
    When::Greeting,
    When::Receiving,
    When::Received,
    When::Ready,
    When::Standing,
];

/// What a node hands over, as one had it who then went away.
struct Loot {
    offer: Offer,
    entries: Vec<Descriptor>,
    fds: Vec<OwnedFd>,
}

impl Loot {
    fn of(scene: &Scene) -> Self {
        let mut speaker = Speaker::new(Channel::connect(&scene.directory().join("control"), soon()).expect("connect"));
        let me = ProcessId::current().expect("proc");
        speaker.send(&hello(2, me), &[]).expect("an owner");
        let Some((Message::Offer(offer), _)) = speaker.hear() else {
            panic!("an offer was due");
        };
        speaker.set_version(offer.protocol);
        let Some((Message::Descriptors { entries, .. }, fds)) = speaker.hear() else {
            panic!("a batch was due");
        };
        Self { offer, entries, fds }
    }

    fn batch(&self) -> Message {
        Message::Descriptors {
            batch: 0,
            entries: self.entries.clone(),
        }
    }
}

/// A node, and one who has taken its place at the control socket.
struct Usurped {
    scene: Scene,
    owner: Actor,
    swarm: Swarm,
    before: Before,
    loot: Loot,
    socket: PathBuf,
    aside: PathBuf,
    listener: Listener,
    block: ControlBlock,
}

impl Usurped {
    fn new() -> Self {
        let scene = scene();
        let owner = scene.first(&["--deadline", "batch=10000"]);
        let swarm = Swarm::new(scene.address(), 5);
        let before = Before::of(&scene, &owner);
        let loot = Loot::of(&scene);
        scene.wait_phase(handover::control::Phase::None);
        let socket = scene.directory().join("control");
        let aside = scene.directory().join("control.aside");
        std::fs::rename(&socket, &aside).expect("rename");
        let listener = Listener::bind(&socket).expect("bind");
        let identity = NodeIdentity {
            id: NodeId(scene.status().id),
            name: scene.node().into(),
        };
        let block = ControlBlock::open(&identity, Deadline::now()).expect("control block");
        Self {
            scene,
            owner,
            swarm,
            before,
            loot,
            socket,
            aside,
            listener,
            block,
        }
    }

    /// The successor's hello, and the offer that it ought to get.
    fn greet(&self) -> (Speaker, Offer) {
        let mut speaker = Speaker::new(self.listener.accept(soon()).expect("a successor"));
        let Some((Message::Hello(hello), _)) = speaker.hear() else {
            panic!("a hello was due");
        };
        let slot = self
            .block
            .claim(hello.process, &hello.build_id, ParticipantState::Preparing)
            .expect("a row");
        let offer = Offer {
            slot: slot.into(),
            ..self.loot.offer
        };
        (speaker, offer)
    }

    /// A proper predecessor up to `when`; gives what it would say next. `None` if it was given up on the way.
    fn proper(&self, speaker: &mut Speaker, offer: Offer, when: When) -> Option<Option<Message>> {
        let batch = self.loot.batch();
        if when == When::Greeting {
            return Some(Some(Message::Offer(offer)));
        }
        speaker.send(&Message::Offer(offer), &[])?;
        speaker.set_version(offer.protocol);
        if when == When::Receiving {
            return Some(Some(batch));
        }
        let fds: Vec<_> = self.loot.fds.iter().map(AsFd::as_fd).collect();
        speaker.send(&batch, &fds)?;
        assert!(matches!(speaker.hear()?.0, Message::Ack { batch: 0 }));
        if when == When::Received {
            return Some(Some(Message::Offered { batches: 1 }));
        }
        speaker.send(&Message::Offered { batches: 1 }, &[])?;
        assert!(matches!(speaker.hear()?.0, Message::Ready));
        if when == When::Ready {
            return Some(Some(Message::StandBy { batches: 1 }));
        }
        speaker.send(&Message::StandBy { batches: 1 }, &[])?;
        assert!(matches!(speaker.hear()?.0, Message::Standing));
        Some(None)
    }

    fn assert_refused(&mut self, mut successor: Actor) -> String {
        let (who, text) = successor.failed();
        assert!(matches!(who.as_str(), "Predecessor" | "Unknown"), "{who}: {text}");
        assert!(!successor.exit().success());
        self.before
            .assert_unchanged(&self.scene, &self.owner, &self.swarm, false);
        text
    }

    fn end(self) {
        std::fs::rename(&self.aside, &self.socket).expect("rename");
        drop((self.listener, self.loot));
        assert_upgradable(self.scene, self.owner, self.swarm);
    }
}

#[test]
fn a_hostile_predecessor_is_refused_and_nothing_is_owned() {
    let mut node = Usurped::new();
    for (round, mut random) in rounds("a_hostile_predecessor_is_refused_and_nothing_is_owned", ROUNDS) {
        let when = WHEN[(round % WHEN.len() as u64) as usize];
        let successor = node.scene.spawn("B", HASTY);
        let (mut speaker, offer) = node.greet();
        let due = node.proper(&mut speaker, offer, when);
        let said = Said::choose(&speaker.due(due.flatten()), &mut random);
        println!("round {round}, {when:?}: {}", said.describe());
        said.say(speaker.channel.as_fd());
        // One that is not refused is told nothing more, and gives up; one that leaves is not dead, which takes a while to find out.
        match random.u32(..10) {
            0 => drop(speaker),
            _ => drop(until_closed(&mut speaker.channel)),
        }
        node.assert_refused(successor);
    }
    node.swarm.wait_progress();
    node.end();
}

/// Says one offer that is well formed and wrong, and gives what the successor says to it.
fn offered(node: &mut Usurped, change: impl FnOnce(&mut Offer), left_out: Option<DescriptorKind>) -> String {
    let successor = node.scene.spawn("B", PATIENT);
    let (mut speaker, mut offer) = node.greet();
    change(&mut offer);
    speaker.send(&Message::Offer(offer), &[]).expect("a successor");
    speaker.set_version(offer.protocol);
    let sent = node.loot.entries.iter().zip(&node.loot.fds);
    let (entries, fds): (Vec<_>, Vec<_>) = sent
        .filter(|(entry, _)| Some(entry.kind) != left_out)
        .map(|(entry, fd)| (entry.clone(), fd.as_fd()))
        .unzip();
    // It may have refused already.
    let _ = speaker
        .channel
        .send(&Message::Descriptors { batch: 0, entries }, &fds, soon());
    let _ = speaker.channel.send(&Message::Offered { batches: 1 }, &[], soon());
    let said = until_closed(&mut speaker.channel);
    let text = node.assert_refused(successor);
    assert_eq!(
        said.as_deref().map(|s| text.contains(s) || s.contains(&text)),
        Some(true),
        "{said:?}: {text}"
    );
    text
}

/// Which objects the node has.
fn objects(scene: &Scene) -> Vec<u64> {
    let names = scene.shared_objects();
    let stats = names
        .iter()
        .map(|name| std::fs::metadata(Path::new("/dev/shm").join(name)));
    stats.map(|stat| stat.expect("stat").ino()).collect()
}

#[test]
fn an_offer_that_is_wrong_is_refused_in_words() {
    let mut node = Usurped::new();
    // The lease would be taken in another's name.
    for slot in [7, 8, 255, 256, u32::MAX] {
        let text = offered(&mut node, |offer| offer.slot = slot, None);
        assert!(text.contains("row"), "{text}");
    }
    let mine = offered(&mut node, |offer| offer.slot += 256, None);
    assert!(mine.contains("the row of this process"), "{mine}");
    // Other descriptors than were announced.
    let more = offered(&mut node, |offer| offer.streams += 1, None);
    assert!(more.contains("announced"), "{more}");
    let fewer = offered(&mut node, |offer| offer.streams -= 1, None);
    assert!(fewer.contains("were due"), "{fewer}");
    let others = offered(
        &mut node,
        |offer| (offer.streams, offer.others) = (offer.streams - 1, offer.others + 1),
        None,
    );
    assert!(others.contains("announced"), "{others}");
    let lock = offered(&mut node, |offer| offer.others -= 1, Some(DescriptorKind::Lock));
    assert!(lock.contains("liveness lock"), "{lock}");
    let node_id = offered(&mut node, |offer| offer.node_id ^= 1, None);
    assert!(node_id.contains("an offer of this node"), "{node_id}");

    // A region that the owner has, and that the offer forgets, is nobody's to replace.
    let before = objects(&node.scene);
    let region = offered(&mut node, |offer| offer.regions = 0, Some(DescriptorKind::Region));
    assert!(region.contains("in use") || region.contains("holds"), "{region}");
    assert_eq!(objects(&node.scene), before, "an object of the node was replaced");
    node.end();
}

/// What comes again and again makes no wait longer either: late batches while the successor waits for `stand by`, signals while it waits for the lease.
#[test]
fn words_without_end_are_not_waited_for() {
    let mut node = Usurped::new();
    for when in [When::Ready, When::Standing] {
        let successor = node.scene.spawn("B", HASTY);
        let (mut speaker, offer) = node.greet();
        assert!(node.proper(&mut speaker, offer, when).is_some(), "given up too early");
        let file: OwnedFd = std::fs::File::open("/dev/null").expect("open").into();
        let limit = soon();
        let mut words = 0;
        let refused = loop {
            words += 1;
            assert!(!limit.passed(), "{when:?}: {words} words were heard");
            let more = match when {
                // One name, so that what came before is closed.
                When::Ready => {
                    let kind = DescriptorKind::Named;
                    let name = "again".into();
                    let entries = vec![Descriptor { kind, token: 1, name }];
                    let batch = Message::Descriptors { batch: words, entries };
                    speaker.send(&batch, &[file.as_fd()]).and_then(|()| speaker.hear())
                }
                _ => {
                    node.block.signal(handover::control::Signal::StandBy).expect("signal");
                    let nothing = !speaker.is_spoken_to();
                    nothing.then(|| (Message::Ready, Vec::new()))
                }
            };
            if more.is_none() {
                break words;
            }
        };
        println!("{when:?}: given up after {refused} words");
        drop(until_closed(&mut speaker.channel));
        let text = node.assert_refused(successor);
        assert!(text.contains("in time"), "{text}");
    }
    node.end();
}

/// How long the tick is said to be makes no wait longer: a successor that spins for years would never see that it is called off.
#[test]
fn a_tick_of_years_is_not_waited_for() {
    let mut node = Usurped::new();
    let successor = node.scene.spawn("B", PATIENT);
    let (mut speaker, mut offer) = node.greet();
    offer.tick = u64::MAX;
    offer.probation = u64::MAX;
    assert_eq!(node.proper(&mut speaker, offer, When::Standing), Some(None));
    node.block.signal(handover::control::Signal::StandBy).expect("signal");
    drop(until_closed(&mut speaker.channel));
    node.assert_refused(successor);
    node.end();
}
