//! The messages: ten of version 1, six of version 2. Their bodies are in DESIGN.md, their bytes in the test below.
//!
//! - Encoding refuses what decoding would refuse, except reasons: these are cut, because a refusal must not fail
//!   for being talkative.
//! - `hello` and `refuse` are the same in every version.
//!
//! This file does not know in which order messages come, nor what the descriptors are.

use std::ops::Range;

use super::frame::{HEADER_LEN, LOWEST, MAX_FRAME, Reader, Version, Writer};
use super::sabotage::{Left, left_out};
use crate::error::{FrameProblem, Result};
use crate::os::pidfd::ProcessId;
use crate::os::rights::MAX_DESCRIPTORS;

/// Longest build id, in bytes: what the control block has room for.
pub const MAX_BUILD_ID: usize = 64;
/// Longest name of a descriptor, in bytes.
pub const MAX_NAME: usize = 255;
/// Longest reason, in bytes.
pub const MAX_REASON: usize = 2 * 1024;

/// Most tokens in one `gone`.
pub const MAX_GONE: usize = 1024;

/// Most bytes that go with a connection in `move`.
pub const MAX_MOVE: usize = 16 * 1024;

/// Bytes of a descriptor entry without its name: kind, token, length of the name.
const ENTRY_LEN: usize = 1 + 8 + 2;
/// Bytes of a `descriptors` body before its entries.
const BATCH_HEAD_LEN: usize = 4 + 2;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The successor is there.
    Hello(Hello),
    /// What the predecessor will hand over.
    Offer(Offer),
    /// A batch of descriptors; they travel with it, in the order of the entries.
    Descriptors {
        /// Number of the batch, from 0.
        batch: u32,
        /// One for each descriptor, at most 253.
        entries: Vec<Descriptor>,
    },
    /// The successor has a batch.
    Ack {
        /// Number of the batch.
        batch: u32,
    },
    /// All that was announced has been sent.
    Offered {
        /// How many batches.
        batches: u32,
    },
    /// The successor can take over.
    Ready,
    /// One side will not, and leaves things as they are.
    Refuse {
        /// Why; cut to [`MAX_REASON`] bytes.
        reason: String,
    },
    /// The cutover is next.
    StandBy {
        /// How many batches in all, late ones included.
        batches: u32,
    },
    /// The successor waits on the futex word.
    Standing,
    /// The predecessor serves on.
    Abort {
        /// Why; cut to [`MAX_REASON`] bytes.
        reason: String,
    },
    /// V2: the owner has these too now; whoever mirrors its descriptors holds them from here on.
    Mirror {
        /// One for each descriptor, at most 253.
        entries: Vec<Descriptor>,
    },
    /// V2: the owner has ended these connections; who mirrors them closes its own.
    Gone {
        /// Tokens of the streams, at most [`MAX_GONE`].
        tokens: Vec<u64>,
    },
    /// V2: the owner on probation is well, and its predecessor need not wait any longer.
    Confirm,
    /// V2: the predecessor wants the node back.
    Return {
        /// Why; cut to [`MAX_REASON`] bytes.
        reason: String,
    },
    /// V2: the owner on probation has closed its gate and released the lease to its predecessor.
    Returned {
        /// Why; cut to [`MAX_REASON`] bytes.
        reason: String,
    },
    /// V2: the parked predecessor hands over a connection that was busy at the cutover; it travels with the message.
    Move {
        /// What it calls it, at most [`MAX_NAME`] bytes.
        name: String,
        /// What the new owner has to know of it, at most [`MAX_MOVE`] bytes.
        bytes: Vec<u8>,
    },
}

/// Body of `hello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Lowest protocol version the successor speaks.
    pub lowest: u16,
    /// Highest protocol version it speaks.
    pub highest: u16,
    /// Who it is, as it sees itself.
    pub process: ProcessId,
    /// What it was built from, at most [`MAX_BUILD_ID`] bytes.
    pub build_id: String,
}

/// Body of `offer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The protocol version from here on.
    pub protocol: u16,
    /// The node id.
    pub node_id: u128,
    /// Generation of the owner.
    pub generation: u64,
    /// Participant slot of the successor.
    pub slot: u32,
    /// Length of a tick, ns.
    pub tick: u64,
    /// Regions that will come.
    pub regions: u32,
    /// Listeners that will come.
    pub listeners: u32,
    /// Descriptors of other kinds that will come.
    pub others: u32,
    /// Streams that will come, late ones not counted.
    pub streams: u32,
    /// V2: how long the successor is on probation, ns; 0 for not at all. Not in the body of an offer of version 1.
    pub probation: u64,
}

/// What a descriptor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its kind.
    pub kind: DescriptorKind,
    /// For a stream its token, else 0.
    pub token: u64,
    /// Name of the region or listener, for a stream that of its streams table; at most [`MAX_NAME`] bytes.
    pub name: String,
}

/// Kinds of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DescriptorKind {
    /// A region.
    Region = 1,
    /// A listening socket.
    Listener = 2,
    /// A live connection.
    Stream = 3,
    /// The liveness lock.
    Lock = 4,
    /// The listening control socket.
    Control = 5,
    /// Anything else that has a name; the kernel says what it is. For this kind and for listeners the token is the mark of the
    /// declaration, see "Descriptors" in DESIGN.md.
    Named = 16,
}

impl DescriptorKind {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Region,
            2 => Self::Listener,
            3 => Self::Stream,
            4 => Self::Lock,
            5 => Self::Control,
            16 => Self::Named,
            _ => return None,
        })
    }
}

impl Message {
    /// The kind in the header.
    #[must_use]
    pub const fn kind(&self) -> u16 {
        match self {
            Self::Hello(_) => 1,
            Self::Offer(_) => 2,
            Self::Descriptors { .. } => 3,
            Self::Ack { .. } => 4,
            Self::Offered { .. } => 5,
            Self::Ready => 6,
            Self::Refuse { .. } => 7,
            Self::StandBy { .. } => 8,
            Self::Standing => 9,
            Self::Abort { .. } => 10,
            Self::Mirror { .. } => 11,
            Self::Gone { .. } => 12,
            Self::Confirm => 13,
            Self::Return { .. } => 14,
            Self::Returned { .. } => 15,
            Self::Move { .. } => 16,
        }
    }

    /// Its name, for errors.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Offer(_) => "offer",
            Self::Descriptors { .. } => "descriptors",
            Self::Ack { .. } => "ack",
            Self::Offered { .. } => "offered",
            Self::Ready => "ready",
            Self::Refuse { .. } => "refuse",
            Self::StandBy { .. } => "stand by",
            Self::Standing => "standing",
            Self::Abort { .. } => "abort",
            Self::Mirror { .. } => "mirror",
            Self::Gone { .. } => "gone",
            Self::Confirm => "confirm",
            Self::Return { .. } => "return",
            Self::Returned { .. } => "returned",
            Self::Move { .. } => "move",
        }
    }

    /// How many descriptors travel with it.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        match self {
            Self::Descriptors { entries, .. } | Self::Mirror { entries } => entries.len(),
            Self::Move { .. } => 1,
            _ => 0,
        }
    }

    /// The message as bytes, header included. `hello` and `refuse` go out in the lowest version.
    ///
    /// # Errors
    /// [`FrameProblem::Limit`], [`FrameProblem::TooLong`].
    pub fn encode(&self, version: u16, number: u32) -> Result<Vec<u8>, FrameProblem> {
        let mut w = Writer::new();
        let mut version = version;
        match self {
            Self::Hello(hello) => {
                version = LOWEST;
                w.put(&hello.lowest.to_le_bytes());
                w.put(&hello.highest.to_le_bytes());
                w.put(&hello.process.pid.to_le_bytes());
                w.put(&hello.process.start_time.to_le_bytes());
                w.string(&hello.build_id, "the build id", MAX_BUILD_ID)?;
            }
            Self::Offer(offer) => {
                w.put(&offer.protocol.to_le_bytes());
                w.put(&offer.node_id.to_le_bytes());
                w.put(&offer.generation.to_le_bytes());
                w.put(&offer.slot.to_le_bytes());
                w.put(&offer.tick.to_le_bytes());
                w.put(&offer.regions.to_le_bytes());
                w.put(&offer.listeners.to_le_bytes());
                w.put(&offer.others.to_le_bytes());
                w.put(&offer.streams.to_le_bytes());
                if offer.protocol >= Version::V2 as u16 {
                    w.put(&offer.probation.to_le_bytes());
                }
            }
            Self::Descriptors { batch, entries } => {
                w.put(&batch.to_le_bytes());
                put_entries(&mut w, entries)?;
            }
            Self::Ack { batch } => w.put(&batch.to_le_bytes()),
            Self::Offered { batches } | Self::StandBy { batches } => {
                w.put(&batches.to_le_bytes());
            }
            Self::Ready | Self::Standing | Self::Confirm => {}
            Self::Refuse { reason } => {
                version = LOWEST;
                w.string(cut(reason), "the reason", MAX_REASON)?;
            }
            Self::Abort { reason } | Self::Return { reason } | Self::Returned { reason } => {
                w.string(cut(reason), "the reason", MAX_REASON)?;
            }
            Self::Mirror { entries } => put_entries(&mut w, entries)?,
            Self::Move { name, bytes } => {
                w.string(name, "the name of a descriptor", MAX_NAME)?;
                w.blob(bytes, "what goes with a connection", MAX_MOVE)?;
            }
            Self::Gone { tokens } => {
                let (len, limit) = (tokens.len(), MAX_GONE);
                if len > limit {
                    let field = "the list of tokens";
                    return Err(FrameProblem::Limit { field, len, limit });
                }
                w.put(&(len as u16).to_le_bytes());
                for token in tokens {
                    w.put(&token.to_le_bytes());
                }
            }
        }
        w.finish(version, self.kind(), number)
    }

    /// Decodes a body. It must end with its last field.
    ///
    /// # Errors
    /// [`FrameProblem`].
    pub fn decode(kind: u16, body: &[u8]) -> Result<Self, FrameProblem> {
        let mut r = Reader::new(body);
        let message = match kind {
            1 => Self::Hello(Hello {
                lowest: r.u16("the lowest version")?,
                highest: r.u16("the highest version")?,
                process: ProcessId {
                    pid: r.u32("the pid")?,
                    start_time: r.u64("the start time")?,
                },
                build_id: r.string("the build id", MAX_BUILD_ID)?,
            }),
            2 => Self::Offer(offer(&mut r)?),
            3 => Self::Descriptors {
                batch: r.u32("the batch number")?,
                entries: entries(&mut r)?,
            },
            4 => Self::Ack {
                batch: r.u32("the batch number")?,
            },
            5 => Self::Offered {
                batches: r.u32("the count of batches")?,
            },
            6 => Self::Ready,
            7 => Self::Refuse {
                reason: r.string("the reason", MAX_REASON)?,
            },
            8 => Self::StandBy {
                batches: r.u32("the count of batches")?,
            },
            9 => Self::Standing,
            10 => Self::Abort {
                reason: r.string("the reason", MAX_REASON)?,
            },
            11 => Self::Mirror {
                entries: entries(&mut r)?,
            },
            12 => Self::Gone {
                tokens: tokens(&mut r)?,
            },
            13 => Self::Confirm,
            14 => Self::Return {
                reason: r.string("the reason", MAX_REASON)?,
            },
            15 => Self::Returned {
                reason: r.string("the reason", MAX_REASON)?,
            },
            16 => Self::Move {
                name: r.string("the name of a descriptor", MAX_NAME)?,
                bytes: r.blob("what goes with a connection", MAX_MOVE)?,
            },
            found => return Err(FrameProblem::Kind { found }),
        };
        r.end()?;
        Ok(message)
    }
}

fn offer(r: &mut Reader<'_>) -> Result<Offer, FrameProblem> {
    let mut offer = Offer {
        protocol: r.u16("the protocol")?,
        node_id: r.u128("the node id")?,
        generation: r.u64("the generation")?,
        slot: r.u32("the slot")?,
        tick: r.u64("the tick")?,
        regions: r.u32("the count of regions")?,
        listeners: r.u32("the count of listeners")?,
        others: r.u32("the count of others")?,
        streams: r.u32("the count of streams")?,
        probation: 0,
    };
    if offer.protocol >= Version::V2 as u16 {
        offer.probation = r.u64("the probation")?;
    }
    Ok(offer)
}

fn entries(r: &mut Reader<'_>) -> Result<Vec<Descriptor>, FrameProblem> {
    let count = count(r.u16("the count of descriptors")?.into())?;
    let mut entries = Vec::with_capacity(count.into());
    for _ in 0..count {
        entries.push(entry(r)?);
    }
    Ok(entries)
}

fn put_entries(w: &mut Writer, entries: &[Descriptor]) -> Result<(), FrameProblem> {
    w.put(&count(entries.len())?.to_le_bytes());
    for entry in entries {
        w.put(&[entry.kind as u8]);
        w.put(&entry.token.to_le_bytes());
        w.string(&entry.name, "the name of a descriptor", MAX_NAME)?;
    }
    Ok(())
}

fn tokens(r: &mut Reader<'_>) -> Result<Vec<u64>, FrameProblem> {
    let (len, limit) = (usize::from(r.u16("the count of tokens")?), MAX_GONE);
    if len > limit {
        let field = "the list of tokens";
        return Err(FrameProblem::Limit { field, len, limit });
    }
    (0..len).map(|_| r.u64("a token")).collect()
}

fn entry(r: &mut Reader<'_>) -> Result<Descriptor, FrameProblem> {
    let found = r.u8("the kind of a descriptor")?;
    let kind = DescriptorKind::from_byte(found).ok_or(FrameProblem::Value {
        field: "the kind of a descriptor",
        found: found.into(),
    })?;
    Ok(Descriptor {
        kind,
        token: r.u64("the token of a descriptor")?,
        name: r.string("the name of a descriptor", MAX_NAME)?,
    })
}

fn count(len: usize) -> Result<u16, FrameProblem> {
    let limit = MAX_DESCRIPTORS;
    let field = "the list of descriptors";
    match u16::try_from(len) {
        Ok(count) if len <= limit || left_out(Left::Limit) => Ok(count),
        _ => Err(FrameProblem::Limit { field, len, limit }),
    }
}

fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_REASON)]
}

/// How many descriptors are listed in the frame of a message that could not be received whole, as far as the bytes
/// say.
pub(crate) fn listed_descriptors(frame: &[u8]) -> Option<usize> {
    let (head, body) = frame.split_first_chunk::<HEADER_LEN>()?;
    let mut r = Reader::new(&head[6..]);
    let kind = r.u16("the kind").ok()?;
    let mut r = Reader::new(body);
    match kind {
        3 => _ = r.u32("the batch number").ok()?,
        11 => {}
        16 => return Some(1),
        _ => return None,
    }
    r.u16("the count of descriptors").ok().map(usize::from)
}

/// Splits `entries` into batches that each fit into one message.
#[must_use]
pub fn batches(entries: &[Descriptor]) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    let mut start = 0;
    let mut len = HEADER_LEN + BATCH_HEAD_LEN;
    for (i, entry) in entries.iter().enumerate() {
        let more = ENTRY_LEN + entry.name.len();
        if i > start && (i - start == MAX_DESCRIPTORS || len + more > MAX_FRAME) {
            all.push(start..i);
            start = i;
            len = HEADER_LEN + BATCH_HEAD_LEN;
        }
        len += more;
    }
    if start < entries.len() {
        all.push(start..entries.len());
    }
    all
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::frame::Header;
    use super::*;

    /// Every message with the bytes that version 1 will always have.
    pub(crate) fn golden() -> Vec<(Message, &'static str)> {
        let hello = Hello {
            lowest: 1,
            highest: 1,
            process: ProcessId {
                pid: 0x0403_0201,
                start_time: 0x1817_1615_1413_1211,
            },
            build_id: "v2".into(),
        };
        let offer = Offer {
            protocol: 1,
            node_id: 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100,
            generation: 0x27,
            slot: 3,
            tick: 0x00fe_502a,
            regions: 1,
            listeners: 2,
            others: 4,
            streams: 0x2710,
            probation: 0,
        };
        let entries = vec![
            Descriptor {
                kind: DescriptorKind::Region,
                token: 0,
                name: "world".into(),
            },
            Descriptor {
                kind: DescriptorKind::Stream,
                token: 0x0102_0304_0506_0708,
                name: "é".into(),
            },
            Descriptor {
                kind: DescriptorKind::Lock,
                token: 0,
                name: String::new(),
            },
        ];
        let reason = "no".to_string();
        vec![
            (
                Message::Hello(hello),
                "484f5631 0100 0100 14000000 07000000 0100 0100 01020304 1112131415161718 0200 7632",
            ),
            (
                Message::Offer(offer),
                "484f5631 0100 0200 36000000 07000000 0100 000102030405060708090a0b0c0d0e0f \
                 2700000000000000 03000000 2a50fe0000000000 01000000 02000000 04000000 10270000",
            ),
            (
                Message::Descriptors { batch: 9, entries },
                "484f5631 0100 0300 2e000000 07000000 09000000 0300 \
                 01 0000000000000000 0500 776f726c64 03 0807060504030201 0200 c3a9 04 0000000000000000 0000",
            ),
            (
                Message::Ack { batch: 9 },
                "484f5631 0100 0400 04000000 07000000 09000000",
            ),
            (
                Message::Offered { batches: 10 },
                "484f5631 0100 0500 04000000 07000000 0a000000",
            ),
            (Message::Ready, "484f5631 0100 0600 00000000 07000000"),
            (
                Message::Refuse { reason: reason.clone() },
                "484f5631 0100 0700 04000000 07000000 0200 6e6f",
            ),
            (
                Message::StandBy { batches: 11 },
                "484f5631 0100 0800 04000000 07000000 0b000000",
            ),
            (Message::Standing, "484f5631 0100 0900 00000000 07000000"),
            (
                Message::Abort { reason },
                "484f5631 0100 0a00 04000000 07000000 0200 6e6f",
            ),
        ]
    }

    /// The messages that version 2 adds, and the one it makes longer.
    pub(crate) fn golden_v2() -> Vec<(Message, &'static str)> {
        let offer = Offer {
            protocol: 2,
            node_id: 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100,
            generation: 0x27,
            slot: 3,
            tick: 0x00fe_502a,
            regions: 1,
            listeners: 2,
            others: 4,
            streams: 0x2710,
            probation: 0x0002_540b_e400,
        };
        let entries = vec![Descriptor {
            kind: DescriptorKind::Stream,
            token: 0x0102_0304_0506_0708,
            name: String::new(),
        }];
        let tokens = vec![1, 0x0102_0304_0506_0708];
        let reason = "no".to_string();
        vec![
            (
                Message::Offer(offer),
                "484f5631 0200 0200 3e000000 07000000 0200 000102030405060708090a0b0c0d0e0f \
                 2700000000000000 03000000 2a50fe0000000000 01000000 02000000 04000000 10270000 00e40b5402000000",
            ),
            (
                Message::Mirror { entries },
                "484f5631 0200 0b00 0d000000 07000000 0100 03 0807060504030201 0000",
            ),
            (
                Message::Gone { tokens },
                "484f5631 0200 0c00 12000000 07000000 0200 0100000000000000 0807060504030201",
            ),
            (Message::Confirm, "484f5631 0200 0d00 00000000 07000000"),
            (
                Message::Return { reason: reason.clone() },
                "484f5631 0200 0e00 04000000 07000000 0200 6e6f",
            ),
            (
                Message::Returned { reason },
                "484f5631 0200 0f00 04000000 07000000 0200 6e6f",
            ),
            (
                Message::Move {
                    name: "é".into(),
                    bytes: vec![0xff, 0],
                },
                "484f5631 0200 1000 08000000 07000000 0200 c3a9 0200 ff00",
            ),
        ]
    }

    fn all() -> Vec<Message> {
        golden().into_iter().chain(golden_v2()).map(|(m, _)| m).collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn decode(frame: &[u8]) -> Result<Message> {
        let (header, body) = Header::decode(frame)?;
        Ok(Message::decode(header.kind, body)?)
    }

    #[test]
    fn bytes_are_pinned() {
        let all = golden();
        let kinds: Vec<u16> = all.iter().map(|(m, _)| m.kind()).collect();
        assert_eq!(kinds, (1..=10).collect::<Vec<_>>());
        for (message, bytes) in all {
            let frame = message.encode(1, 7).expect("encode");
            assert_eq!(hex(&frame), bytes.replace(' ', ""), "{}", message.name());
            assert_eq!(decode(&frame).expect("decode"), message);
        }
        let added: Vec<u16> = golden_v2().iter().skip(1).map(|(m, _)| m.kind()).collect();
        assert_eq!(added, (11..=16).collect::<Vec<_>>());
        for (message, bytes) in golden_v2() {
            let frame = message.encode(2, 7).expect("encode");
            assert_eq!(hex(&frame), bytes.replace(' ', ""), "{}", message.name());
            assert_eq!(decode(&frame).expect("decode"), message);
        }
    }

    #[test]
    fn a_byte_less_or_more_is_refused() {
        for message in all() {
            let frame = message.encode(1, 7).expect("encode");
            let body = &frame[HEADER_LEN..];
            for len in 0..body.len() {
                let short = Message::decode(message.kind(), &body[..len]);
                assert!(
                    matches!(short, Err(FrameProblem::Ends { .. })),
                    "{} cut to {len}: {short:?}",
                    message.name()
                );
            }
            let mut long = body.to_vec();
            long.push(0);
            assert_eq!(
                Message::decode(message.kind(), &long),
                Err(FrameProblem::LeftOver { left: 1 })
            );
        }
    }

    #[test]
    fn no_byte_makes_it_panic() {
        for message in all() {
            let frame = message.encode(1, 7).expect("encode");
            for at in 0..frame.len() {
                for value in [0, 1, 2, 6, 0x7f, 0x80, 0xff] {
                    let mut bad = frame.clone();
                    bad[at] = value;
                    if let Ok(other) = decode(&bad) {
                        let (header, _) = Header::decode(&bad).expect("decoded above");
                        let frozen = matches!(other, Message::Hello(_) | Message::Refuse { .. });
                        if frozen && header.version != LOWEST {
                            // Read in any version, written in the lowest.
                            continue;
                        }
                        let again = other.encode(header.version, header.number).expect("encode");
                        assert_eq!(again, bad, "what is accepted is what would be written");
                    }
                }
            }
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        assert_eq!(Message::decode(17, &[]), Err(FrameProblem::Kind { found: 17 }));
        let many = (MAX_GONE as u16 + 1).to_le_bytes();
        assert!(matches!(
            Message::decode(12, &many),
            Err(FrameProblem::Limit { len: 1025, .. })
        ));
        assert_eq!(Message::decode(0, &[]), Err(FrameProblem::Kind { found: 0 }));
        let one = Message::Descriptors {
            batch: 0,
            entries: vec![Descriptor {
                kind: DescriptorKind::Control,
                token: 0,
                name: "x".into(),
            }],
        };
        let frame = one.encode(1, 0).expect("encode");
        let mut body = frame[HEADER_LEN..].to_vec();
        body[BATCH_HEAD_LEN] = 6;
        assert!(matches!(
            Message::decode(3, &body),
            Err(FrameProblem::Value { found: 6, .. })
        ));
        body[BATCH_HEAD_LEN] = 5;
        *body.last_mut().expect("a name") = 0xff;
        assert!(matches!(Message::decode(3, &body), Err(FrameProblem::NotUtf8 { .. })));
        body[4..6].copy_from_slice(&254_u16.to_le_bytes());
        assert!(matches!(
            Message::decode(3, &body),
            Err(FrameProblem::Limit { len: 254, .. })
        ));
        let long = [&2049_u16.to_le_bytes()[..], &[b'x'; 2049]].concat();
        assert!(matches!(
            Message::decode(7, &long),
            Err(FrameProblem::Limit { len: 2049, .. })
        ));
    }

    #[test]
    fn long_reasons_are_cut_and_long_names_refused() {
        let reason = "ä".repeat(2000);
        let frame = Message::Refuse { reason }.encode(1, 0).expect("encode");
        assert_eq!(
            decode(&frame).expect("decode"),
            Message::Refuse {
                reason: "ä".repeat(1024)
            }
        );
        let entry = Descriptor {
            kind: DescriptorKind::Region,
            token: 0,
            name: "x".repeat(256),
        };
        let message = Message::Descriptors {
            batch: 0,
            entries: vec![entry],
        };
        assert!(matches!(
            message.encode(1, 0),
            Err(FrameProblem::Limit { len: 256, .. })
        ));
    }

    #[test]
    fn batches_fit_and_leave_nothing_out() {
        let entries = |count: usize, name: usize| {
            let entry = Descriptor {
                kind: DescriptorKind::Stream,
                token: 1,
                name: "x".repeat(name),
            };
            vec![entry; count]
        };
        for (count, name, expected) in [
            (0, 5, 0),
            (1, 5, 1),
            (253, 5, 1),
            (254, 5, 2),
            (10_000, 5, 40),
            (253, 255, 3),
        ] {
            let entries = entries(count, name);
            let ranges = batches(&entries);
            assert_eq!(ranges.len(), expected, "{count} of {name}");
            let mut next = 0;
            for range in ranges {
                assert_eq!(range.start, next);
                next = range.end;
                let entries = entries[range].to_vec();
                let listed = entries.len();
                let message = Message::Descriptors { batch: 0, entries };
                let frame = message.encode(1, 0).expect("fits");
                assert_eq!(listed_descriptors(&frame), Some(listed));
            }
            assert_eq!(next, count);
        }
        let entries = entries(3, 0);
        let frame = Message::Mirror { entries }.encode(2, 0).expect("fits");
        assert_eq!(listed_descriptors(&frame), Some(3));
    }
}
