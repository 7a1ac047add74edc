//! What a model made of a call's transcript, and how far it is with that.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::digest::Digest;
use crate::private::Personal;

pub mod settings;

pub use settings::{Criterion, Settings};

/// How a call's analysis stands, as it is noted on the call. The analysis is an item of its own.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysed {
    /// What came of it.
    pub state: AnalysisState,
    /// Of the analysis, where there is one. While another is being made it is that of the last.
    pub digest: Option<Digest>,
    /// How many tasks it suggests that are to be made.
    #[serde(default)]
    pub tasks: u32,
    /// Why there is none, or not yet: in words without personal data.
    pub reason: Option<String>,
    /// Of what it was made, or is to be made: see [`crate::analysis_plan::basis`].
    pub basis: Option<Digest>,
    /// Since when it is waited for.
    pub since: Option<Timestamp>,
    /// How often a worker took it up since then.
    #[serde(default)]
    pub attempts: u32,
    /// How many came to an end, whatever end.
    #[serde(default)]
    pub runs: u32,
    /// What all questions about this call took, those in vain too.
    #[serde(default)]
    pub tokens: Tokens,
}

impl Analysed {
    /// A mark that says no more than this.
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

/// What came of an analysis.
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
    /// The model could not be asked, or its answer not be used: it says why.
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

/// What a model counts, and bills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Of what it was asked.
    pub input: u64,
    /// Of what it answered.
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
    /// What was said, in short.
    pub summary: Personal,
    /// What the conversation came to.
    pub outcome: Conclusion,
    /// How the customer felt about it.
    pub sentiment: Sentiment,
    /// One score for each criterion, in the order in which they were asked for.
    #[serde(default)]
    pub scorecard: Vec<Score>,
    /// What is to be done. Empty where nobody wants tasks made.
    #[serde(default)]
    pub tasks: Vec<Task>,
    /// How much of the transcript the model was shown.
    pub turns: Turns,
    /// Who made it: the model's id.
    pub model: String,
    /// What making it took.
    pub tokens: Tokens,
    /// Of what it was made: see [`crate::analysis_plan::basis`].
    pub basis: Digest,
    /// When.
    pub made_at: Timestamp,
}

impl Analysis {
    /// A fingerprint of what it says, whoever said it and at whatever cost.
    pub fn digest(&self) -> Digest {
        let said = (&self.summary, self.outcome, self.sentiment, &self.scorecard, &self.tasks);
        // Texts, words, numbers and lists of them always serialize.
        Digest::of(&[b"analysis", &serde_json::to_vec(&said).unwrap_or_default()])
    }
}

/// What a conversation came to.
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
    /// What was asked for.
    pub asked: Personal,
    /// 0 to `scale`. Absent: the transcript does not tell.
    pub score: Option<u32>,
    /// The best score that there is.
    pub scale: u32,
    /// How sure the model says it is, per cent.
    pub confidence: u32,
    /// Where in the transcript it shows.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
}

/// Words of a transcript that are there, in that turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Which turn, counted from 1.
    pub turn: u32,
    /// Its words.
    pub quote: Personal,
}

/// Something to be done after the call.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What.
    pub title: Personal,
    /// By which day, where the conversation tells.
    pub due: Option<Date>,
    /// By whom, where the conversation tells.
    pub owner: Option<Owner>,
}

/// Who is to do something.
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
