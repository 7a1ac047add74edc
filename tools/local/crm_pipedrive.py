"""Stands in for Pipedrive: call logs and persons, by the rules of its API's reference."""

from __future__ import annotations

import json
import re
from datetime import datetime
from urllib.parse import parse_qsl

from crm_api import JsonApi

OUTCOMES = {"connected", "no_answer", "left_message", "left_voicemail", "wrong_number", "busy"}
REQUIRED = ("outcome", "to_phone_number", "start_time", "end_time")


def digits(text: str) -> str:
    """A number without what people write into it."""
    return re.sub(r"\D", "", text)


def is_text(value: object, most: int, least: int = 0) -> bool:
    """A text that is neither too long nor holds what no database takes."""
    return isinstance(value, str) and "\0" not in value and least <= len(value.encode("utf-16-le")) / 2 <= most


def moment(value: object) -> datetime | None:
    """A time in UTC, as `YYYY-MM-DD HH:MM:SS`."""
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", value):
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%d %H:%M:%S")
    except ValueError:
        return None


def error(words: str) -> dict:
    """An error in Pipedrive's form."""
    info = "Please check developers.pipedrive.com"
    return {"success": False, "error": words, "error_info": info, "data": None, "additional_data": None}


class Pipedrive(JsonApi):
    """An account with one API token."""

    BUSY = error("request over limit")

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token
        self.logs: list[dict] = []
        self.persons: list[dict] = []

    def answer(self, method: str, url, headers: dict[str, str], body: bytes) -> tuple[int, dict]:
        if headers.get("x-api-token") != self._token:
            return 401, error("unauthorized access")
        sent = {}
        if method == "POST":
            try:
                sent = json.loads(body)
            except ValueError:
                return 400, error("the body is no JSON")
            if headers.get("content-type") != "application/json" or not isinstance(sent, dict):
                return 400, error("the body is no JSON object")
        match method, url.path.strip("/").split("/"):
            case "POST", ["v1", "callLogs"]:
                return self._log(sent)
            case "GET", ["v1", "callLogs", name]:
                found = [log for log in self.logs if log["id"] == name]
                return (200, {"success": True, "data": found[0]}) if found else (404, error("not found"))
            case "GET", ["api", "v2", "persons", "search"]:
                return self._search(dict(parse_qsl(url.query)))
            case "POST", ["api", "v2", "persons"]:
                return self._person(sent)
        return 404, error("Unknown method .")

    def _log(self, sent: dict) -> tuple[int, dict]:
        known = {person["id"] for person in self.persons}
        rules = {
            "subject": lambda value: is_text(value, 255, 1),
            "note": lambda value: is_text(value, 65_536),
            "duration": lambda value: isinstance(value, str) and value.isascii() and value.isdigit(),
            "outcome": lambda value: value in OUTCOMES,
            "from_phone_number": lambda value: is_text(value, 255, 1),
            "to_phone_number": lambda value: is_text(value, 255, 1),
            "start_time": moment,
            "end_time": moment,
            "person_id": lambda value: value in known,
        }
        for name in REQUIRED:
            if name not in sent:
                return 400, error(f"{name} is required")
        for name, value in sent.items():
            if name not in rules:
                return 400, error(f"{name} is not allowed")
            if not rules[name](value):
                return 400, error(f"{name} is not valid")
        if moment(sent["end_time"]) < moment(sent["start_time"]):
            return 400, error("end_time is before start_time")
        log = sent | {"id": f"cl_{len(self.logs) + 1:012}"}
        self.logs.append(log)
        return 200, {"success": True, "data": log}

    def _search(self, query: dict[str, str]) -> tuple[int, dict]:
        term = query.get("term", "")
        if len(term) < 2 or query.get("fields") != "phone" or query.keys() - {"term", "fields", "exact_match", "limit"}:
            return 400, error("the search is not valid")
        found = [one for one in self.persons if any(digits(term) in digits(phone) for phone in one["phones"])]
        items = [{"result_score": 0.5, "item": one | {"type": "person"}} for one in found]
        return 200, {"success": True, "data": {"items": items}, "additional_data": {"next_cursor": None}}

    def _person(self, sent: dict) -> tuple[int, dict]:
        phones = sent.get("phones")
        is_good = (
            sent.keys() == {"name", "phones"}
            and is_text(sent["name"], 255, 1)
            and isinstance(phones, list)
            and all(one.keys() <= {"value", "primary", "label"} and is_text(one.get("value"), 255, 1) for one in phones)
        )
        if not is_good:
            return 400, error("the person is not valid")
        person = {"id": 900 + len(self.persons), "name": sent["name"], "phones": [one["value"] for one in phones]}
        self.persons.append(person)
        return 201, {"success": True, "data": person}
