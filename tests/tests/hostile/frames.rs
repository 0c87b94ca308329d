//! What a hostile peer says where something else is due.
//!
//! It does not know who hears it.

use crate::soon;
use handover::os::clock::Deadline;
use handover::os::pidfd::ProcessId;
use handover::os::rights::send_with_fds;
use handover::wire::frame::{HEADER_LEN, MAX_FRAME};
use handover::wire::{Channel, Descriptor, DescriptorKind, Hello, Message, Offer};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How a conversation stands for the one who speaks.
pub(crate) struct Due {
    /// The message that is due; `None` if nothing is.
    pub(crate) message: Option<Message>,
    pub(crate) version: u16,
    /// The next number.
    pub(crate) number: u32,
    /// The frame before.
    pub(crate) last: Vec<u8>,
}

/// One thing that is said, or not.
#[derive(Debug)]
pub(crate) struct Said {
    what: &'static str,
    frame: Vec<u8>,
    descriptors: usize,
}

pub(crate) fn hello(highest: u16, process: ProcessId) -> Message {
    Message::Hello(Hello {
        lowest: 1,
        highest,
        process,
        build_id: "hostile".into(),
    })
}

/// A message of any kind that makes sense in itself.
fn any(random: &mut fastrand::Rng) -> Message {
    let reason = || "said by a hostile peer".to_string();
    let entries = vec![
        Descriptor {
            kind: [DescriptorKind::Stream, DescriptorKind::Named, DescriptorKind::Lock][random.usize(..3)],
            token: random.u64(..1 << 20),
            name: "hostile".into(),
        };
        random.usize(..4)
    ];
    let number = random.u32(..3);
    match random.u32(..16) {
        0 => hello(2, ProcessId::current().expect("proc")),
        1 => Message::Offer(Offer {
            protocol: random.u16(1..=2),
            node_id: random.u128(..),
            generation: 1,
            slot: random.u32(..9),
            tick: random.u64(..),
            regions: 1,
            listeners: 1,
            others: 2,
            streams: 3,
            probation: random.u64(..),
        }),
        2 => Message::Descriptors { batch: number, entries },
        3 => Message::Ack { batch: number },
        4 => Message::Offered { batches: number },
        5 => Message::Ready,
        6 => Message::Refuse { reason: reason() },
        7 => Message::StandBy { batches: number },
        8 => Message::Standing,
        9 => Message::Abort { reason: reason() },
        10 => Message::Mirror { entries },
        11 => Message::Gone {
            tokens: vec![1 << 40; random.usize(..5)],
        },
        12 => Message::Confirm,
        13 => Message::Return { reason: reason() },
        14 => Message::Returned { reason: reason() },
        _ => Message::Move {
            name: "hostile".into(),
            bytes: vec![7; random.usize(..100)],
        },
    }
}

/// The length in the header is made right again, so that what is behind it is reached.
fn mend(frame: &mut [u8]) {
    if let Some(body) = frame.len().checked_sub(HEADER_LEN) {
        frame[8..12].copy_from_slice(&(body as u32).to_le_bytes());
    }
}

impl Said {
    pub(crate) fn choose(due: &Due, random: &mut fastrand::Rng) -> Self {
        let message = match &due.message {
            Some(message) if random.u32(..3) != 0 => message.clone(),
            _ => any(random),
        };
        let mut frame = message.encode(due.version, due.number).expect("encode");
        let mut descriptors = message.descriptors();
        let what = match random.u32(..13) {
            0 => "a valid one",
            1..4 => {
                let at = random.usize(HEADER_LEN.min(frame.len() - 1)..frame.len());
                frame[at] = random.u8(..);
                "one with an altered body"
            }
            4 => {
                let at = random.usize(..HEADER_LEN);
                frame[at] ^= 1 << random.u32(..8);
                "one with an altered header"
            }
            5 => {
                frame.clone_from(&due.last);
                descriptors = 0;
                "the one before, again"
            }
            6 => {
                frame.truncate(random.usize(..frame.len()));
                if random.bool() {
                    mend(&mut frame);
                }
                "a cut one"
            }
            7 => {
                frame.resize(random.usize(MAX_FRAME + 1..2 * MAX_FRAME), 0);
                mend(&mut frame);
                "an oversized one"
            }
            8 => {
                frame[4] = [0, 3, 9, 3 - due.version as u8][random.usize(..4)];
                "one of another version"
            }
            9 => {
                descriptors = [descriptors + 1, 253, 0][random.usize(..3)];
                "one with other descriptors than it lists"
            }
            10 => {
                frame = vec![0; random.usize(1..500)];
                random.fill(&mut frame);
                "noise"
            }
            11 => {
                let number = due.number.wrapping_add([1, u32::MAX, 7][random.usize(..3)]);
                frame[12..16].copy_from_slice(&number.to_le_bytes());
                "one with a wrong number"
            }
            _ => {
                frame.clear();
                "nothing"
            }
        };
        Self {
            what,
            // The kernel sends no descriptors without a byte.
            descriptors: if frame.is_empty() { 0 } else { descriptors },
            frame,
        }
    }

    /// What it is, for the one who reads of a failure.
    pub(crate) fn describe(&self) -> String {
        let head = &self.frame[..self.frame.len().min(48)];
        format!(
            "{}, {} bytes, {} descriptors: {head:02x?}",
            self.what,
            self.frame.len(),
            self.descriptors
        )
    }

    /// Says it. The other side may be gone already.
    pub(crate) fn say(&self, socket: BorrowedFd<'_>) {
        if self.what != "nothing" {
            let null = File::open("/dev/null").expect("open");
            let fds = vec![null.as_fd(); self.descriptors];
            let _ = send_with_fds(socket, &self.frame, &fds, soon());
        }
    }
}

/// A channel whose sent messages are counted.
pub(crate) struct Speaker {
    pub(crate) channel: Channel,
    pub(crate) version: u16,
    said: u32,
    last: Vec<u8>,
}

impl Speaker {
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            channel,
            version: 1,
            said: 0,
            last: vec![1],
        }
    }

    /// Speaks this version from here on.
    pub(crate) fn set_version(&mut self, version: u16) {
        self.version = version;
        self.channel.set_version(version);
    }

    /// Says what is due; `None` if the other side has given up meanwhile, as it may when the machine is busy.
    pub(crate) fn send(&mut self, message: &Message, fds: &[BorrowedFd<'_>]) -> Option<()> {
        match self.channel.send(message, fds, soon()) {
            Err(handover::Error::Closed { .. } | handover::Error::Io { .. }) => return None,
            sent => sent.expect("send"),
        }
        self.last = message.encode(self.version, self.said).expect("encode");
        self.said += 1;
        Some(())
    }

    /// The next message and what came with it; `None` as for [`send`](Self::send).
    pub(crate) fn hear(&mut self) -> Option<(Message, Vec<OwnedFd>)> {
        match self.channel.recv(soon()) {
            Ok((Message::Refuse { .. } | Message::Abort { .. }, _)) => None,
            Err(handover::Error::Closed { .. } | handover::Error::Io { .. }) => None,
            heard => Some(heard.expect("a message")),
        }
    }

    /// How things stand, if `message` is due next.
    pub(crate) fn due(&self, message: Option<Message>) -> Due {
        Due {
            message,
            version: self.version,
            number: self.said,
            last: self.last.clone(),
        }
    }

    /// Whether there is something to hear now.
    pub(crate) fn is_spoken_to(&self) -> bool {
        handover::os::poll::readable(self.channel.as_fd(), Deadline::now()).expect("poll")
    }
}
