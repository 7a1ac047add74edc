"""A HubSpot account that enforces the documented rules of the requests that calls take."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from crm_api import CrmApi, Refused

STATUSES = set("BUSY CALLING_CRM_USER CANCELED COMPLETED CONNECTING FAILED IN_PROGRESS NO_ANSWER QUEUED RINGING".split())
DISPOSITIONS = {
    "9d9162e7-6cf3-4944-bf63-4dff82258764",
    "f240bbac-87c9-4f6e-bf70-924b57d47db7",
    "a4c4c377-d246-4b32-a13b-75a56a4cd0ff",
    "b2cf5968-551e-4856-9783-52b3da59a7d0",
    "73a0d17f-1163-4015-bdd5-ec830791da20",
    "17b47fee-58de-441e-a44c-c6300d46f273",
}
DIRECTIONS = {"INBOUND", "OUTBOUND"}
LONGEST = 65_536
CONTACT_PROPERTIES = {"phone", "mobilephone", "firstname", "lastname", "email"}
# What HubSpot computes of the numbers: the digits without the country's calling code, of the countries in the tests.
CALLING_CODES = re.compile(r"^(?:\+|00)?(?:61|44|1|7)?0?(?=\d{9,10}$)")


def error(status: int, category: str, message: str) -> Refused:
    """An error in HubSpot's form."""
    return Refused(status, {"status": "error", "message": message, "category": category, "correlationId": "fake"})


def invalid(message: str) -> Refused:
    """A request that breaks a rule."""
    return error(400, "VALIDATION_ERROR", message)


def only(body: Any, *names: str) -> dict:
    """An object that has no other members than these."""
    if not isinstance(body, dict) or set(body) - set(names):
        raise invalid("Invalid input JSON")
    return body


def searchable(number: str) -> str:
    """A number as HubSpot's search has it."""
    return CALLING_CODES.sub("", re.sub(r"[^\d+]", "", number))


class HubSpot(CrmApi):
    """Calls, contacts and what is attached to what; tokens by refresh token, which never change."""

    TOKEN_PATH = "/oauth/v1/token"

    def __init__(self, unique: str = "switchboard_call_key") -> None:
        super().__init__()
        self.unique = unique
        self.client = {"client_id": "fake-client", "client_secret": "fake-client-secret"}
        self.refresh_token = "fake-refresh-token"
        self.calls: dict[str, dict[str, str]] = {}
        self.contacts: dict[str, dict[str, str]] = {}
        self.associations: set[tuple[str, str]] = set()

    def token(self, form: dict[str, str]) -> tuple[int, Any]:
        known = self.client | {"grant_type": "refresh_token", "refresh_token": self.refresh_token}
        if form != known:
            return 400, {"status": "BAD_REFRESH_TOKEN", "error": "invalid_grant"}
        access = self.grant()
        return 200, {"access_token": access, "refresh_token": self.refresh_token, "expires_in": 1800, "token_type": "bearer"}

    def unknown_token(self) -> Refused:
        return error(401, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired")

    def malformed(self, why: str) -> Refused:
        return invalid(why)

    def take(self, method: str, path: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        match method, path:
            case "POST", ["crm", "v3", "objects", "calls", "batch", "upsert"]:
                inputs = only(body, "inputs").get("inputs")
                if not isinstance(inputs, list) or not 1 <= len(inputs) <= 100:
                    raise invalid("a batch has 1 to 100 inputs")
                return 200, {"status": "COMPLETE", "results": [self.upsert(one) for one in inputs]}
            case "POST", ["crm", "v3", "objects", "calls"]:
                properties = self.checked(only(body, "properties", "associations").get("properties"), True)
                key = str(90_000 + self.new_id())
                self.calls[key] = properties
                return 201, {"id": key, "properties": properties}
            case "PATCH", ["crm", "v3", "objects", "calls", key]:
                if key not in self.calls:
                    raise error(404, "OBJECT_NOT_FOUND", "Object not found.")
                self.calls[key] |= self.checked(only(body, "properties").get("properties"), False)
                return 200, {"id": key, "properties": self.calls[key]}
            case "POST", ["crm", "v3", "objects", "contacts", "search"]:
                found = self.search(body)
                return 200, {"total": len(found), "results": found}
            case "POST", ["crm", "v3", "objects", "contacts"]:
                properties = only(body, "properties").get("properties")
                if not isinstance(properties, dict) or set(properties) - CONTACT_PROPERTIES:
                    raise invalid("PROPERTY_DOESNT_EXIST")
                key = str(500 + self.new_id())
                self.contacts[key] = properties
                return 201, {"id": key, "properties": properties}
            case "PUT", ["crm", "v4", "objects", "calls", call, "associations", "default", "contacts", contact]:
                if call not in self.calls or contact not in self.contacts:
                    raise error(404, "OBJECT_NOT_FOUND", "no such object")
                self.associations.add((call, contact))
                return 200, {"status": "COMPLETE", "results": []}
        raise error(404, "OBJECT_NOT_FOUND", "no such path")

    def upsert(self, one: Any) -> dict:
        """One input of a batch."""
        one = only(one, "idProperty", "id", "properties", "objectWriteTraceId")
        name, value = one.get("idProperty"), one.get("id")
        if name != self.unique or not isinstance(value, str):
            raise invalid(f'Property "{name}" is not a unique property')
        there = next((key for key, call in self.calls.items() if call.get(name) == value), None)
        properties = self.checked(one.get("properties"), there is None)
        key = there or str(90_000 + self.new_id())
        self.calls[key] = self.calls.get(key, {}) | properties | {name: value}
        return {"id": key, "new": there is None, "properties": self.calls[key]}

    def checked(self, properties: Any, is_new: bool) -> dict[str, str]:
        """The properties of a call, if all of them are good."""
        if not isinstance(properties, dict) or not all(isinstance(value, str) for value in properties.values()):
            raise invalid("properties are texts")
        rules = {
            "hs_timestamp": lambda v: v.isdigit() or (v.endswith("Z") and bool(datetime.fromisoformat(v))),
            "hs_call_status": lambda v: v in STATUSES,
            "hs_call_direction": lambda v: v in DIRECTIONS,
            "hs_call_disposition": lambda v: v in DISPOSITIONS,
            "hs_call_duration": str.isdigit,
            "hubspot_owner_id": str.isdigit,
            "hs_call_source": lambda v: v == "INTEGRATIONS_PLATFORM",
            "hs_call_recording_url": lambda v: v.startswith("https://"),
            "hs_call_body": lambda v: len(v) <= LONGEST,
            "hs_call_title": lambda v: len(v) <= LONGEST,
            "hs_call_from_number": lambda v: len(v) <= LONGEST,
            "hs_call_to_number": lambda v: len(v) <= LONGEST,
        }
        for name, value in properties.items():
            if name not in rules:
                raise invalid(f'[{{"error":"PROPERTY_DOESNT_EXIST","name":"{name}"}}]')
            if not rules[name](value):
                raise invalid(f"Property values were not valid: {name}: {value}")
        if is_new and "hs_timestamp" not in properties:
            raise invalid("hs_timestamp is required")
        return properties

    def search(self, body: Any) -> list[dict]:
        """Contacts that fit."""
        body = only(body, "filterGroups", "properties", "limit", "after", "sorts", "query")
        groups = body.get("filterGroups", [])
        if not 1 <= len(groups) <= 5 or body.get("limit", 10) > 200:
            raise invalid("too many filter groups, or too high a limit")

        def value(contact: dict, name: str) -> str | None:
            computed = {
                "hs_searchable_calculated_phone_number": "phone",
                "hs_searchable_calculated_mobile_number": "mobilephone",
            }
            if name in computed:
                return searchable(contact.get(computed[name], ""))
            return contact.get(name)

        def fits(contact: dict, group: dict) -> bool:
            if not 1 <= len(group["filters"]) <= 6 or any(one["operator"] != "EQ" for one in group["filters"]):
                raise invalid("filters")
            return all(value(contact, one["propertyName"]) == one["value"] for one in group["filters"])

        return [
            {"id": key, "properties": {name: contact.get(name) for name in body.get("properties", [])}}
            for key, contact in self.contacts.items()
            if any(fits(contact, group) for group in groups)
        ]
