"""Signing the samples as their providers do: Twilio with its own package, any other by its `signature.json`."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from pathlib import Path
from urllib.parse import parse_qsl

from http_file import EVENTS, Request, parse
from twilio.request_validator import RequestValidator


def scheme(provider: str) -> dict | None:
    """How a provider signs with HMAC-SHA256: the header, what is signed, and the header's value."""
    path = EVENTS / provider / "signature.json"
    return json.loads(path.read_text()) if path.is_file() else None


ELEVENLABS_HEADER = scheme("elevenlabs")["header"]


def source(provider: str) -> dict:
    """The default source of a provider's samples."""
    return json.loads((EVENTS / provider / "source.json").read_text())


def sign_twilio(request: Request) -> None:
    """Adds the signature, as Twilio would send it."""
    parameters = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
    signature = RequestValidator(source("twilio")["secrets"][0]).compute_signature(
        source("twilio")["public_url"] + request.target, parameters
    )
    request.headers["X-Twilio-Signature"] = signature


def sign(provider: str, request: Request, at: int, secret: str | None = None) -> None:
    """Adds the signature that a provider would send at a moment (Unix seconds), if it signs."""
    if provider == "twilio":
        sign_twilio(request)
    elif how := scheme(provider):
        secret = secret or source(provider)["secrets"][0]
        signed = how["signed"].removesuffix("{body}").format(time=at).encode() + request.body
        code = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        request.headers[how["header"]] = how["value"].format(time=at, hex=code)


def fresh(path: Path) -> list[Request]:
    """The requests of a sample as they would be sent now: some signatures grow stale."""
    requests = parse(path.read_text())
    for request in requests:
        sign(path.parent.name, request, int(time.time()))
    return requests
