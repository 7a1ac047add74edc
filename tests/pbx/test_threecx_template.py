"""The 3CX template that we ship: what it posts, where to, and with what."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "infra/pbx/3cx/switchboard.xml"
SAMPLES = ROOT / "events/threecx"

# The variables of call journaling in 3CX's "CRM Template XML Description".
DOCUMENTED = set(
    """CallType CallDirection Number Name EntityId EntityType Agent AgentFirstName AgentLastName AgentEmail
    QueueExtension Duration DurationTimespan DateTime CallStartTimeLocal CallStartTimeUTC CallEstablishedTimeUTC
    CallEndTimeLocal CallEndTimeUTC Transcription Summary RecordingUrl Sentiment""".split()
)
TIME = re.compile(r'\[\[(Call\w+TimeUTC)\]\.ToString\("yyyy-MM-ddTHH:mm:ssZ"\)\]')
TOTAL_SECONDS = '[[[DurationTimespan].get_TotalSeconds()].ToString("F0")]'
VARIABLE = re.compile(r"\[(\w+)\]")


@pytest.fixture(scope="module")
def crm():
    return ElementTree.parse(TEMPLATE).getroot()


@pytest.fixture(scope="module")
def request_(crm):
    scenarios = [scenario for scenario in crm.iter("Scenario") if scenario.get("Id") == "ReportCall"]
    assert len(scenarios) == 1, "3CX runs one scenario at the end of a call"
    assert [child.tag for child in scenarios[0]] == ["Request"], "a report has nothing to read back"
    return scenarios[0].find("Request")


@pytest.fixture(scope="module")
def values(request_):
    return {value.get("Key"): value for value in request_.find("PostValues")}


def parameters(crm):
    return {parameter.get("Name"): parameter for parameter in crm.iter("Parameter")}


def filled(expression, known):
    """What 3CX makes of an expression, for the two calls of methods that we use."""
    expression = TIME.sub("2026-02-20T09:00:00Z", expression.replace(TOTAL_SECONDS, "272"))
    return VARIABLE.sub(lambda match: known[match.group(1)], expression)


def test_it_has_what_3cx_asks_of_a_template(crm):
    assert crm.tag == "Crm"
    assert crm.get("Name") and crm.get("Country")
    assert int(crm.get("Version")) >= 1
    elements = [child.tag for child in crm]
    assert elements == ["Number", "Connection", "Parameters", "Authentication", "Scenarios"]
    assert crm.find("Number").get("Prefix") in {"AsIs", "Off", "Plus", "Zeros"}
    assert crm.find("Number").get("MaxLength") == "", "a cut number is no number"
    assert int(crm.find("Connection").get("MaxConcurrentRequests")) >= 1
    assert crm.find("Authentication").get("Type") in {"No", "Basic", "Scenario"}
    assert [scenario.get("Id") for scenario in crm.iter("Scenario")] == ["", "ReportCall"]
    for parameter in crm.iter("Parameter"):
        assert parameter.get("Type") in {"String", "Password", "Boolean"}
        assert parameter.get("Title") and parameter.get("Parent") and parameter.get("Editor") == "String"


def test_it_holds_no_secret_and_no_address(crm):
    known = parameters(crm)
    assert known["SwitchboardSecret"].get("Type") == "Password"
    assert known["SwitchboardSecret"].get("Default") == known["SwitchboardUrl"].get("Default") == ""


def test_it_looks_nobody_up(crm):
    lookup = next(scenario for scenario in crm.iter("Scenario") if scenario.get("Id") == "")
    assert lookup.find("Request").get("SkipIf") == "True"


def test_it_posts_json_to_our_path_with_the_secret(crm, request_):
    known = {"SwitchboardUrl": "https://calls.example.com", "SwitchboardSecret": "fake-threecx-secret"}
    assert filled(request_.get("Url"), known) == "https://calls.example.com/webhook/3cx/call-event"
    assert request_.get("RequestType") == "Post"
    # With this, 3CX makes the JSON and its content type. A Message or a type of our own rules it out.
    assert request_.get("RequestEncoding") == "Json"
    assert request_.get("RequestContentType") == request_.get("Message") == ""
    headers = {value.get("Key"): filled(value.text, known) for value in request_.find("Headers")}
    assert headers == {"X-Webhook-Secret": "fake-threecx-secret"}


def test_it_reports_every_type_of_call(request_, values):
    assert request_.get("SkipIf") == "[ReportCallEnabled]!=True"
    assert values["callType"].text == "[CallType]"
    assert not any(value.get("If") or value.get("SkipIf") for value in values.values())


def test_it_uses_documented_variables_and_its_own_parameters(crm, request_, values):
    for value in values.values():
        used = VARIABLE.findall(value.text)
        assert len(used) == 1 and set(used) <= DOCUMENTED, value.text
    own = request_.get("Url") + request_.get("SkipIf") + "".join(v.text for v in request_.find("Headers"))
    assert set(VARIABLE.findall(own)) == set(parameters(crm))


def test_every_expression_gets_its_passes_and_what_people_said_only_one(values):
    for value in values.values():
        depth = len(re.match(r"\[*", value.text).group())
        assert value.text.count("[") == value.text.count("]") == depth, value.text
        passes = int(value.get("Passes"))
        assert passes >= depth if depth > 1 else passes == 0, value.text


def test_times_are_utc_with_seconds_and_the_duration_is_in_seconds(values):
    for key in ["callStartTimeUtc", "callEstablishedTimeUtc", "callEndTimeUtc"]:
        match = TIME.fullmatch(values[key].text)
        assert match and match.group(1).lower() == key.lower()
    assert values["durationSeconds"].text == TOTAL_SECONDS


def test_the_body_is_the_one_of_the_samples(request_, values):
    assert len(values) == len(request_.find("PostValues")), "a key is there twice"
    plain = {name: f"a plain {name}" for name in DOCUMENTED}
    fields = {key: filled(value.text, plain) for key, value in values.items()}
    body = json.loads(json.dumps(fields))
    assert not any("[" in value for value in body.values())
    assert all(value.get("Type") == "String" for value in values.values())
    samples = sorted(SAMPLES.glob("template-*.http"))
    assert samples
    for sample in samples:
        _, sent = sample.read_text().split("\n\n", 1)
        assert list(json.loads(sent)) == list(body), sample.name
