//! The server once more, for the build of the libraries that has points: see `tests/points`.

mod crash;
pub mod forbidden;
pub mod options;
pub mod plain;
pub mod report;
pub mod server;
pub mod strike;
pub mod witness;
pub mod world;
pub mod wrong;
