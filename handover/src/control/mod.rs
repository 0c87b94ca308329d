//! The control block: what all processes of a node share, readable even if every one of them hangs.

pub mod block;
mod declarations;
pub mod history;
pub mod layout;
pub mod participants;

pub use block::{ControlBlock, NodeIdentity, Origin, Phase, Request, Signal};
pub use declarations::Declarations;
pub use history::{HandoverRecord, Outcome};
pub use participants::{DrainNote, DrainPhase, Participant, ParticipantState};
