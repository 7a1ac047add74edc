//! Fetching something large, piece by piece, and following redirects: each address is judged anew, and
//! the headers for the first host go to no other.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, LOCATION};
use http::{HeaderMap, StatusCode};
use reqwest::{Method, Response};
use tokio::time::{Instant, timeout};
use url::{Origin, Url};

use crate::address::leads_nowhere_public;
use crate::client::{Client, classify};
use crate::port::{Limits, SendError};

/// More redirects lead in circles.
const MOST_REDIRECTS: usize = 5;
/// A body that stands still for so long is given up.
const STALL: Duration = Duration::from_secs(20);

/// There was no answer that could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// None at all, or not where it may come from.
    #[error(transparent)]
    Unsent(#[from] SendError),
    /// One address led to the next without end.
    #[error("redirected too often")]
    RedirectedTooOften,
    /// It led to what is no address, or to one with a password in it.
    #[error("redirected to what is no plain address")]
    RedirectedNowhere,
}

/// An answer whose body has yet to be read.
pub struct Download {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    answer: Response,
    read: usize,
    largest: usize,
    until: Instant,
}

impl Client {
    /// Asks for an address and those that it redirects to. `headers` go to the first host alone.
    ///
    /// Everywhere it is HTTPS and a public host, at every hop, unless the client allows private
    /// addresses; a name is resolved once for a connection, and what it leads to is what was judged.
    pub async fn open(
        &self,
        url: Url,
        headers: HeaderMap,
        limits: Limits,
    ) -> Result<Download, OpenError> {
        let until = Instant::now() + limits.timeout;
        let mut hop = Hop { url, headers };
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.ask(&hop, until).await?;
            match hop.next(&answer)? {
                Some(next) => hop = next,
                None => return Ok(Download::of(answer, limits.largest, until)?),
            }
        }
        Err(OpenError::RedirectedTooOften)
    }

    async fn ask(&self, hop: &Hop, until: Instant) -> Result<Response, SendError> {
        if !self.allows(&hop.url) {
            let is_secure = hop.url.scheme() == "https";
            return Err(if is_secure { SendError::PrivateAddress } else { SendError::NotSecure });
        }
        let mut request = reqwest::Request::new(Method::GET, hop.url.clone());
        *request.headers_mut() = hop.headers.clone();
        let sent = self.transport().execute(request);
        // The answer's body may take until the end; its head comes soon or not at all.
        let left = until.saturating_duration_since(Instant::now()).min(STALL);
        let answer = timeout(left, sent).await.map_err(|_| SendError::TimedOut)?;
        answer.map_err(|error| classify(&error))
    }

    fn allows(&self, url: &Url) -> bool {
        self.allows_private() || (url.scheme() == "https" && !leads_nowhere_public(url))
    }
}

/// What to ask next, and with which headers.
struct Hop {
    url: Url,
    headers: HeaderMap,
}

impl Hop {
    /// Where an answer leads to, if it is a redirect that says where.
    fn next(&self, answer: &Response) -> Result<Option<Self>, OpenError> {
        if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let Some(location) = answer.headers().get(LOCATION) else { return Ok(None) };
        let location = location.to_str().map_err(|_| OpenError::RedirectedNowhere)?;
        let mut url = self.url.join(location).map_err(|_| OpenError::RedirectedNowhere)?;
        // A name and a password in an address would be sent; no server redirects so in good faith.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OpenError::RedirectedNowhere);
        }
        url.set_fragment(None);
        let stays = same(&self.url.origin(), &url.origin());
        let headers = if stays { self.headers.clone() } else { HeaderMap::new() };
        Ok(Some(Self { url, headers }))
    }
}

/// Whether two addresses are of one host: scheme, name and port.
fn same(one: &Origin, other: &Origin) -> bool {
    one.is_tuple() && one == other
}

impl Download {
    fn of(mut answer: Response, largest: usize, until: Instant) -> Result<Self, SendError> {
        let length = answer.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let length = length.and_then(|length| length.parse::<u64>().ok());
        // What is no success is not read, so its length does not matter.
        if answer.status().is_success() && length.is_some_and(|length| length > largest as u64) {
            return Err(SendError::TooLarge);
        }
        let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
        Ok(Self { status, headers, answer, read: 0, largest, until })
    }

    /// The next piece of the body. `None`: that was all of it, as long as it was said to be.
    pub async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, SendError> {
        let left = self.until.saturating_duration_since(Instant::now()).min(STALL);
        let chunk = timeout(left, self.answer.chunk()).await.map_err(|_| SendError::TimedOut)?;
        let Some(chunk) = chunk.map_err(|error| classify(&error))? else { return Ok(None) };
        self.read += chunk.len();
        if self.read > self.largest { Err(SendError::TooLarge) } else { Ok(Some(chunk)) }
    }
}

#[cfg(test)]
mod tests;
