use proptest::prelude::*;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::*;
use crate::auth::Auth;
use crate::destination::Destination;
use crate::testing::{NOW, PRIVATE_KEY, at, response};

fn parse(auth: Value) -> Result<OAuth, ConfigError> {
    let json = json!({
        "format": "salesforce", "url": "https://example.my.salesforce.com", "auth": auth,
    });
    match Destination::parse(&json.to_string(), false)?.auth {
        Auth::OAuth(oauth) => Ok(oauth),
        other => panic!("{other:?}"),
    }
}

fn with(base: Value, changes: Value) -> Value {
    let mut base = base;
    for (name, value) in changes.as_object().unwrap() {
        base[name] = value.clone();
    }
    base
}

fn refresh() -> Value {
    json!({
        "type": "oauth_refresh", "client_id": "fake-client", "client_secret": "fake&secret",
        "refresh_token": "fake-refresh-token",
    })
}

fn signed() -> Value {
    json!({
        "type": "oauth_jwt", "client_id": "fake-consumer-key", "user": "switchboard@example.com",
        "private_key": PRIVATE_KEY,
    })
}

fn pairs(request: &Request) -> Vec<(String, String)> {
    form_urlencoded::parse(&request.body).into_owned().collect()
}

#[test]
fn a_refresh_token_is_sent() {
    let oauth = parse(refresh()).unwrap();
    let request = oauth.request(None, at(NOW)).unwrap();
    assert_eq!(request.url.as_str(), "https://example.my.salesforce.com/services/oauth2/token");
    let expected = [
        ("grant_type", "refresh_token"),
        ("refresh_token", "fake-refresh-token"),
        ("client_id", "fake-client"),
        ("client_secret", "fake&secret"),
    ];
    assert_eq!(pairs(&request), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    // Where another has come in its place, that one.
    let newer = Secret::new("fake-newer");
    assert_eq!(pairs(&oauth.request(Some(&newer), at(NOW)).unwrap())[1].1, "fake-newer");
}

/// The signature is what `openssl dgst -sha256 -sign` makes of the same text with the same key.
#[test]
fn a_jwt_is_signed_as_openssl_signs_it() {
    let request = parse(signed()).unwrap().request(None, at(NOW)).unwrap();
    let pairs = pairs(&request);
    assert_eq!(pairs[0], ("grant_type".to_owned(), JWT_GRANT.to_owned()));
    assert_eq!((pairs.len(), pairs[1].0.as_str()), (2, "assertion"));
    let parts: Vec<&str> = pairs[1].1.split('.').collect();
    let [head, claims, signature] = parts[..] else { panic!("{} parts", parts.len()) };
    let decoded = |text: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    assert_eq!(decoded(head), r#"{"alg":"RS256"}"#);
    let expected = r#"{"aud":"https://login.salesforce.com","exp":1771578480,"iss":"fake-consumer-key","sub":"switchboard@example.com"}"#;
    assert_eq!(decoded(claims), expected);
    assert_eq!(signature, SIGNATURE);
}

const SIGNATURE: &str = "ldb7dSVjh815MPDJY3rmP6Vg1dyH_GbIxpxO42C3h3pvmyOhNgg1ROxZDJA9AEBBwocrMmPluLmBGHVzHmxY38rFVlWQDd3pVw2OzUDZTZ1ImLe_TYXg-NcQeC5MfLc7ThDOcvnO22fjxgh977HDgMocR7sd88QRIFYNbnr1zc7jM_MYbYWTRYVG9M54Zt5VVOWiY6UAyicIfMKa29qltIgbVF-2h2R2EZ5QqAwAmcM6mlIUMe6ZboEtrhGG5mVS9Kj2V_zcJ8CuTkX_mZw_iqY2zkYfr_YGlyxb8fkLMDZq7StZ4rS4M6RAeROzK5Ig1SfLVSeCYUIsmpalwC2tmw";

#[test]
fn a_response_is_a_token_or_says_why_not() {
    let said = |status: u16, body: Value| granted(&response(status, body), at(NOW));
    let token = said(200, json!({"access_token": "fake-1", "expires_in": 1800})).unwrap();
    assert_eq!(token.access_token, Secret::new("fake-1"));
    assert_eq!(token.expires_at, Some(at("2026-02-20T09:35:00Z")));
    assert_eq!(token.refresh_token, None);
    // Salesforce does not say how long it lives.
    let token = said(200, json!({"access_token": "fake-1", "refresh_token": "fake-2"})).unwrap();
    assert_eq!(
        (token.expires_at, token.refresh_token.clone()),
        (None, Some(Secret::new("fake-2")))
    );
    assert!(token.is_fresh(Timestamp::MAX) && token.is_alive(Timestamp::MAX));
    for (status, body, words) in [
        (400, json!({"error": "invalid_grant"}), "refused (invalid_grant): authorize again"),
        (401, json!({"error": "invalid_client"}), "refused (invalid_client)"),
        (403, json!("<html>"), "refused (403)"),
        // As Zoho says it.
        (200, json!({"error": "invalid_code"}), "refused (invalid_code)"),
        (200, json!({"access_token": ""}), "refused (200)"),
        (200, json!({"access_token": "a\nb"}), "refused (200)"),
        (200, json!({"error": "Canary +61491570156"}), "refused (200)"),
        (302, json!({}), "refused (302)"),
        (429, json!({}), "failed there: 429"),
        (409, json!({}), "failed there: 409"),
        // As Zoho and Salesforce say it.
        (
            400,
            json!({"error": "Access Denied", "error_description": "You have made too many requests continuously. Please try again after some time."}),
            "failed there: 400",
        ),
        (
            400,
            json!({"error": "invalid_grant", "error_description": "login rate exceeded"}),
            "failed there: 400",
        ),
        (400, json!({"error": "temporarily_unavailable"}), "failed there: 400"),
        (200, json!({"error": "too_many_requests"}), "failed there: 200"),
        (503, json!({}), "failed there: 503"),
    ] {
        let error = said(status, body.clone()).unwrap_err();
        assert!(error.to_string().contains(words), "{status} {body}: {error}");
        assert_eq!(error.status(), Some(status));
    }
}

#[test]
fn no_attempt_begins_with_a_token_in_its_last_minute() {
    let token = granted(&response(200, json!({"access_token": "x", "expires_in": 120})), at(NOW));
    let token = token.unwrap();
    for (now, fresh, alive) in [
        ("2026-02-20T09:05:59Z", true, true),
        ("2026-02-20T09:06:00Z", false, true),
        ("2026-02-20T09:06:59Z", false, true),
        ("2026-02-20T09:07:00Z", false, false),
    ] {
        assert_eq!((token.is_fresh(at(now)), token.is_alive(at(now))), (fresh, alive), "{now}");
    }
}

#[test]
fn a_bad_field_is_named_with_the_reason() {
    let short = PRIVATE_KEY.replace("MII", "MIX");
    for (auth, expected) in [
        (with(refresh(), json!({"client_id": ""})), "auth.client_id: must not be empty"),
        (with(refresh(), json!({"client_secret": null})), "auth.client_secret: must be a text"),
        (with(refresh(), json!({"refresh_token": " "})), "auth.refresh_token: must not be empty"),
        (with(refresh(), json!({"token_url": "http://x.example"})), "auth.token_url: must begin"),
        (
            with(refresh(), json!({"token_url": "https://10.0.0.1"})),
            "auth.token_url: must not lead",
        ),
        (with(refresh(), json!({"user": "x"})), "auth.user: is not a field"),
        (with(signed(), json!({"private_key": "fakeCANARY"})), "auth.private_key: must be an RSA"),
        (with(signed(), json!({"private_key": short})), "auth.private_key: must be an RSA"),
        (with(signed(), json!({"client_secret": "x"})), "auth.client_secret: is not a field"),
        (json!({"type": "bearer", "token": "x"}), "auth.type: must be oauth_jwt or oauth_refresh"),
    ] {
        let error = parse(auth).unwrap_err().to_string();
        assert!(error.starts_with(expected) && !error.contains("CANARY"), "{error}");
    }
}

#[test]
fn nothing_of_it_prints() {
    let shown = format!("{:?} {:?}", parse(refresh()).unwrap(), parse(signed()).unwrap());
    for secret in ["fake", "switchboard@", "PRIVATE"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn another_configuration_is_another_digest() {
    let of = |auth: Value| parse(auth).unwrap().digest();
    let usual = of(refresh());
    assert_eq!(usual, of(refresh()));
    for changed in [
        json!({"client_id": "x"}),
        json!({"client_secret": "x"}),
        json!({"refresh_token": "x"}),
        json!({"token_url": "https://login.example.com/token"}),
    ] {
        assert_ne!(usual, of(with(refresh(), changed)));
    }
    assert_ne!(of(signed()), of(with(signed(), json!({"user": "x"}))));
    assert_ne!(
        of(signed()),
        of(with(signed(), json!({"audience": "https://test.salesforce.com"})))
    );
}

proptest! {
    #[test]
    fn no_response_of_a_token_endpoint_shows(
        status in 100_u16..600,
        body in "[ -~]{0,60}",
        code in "[A-Za-z0-9 +_]{0,50}",
    ) {
        let bytes = body.clone().into_bytes();
        let plain = Response { body: bytes, ..response(status, Value::Null) };
        for response in [plain, response(status, json!({"error": code, "error_description": body}))] {
            if let Err(error) = granted(&response, at(NOW)) {
                let shown = error.to_string();
                prop_assert!(body.len() < 8 || !shown.contains(&body), "{shown}");
                prop_assert!(!code.contains([' ', '+']) || code.len() < 4 || !shown.contains(&code));
            }
        }
    }
}
