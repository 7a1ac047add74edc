//! The members of a source's configuration that 3CX's sources have.

use serde::Deserialize;
use switchboard_domain::ConfigError;

use crate::settings::Checked;

/// 3CX's own settings of a source.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// How the PBX writes a date with slashes or dots: `day_first` or `month_first`.
    pub date_order: Option<DateOrder>,
    /// How far two stated starts of one call may lie apart: 3CX gives no id, and a start must be worked
    /// out from an end and a duration. Seconds, default 3.
    pub start_tolerance_seconds: Option<u32>,
}

/// How a date is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DateOrder {
    /// 02.01.2026 is the second of January.
    DayFirst,
    /// 02/01/2026 is the first of February.
    MonthFirst,
}

impl Checked for Settings {
    fn check(&self) -> Result<(), ConfigError> {
        if self.start_tolerance_seconds.is_some_and(|seconds| seconds > 30) {
            return Err(ConfigError::new("start_tolerance_seconds", "must be 30 at most"));
        }
        Ok(())
    }
}
