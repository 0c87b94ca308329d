//! Give-back: the new owner is killed in its probation; from the signal until the old one serves again.

use crate::Result;
use crate::handover::quantiles::Quantiles;
use crate::report::handover::plan::Plan;
use serde::Serialize;

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::report) struct GiveBack {
    /// Why it was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

impl GiveBack {
    /// The figure.
    pub(super) fn ms(&self) -> Option<Quantiles> {
        None
    }
}

pub(super) fn run(_: &Plan) -> Result<GiveBack> {
    Ok(GiveBack {
        note: Some("not measured: this version has no probation".into()),
    })
}
