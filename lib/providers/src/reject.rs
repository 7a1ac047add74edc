//! The sender's faults, and the HTTP status of each.

use switchboard_domain::KeyError;

/// Why a request, or one record of it, was not accepted. It never holds a value from the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// No signature or secret came.
    #[error("not authenticated: send {expected}")]
    Unauthenticated {
        /// Which header or field was expected.
        expected: &'static str,
    },
    /// A signature or secret came and opens nothing here. Which rule refused it is for our log, not
    /// for the answer.
    #[error("not allowed")]
    Forbidden(Refusal),
    /// The body, or a record in it, cannot be understood.
    #[error("{field}: {problem}")]
    Malformed {
        /// Which field, or where in the body.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The body is larger than what is stored.
    #[error("body too large: at most {limit} bytes")]
    TooLarge {
        /// The limit, bytes.
        limit: usize,
    },
}

/// Which rule refused a request, the more telling the later in this list. Named in our log,
/// metrics and test vectors; the sender learns none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Refusal {
    /// No source of that name, or none at all.
    UnknownSource,
    /// The source has no secret configured: it refuses everything.
    NoSecret,
    /// The sender's address is not in the source's allowed networks.
    Network,
    /// The signature or secret is another.
    Mismatch,
    /// The signature header is not in the scheme's form.
    BadHeader,
    /// The signed time is too far from now.
    Stale,
    /// The signature must cover a hash of the body, and does not cover this one's.
    BodyHash,
    /// The secret is good, but for another account or source than the body names.
    OtherSource,
    /// The secret opens several sources and nothing says which is meant.
    Ambiguous,
}

impl Refusal {
    /// The name in logs, metrics and vectors.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Reject {
    /// A field that cannot be used.
    pub fn malformed(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Malformed { field: field.into(), problem: problem.into() }
    }

    /// The HTTP status, decided here and nowhere else.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed { .. } => 400,
            Self::Unauthenticated { .. } => 401,
            Self::Forbidden(_) => 403,
            Self::TooLarge { .. } => 413,
        }
    }

    /// One word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unauthenticated { .. } => "unauthenticated",
            Self::Forbidden(refusal) => refusal.as_str(),
            Self::Malformed { .. } => "malformed",
            Self::TooLarge { .. } => "too_large",
        }
    }

    /// Whether the body is worth keeping: its sender is known, and it was not understood.
    pub fn is_quarantined(&self) -> bool {
        matches!(self, Self::Malformed { .. })
    }
}

impl From<KeyError> for Reject {
    fn from(error: KeyError) -> Self {
        Self::malformed(error.part, error.problem)
    }
}
