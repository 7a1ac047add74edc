//! A CRM that takes every delivery, at once or after a while; and at its side a model.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Bytes;

use crate::Failure;
use crate::model;
use crate::server::{Received, Reply, Shared, serve};

/// The CRM of a run. It speaks plain HTTP: `deliver` trusts public authorities alone.
pub struct Crm {
    /// The port on loopback.
    pub port: u16,
    delay_ms: Arc<AtomicU64>,
}

impl Crm {
    /// Starts it.
    pub async fn start(shared: &Arc<Shared>) -> Result<Self, Failure> {
        let delay_ms: Arc<AtomicU64> = Arc::default();
        let delay = delay_ms.clone();
        let port = serve("crm", None, shared.clone(), move |received: Received| {
            let delay = Duration::from_millis(delay.load(Ordering::Relaxed));
            async move {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                let (body, name) = match received.path.as_str() {
                    model::PATH => (model::completion(&received.body), "model"),
                    _ => (Bytes::from_static(b"{\"ok\":true}"), "crm"),
                };
                Reply {
                    status: 200,
                    content_type: "application/json",
                    headers: Vec::new(),
                    body,
                    counted_as: Some(format!("{name} {}", received.method)),
                }
            }
        })
        .await?;
        Ok(Self { port, delay_ms })
    }

    /// From now on it thinks for so long about each delivery.
    pub fn delay_by(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.delay_ms.store(millis, Ordering::Relaxed);
    }
}
