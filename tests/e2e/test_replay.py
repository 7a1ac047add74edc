"""Quarantine and replay, with the command line against the deployed stack."""

from __future__ import annotations

import gzip

from boto3.dynamodb.conditions import Key
from http_file import Request
from stack import pk, wait_for
from test_faults import post
from test_operator import switchboard


def hole(call_id: str, source: str) -> Request:
    """A call whose duration an empty variable left out of the template."""
    request = post(call_id, source, clientName="Kim Example")
    request.body = request.body.replace(b'"durationSec": 5', b'"durationSec":')
    return request


def note_of(world, request: Request) -> dict:
    """What is kept in quarantine of a request, but for its bytes."""
    notes = {note["digest"]: note for note in world.stack.items("quarantine#intake")}
    for part in world.stack.items("quarantine-body#intake"):
        if gzip.decompress(part["bytes"].value) == request.body:
            return notes[part["sk"].split("#")[1]]
    raise AssertionError("the body is not in quarantine")


def shows(text: str, *words: str) -> None:
    """Every word is in a text, and no personal value is."""
    for word in words:
        assert word in text, text
    for personal in ("491570156", "Kim", "Example"):
        assert personal not in text, text


def test_what_is_in_quarantine_is_listed_and_shown_masked_and_stays_while_it_is_not_understood(world):
    request = hole(world.unique("hole"), "replay")
    assert world.stack.send(request).status == 400
    before = note_of(world, request)
    short = before["digest"][:12]

    listed = switchboard(world, "quarantine", "list", "intake", "--limit", "1000", "--since", "2026-01-01")
    assert listed.returncode == 0, listed.stderr
    (line,) = [line for line in listed.stdout.splitlines() if short in line]
    shows(line, "intake", f"{len(request.body)} B", "durationSec: is not followed by a JSON value")
    everywhere = switchboard(world, "quarantine", "list", "--limit", "1000")
    assert line.split() in [line.split() for line in everywhere.stdout.splitlines()]
    assert short not in switchboard(world, "quarantine", "list", "intake", "--until", "2026-01-01").stdout

    shown = switchboard(world, "quarantine", "show", "intake", short)
    shows(shown.stdout, before["digest"], "/api/crm/intake/calls", "application/json", '"durationSec":,', '"clientPhone": "+00000000000"')
    raw = switchboard(world, "quarantine", "show", "intake", short, "--raw")
    assert raw.stdout == request.body.decode()
    assert switchboard(world, "quarantine", "show", "intake", "f" * 32).returncode == 1

    for arguments in (["--dry-run"], []):
        replayed = switchboard(world, "replay", "quarantine", "intake", "--id", short, *arguments)
        assert replayed.returncode == 0, replayed.stderr
        shows(replayed.stdout, short, "is still invalid: durationSec:", "1 still invalid")
        assert note_of(world, request) == before


def test_a_body_that_is_understood_by_now_becomes_a_call_that_is_told_once(world):
    call_id = world.unique("mended")
    request = hole(call_id, "replay")
    assert world.stack.send(request).status == 400
    note = note_of(world, request)
    # No release but this one is at hand to misread a body: so the bytes are changed, as if it had been.
    body = post(call_id, "replay", clientName="Kim Example").body
    world.stack.calls.put_item(Item=note | {"length": len(body)})
    part = {"pk": "quarantine-body#intake", "sk": note["sk"] + "#0000"}
    stored = world.stack.calls.get_item(Key=part)["Item"]
    world.stack.calls.put_item(Item=stored | {"bytes": gzip.compress(body)})

    key = f"test/replay/{call_id}"
    arguments = ("replay", "quarantine", "intake", "--id", note["digest"])
    dry_run = switchboard(world, *arguments, "--dry-run")
    shows(dry_run.stdout, f"new call {key}: ", "outcome answered", "1 new calls", "Nothing was written")
    assert world.stack.call(key) is None

    replayed = switchboard(world, *arguments)
    assert replayed.returncode == 0, replayed.stderr
    shows(replayed.stdout, f"new call {key}: ", "outcome answered", "1 removed from quarantine")
    left = world.stack.calls.query(KeyConditionExpression=Key("pk").eq(part["pk"]) & Key("sk").begins_with(note["sk"]))
    assert left["Items"] == [] and note["sk"] not in {one["sk"] for one in world.stack.items("quarantine#intake")}
    assert switchboard(world, *arguments).returncode == 1

    # It is stored as due, and the sweep sees to it.
    world.stack.client("lambda").invoke(FunctionName=world.stack.stack["functions"]["sweep"], Payload=b"{}")
    wait_for(key, lambda: world.stack.settled(key))
    assert len(world.delivered("/warehouse", key)) == 1


def test_a_call_that_was_misread_is_mended_and_told_anew_once(world):
    call_id = world.unique("misread")
    key = f"test/replay/{call_id}"
    assert world.stack.send(post(call_id, "replay")).status == 200
    stored = wait_for(key, lambda: world.stack.settled(key))
    assert len(world.delivered("/warehouse", key)) == 1
    same = switchboard(world, "replay", "calls", key)
    assert same.returncode == 0, same.stderr
    shows(same.stdout, "1 read: 0 new calls, 0 changed, 1 unchanged; 0 still invalid")
    assert world.stack.call(key) == stored

    # As if an earlier release had read 5 where it says 7.
    (update,) = stored["updates"].values()
    raw = update["raw"]["inline"].value
    update["raw"]["inline"] = raw.replace(b'"durationSec": 5', b'"durationSec": 7')
    world.stack.calls.put_item(Item=stored)
    arguments = ("replay", "calls", "--provider", "test", "--since", stored["call"]["started_at"])
    dry_run = switchboard(world, *arguments, "--dry-run")
    shows(dry_run.stdout, f"call {key}: ", "talk 5 → 7", "its follow-ups are due", "Nothing was written")
    assert world.stack.call(key)["call"]["talk"] == 5
    replayed = switchboard(world, *arguments)
    shows(replayed.stdout, f"call {key}: ", "talk 5 → 7")
    mended = world.stack.call(key)
    assert mended["call"]["talk"] == 7 and mended["pk"] == pk(key)
    shows(switchboard(world, "call", key).stdout, "replayed ")

    world.stack.client("lambda").invoke(FunctionName=world.stack.stack["functions"]["sweep"], Payload=b"{}")
    again = wait_for("the second request", lambda: world.delivered("/warehouse", key)[1:])
    assert again[0].json()["type"] == "call.updated"
    wait_for(key, lambda: world.stack.settled(key))
    shows(switchboard(world, *arguments).stdout, " 0 changed, ")
    assert world.stack.settled(key) and len(world.delivered("/warehouse", key)) == 2
