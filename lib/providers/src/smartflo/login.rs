//! Smartflo's login, for those who have no token of the portal: its "Login" page.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use switchboard_domain::{Personal, Secret, later};
use switchboard_http::{Http, Limits, Response, SendError};

use crate::rest::{self, Login, Logins};

/// How long a login lasts where the response does not say, seconds.
const LASTS: i64 = 3_600;
/// And at most, seconds.
const LONGEST: i64 = 86_400;

/// A login that brought no token.
pub(super) enum LoginError {
    /// No response came.
    Unsent(SendError),
    /// The response has no token that can stand in a header.
    Answered(Response),
}

/// The token of a source: of an earlier login if that is valid for `margin` longer, else of a new one.
pub(super) async fn token(
    http: &dyn Http,
    logins: &Logins,
    place: &str,
    (base, email, password): (&str, &Personal, &Secret),
    (margin, limits): (SignedDuration, Limits),
    clock: &(dyn Fn() -> Timestamp + Sync),
) -> Result<Secret, LoginError> {
    let needed = |now: Timestamp| later(now, margin);
    if let Some(token) = logins.valid(place, needed(clock())) {
        return Ok(token);
    }
    let body = json!({"email": email.expose(), "password": password.expose()});
    let request = rest::post_json(&format!("{base}/v1/auth/login"), &body, limits);
    let request = request.map_err(LoginError::Unsent)?;
    let response = http.send(request).await.map_err(LoginError::Unsent)?;
    match read(&response, clock()) {
        Some(login) => {
            let token = login.token.clone();
            logins.keep(place.to_owned(), login);
            Ok(token)
        }
        None => Err(LoginError::Answered(response)),
    }
}

fn read(response: &Response, now: Timestamp) -> Option<Login> {
    let body: Value =
        serde_json::from_slice(&response.body).ok().filter(|_| response.is_success())?;
    let token = body["access_token"].as_str().filter(|token| !token.is_empty())?;
    if !token.bytes().all(|b| (0x21..0x7f).contains(&b)) {
        return None;
    }
    let lasts = body["expires_in"].as_i64().unwrap_or(LASTS).clamp(0, LONGEST);
    let until = later(now, SignedDuration::from_secs(lasts));
    Some(Login { token: Secret::new(token), until })
}
