//! What requests are changed with.

/// Text that has broken parsers before. `%` escapes are written as they are sent.
#[rustfmt::skip]
pub const TOKENS: &[&str] = &[
    "", " ", "null", "NULL", "undefined", "true", "false", "0", "-0", "-1", "00", "1", "0.5", "1e3", "1e999",
    "-1e999", "NaN", "Infinity", "2147483647", "2147483648", "4294967295", "4294967296",
    "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "999999999",
    "9999999999", "1775719461", "1775719461.306731", "1775719461000", "253402300800",
    "99999999999999999999999999999999", "$name", "$uuid", "$call_id", "$billsec", "[Name]", "[CallID]",
    "[Duration]", "{{call_id}}", "${UNIQUEID}", "{{", "}}", "${", "%", "%2", "%zz", "%00", "%0d%0a", "%ff%fe",
    "%F0%9F", "%C3%28", "+", "&", "=", "&&", "==", ";", "&=&", "a=b", "?", "#", "/", "//", "../", "\\", "\"",
    "\"\"", "\\\"", "\\u0000", "\\ud800", "'", "<", ">", "<101>", "\"Ann\" <101>", "\"\" <>", "{", "}", "[",
    "]", "{}", "[]", "[[]]", "[{}]", ":", ",", ":,", "\n", "\r\n", "\t", "\u{0}", "\u{7f}", "\u{feff}",
    "\u{202e}", "\u{e9}", "e\u{301}", "\u{5d3}\u{5e0}\u{5d4}", "\u{1f4de}", "\u{ff11}\u{ff12}", "ANSWERED",
    "NO ANSWER", "NOANSWER", "BUSY", "answered", "missed", "Missed", "Notanswered", "completed",
    "call_finished", "call_missed", "inbound", "outbound", "internal", "in", "out", "history", "event",
    "anonymous", "+266696687", "client:ann", "sip:ann@pbx.example", "tel:+61491570156", "+61491570156", "101",
    "101-decker", "#019#0501234567", "0:00", "00:04:32", "1.00:00:00", "99999999.00:00:00", "-1:00", "::::",
    "4:60", "4294967295:59:59", "20260220T090000Z", "2026-02-20T09:00Z", "2026-02-20 12:00:00",
    "2026-02-30T00:00:00Z", "0000-00-00 00:00:00", "9999-12-31T23:59:59Z", "-009999-01-01T00:00:00Z",
    "1970-01-01T00:33:46.000Z", "2026-10-25 01:30:00", "2026-03-27 02:30:00", "02.01.2026 15:04",
    "2026-02-20T24:00:00Z", "2026-02-20T09:00:00+99:99", "2026-02-20T09:00:00[Europe/Zurich]", "P1D", "PT-1H",
    "Sun, 25 Mar 2018 09:53:19 +0000", "Sun, 25 Mar 2018 09:53:19 Etc/UTC", "Mon, 25 Mar 2018 09:53:19 +0000",
    "https://pbx.example/1.wav", "/var/spool/1.wav", "http://", "<?xml version=\"1.0\"?>",
    "<!DOCTYPE a [<!ENTITY b \"c\">]>", "<a>", "</a>", "&amp;", "&#0;", "t=1,v0=00", "t=", "v0=", "t=-1", ",",
];

/// Names of headers, and values that mean something in them.
pub const HEADERS: &[(&str, &[&str])] = &[
    (
        "Content-Type",
        &[
            "application/json",
            "application/x-www-form-urlencoded",
            "application/json; charset=utf-8",
            "text/plain",
            "text/json",
            "application/cloudevents+json",
            "application/xml",
            "text/xml",
            "multipart/form-data",
            "",
            ";",
            " Application/X-WWW-Form-Urlencoded ; charset=x",
            "/json",
            "+json",
        ],
    ),
    ("X-Webhook-Secret", &["", " ", "fake"]),
    ("x-api-key", &["", "fake"]),
    ("x-crm-intake-secret", &["", "fake"]),
    (
        "Authorization",
        &["Bearer", "Bearer ", "bearer fake", "Basic ZmFrZTpmYWtl", "", "Bearer  fake fake"],
    ),
    ("X-Twilio-Signature", &["", "=", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="]),
    (
        "ElevenLabs-Signature",
        &["", "t=0,v0=", "v0=00,t=0", "t=1771579800", "t=,v0=,t=", "t=99999999999999999999,v0=00"],
    ),
];

/// Names of query parameters that mean something.
pub const PARAMETERS: &[&str] = &[
    "source",
    "secret",
    "s%65cret",
    "bodySHA256",
    "campaign",
    "conversation_id",
    "contact_name",
    "test",
    "crm_token",
];

pub const METHODS: &[&str] =
    &["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "post", "P0ST", ""];

/// Addresses inside and outside of the networks that targets are configured with.
pub const SENDERS: &[&str] = &[
    "203.0.113.9",
    "198.51.100.7",
    "8.8.8.8",
    "::1",
    "::ffff:203.0.113.9",
    "0.0.0.0",
    "255.255.255.255",
];

/// Bytes that mean something to a parser.
pub const BYTES: &[u8] = b"\0\"{}[]:,&=%+0a \x7f\xff\n";

/// When a request arrives, seconds after the samples: about the ends of what is tolerated.
pub const DELAYS: &[i64] =
    &[0, 1, -1, 300, 301, -301, 1_799, 1_801, -1_801, 86_400, i64::MIN, i64::MAX];
