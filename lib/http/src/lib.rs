//! HTTP to everything that is not AWS: CRMs, and providers' REST interfaces.

pub mod address;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
pub mod download;
pub mod layers;
pub mod port;
mod retry_after;

#[cfg(feature = "client")]
pub use client::{Client, ClientError};
#[cfg(feature = "client")]
pub use download::{Download, OpenError};
pub use port::{Http, Limits, Request, Response, SendError};
pub use retry_after::retry_after;
