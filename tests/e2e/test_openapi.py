"""openapi.yaml: it describes every route there is, and the deployed stack does what it says."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from http_file import Request
from stack import ROOT
from test_api import TOKENS

DOCUMENT = ROOT / "openapi.yaml"
BIN = ROOT / ".venv" / "api" / "bin"
METHODS = {"get", "post", "put", "patch", "delete", "head", "options"}
# The whole run ends by then; what was tried until then counts.
SECONDS = 75


@pytest.fixture(scope="module")
def document() -> dict:
    """The document, read by the tools that check it."""
    program = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout, default=str)"
    read = subprocess.run([BIN / "python", "-c", program, DOCUMENT], capture_output=True, text=True, check=True)
    return json.loads(read.stdout)


def operations(document: dict) -> set[tuple[str, str]]:
    """Every method and path of the document."""
    return {(verb.upper(), path) for path, item in document["paths"].items() for verb in item if verb in METHODS}


def test_the_document_is_valid():
    checked = subprocess.run([BIN / "openapi-spec-validator", DOCUMENT], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_what_is_routed_is_described_and_what_is_described_is_routed(world, document):
    pages = world.stack.client("apigatewayv2").get_paginator("get_routes").paginate(ApiId=world.stack.stack["api_id"])
    routed = {tuple(route["RouteKey"].split(" ", 1)) for page in pages for route in page["Items"]}
    # A route with {proxy+} takes what others do, with slashes in the last parameter.
    greedy = {route for route in routed if route[1].endswith("/{proxy+}")}
    assert routed - greedy == operations(document)
    for method, path in greedy:
        start = path.removesuffix("{proxy+}")
        assert [one for one in routed - greedy if one[0] == method and one[1].startswith(start)], path


def test_every_operation_says_who_may_and_answers_those_who_may_not(world, document):
    """Without a credential: 401 in the form that is described, wherever one is needed."""
    schemes = document["components"]["securitySchemes"]
    for method, path in sorted(operations(document)):
        operation = document["paths"][path][method.lower()]
        target = re.sub(r"\{\w+\}", "x", path)
        body = b"{}" if method != "GET" else b""
        answer = world.stack.send(Request(method, target, {"content-type": "application/json"}, body))
        security = operation.get("security", document["security"])
        if not security:
            assert answer.status == 200, (method, path)
            continue
        assert answer.status == 401, (method, path, answer)
        needs = [schemes[name] for one in security for name in one]
        is_ours = needs[0]["type"] == "http"
        form = "application/problem+json" if is_ours else "application/json"
        assert answer.headers["content-type"] == form, (method, path)
        assert "401" in operation["responses"]


def test_the_deployed_stack_does_what_the_document_says(world, tmp_path):
    """Right and wrong requests made from the document: no fault of the server's, no answer that is not described."""
    token, rights = TOKENS["everything"]
    world.stack.configure("api/everything", {"tokens": [token], "rights": rights})
    world.stack.refresh()
    command = [
        BIN / "st", "run", DOCUMENT,
        "--url", world.stack.stack["base_url"],
        "--header", f"Authorization: Bearer {token}",
        "--phases", "examples,coverage,fuzzing",
        "--mode", "all",
        "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,"
                    "response_schema_conformance,response_headers_conformance,ignored_auth",
        "--max-examples", "6",
        "--max-time", str(SECONDS),
        "--seed", "1",
        # With several, Python 3.11 fails now and then with "AST constructor recursion depth mismatch".
        "--workers", "1",
        "--no-shrink",
        "--suppress-health-check", "all",
        "--warnings", "off",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS + 60, check=False)
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2_000:]
    # It ran, and not against nothing.
    tested = re.search(r"Tested:\s+(\d+)", done.stdout)
    assert tested and int(tested[1]) > 15, done.stdout[-4_000:]
