"""The dialplan gives nothing that a caller chooses to a shell, and encodes every value that it sends."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, quote

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIALPLAN = ROOT / "infra" / "pbx" / "asterisk" / "switchboard.conf"
SAMPLES = sorted((ROOT / "events" / "asterisk").glob("dialplan-*.http"))

# What the dialplan may use. None of these runs a program or evaluates text a second time.
APPLICATIONS = {"GotoIf", "Set", "Return", "ExecIf", "Log"}
FUNCTIONS = {"CHANNEL", "CDR", "URIENCODE", "CURL", "CURLOPT", "LOCAL", "REGEX"}

ENCODED = re.compile(r"(?P<name>\w+)=\$\{URIENCODE\(\$\{(?P<value>[A-Z]\w*(?:\([a-z]\w*(?:,u)?\))?)\}\)\}")
BODY = "Set(LOCAL(body)="


def steps() -> list[str]:
    """Each step as `Application(arguments)`, without comments and labels."""
    lines = []
    for line in DIALPLAN.read_text().splitlines():
        if line.strip() and not line.startswith((";", "[")):
            # Asterisk would cut the line there.
            assert ";" not in line, line
            match = re.fullmatch(r"(?:exten => \w+,1|\s+same => n(?:\(\w+\))?),(.+)", line)
            assert match, line
            lines.append(match[1])
    return lines


def form() -> list[tuple[str, str]]:
    """The names of the form that is sent, each with what it is made of."""
    return [(m["name"], m["value"]) for step in steps() if step.startswith(BODY) for m in ENCODED.finditer(step)]


def test_nothing_runs_a_program() -> None:
    text = "\n".join(steps())
    assert not re.search(r"(?i)\b(try)?(system|shell|exec|eval|macro|include|\w*agi|backticks?|stasis)\b", text)
    applications = {step.split("(")[0] for step in steps()} | set(re.findall(r"\?(\w+)\(", text))
    assert applications <= APPLICATIONS
    # A function stands in ${…}, or at the left of an assignment.
    functions = set(re.findall(r"\$\{(\w+)\(", text)) | set(re.findall(r"Set\((\w+)\(", text))
    assert functions <= FUNCTIONS


def test_every_value_of_the_form_is_encoded() -> None:
    bodies = [step for step in steps() if step.startswith(BODY)]
    assert len(bodies) > 1
    for index, step in enumerate(bodies):
        rest = step.removeprefix(BODY).removesuffix(")")
        # Only what was put together before stands there as it is.
        if index > 0:
            assert rest.startswith("${body}&"), step
            rest = rest.removeprefix("${body}&")
        for pair in rest.split("&"):
            assert ENCODED.fullmatch(pair), pair


def test_a_variable_stands_bare_only_where_nobody_outside_chose_it() -> None:
    ours = {"${body}", "${answer}", "${SWITCHBOARD_URL}", "${SWITCHBOARD_SECRET}", "${SWITCHBOARD_WATCHED}"}
    ours |= {"${CHANNEL(linkedid)}"}
    text = ENCODED.sub("", "\n".join(steps()))
    assert set(re.findall(r"\$\{[^{}]*\}", text)) <= ours
    # What the server answered goes to no application but a match.
    assert text.count("${answer}") == text.count('${REGEX("accepted" ${answer})}') == 1


def test_the_caller_reaches_no_expression() -> None:
    for expression in re.findall(r"\$\[(.*?)\]", "\n".join(steps())):
        inside = re.findall(r"\$\{(.*)\}", expression)
        assert inside in (["SWITCHBOARD_WATCHED"], ['REGEX("accepted" ${answer})']), expression


def test_it_sends_after_the_call_in_a_hangup_handler() -> None:
    text = DIALPLAN.read_text()
    assert "Set(CHANNEL(hangup_handler_push)=switchboard,report,1)" in steps()
    report = text[text.index("exten => report,1,") :]
    assert text.count("${CURL(") == report.count("${CURL(") == 1
    assert report.rstrip().endswith("Return()")
    options = dict(re.findall(r"Set\(CURLOPT\((\w+)\)=(.*)\)$", report, re.MULTILINE))
    assert options["ssl_verifypeer"] == "yes" and options["followlocation"] == "no"
    assert int(options["conntimeout"]) < int(options["httptimeout"]) <= 5
    headers = re.findall(r"Set\(CURLOPT\(httpheader\)=(.*)\)$", report, re.MULTILINE)
    assert headers == [
        "Content-Type: application/x-www-form-urlencoded",
        "X-Webhook-Secret: ${SWITCHBOARD_SECRET}",
    ]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_the_samples_are_what_it_sends(sample: Path) -> None:
    """The dialplan's form, with the values that a sample holds, is that sample to the byte."""
    head, body = sample.read_text().rstrip("\n").split("\n\n", 1)
    assert "Content-Type: application/x-www-form-urlencoded" in head
    values = dict(parse_qsl(body, keep_blank_values=True))
    # URIENCODE leaves letters, digits and the marks of RFC 2396.
    encoded = [f"{name}={quote(values[name], safe='-_.!~*' + chr(39) + '()')}" for name, _ in form()]
    assert body == "&".join(encoded)


def test_a_hostile_caller_id_is_among_the_samples() -> None:
    body = next(path for path in SAMPLES if "hostile" in path.stem).read_text().rstrip("\n").split("\n\n", 1)[1]
    name = dict(parse_qsl(body))["clid"]
    assert all(part in name for part in ('"', "'", "$(", ";", "`", "&", "=", ","))
    assert not re.search(r"[\"$;`,<>{} ]", body)
