"""Cases of authentication: which request is let in, and by which rule another is refused.

The published signatures are those of Twilio's own test suites; every other one is computed here.
Whatever an official package can judge, it has to judge in the same way.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime, timezone
from unittest import mock
from urllib.parse import parse_qsl, quote

from elevenlabs.core.api_error import ApiError
from elevenlabs.webhooks_custom import WebhooksClient
from multidict import MultiDict
from twilio.request_validator import RequestValidator

RECEIVED_AT = "2026-02-20T09:30:00Z"
NOW = 1771579800
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


def case(name, target, headers, body, refusal=None, **more) -> dict:
    """One case. `refusal` is absent where the request is accepted."""
    head = {"name": name, "received_at": RECEIVED_AT, "method": "POST", "target": target}
    if "sender" in more:
        head["sender"] = more.pop("sender")
    return {**head, "headers": headers, "body": body, "accept": refusal is None, "refusal": refusal, **more}


# --- Shared secrets -----------------------------------------------------------------------------------

PATHS = {
    "intake": "/api/crm/intake/calls",
    "threecx": "/webhook/3cx/call-event",
    "onecom": "/api/onecom/webhook",
    "smartflo": "/api/v1/smartflo/webhook",
    "asterisk": "/webhooks/asterisk",
    "fmc": "/webhooks/fmc",
}
BODIES = {
    "intake": {"provider": "asterisk", "externalCallId": "1"},
    "threecx": {"callType": "Missed", "number": "+41225551234", "endUtc": "2026-02-20T09:00:00Z"},
    "onecom": {"uniqueid": "1771578000.1", "disposition": "ANSWERED"},
    "smartflo": {"uuid": "69d75426f0a9f", "call_status": "missed"},
    "asterisk": {"uniqueid": "1771578000.1", "disposition": "ANSWERED"},
    "fmc": {"call_id": "fmc-1"},
}
ANYBODY = "unauthenticated"


def shared_secret(provider: str) -> dict:
    """The cases of a provider whose messages carry a secret."""
    secret, older, north = f"fake-{provider}-Secret/1+", f"fake-{provider}-older", f"fake-{provider}-north"
    path, body = PATHS[provider], json.dumps(BODIES[provider])
    cases = []

    def add(name, headers, refusal=None, query="", **more):
        headers = {"Content-Type": JSON, **headers}
        cases.append(case(name, path + query, headers, more.pop("body", body), refusal, **more))

    inside, outside = "203.0.113.9", "198.51.100.7"
    # Named, because of several sources that refuse the most telling refusal is given.
    this = f"?source={provider}"
    allowed = {"allowed_networks": ["203.0.113.0/24"]}
    trusted = {"trusted_networks": ["203.0.113.0/24"]}
    add("in X-Webhook-Secret", {"X-Webhook-Secret": secret})
    add("in x-api-key", {"x-api-key": secret})
    add("in x-crm-intake-secret", {"x-crm-intake-secret": secret})
    add("the name of the header in capitals", {"X-WEBHOOK-SECRET": secret})
    add("as a bearer token", {"Authorization": f"Bearer {secret}"})
    add("as a bearer token, its scheme in lower case", {"Authorization": f"bearer {secret}"})
    add("in the query", {}, query=f"?secret={quote(secret, safe='')}")
    add("the older of two secrets", {"X-Webhook-Secret": older})
    add("no secret", {}, ANYBODY)
    add("an empty header", {"X-Webhook-Secret": ""}, ANYBODY)
    add("an empty parameter of the query", {}, ANYBODY, query="?secret=")
    add("a bearer token of nothing", {"Authorization": "Bearer "}, ANYBODY)
    add("another scheme than bearer", {"Authorization": f"Basic {secret}"}, ANYBODY)
    add("in a header that is not read", {"X-Secret": secret}, ANYBODY)
    add("in a parameter that is not read", {}, ANYBODY, query=f"?token={quote(secret, safe='')}")
    add("another secret", {"X-Webhook-Secret": "fake-of-another-system"}, "mismatch")
    add("another secret in the query", {}, "mismatch", query="?secret=fake-of-another-system")
    add("all but the last character", {"X-Webhook-Secret": secret[:-1]}, "mismatch")
    add("the first character", {"X-Webhook-Secret": secret[:1]}, "mismatch")
    add("all but the first character", {"X-Webhook-Secret": secret[1:]}, "mismatch")
    add("one character more", {"X-Webhook-Secret": secret + "1"}, "mismatch")
    add("in capitals", {"X-Webhook-Secret": secret.upper()}, "mismatch")
    add("in lower case", {"X-Webhook-Secret": secret.lower()}, "mismatch")
    add("both secrets at once", {"X-Webhook-Secret": f"{secret},{older}"}, "mismatch")
    add("its escapes not decoded in a header", {"X-Webhook-Secret": quote(secret, safe="")}, "mismatch")
    add("no secret is configured", {"X-Webhook-Secret": secret}, "no_secret", this,
        **{"with": {"secrets": []}})
    add("from an allowed network", {"X-Webhook-Secret": secret}, sender=inside, **{"with": allowed})
    add("from another network", {"X-Webhook-Secret": secret}, "network", this, sender=outside, **{"with": allowed})
    add("from an unknown address", {"X-Webhook-Secret": secret}, "network", this, **{"with": allowed})
    add("another secret from an allowed network", {"X-Webhook-Secret": "fake"}, "mismatch", sender=inside,
        **{"with": allowed})
    add("no secret from an allowed network", {}, ANYBODY, sender=inside, **{"with": allowed})
    add("no secret from a trusted network", {}, sender=inside, **{"with": trusted})
    add("no secret from another than the trusted network", {}, ANYBODY, sender=outside, **{"with": trusted})
    add("a secret from another than the trusted network", {"X-Webhook-Secret": secret}, sender=outside,
        **{"with": trusted})
    add("a source by its name", {"X-Webhook-Secret": north}, query="?source=north")
    add("a source by its secret", {"X-Webhook-Secret": north})
    add("a named source with the default's secret", {"X-Webhook-Secret": secret}, "mismatch", query="?source=north")
    add("the default source with a named one's secret", {"X-Webhook-Secret": north}, "mismatch",
        query=f"?source={provider}")
    add("a source that is not configured, with the default's secret", {"X-Webhook-Secret": secret},
        query="?source=south")
    add("a source that is not configured, with another secret", {"X-Webhook-Secret": north}, "mismatch",
        query="?source=south")
    add("a source that is not configured, and no default", {"X-Webhook-Secret": secret}, "unknown_source",
        query="?source=south", **{"with": None})
    if provider == "fmc":
        form = {"Content-Type": FORM}
        command = "cmd=history&type=in&callid=1&status=Success&crm_token="
        add("MegaFon's field", form, body=command + quote(secret, safe=""))
        add("MegaFon's field with another token", form, "mismatch", body=command + "fake")
        add("MegaFon's field cut short", form, "mismatch", body=command + quote(secret[:-1], safe=""))
        add("MegaFon's field, empty", form, ANYBODY, body=command)
    about = f"Who may post to {path}. The sender proves itself with a secret that it sends along."
    source = {"secrets": [secret, older]}
    return {"about": about, "provider": provider, "source": source, "sources": {"north": {"secrets": [north]}},
            "cases": cases}


# --- Twilio -------------------------------------------------------------------------------------------

TOKEN, OLDER = "12345", "fake-twilio-older-token"
SITE = "https://mycompany.com"
QUERY = "/myapp.php?foo=1&bar=2"
P = "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212"
DOCUMENTED = P.replace("5309", "5310")
REPEATED = "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234"
PROPERTY = '{"property": "value", "boolean": true}'
HASHED = "/myapp.php?foo=1&bar=2&bodySHA256=" + hashlib.sha256(PROPERTY.encode()).hexdigest()
HASHED_EMPTY = "/myapp.php?foo=1&bar=2&bodySHA256=" + hashlib.sha256(b"{}").hexdigest()
STAGE = "https://abc.execute-api.eu-west-1.amazonaws.com/prod"
MANY = (
    "Called=%2B551135892112&ToState=SP&CallerCountry=US&Direction=outbound-api"
    "&Timestamp=Sun%2C+25+Mar+2018+09%3A53%3A19+%2B0000&CallbackSource=call-progress-events&CallerState=NY&ToZip="
    "&SequenceNumber=3&To=%2B551135892112&CallSid=CA00000000000000000000000000000001&ToCountry=BR&CallerZip=10004"
    "&CalledZip=&ApiVersion=2010-04-01&CallStatus=completed&CalledCity=S%C3%A3o+Paulo&Duration=1"
    "&From=%2B16466063895&CallDuration=49&AccountSid=AC00000000000000000000000000000001&CalledCountry=BR"
    "&CallerCity=NEW+YORK&ToCity=S%C3%A3o+Paulo&FromCountry=US&Caller=%2B16466063895&FromCity=NEW+YORK"
    "&CalledState=SP&FromZip=10004&AnsweredBy=human&FromState=NY"
)
GOOD = "RSOYDt4T1cUTdK1PDd93/VVr8B8="
SDKS, PYTHON_NODE, NODE = "twilio-python, twilio-node, twilio-go", "twilio-python, twilio-node", "twilio-node"
BY_HAND, DERIVED, OURS = "HMAC by hand", "derived", "twilio-python 9"

# name, base, target, content type, body, signature, refusal, who computed it
PUBLISHED = [
    ("form, query", SITE, QUERY, FORM, P, GOOD, None, SDKS),
    ("signed with the port, sent without", SITE, QUERY, FORM, P, "kvajT1Ptam85bY51eRf/AJRuM3w=", None, PYTHON_NODE),
    ("signed with the port, sent with it", SITE + ":443", QUERY, FORM, P, "kvajT1Ptam85bY51eRf/AJRuM3w=", None, PYTHON_NODE),
    ("http, signed with port 80", "http://mycompany.com:80", QUERY, FORM, P, "0ZXoZLH/DfblKGATFgpif+LLRf4=", None, PYTHON_NODE),
    ("http, signed with port 80, sent without", "http://mycompany.com", QUERY, FORM, P, "0ZXoZLH/DfblKGATFgpif+LLRf4=", None, PYTHON_NODE),
    ("another port in the URL, signed without", SITE + ":1234", QUERY, FORM, P, GOOD, None, PYTHON_NODE),
    ("user and password in the URL", "https://user:pass@mycompany.com", QUERY, FORM, P, "CukzLTc1tT5dXEDIHm/tKBanW10=", None, NODE),
    ("user in the URL", "https://user@mycompany.com", QUERY, FORM, P, "2YRLlVAflCqxaNicjMpJcSTgzSs=", None, NODE),
    ("JSON body by its hash", SITE, HASHED, JSON, PROPERTY, "a9nBmqA0ju/hNViExpshrM61xv4=", None, SDKS),
    ("JSON body altered by one byte", SITE, HASHED, JSON, PROPERTY.replace("true", "trve"), "a9nBmqA0ju/hNViExpshrM61xv4=", "body_hash", DERIVED),
    ("empty JSON object by its hash", SITE, HASHED_EMPTY, JSON, "{}", "rw/jVviOgicj2+kHZULvebnA4ag=", None, BY_HAND),
    ("apostrophe in the query", SITE, QUERY + "&Body=It's+amazing", FORM, P, "dsq4Ehbj6cs+KdTkpF5sSSplOWw=", None, BY_HAND),
    ("the documentation's example", "https://example.com", QUERY, FORM, DOCUMENTED, "L/OH5YylLD5NRKLltdqwSvS0BnU=", None, "documentation"),
    ("repeated parameter, distinct values sorted", SITE, QUERY, FORM, REPEATED, "IK+Dwps556ElfBT0I3Rgjkr1wJU=", None, PYTHON_NODE),
    ("31 parameters, two blank, one not ASCII", STAGE, "/twilio/status", FORM, MANY, "Qb4Y0X2mFIpRulr9mQaK4FuCTIs=", None, BY_HAND),
    ("the same, signed without the blank ones", STAGE, "/twilio/status", FORM, MANY, "9onzYb2fLfGz1EmfdIeNeXJ9kkY=", "mismatch", BY_HAND),
    ("a changed parameter", SITE, QUERY, FORM, P.replace("1212", "1213"), GOOD, "mismatch", DERIVED),
    ("an added parameter", SITE, QUERY, FORM, P + "&Extra=1", GOOD, "mismatch", DERIVED),
    ("a changed query", SITE, QUERY.replace("bar=2", "bar=3"), FORM, P, GOOD, "mismatch", DERIVED),
    ("another host", "https://mycompany.example", QUERY, FORM, P, GOOD, "mismatch", DERIVED),
    ("http for https", "http://mycompany.com", QUERY, FORM, P, GOOD, "mismatch", DERIVED),
    ("a truncated signature", SITE, QUERY, FORM, P, GOOD[:-1], "mismatch", DERIVED),
    ("a signature of nothing", SITE, QUERY, FORM, P, "=", "mismatch", DERIVED),
    ("JSON body without a hash", SITE, QUERY, JSON, '{"CallSid":"CA1"}', "zYQTYrRWXE7LtzbG4PfP7/bkkGo=", "body_hash", OURS),
]


def twilio_signature(url: str, form: str | None, token: str = TOKEN) -> str:
    """`X-Twilio-Signature` by Twilio's own package."""
    fields = MultiDict(parse_qsl(form, keep_blank_values=True)) if form else {}
    return RequestValidator(token).compute_signature(url, fields)


def twilio_case(name, base, target, kind, body, signature, refusal, computed_by=OURS, **more) -> dict:
    """One case, judged by Twilio's own package as well."""
    headers = {"Content-Type": kind}
    if signature is not None:
        headers["X-Twilio-Signature"] = signature
    # The package accepts a JSON body without a hash, and has no networks.
    if signature and "JSON body without" not in name and refusal not in ("network", "no_secret"):
        sent = MultiDict(parse_qsl(body, keep_blank_values=True)) if kind != JSON else {}
        sent = body if "bodySHA256" in target else sent
        token = "fake-north-token" if "source=north" in target else TOKEN
        tokens = [token] if "source=" in target else [token, OLDER]
        said = any(RequestValidator(token).validate(base + target, sent, signature) for token in tokens)
        assert said == (refusal is None), f"twilio-python says {said}: {name}"
    if base != SITE:
        more["with"] = {"public_url": base, **more.get("with", {})}
    return case(name, target, headers, body, refusal, computed_by=computed_by, **more)


def twilio() -> dict:
    """Twilio's cases: the published ones, and those that a signature must not survive."""
    cases = [twilio_case(*row) for row in PUBLISHED]

    def add(*row, **more):
        cases.append(twilio_case(*row, **more))

    def sign(target=QUERY, form: str | None = P, token=TOKEN):
        return twilio_signature(SITE + target, form, token)

    shuffled = "&".join(sorted(P.split("&"), reverse=True))
    add("parameters in another order", SITE, QUERY, FORM, shuffled, GOOD, None)
    add("escapes in lower case", SITE, QUERY, FORM, P.replace("%2B", "%2b"), GOOD, None)
    add("a value twice more", SITE, QUERY, FORM, REPEATED + "&Digits=5678", "IK+Dwps556ElfBT0I3Rgjkr1wJU=", None)
    add("names sorted by byte, capitals first", SITE, QUERY, FORM, "b=1&B=2&a=3&AB=4", sign(form="b=1&B=2&a=3&AB=4"), None)
    add("spaces as %20 and at both ends", SITE, QUERY, FORM, "From=%20a+b%20", sign(form="From=+a+b+"), None)
    add("a body of no parameters", SITE, QUERY, FORM, "", sign(form=None), None)
    add("the content type with a charset", SITE, QUERY, FORM + "; charset=utf-8", P, GOOD, None)
    add("the older of two tokens", SITE, QUERY, FORM, P, sign(token=OLDER), None)
    add("a token that is not configured", SITE, QUERY, FORM, P, sign(token="fake-of-another-account"), "mismatch")
    add("the token itself", SITE, QUERY, FORM, P, TOKEN, "mismatch")
    add("the signature in lower case", SITE, QUERY, FORM, P, GOOD.lower(), "mismatch")
    add("one character more", SITE, QUERY, FORM, P, GOOD + "=", "mismatch")
    add("the signature twice", SITE, QUERY, FORM, P, f"{GOOD},{GOOD}", "mismatch")
    add("a parameter left out", SITE, QUERY, FORM, P.rpartition("&")[0], GOOD, "mismatch")
    add("a name and its value parted elsewhere", SITE, QUERY, FORM, P.replace("Digits=1234", "Digits1=234"), GOOD, None)
    add("a value with a space behind it", SITE, QUERY, FORM, P + "+", GOOD, "mismatch")
    add("a signed form sent as JSON", SITE, QUERY, JSON, P, GOOD, "mismatch")
    add("the query in another order", SITE, "/myapp.php?bar=2&foo=1", FORM, P, GOOD, "mismatch")
    add("another path", SITE, QUERY.replace("myapp", "yourapp"), FORM, P, GOOD, "mismatch")
    add("no signature", SITE, QUERY, FORM, P, None, "unauthenticated")
    add("an empty signature", SITE, QUERY, FORM, P, "", "unauthenticated")
    add("the token as a shared secret", SITE, QUERY + f"&secret={TOKEN}", FORM, P, None, "unauthenticated")
    # Named, because of several sources that refuse the most telling refusal is given.
    named, default = QUERY + "&source=north", QUERY + "&source=twilio"
    add("no token is configured", SITE, default, FORM, P, sign(default), "no_secret", **{"with": {"secrets": []}})
    add("from another network", SITE, default, FORM, P, sign(default), "network", sender="198.51.100.7",
        **{"with": {"allowed_networks": ["203.0.113.0/24"]}})
    add("from an allowed network", SITE, QUERY, FORM, P, GOOD, None, sender="203.0.113.9",
        **{"with": {"allowed_networks": ["203.0.113.0/24"]}})
    add("a source by its name", SITE, named, FORM, P, sign(named, token="fake-north-token"), None)
    add("a named source with the default's token", SITE, named, FORM, P, sign(named), "mismatch")
    add("the default source with a named one's token", SITE, default, FORM, P,
        sign(default, token="fake-north-token"), "mismatch")
    about = ("X-Twilio-Signature: Base64 of HMAC-SHA1 over the public URL and the form's parameters. The URL is "
             "public_url with the target behind it.")
    return {"about": about, "provider": "twilio", "source": {"secrets": [TOKEN, OLDER], "public_url": SITE},
            "sources": {"north": {"secrets": ["fake-north-token"], "public_url": SITE}}, "cases": cases}


# --- ElevenLabs ---------------------------------------------------------------------------------------

WSEC, WSEC_OLDER = "wsec_test_secret", "test_secret"
EVENT = ('{"type":"post_call_transcription","event_timestamp":1739537297,"data":{"agent_id":"xyz",'
         '"conversation_id":"abc","status":"done"}}')
SPEECH = '{"event_type": "speech.completed", "id": "123456"}'
# secret, time, body, digest
COMPUTED = [
    (WSEC_OLDER, 1600000000, SPEECH, "f8a0d1dc33ee963cb54d2f31514555995e93313c9d2042c030adbb82b87fae13"),
    (WSEC, 1739537297, EVENT, "98e19ab93a5b68dcdea683ff9e66a2a0b4cd1eda5d1629e173891011e7f3c56e"),
    (WSEC, 1739537297, '{"name":"José"}', "0c1a71d02dd5b4f3852e225f52693cfce98075c26bdf8bc7524f8b3468999256"),
]


def elevenlabs_digest(t: int, body: str, secret: str = WSEC) -> str:
    """What ElevenLabs signs: the time, a dot, and the body."""
    return hmac.new(secret.encode(), f"{t}.{body}".encode(), hashlib.sha256).hexdigest()


def elevenlabs_header(t: int, body: str, secret: str = WSEC) -> str:
    """`ElevenLabs-Signature`, which ElevenLabs' own package must take."""
    header = f"t={t},v0={elevenlabs_digest(t, body, secret)}"
    assert package_takes(header, body, t, secret), header
    return header


def package_takes(header: str, body: str, now: int, secret: str) -> bool:
    """Whether ElevenLabs' own package takes a request that comes at this time."""
    with mock.patch("time.time", return_value=now):
        try:
            WebhooksClient(client_wrapper=None).construct_event(body, header, secret)
        except ApiError:
            return False
    return True


def elevenlabs() -> dict:
    """ElevenLabs' cases."""
    cases = []
    good = elevenlabs_header(NOW, EVENT)
    digest = good.partition("v0=")[2]

    def add(name, header, refusal=None, body=EVENT, judge=True, now=NOW, **more):
        headers = {"Content-Type": JSON}
        if header is not None:
            headers["ElevenLabs-Signature"] = header
            if judge:
                takes = any(package_takes(header, body, now, secret) for secret in (WSEC, WSEC_OLDER))
                assert takes == (refusal is None), f"elevenlabs-python says {takes}: {name}"
        made = case(name, "/webhooks/elevenlabs", headers, body, refusal, **more)
        made["received_at"] = RECEIVED_AT if now == NOW else iso(now)
        cases.append(made)

    for number, (secret, t, body, published) in enumerate(COMPUTED, 1):
        assert elevenlabs_digest(t, body, secret) == published
        add(f"computed by hand {number}", f"t={t},v0={published}", body=body, now=t)
    add("signed now", good)
    add("the signature before the time", f"v0={digest},t={NOW}")
    add("a field of another scheme beside it", f"{good},v1=00")
    add("the older of two secrets", elevenlabs_header(NOW, EVENT, WSEC_OLDER))
    # Of several signatures the package looks at one alone; during a rotation any may be the right one.
    add("several signatures, the first is right", f"t={NOW},v0={digest},v0={'0' * 64}", judge=False)
    add("several signatures, the last is right", f"t={NOW},v0={'0' * 64},v0={digest}")
    add("signed almost half an hour ago", elevenlabs_header(NOW - 1_790, EVENT))
    add("signed more than half an hour ago", elevenlabs_header(NOW - 1_810, EVENT), "stale")
    # The package bounds the past alone.
    add("signed more than half an hour from now", elevenlabs_header(NOW + 1_810, EVENT), "stale", judge=False)
    add("a changed body", good, "mismatch", body=EVENT.replace("abc", "abd"))
    add("a space more in the body", good, "mismatch", body=EVENT + " ")
    add("no body", good, "mismatch", body="")
    add("another time than the signed one", f"t={NOW + 1},v0={digest}", "mismatch")
    add("signed with another secret", elevenlabs_header(NOW, EVENT, "fake-of-another-workspace"), "mismatch")
    add("signed without the time", f"t={NOW},v0=" + hmac.new(WSEC.encode(), EVENT.encode(), hashlib.sha256).hexdigest(), "mismatch")
    add("all but the last character", good[:-1], "mismatch")
    add("one character more", good + "0", "mismatch")
    add("the head of the signature", f"t={NOW},v0={digest[:8]}", "mismatch")
    add("no time", f"v0={digest}", "bad_header")
    add("no signature in the header", f"t={NOW}", "bad_header")
    add("a signature of another scheme alone", f"t={NOW},v1={digest}", "bad_header")
    add("the signature alone, without names", digest, "bad_header")
    # The package fails on it with an error of Python's.
    add("a time that is no number", f"t=now,v0={digest}", "bad_header", judge=False)
    add("no header", None, "unauthenticated")
    add("an empty header", "", "unauthenticated")
    add("no secret is configured", good, "no_secret", judge=False, **{"with": {"secrets": []}})
    add("from another network", good, "network", judge=False, sender="198.51.100.7",
        **{"with": {"allowed_networks": ["34.67.146.145/32"]}})
    add("from an allowed network", good, sender="34.67.146.145", **{"with": {"allowed_networks": ["34.67.146.145/32"]}})
    about = ("ElevenLabs-Signature: t=<unix seconds>,v0=<hex of HMAC-SHA256 over t, a dot and the body>. The secret "
             "is taken as it is written, and t may lie half an hour away at most.")
    return {"about": about, "provider": "elevenlabs", "source": {"secrets": [WSEC, WSEC_OLDER]}, "cases": cases}


def iso(t: int) -> str:
    """A Unix time as vectors write it."""
    return datetime.fromtimestamp(t, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def files() -> list[dict]:
    """Every file of authentication."""
    return [*map(shared_secret, PATHS), twilio(), elevenlabs()]
