//! HTTP to everything that is not AWS: CRMs, and providers' REST interfaces.

pub mod address;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
pub mod download;

#[cfg(feature = "client")]
pub use client::{Client, ClientError, Limits, SendError};
#[cfg(feature = "client")]
pub use download::{Download, OpenError};
