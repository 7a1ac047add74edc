"""Signs the samples as their providers do, and makes API Gateway events of them.

    make samples

Twilio's requests get the `X-Twilio-Signature` that Twilio's Python package computes for the public
URL and the first token of `events/twilio/source.json`; those of a folder with a `signature.json` get
the signature of a fixed moment.
Each request becomes an event of payload format 2.0 in `events/<provider>/gateway/`, ready for
`cargo lambda invoke --data-file`.
"""

from __future__ import annotations

import base64
import json

from http_file import Request, parse, samples
from sign import sign

# When the samples say that they were sent: 2026-02-20T09:30:00Z.
SENT_AT = 1771579800


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
            "timeEpoch": SENT_AT * 1000,
        },
        "body": body,
        "isBase64Encoded": not is_text,
    }


def main() -> None:
    """The command."""
    for path in samples():
        requests = parse(path.read_text())
        for request in requests:
            sign(path.parent.name, request, SENT_AT)
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
