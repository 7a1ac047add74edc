"""Signs the samples with the providers' own packages, and makes API Gateway events of them.

    make samples

Twilio's requests get the `X-Twilio-Signature` that Twilio's Python package computes for the public
URL and the first token of `events/twilio/source.json`. Each request becomes an event of payload
format 2.0 in `events/<provider>/gateway/`, ready for `cargo lambda invoke --data-file`.
"""

from __future__ import annotations

import base64
import json
from urllib.parse import parse_qsl

from http_file import EVENTS, Request, parse, samples
from twilio.request_validator import RequestValidator



def sign_twilio(request: Request) -> None:
    """Adds the signature, as Twilio would send it."""
    source = json.loads((EVENTS / "twilio" / "source.json").read_text())
    parameters = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
    signature = RequestValidator(source["secrets"][0]).compute_signature(
        source["public_url"] + request.target, parameters
    )
    request.headers["X-Twilio-Signature"] = signature


def gateway_event(request: Request, number: int) -> dict:
    """The event that API Gateway's HTTP API makes of a request."""
    is_text = "json" in (request.header("content-type") or "")
    body = request.body.decode() if is_text else base64.b64encode(request.body).decode()
    return {
        "version": "2.0",
        "routeKey": f"{request.method} {request.path}",
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": {name.lower(): value for name, value in request.headers.items()},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "sample",
            "domainName": "calls.example.com",
            "domainPrefix": "calls",
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.10",
                "userAgent": "sample",
            },
            "requestId": f"sample-request-{number}",
            "routeKey": f"{request.method} {request.path}",
            "stage": "$default",
            "time": "20/Feb/2026:09:30:00 +0000",
            "timeEpoch": 1771579800000,
        },
        "body": body,
        "isBase64Encoded": not is_text,
    }


def main() -> None:
    """The command."""
    for path in samples():
        requests = parse(path.read_text())
        if path.parent.name == "twilio":
            for request in requests:
                sign_twilio(request)
        path.write_text("\n###\n\n".join(request.text() for request in requests))
        folder = path.parent / "gateway"
        folder.mkdir(exist_ok=True)
        for number, request in enumerate(requests, 1):
            suffix = f".{number}" if len(requests) > 1 else ""
            event = json.dumps(gateway_event(request, number), indent=2, ensure_ascii=False)
            (folder / f"{path.stem}{suffix}.json").write_text(event + "\n")
    print(f"{len(samples())} samples signed and made into events")


if __name__ == "__main__":
    main()
