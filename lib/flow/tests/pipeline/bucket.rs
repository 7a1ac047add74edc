//! A server that stands in for S3, and checks what is signed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::effects::Effects;
use crate::servers::{Answer, Clock, Received, serve, status};

/// Of the function that puts copies there.
const SECRET: &str = "fake-secret-access-key";

/// Where copies go: checks signatures, keeps what was put. Taking an object is an effect.
#[derive(Clone)]
pub struct Bucket {
    endpoint: String,
    state: Arc<Mutex<BucketState>>,
}

#[derive(Default)]
struct BucketState {
    puts: Vec<String>,
    objects: BTreeMap<String, (String, Vec<u8>)>,
    refuses: usize,
}

impl Bucket {
    pub async fn start(clock: &Clock, effects: &Effects) -> Self {
        let state: Arc<Mutex<BucketState>> = Arc::default();
        let (inner, effects) = (state.clone(), effects.clone());
        let endpoint = serve(clock.clone(), move |received| {
            let (state, effects) = (inner.clone(), effects.clone());
            async move {
                let take = async { Ok(state.lock().unwrap().take(&received)) };
                effects.act("bucket", take, |_| Err(())).await.unwrap_or(Answer::Close)
            }
        })
        .await;
        Self { endpoint, state }
    }

    /// As the function has it.
    pub fn bucket(&self) -> switchboard_recordings::Bucket {
        let credentials = switchboard_recordings::bucket::credentials("FAKEKEYID", SECRET);
        switchboard_recordings::Bucket::new(
            "fake-bucket",
            "eu-central-1",
            Some(&self.endpoint),
            credentials,
        )
        .unwrap()
    }

    pub fn objects(&self) -> BTreeMap<String, (String, Vec<u8>)> {
        self.state.lock().unwrap().objects.clone()
    }

    pub fn puts(&self) -> usize {
        self.state.lock().unwrap().puts.len()
    }

    pub fn refuses(&self, times: usize) {
        self.state.lock().unwrap().refuses = times;
    }
}

impl BucketState {
    fn take(&mut self, received: &Received) -> Answer {
        assert_eq!(received.method, "PUT");
        assert_eq!(received.header("content-length"), received.body.len().to_string());
        assert_eq!(received.header("x-amz-content-sha256"), hex(&Sha256::digest(&received.body)));
        assert_eq!(signature(received), received.header("authorization"));
        self.puts.push(received.target.clone());
        if self.refuses > 0 {
            self.refuses -= 1;
            return status(403);
        }
        let kept = (received.header("content-type").to_owned(), received.body.clone());
        self.objects.insert(received.target.clone(), kept);
        status(200)
    }
}

/// The header that a request must have: worked out here once more, after the documentation of
/// "Signature Version 4", from the request as it came.
fn signature(received: &Received) -> String {
    let header = received.header("authorization");
    let signed = header.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
    for name in ["content-length", "content-type", "host", "x-amz-content-sha256", "x-amz-date"] {
        assert!(signed.split(';').any(|one| one == name), "{name} is not signed: {signed}");
    }
    let headers: String =
        signed.split(';').map(|name| format!("{name}:{}\n", received.header(name))).collect();
    let digest = received.header("x-amz-content-sha256");
    let request = format!("PUT\n{}\n\n{headers}\n{signed}\n{digest}", received.target);
    let at = received.header("x-amz-date");
    let scope = format!("{}/eu-central-1/s3/aws4_request", &at[..8]);
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hex(&Sha256::digest(request)));
    let mac = |key: &[u8], text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let key =
        scope.split('/').fold(format!("AWS4{SECRET}").into_bytes(), |key, part| mac(&key, part));
    let signature = hex(&mac(&key, &text));
    format!(
        "AWS4-HMAC-SHA256 Credential=FAKEKEYID/{scope}, SignedHeaders={signed}, Signature={signature}"
    )
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
