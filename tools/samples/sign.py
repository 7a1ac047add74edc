"""Signing the samples as their providers do: Twilio with its own package, ElevenLabs by its documented scheme."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from pathlib import Path
from urllib.parse import parse_qsl

from http_file import EVENTS, Request, parse
from twilio.request_validator import RequestValidator

ELEVENLABS_HEADER = "ElevenLabs-Signature"


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


def sign_elevenlabs(request: Request, at: int, secret: str | None = None) -> None:
    """Adds the signature that ElevenLabs would send at a moment (Unix seconds)."""
    secret = secret or source("elevenlabs")["secrets"][0]
    signed = b"%d." % at + request.body
    code = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    request.headers[ELEVENLABS_HEADER] = f"t={at},v0={code}"


def fresh(path: Path) -> list[Request]:
    """The requests of a sample as they would be sent now: some signatures grow stale."""
    requests = parse(path.read_text())
    for request in requests:
        if request.header(ELEVENLABS_HEADER):
            sign_elevenlabs(request, int(time.time()))
    return requests
