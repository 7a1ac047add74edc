//! The analysis of a call's transcript, and its state.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::digest::Digest;
use crate::private::Personal;

pub mod settings;

pub use settings::{Criterion, Settings};

/// The state of a call's analysis, as the call stores it. The analysis is an item of its own.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysed {
    /// Its state.
    pub state: AnalysisState,
    /// The analysis's fingerprint, where there is one. While another is being made: the last one's.
    pub digest: Option<Digest>,
    /// How many tasks it suggests that are to be made.
    #[serde(default)]
    pub tasks: u32,
    /// Why there is none, or not yet, without personal data.
    pub reason: Option<String>,
    /// The fingerprint of its input: see [`crate::analysis_plan::basis`].
    pub basis: Option<Digest>,
    /// Since when deliveries wait for it.
    pub since: Option<Timestamp>,
    /// How often a worker began it since then.
    #[serde(default)]
    pub attempts: u32,
    /// How many analyses ended, with or without success.
    #[serde(default)]
    pub runs: u32,
    /// The tokens of all requests about this call, of failed ones too.
    #[serde(default)]
    pub tokens: Tokens,
}

impl Analysed {
    /// A mark of a state and nothing more.
    pub fn new(state: AnalysisState) -> Self {
        Self {
            state,
            digest: None,
            tasks: 0,
            reason: None,
            basis: None,
            since: None,
            attempts: 0,
            runs: 0,
            tokens: Tokens::default(),
        }
    }
}

/// The state of an analysis.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AnalysisState {
    /// It is being made.
    Waiting,
    /// It is there.
    Done,
    /// The model could not be reached, or its response not be used; `reason` says why.
    Failed,
    /// No model is configured.
    Off,
}

impl AnalysisState {
    /// The word as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The tokens that a model counts, and bills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Tokens of the prompt.
    pub input: u64,
    /// Tokens of the response.
    pub output: u64,
}

impl std::ops::Add for Tokens {
    type Output = Self;
    fn add(self, more: Self) -> Self {
        Self {
            input: self.input.saturating_add(more.input),
            output: self.output.saturating_add(more.output),
        }
    }
}

/// An analysis, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysis {
    /// The conversation in short.
    pub summary: Personal,
    /// The outcome of the conversation.
    pub outcome: Conclusion,
    /// How the customer felt about it.
    pub sentiment: Sentiment,
    /// One score for each criterion, in the order in which they were asked for.
    #[serde(default)]
    pub scorecard: Vec<Score>,
    /// The tasks that follow. Empty where tasks are not wanted.
    #[serde(default)]
    pub tasks: Vec<Task>,
    /// How much of the transcript the model was shown.
    pub turns: Turns,
    /// The model's id.
    pub model: String,
    /// The tokens that it took.
    pub tokens: Tokens,
    /// The fingerprint of its input: see [`crate::analysis_plan::basis`].
    pub basis: Digest,
    /// When it was made.
    pub made_at: Timestamp,
}

impl Analysis {
    /// A fingerprint of its content, whichever model made it at whatever cost.
    pub fn digest(&self) -> Digest {
        let content = (&self.summary, self.outcome, self.sentiment, &self.scorecard, &self.tasks);
        // Texts, words, numbers and lists of them always serialize.
        Digest::of(&[b"analysis", &serde_json::to_vec(&content).unwrap_or_default()])
    }
}

/// The outcome of a conversation.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Conclusion {
    /// The customer agreed to what was proposed.
    Agreed,
    /// A next step was arranged.
    FollowUp,
    /// The customer declined.
    Declined,
    /// What the customer came with was settled.
    Resolved,
    /// It was not.
    Unresolved,
    /// The transcript does not tell.
    Unclear,
}

/// How the customer felt.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Sentiment {
    /// Content.
    Positive,
    /// Neither.
    Neutral,
    /// Discontent.
    Negative,
    /// First the one, then the other.
    Mixed,
}

/// How well one criterion was met.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// The criterion's name: that of the configuration, or `script`, `script_1`, ….
    pub criterion: String,
    /// The criterion's description.
    pub asked: Personal,
    /// 0 to `scale`. Absent: the transcript does not tell.
    pub score: Option<u32>,
    /// The best score that there is.
    pub scale: u32,
    /// How sure the model says it is, per cent.
    pub confidence: u32,
    /// The quotes that show it.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
}

/// A verbatim quote of one turn of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Which turn, counted from 1.
    pub turn: u32,
    /// Its words.
    pub quote: Personal,
}

/// A task that follows from a call.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The task, in a few words.
    pub title: Personal,
    /// The day that it is due, where the conversation says so.
    pub due: Option<Date>,
    /// The side that does it, where the conversation says so.
    pub owner: Option<Owner>,
}

/// The side that owns a task.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Owner {
    /// Our side.
    Employee,
    /// The customer's side.
    Contact,
}

/// How much of a transcript a model was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turns {
    /// The turns that there are.
    pub total: u32,
    /// Those that were shown. The others are left out of the middle.
    pub shown: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_was_said_prints() {
        let analysis = Analysis {
            summary: Personal::new("Kim wants an offer"),
            outcome: Conclusion::FollowUp,
            sentiment: Sentiment::Positive,
            scorecard: vec![Score {
                criterion: "greeting".into(),
                asked: Personal::new("Says Kim's name"),
                score: Some(4),
                scale: 5,
                confidence: 90,
                evidence: vec![Evidence { turn: 1, quote: Personal::new("Hello Kim") }],
            }],
            tasks: vec![Task { title: Personal::new("Call Kim"), due: None, owner: None }],
            turns: Turns { total: 2, shown: 2 },
            model: "fake-model".into(),
            tokens: Tokens { input: 1, output: 2 },
            basis: Digest::of(&[]),
            made_at: Timestamp::UNIX_EPOCH,
        };
        assert!(!format!("{analysis:?}").contains("Kim"), "{analysis:?}");
    }

    #[test]
    fn a_word_is_the_one_that_is_stored() {
        fn is_stored<T: Serialize + VariantArray + Copy + Into<&'static str>>() -> bool {
            T::VARIANTS.iter().all(|one| serde_json::json!(one) == Into::<&str>::into(*one))
        }
        assert!(is_stored::<Conclusion>() && is_stored::<Sentiment>() && is_stored::<Owner>());
        assert!(is_stored::<AnalysisState>());
    }

    #[test]
    fn a_mark_of_an_earlier_release_is_read() {
        let mark: Analysed = serde_json::from_str(r#"{"state": "off"}"#).unwrap();
        assert_eq!(mark, Analysed::new(AnalysisState::Off));
    }
}
