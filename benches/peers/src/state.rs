//! The state of a server that keeps it in its own memory, and has to serialise it.

use crate::Result;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a record's ballast, the same as in our own server.
pub(crate) const BALLAST: usize = 2048;

#[derive(Serialize, Deserialize)]
struct Record {
    changed: u64,
    #[serde(with = "serde_bytes")]
    ballast: Vec<u8>,
}

/// All records. Clones are the same.
#[derive(Clone)]
pub(crate) struct State(Arc<Mutex<HashMap<u64, Record>>>);

impl State {
    pub(crate) fn filled(bytes: u64) -> Self {
        let records = (0..bytes / BALLAST as u64).map(|key| {
            let record = Record {
                changed: 0,
                ballast: vec![key as u8; BALLAST],
            };
            (key, record)
        });
        Self(Arc::new(Mutex::new(records.collect())))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Ok(Self(Arc::new(Mutex::new(bincode::deserialize(bytes)?))))
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        Ok(bincode::serialize(&*self.records())?)
    }

    fn records(&self) -> MutexGuard<'_, HashMap<u64, Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request changes one record.
    pub(crate) fn change(&self, number: u64) {
        let mut records = self.records();
        let count = records.len().max(1) as u64;
        if let Some(record) = records.get_mut(&(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % count)) {
            record.changed += 1;
        }
    }
}
