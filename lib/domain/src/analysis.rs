//! What a model made of a call's transcript.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// How a call's analysis stands, as it is noted on the call. The analysis is an item of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysed {
    /// What came of it.
    pub state: AnalysisState,
    /// Of the analysis, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// How many tasks it suggests that are to be made.
    #[serde(default)]
    pub tasks: u32,
}

/// What came of an analysis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnalysisState {
    /// It is there.
    Done,
    /// The model could not be asked, or its answer not be used: it says why.
    Failed,
    /// No model is configured.
    Off,
}
