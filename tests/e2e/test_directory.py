"""The directory: its API and its command line against the deployed stack."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from botocore.exceptions import ClientError
from http_file import Request
from stack import ROOT, states

TOKENS = {
    "reader": ["read"],
    "clerk": ["read", "personal", "directory"],
    "dialler": ["dial"],
}


def token(name: str) -> str:
    """A token that is obviously fake."""
    return f"fake-token-of-the-directory-{name}"


@pytest.fixture(scope="module", autouse=True)
def tokens(world):
    """Tokens that may read, may do everything, and may do neither."""
    for name, rights in TOKENS.items():
        world.stack.configure(f"api/directory-{name}", {"tokens": [token(name)], "rights": rights})


def ask(world, method: str, path: str, body=None, who: str | None = "clerk", **headers: str):
    """A request to the API with one of the tokens."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if who:
        sent["Authorization"] = f"Bearer {token(who)}"
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
        sent.setdefault("Content-Type", "application/json")
    return world.stack.send(Request(method, path, sent, (body or "").encode()))


def environment(world) -> dict[str, str]:
    """Where the command line finds the directory."""
    return states.environment(world.stack.state) | {"DIRECTORY_TABLE": world.stack.stack["tables"]["directory"]}


COMMAND = [str(ROOT / "target" / "debug" / "switchboard"), "--stage", "local", "directory"]


def directory(world, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line as an operator would."""
    return subprocess.run(
        [*COMMAND, *arguments], env=environment(world), capture_output=True, text=True, check=False
    )


def everyone(world, path: str, **filters: str) -> list[dict]:
    """Every page of a list."""
    items, cursor = [], ""
    while True:
        query = "&".join(f"{name}={value}" for name, value in filters.items())
        answer = ask(world, "GET", f"{path}?limit=100&{query}{cursor}")
        assert answer.status == 200, answer
        items += answer.body["items"]
        if not answer.body["next"]:
            return items
        cursor = f"&cursor={answer.body['next']}"


def test_who_may_do_what(world):
    body = {"name": "Kim Example", "numbers": ["+15550109001"]}
    assert ask(world, "GET", "/contacts", who=None).status == 401
    unknown = world.stack.send(Request("GET", "/contacts", {"Authorization": "Bearer fake-token-that-is-unknown"}, b""))
    assert unknown.status == 401 and unknown.headers["content-type"] == "application/problem+json"
    for method, path in [
        ("GET", "/contacts"), ("GET", "/contacts/x"), ("GET", "/contacts/x/activities"), ("GET", "/leads"),
        ("GET", "/leads/x"), ("GET", "/employees"), ("GET", "/employees/x"), ("GET", "/own-numbers/+15550109001"),
    ]:  # fmt: skip
        answer = ask(world, method, path, who="dialler")
        assert (answer.status, answer.body["right"]) == (403, "read"), path
    for method, path in [
        ("POST", "/contacts"), ("POST", "/contacts/import"), ("PATCH", "/contacts/x"), ("DELETE", "/contacts/x"),
        ("POST", "/employees"), ("PATCH", "/employees/x"), ("DELETE", "/employees/x"),
        ("PUT", "/own-numbers/+15550109001"), ("DELETE", "/own-numbers/+15550109001"),
    ]:  # fmt: skip
        answer = ask(world, method, path, body, who="reader")
        assert (answer.status, answer.body["right"]) == (403, "directory"), path
    assert everyone(world, "/contacts", number="%2B15550109001") == []


def test_a_contact_from_its_creation_to_its_deletion(world):
    said = {
        "id": "kim-1", "kind": "lead", "name": "Kim Example", "country": "AU", "external_ids": ["CRM/1 é"],
        "numbers": ["0491 570 156", "+15550109002"], "emails": ["Kim@Example.com"],
    }  # fmt: skip
    made = ask(world, "POST", "/contacts", said)
    assert made.status == 201, made
    assert made.body["numbers"] == ["+15550109002", "+61491570156"]
    assert (made.body["status"], made.body["version"], made.body["origin"]) == ("new", 1, "api")
    again = ask(world, "POST", "/contacts", said | {"external_ids": [], "numbers": []})
    assert (again.status, again.body["type"]) == (409, "urn:switchboard:problem:conflict")
    stolen = ask(world, "POST", "/contacts", {"external_id": "CRM/1 é"})
    assert stolen.status == 409 and "of another entry" in stolen.body["detail"]

    # Masked, unless the right says otherwise.
    masked = ask(world, "GET", "/contacts/kim-1", who="reader")
    assert masked.status == 200 and masked.body["id"] == "kim-1"
    shown = json.dumps(masked.body)
    assert not any(value in shown for value in ("Kim", "5550109", "491570", "example", "CRM")), shown
    for query in ("number=%2B15550109002", "number=+15550109002", "number=0491570156&country=AU",
                  "email=KIM@example.com", "external_id=CRM/1%20%C3%A9&number=%2B15550109002"):
        found = ask(world, "GET", f"/contacts?{query}")
        assert [one["id"] for one in found.body["items"]] == ["kim-1"], query
    assert ask(world, "GET", "/contacts?email=kim@example.com&number=%2B15550109999").body["items"] == []
    assert ask(world, "GET", "/leads/kim-1").body == ask(world, "GET", "/contacts/kim-1").body
    assert "kim-1" in [one["id"] for one in everyone(world, "/leads", status="new")]
    assert ask(world, "GET", "/contacts/kim-1/activities").body == {"items": [], "next": None}

    # A merge patch, against the version that was read.
    patch = {"name": None, "numbers": ["+15550109003"], "status": "won", "version": 1}
    changed = ask(world, "PATCH", "/contacts/kim-1", patch)
    assert changed.status == 200, changed
    assert "name" not in changed.body and changed.body["version"] == 2
    assert changed.body["emails"] == ["kim@example.com"]
    assert ask(world, "PATCH", "/contacts/kim-1", patch).status == 409
    assert ask(world, "PATCH", "/contacts/kim-1", {"name": "Kim"}, If_Match='"1"').status == 412
    assert ask(world, "PATCH", "/contacts/kim-1", {"name": "Kim"}, If_Match='"2"').body["version"] == 3
    assert ask(world, "PATCH", "/contacts/kim-1", {"kind": "client"}).body["version"] == 4
    assert everyone(world, "/contacts", number="%2B15550109002") == []
    assert ask(world, "GET", "/leads/kim-1").status == 404

    assert ask(world, "DELETE", "/contacts/kim-1", If_Match='"1"').status == 412
    assert ask(world, "DELETE", "/contacts/kim-1").body == {"id": "kim-1", "deleted": True}
    assert ask(world, "DELETE", "/contacts/kim-1").status == 404
    assert everyone(world, "/contacts", number="%2B15550109003") == []


def test_what_is_wrong_is_told_by_its_place_and_never_by_its_value(world):
    for method, path, body, field in [
        ("POST", "/contacts", {"name": "Kim", "Kim Example": 1}, "body"),
        ("POST", "/contacts", {"numbers": ["0491 Kim"]}, "numbers"),
        ("POST", "/contacts", {"emails": ["Kim"]}, "emails"),
        ("POST", "/contacts", {"id": "Kim Example"}, "id"),
        ("POST", "/contacts", {"kind": "Kim"}, "kind"),
        ("POST", "/contacts", {"kind": "employee"}, "kind"),
        ("POST", "/contacts", {"extensions": ["101"]}, "extensions"),
        ("POST", "/contacts", "{\"Kim", "body"),
        ("POST", "/contacts?Kim=1", {}, "query"),
        ("POST", "/employees", {"status": "new"}, "status"),
        ("GET", "/contacts?kind=Kim", None, "kind"),
        ("GET", "/contacts?number=Kim", None, "number"),
        ("GET", "/contacts?limit=0", None, "limit"),
        ("GET", "/contacts?limit=101", None, "limit"),
        ("GET", "/contacts?cursor=Kim", None, "cursor"),
        ("GET", "/leads?statu=new", None, "query"),
        ("PUT", "/own-numbers/Kim", None, "number"),
        ("POST", "/contacts/import", "Kim,Example\n", "body"),
        ("POST", "/contacts/import?dry_run=yes", "name\n", "dry_run"),
    ]:  # fmt: skip
        answer = ask(world, method, path, body)
        assert answer.status == 400, (path, body, answer)
        assert answer.headers["content-type"] == "application/problem+json"
        assert field in answer.body["errors"][0]["field"], answer
        assert "Kim" not in json.dumps(answer.body) and "Example" not in json.dumps(answer.body)
    for path in ("/contacts/absent", "/employees/absent", "/leads/absent", "/contacts/a%20b", "/own-numbers/+15550109999"):
        assert ask(world, "GET", path).status == 404, path
    assert ask(world, "PATCH", "/contacts/absent", {"name": "Kim"}).status == 404


def test_employees_and_our_own_numbers(world):
    made = ask(world, "POST", "/employees", {"id": "agent-1", "extensions": ["101", "pbx/102"], "number": "+15550109010"})
    assert made.status == 201 and made.body["kind"] == "employee", made
    assert made.body["extensions"] == [{"number": "101"}, {"source": "pbx", "number": "102"}]
    changed = ask(world, "PATCH", "/employees/agent-1", {"extensions": "103"}, If_Match='"1"')
    assert changed.body["extensions"] == [{"number": "103"}]
    assert [one["id"] for one in everyone(world, "/employees", number="%2B15550109010")] == ["agent-1"]
    assert "agent-1" in [one["id"] for one in everyone(world, "/employees")]
    assert ask(world, "GET", "/contacts/agent-1").status == 404
    assert ask(world, "DELETE", "/employees/agent-1").status == 200

    assert ask(world, "PUT", "/own-numbers/01632960001?country=GB").body == {"number": "+441632960001", "own": True}
    assert ask(world, "GET", "/own-numbers/+441632960001").body["own"] is True
    assert ask(world, "DELETE", "/own-numbers/%2B441632960001").body["own"] is False
    assert ask(world, "GET", "/own-numbers/+441632960001").status == 404


def test_lists_come_in_pages_whose_cursors_open_nothing_else(world):
    rows = [{"id": f"page-{n:03}", "kind": "lead", "status": "paged", "number": f"+155501091{n:02}"} for n in range(25)]
    imported = ask(world, "POST", "/contacts/import", rows)
    assert imported.body["created"] == 25, imported
    seen, cursor = [], ""
    while True:
        page = ask(world, "GET", f"/leads?status=paged&limit=10{cursor}").body
        seen += [one["id"] for one in page["items"]]
        if not page["next"]:
            break
        assert len(page["items"]) == 10
        cursor = f"&cursor={page['next']}"
        assert ask(world, "GET", f"/leads?status=new{cursor}").status == 400
        assert ask(world, "GET", f"/contacts?{cursor[1:]}").status == 400
    assert seen == [row["id"] for row in rows]


def test_an_import_by_the_api_says_what_became_of_each_row(world):
    text = (
        "external_id,name,phone,kind\n"
        "imp-1,Kim Example,0491570157,\n"
        "imp-2,Alex Example,0491 Kim,\n"
        "imp-3,Alex Example,0491570158,lead\n"
        "imp-1,Kim Example,0491570159,\n"
    )
    path = "/contacts/import?country=AU"
    rehearsed = ask(world, "POST", f"{path}&dry_run=true", text, Content_Type="text/csv")
    assert rehearsed.status == 200, rehearsed
    assert everyone(world, "/contacts", external_id="imp-1") == []
    done = ask(world, "POST", path, text, Content_Type="text/csv").body
    counts = {"created": 2, "changed": 1, "unchanged": 0, "rejected": 1}
    for body, dry_run in ((rehearsed.body, True), (done, False)):
        assert {name: body[name] for name in counts} == counts and body["dry_run"] is dry_run
        assert [row["result"] for row in body["rows"]] == ["created", "rejected", "created", "changed"]
        assert [row["line"] for row in body["rows"]] == [2, 3, 4, 5]
        assert body["rows"][1]["field"] == "numbers" and "Kim" not in json.dumps(body)
    (kim,) = everyone(world, "/contacts", external_id="imp-1")
    assert kim["id"] == done["rows"][0]["id"] == done["rows"][3]["id"]
    assert kim["numbers"] == ["+61491570157", "+61491570159"] and kim["origin"] == "import"
    again = ask(world, "POST", path, text, Content_Type="text/csv").body
    assert (again["unchanged"], again["rejected"]) == (3, 1)
    rows = [{"external_id": f"many-{n}"} for n in range(501)]
    assert ask(world, "POST", "/contacts/import", rows).status == 413
    largest = ask(world, "POST", "/contacts/import", rows[:500])
    assert largest.body["created"] == 500


def test_many_at_once_make_one_contact(world):
    rows = [{"name": f"Kim {n}", "number": "+15550109050"} for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda row: ask(world, "POST", "/contacts/import", [row]), rows))
    assert {answer.status for answer in answers} <= {200, 503}, answers
    assert len(everyone(world, "/contacts", number="%2B15550109050")) == 1


def test_a_timeline_is_shown_masked_and_newest_first(world):
    assert ask(world, "POST", "/contacts", {"id": "timeline-1"}).status == 201
    table = world.stack.client("dynamodb")
    for second in (1, 2, 3):
        call, at = f"twilio/twilio/CA{second}", f"2026-02-20T09:00:0{second}Z"
        item = {
            "pk": "contact#timeline-1", "sk": f"activity#{call}", "list": "timeline#timeline-1",
            "place": f"2026-02-20T09:00:0{second}.000000000Z#{call}", "contact": "timeline-1", "call": call, "at": at,
            "recording": "https://example.com/r",
        }  # fmt: skip
        item = {name: {"S": value} for name, value in item.items()}
        table.put_item(TableName=world.stack.stack["tables"]["directory"], Item=item)
    first = ask(world, "GET", "/contacts/timeline-1/activities?limit=2", who="reader").body
    assert [one["call"] for one in first["items"]] == ["twilio/twilio/CA3", "twilio/twilio/CA2"]
    assert "example.com" not in json.dumps(first)
    rest = ask(world, "GET", f"/contacts/timeline-1/activities?limit=2&cursor={first['next']}").body
    assert [one["recording"] for one in rest["items"]] == ["https://example.com/r"] and rest["next"] is None
    assert ask(world, "DELETE", "/contacts/timeline-1").status == 200
    assert left(world, "contact#timeline-1") == []


def left(world, pk: str) -> list[dict]:
    """What the table still has under a key."""
    name = world.stack.stack["tables"]["directory"]
    answer = world.stack.client("dynamodb").query(
        TableName=name, KeyConditionExpression="pk = :pk", ExpressionAttributeValues={":pk": {"S": pk}}
    )
    return answer["Items"]


def test_the_function_may_do_nothing_but_its_work(world):
    """With the function's own role: it may read and write the directory and read the tokens, and nothing else."""
    arn = world.stack.client("lambda").get_function_configuration(
        FunctionName=world.stack.stack["functions"]["directory"]
    )["Role"]
    given = world.stack.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    session = boto3.Session(
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
        region_name=world.stack.state["region"],
    )
    client = lambda service: session.client(service, endpoint_url=world.stack.state["endpoint"])  # noqa: E731
    prefix, tables = world.stack.stack["parameter_prefix"], world.stack.stack["tables"]
    key = {"pk": {"S": "x"}, "sk": {"S": "x"}}
    assert client("ssm").get_parameters_by_path(Path=f"{prefix}/api", WithDecryption=True)["Parameters"]
    client("dynamodb").get_item(TableName=tables["directory"], Key=key)
    for what, act in {
        "sources' secrets": lambda: client("ssm").get_parameters_by_path(Path=f"{prefix}/sources", WithDecryption=True),
        "a CRM's secrets": lambda: client("ssm").get_parameters_by_path(Path=f"{prefix}/destinations", WithDecryption=True),
        "a token's write": lambda: client("ssm").put_parameter(Name=f"{prefix}/api/x", Value="x", Type="String"),
        "a call": lambda: client("dynamodb").get_item(TableName=tables["calls"], Key=key),
        "a scan of the directory": lambda: client("dynamodb").scan(TableName=tables["directory"]),
        "a queue": lambda: client("sqs").send_message(QueueUrl=world.stack.stack["queues"]["enrich"], MessageBody="x"),
    }.items():
        with pytest.raises(ClientError) as refused:
            act()
        assert "AccessDenied" in str(refused.value), what


def csv_of(tmp_path, count: int) -> str:
    """A file of people, one row in a hundred of them wrong."""
    path = tmp_path / "people.csv"
    rows = [
        f"bulk-{n},Kim Example {n},{'0491 Kim' if n % 100 == 7 else f'+1555011{n:04}'},kim{n}@example.com"
        for n in range(count)
    ]
    path.write_text("\n".join(["external_id,name,number,email", *rows]) + "\n")
    return str(path)


def test_an_import_that_is_killed_half_way_goes_on_where_it_was(world, tmp_path):
    path = csv_of(tmp_path, 3_000)
    arguments = ("import", path, "--kind", "lead", "--country", "AU")
    rehearsed = directory(world, *arguments, "--dry-run")
    assert rehearsed.returncode == 0, rehearsed.stderr
    assert "3000 rows: 2970 created, 0 changed, 0 unchanged, 30 rejected. Nothing was written." in rehearsed.stdout
    rejected = [line for line in rehearsed.stdout.splitlines() if line.startswith("line ")]
    assert rejected[0] == "line 9: numbers holds one that is no phone number of AU, nor international"
    assert len(rejected) == 30 and "Kim" not in rehearsed.stdout
    notes = tmp_path / "people.csv.progress"
    assert not notes.exists() and everyone(world, "/contacts", external_id="bulk-0") == []

    # Killed as soon as it has noted how far it is, with the next thousand under way.
    running = subprocess.Popen([*COMMAND, *arguments], env=environment(world), stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not notes.exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    noted = json.loads(notes.read_text())
    assert 0 < noted["rows"] < 3_000 and "Kim" not in notes.read_text()

    # A file that has changed since is another.
    with open(path, "a") as file:
        file.write("bulk-x,Kim,+15550119999,\n")
    changed = directory(world, *arguments)
    assert changed.returncode == 1 and "--restart" in changed.stderr
    csv_of(tmp_path, 3_000)

    resumed = directory(world, *arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert f"resuming after row {noted['rows']}" in resumed.stdout
    lines = [line for line in resumed.stdout.splitlines() if line.startswith("line ")]
    assert lines == rejected[noted["rejected"]:]
    summary = resumed.stdout.splitlines()[-1]
    counts = [int(word) for word in summary.replace(",", "").split() if word.isdigit()]
    rows, created, changed_rows, unchanged, rejections = counts
    assert (rows, created + unchanged, changed_rows, rejections) == (3_000, 2_970, 0, 30), summary
    assert not notes.exists()
    again = directory(world, *arguments)
    assert "3000 rows: 0 created, 0 changed, 2970 unchanged, 30 rejected." in again.stdout
    # Each is there once.
    table = world.stack.client("dynamodb").get_paginator("query").paginate(
        TableName=world.stack.stack["tables"]["directory"], IndexName="lists",
        KeyConditionExpression="#list = :lead AND begins_with(place, :new)",
        ExpressionAttributeNames={"#list": "list"},
        ExpressionAttributeValues={":lead": {"S": "lead"}, ":new": {"S": "new#"}},
    )  # fmt: skip
    ids = [item["pk"]["S"] for page in table for item in page["Items"]]
    assert len(ids) == len(set(ids))
    found = everyone(world, "/contacts", external_id="bulk-2999")
    assert [one["name"] for one in found] == ["Kim Example 2999"]
    assert sum(1 for one in everyone(world, "/leads", status="new") if one["external_ids"][0].startswith("bulk-")) == 2_970


def test_the_command_line_lists_shows_and_deletes(world, tmp_path):
    path = tmp_path / "people.json"
    person = {"id": "cli-1", "external_ids": ["cli/1"], "name": "Kim Example", "number": "+15550109070"}
    path.write_text(json.dumps([person, person | {"id": "cli-2", "external_ids": ["cli/2"]}]))
    imported = directory(world, "import", str(path), "--kind", "contact")
    assert "2 rows: 2 created" in imported.stdout, imported
    agent = tmp_path / "agent.json"
    agent.write_text('{"id": "cli-1", "extension": "pbx/101"}')
    assert directory(world, "import", str(agent), "--kind", "employee").returncode == 0

    for what in ("cli-1", "cli/1", "+1 555 010 9070"):
        shown = directory(world, "show", what)
        assert shown.returncode == 0, shown.stderr
        assert "cli-1" in shown.stdout and "Kim" not in shown.stdout and "5550109070" not in shown.stdout
    shown = directory(world, "show", "+15550109070", "--personal").stdout
    assert "Kim Example" in shown and "cli-2" in shown and "+15550109070" in shown
    absent = directory(world, "show", "+15550109999")
    assert absent.returncode == 1 and "5550109999" not in absent.stderr
    for kind, word in (("contact", "client"), ("employee", "employee")):
        listed = directory(world, "list", "--kind", kind, "--limit", "10000").stdout
        assert ["cli-1", word] in [line.split()[:2] for line in listed.splitlines()]
        assert "Kim" not in listed

    assert "--kind" in directory(world, "delete", "cli-1").stderr
    assert directory(world, "delete", "cli-1", "--kind", "employee").returncode == 0
    for one in ("cli-1", "cli-2"):
        assert directory(world, "delete", one).returncode == 0
    assert directory(world, "delete", "cli-1").returncode == 1
    assert left(world, "number#+15550109070") == []
    assert "is one of our own" in directory(world, "own", "add", "+15550109071").stdout
    assert "own numbers" in directory(world, "show", "+15550109071").stdout
    assert directory(world, "own", "remove", "+15550109071").returncode == 0
    assert left(world, "number#+15550109071") == []
