"""Stands in for Zoho CRM: calls, contacts and leads, by the rules of its API's reference."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qsl

from crm_api import JsonApi
from crm_pipedrive import digits, is_text

MODULES = ("Calls", "Contacts", "Leads")
REQUIRED = ("Subject", "Call_Type", "Call_Start_Time", "Call_Duration")


def is_line(value: object, most: int, least: int = 0) -> bool:
    """A text on one line."""
    return is_text(value, most, least) and "\n" not in value


class Refused(Exception):
    """What is wrong with a record: a code, and what is said of it."""

    def __init__(self, code: str, field: str, **more) -> None:
        super().__init__(code)
        self.code = code
        self.details = {"api_name": field, "json_path": f"$.data[0].{field}"} | more


def error(code: str, details: dict | None = None) -> dict:
    """An error in Zoho's form."""
    return {"code": code, "details": details or {}, "message": "no", "status": "error"}


class Zoho(JsonApi):
    """An organisation with a unique field of its own in calls; access tokens for a refresh token."""

    BUSY = error("TOO_MANY_REQUESTS")

    def __init__(self, key_field: str) -> None:
        super().__init__()
        self._key_field = key_field
        self.client = {
            "client_id": "1000.FAKECLIENT", "client_secret": "fake-zoho-secret", "refresh_token": "1000.fake-refresh",
        }  # fmt: skip
        self.tokens: list[str] = []
        self.granted = 0
        self.records: dict[str, list[dict]] = {module: [] for module in MODULES}

    def answer(self, method: str, url, headers: dict[str, str], body: bytes) -> tuple[int, dict | None]:
        if (method, url.path) == ("POST", "/oauth/v2/token"):
            if dict(parse_qsl(body.decode())) != self.client | {"grant_type": "refresh_token"}:
                # Zoho says so under 200.
                return 200, {"error": "invalid_code"}
            self.granted += 1
            self.tokens.append(f"1000.fake-access-{self.granted}")
            return 200, {"access_token": self.tokens[-1], "expires_in": 3600, "token_type": "Bearer"}
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme != "Zoho-oauthtoken" or token not in self.tokens:
            return 401, error("INVALID_TOKEN")
        sent = None
        if method in ("POST", "PUT"):
            try:
                sent = json.loads(body)["data"]
            except (ValueError, KeyError, TypeError):
                return 400, error("INVALID_DATA", {"api_name": "data"})
            if not isinstance(sent, list) or len(sent) != 1 or not isinstance(sent[0], dict):
                return 400, error("INVALID_DATA", {"api_name": "data"})
        match method, url.path.strip("/").split("/"):
            case "GET", ["crm", "v8", module, "search"] if module in MODULES:
                return self._search(module, dict(parse_qsl(url.query)))
            case "POST", ["crm", "v8", module] if module in MODULES:
                return self._write(module, None, sent[0])
            case "PUT", ["crm", "v8", module, name] if module in MODULES:
                return self._write(module, name, sent[0])
        return 404, error("INVALID_URL_PATTERN")

    def _search(self, module: str, query: dict[str, str]) -> tuple[int, dict | None]:
        criteria, phone = query.get("criteria"), query.get("phone")
        if query.keys() - {"criteria", "phone", "fields", "per_page", "page"} or (criteria is None) == (phone is None):
            return 400, error("INVALID_QUERY")
        if criteria is not None:
            # What parts a criterion must not stand in a value unescaped.
            parts = re.fullmatch(r"\((\w+):equals:((?:[^\\():,\"]|\\.)+)\)", criteria)
            if not parts or parts[1] not in ("Description", self._key_field):
                return 400, error("INVALID_QUERY")
            value = re.sub(r"\\(.)", r"\1", parts[2])
            found = [one for one in self.records[module] if value in (one.get(parts[1]) or "")]
        else:
            numbers = ("Phone", "Mobile")
            found = [
                one
                for one in self.records[module]
                if any(digits(phone) in digits(one.get(name) or "") for name in numbers)
            ]
        return (200, {"data": found, "info": {"more_records": False}}) if found else (204, None)

    def _write(self, module: str, name: str | None, record: dict) -> tuple[int, dict]:
        there = next((one for one in self.records[module] if one["id"] == name), None)
        try:
            if name is not None and there is None:
                raise Refused("INVALID_DATA", "id")
            if module == "Calls":
                self._check_call(record, name)
            else:
                self._check_person(record)
        except Refused as refused:
            return 202, {"data": [error(refused.code, refused.details)]}
        if there is None:
            name = str(4_876_876_000_000_000_000 + sum(map(len, self.records.values())) + 1)
            self.records[module].append(record | {"id": name})
        else:
            there.update(record)
        done = {"code": "SUCCESS", "details": {"id": name}, "message": "done", "status": "success"}
        return (201 if there is None else 200), {"data": [done]}

    def _check_call(self, call: dict, name: str | None) -> None:
        def links(module: str):
            ids = {one["id"] for one in self.records[module]}
            return lambda value: isinstance(value, dict) and value.keys() == {"id"} and value["id"] in ids

        rules = {
            "Subject": lambda value: is_line(value, 255, 1),
            # It cannot be changed.
            "Call_Type": lambda value: value in ("Inbound", "Outbound", "Missed") and name is None,
            "Call_Start_Time": lambda value: re.fullmatch(
                r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", str(value)
            ),
            "Call_Duration": lambda value: re.fullmatch(r"\d{2,}:[0-5]\d", str(value)),
            "Call_Result": lambda value: is_line(value, 120, 1),
            "Description": lambda value: is_text(value, 32_000),
            "Who_Id": links("Contacts"),
            "What_Id": links("Leads"),
            "$se_module": lambda value: value == "Leads" and "What_Id" in call,
            self._key_field: lambda value: is_line(value, 255, 1),
        }
        for field in REQUIRED if name is None else ():
            if call.get(field) is None:
                raise Refused("MANDATORY_NOT_FOUND", field)
        for field, value in call.items():
            if field not in rules or not rules[field](value):
                raise Refused("INVALID_DATA", field)
        if call.get("Call_Type") == "Missed" and call["Call_Duration"] != "00:00":
            raise Refused("INVALID_DATA", "Call_Duration")
        for one in self.records["Calls"]:
            if one["id"] != name and call.get(self._key_field) == one.get(self._key_field) is not None:
                raise Refused("DUPLICATE_DATA", self._key_field, duplicate_record={"id": one["id"]})

    @staticmethod
    def _check_person(person: dict) -> None:
        rules = {"Last_Name": 80, "First_Name": 40, "Phone": 30, "Mobile": 30}
        if "Last_Name" not in person:
            raise Refused("MANDATORY_NOT_FOUND", "Last_Name")
        for field, value in person.items():
            if field not in rules or not is_line(value, rules[field], 1):
                raise Refused("INVALID_DATA", field)
