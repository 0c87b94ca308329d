//! The answers of the phases that nothing in the model misses. Those that are missed are in [`super::answers`].

/// Why nothing notices, and what is not noticed.
pub(super) const UNNOTICED: &[(&str, &[&str])] = &[
    (
        "A figure: how long the successor spins, and the noise that it measures.",
        &[
            "S Standing, Signalled Rehearse: MeasureNoise, everything",
            "S Standing, Signalled StandBy: Spin, everything",
        ],
    ),
    (
        "It only wakes: the lease word, or the message that went before, says the same and is looked at all the time.",
        &[
            "B Closing, Released: SendReturned",
            "S Standing, Signalled Aborted: everything",
        ],
    ),
    (
        "The driver acts on the state, and the effect says the same.",
        &[
            "S Greeting, PeerDead: StartOver",
            "S Proving Incomplete, PeerDead: StartOver",
            "S Receiving, PeerDead: StartOver",
        ],
    ),
    (
        "A parked process looks whether the owner is dead whenever it looks at anything, asked or not.",
        &[
            "K Taking Died, TakeLost: ProveDeath",
            "K Watching, PeerClosed: ProveDeath",
            "K Watching, Unexpected: ProveDeath",
        ],
    ),
    (
        "The channel was closed before, when its other end was.",
        &[
            "K Proving, Deadline: CloseChannel",
            "K Proving, Moved: CloseChannel",
            "K Taking Died, Took: CloseChannel",
        ],
    ),
    (
        "A death is seen twice, by a closed channel and by its proof, and each is told again until it is answered: the other leads to the same end.",
        &[
            "K Watching, PeerDead: everything",
            "P AwaitingReady, PeerClosed: everything",
            "P AwaitingReady, PeerDead: everything",
            "P AwaitingStanding, PeerClosed: everything",
            "P AwaitingStanding, PeerDead: everything",
            "P Closing, PeerClosed: everything",
            "P Closing, PeerDead: everything",
            "P Offered, PeerClosed: everything",
            "P Offered, PeerDead: everything",
            "P Offering, PeerClosed: everything",
            "P Offering, PeerDead: everything",
            "P Staging, PeerClosed: everything",
            "P Staging, PeerDead: everything",
            "S AwaitingStandBy, PeerClosed: everything",
            "S AwaitingStandBy, PeerDead: everything",
            "S Greeting, PeerClosed: everything",
            "S Greeting, PeerDead: everything",
            "S Preparing, PeerClosed: everything",
            "S Preparing, PeerDead: everything",
            "S Proving Preparing, PeerDead: everything",
            "S Receiving, PeerClosed: everything",
            "S Receiving, PeerDead: everything",
            "S Standing, PeerClosed: everything",
            "S Standing, PeerDead: everything",
        ],
    ),
    (
        "What was missed is told again in the next state, or by the other side's closing of the channel: the attempt to take back is then lost, or the probation over.",
        &[
            "B Closing, PeerGone: everything",
            "B Closing, Released: everything",
            "B Offered, Taken: everything",
        ],
    ),
    (
        "An owner that hands on or stops the node closes the channel too, and then the lease is looked at as well.",
        &["K Watching, Moved: everything"],
    ),
    (
        "The first kill does it here: the second is for one that the kernel holds.",
        &[
            "K Killing Hung, Deadline: Kill, everything",
            "K Killing Operator, Deadline: Kill, everything",
        ],
    ),
    (
        "Who arms the gate may have released already: that the node is handed over all the same is a good end, and the law asks for no more.",
        &[
            "P Closing, Fault: everything",
            "P Closing, Unexpected: everything",
            "P Offered, Fault: everything",
            "P Offered, Unexpected: everything",
        ],
    ),
    (
        "Here only a death closes the predecessor's channel without a word.",
        &["S Proving Incomplete, Deadline: everything"],
    ),
    (
        "The predecessor does not wait longer either, and its abort ends the preparation.",
        &["S Preparing, Deadline: everything"],
    ),
];
