"""A Salesforce org that enforces the documented rules of the requests that tasks take."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from crm_api import CrmApi, Refused

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TEXTS = {
    "Subject": 255, "Status": 40, "CallDisposition": 255, "CallObject": 255, "CallType": 40,
    "Description": 32_000, "OwnerId": 18, "WhoId": 18, "TaskSubtype": 40,
}  # fmt: skip
PHONES = {"Contact": ("Phone", "MobilePhone", "HomePhone", "OtherPhone"), "Lead": ("Phone", "MobilePhone")}


def error(status: int, code: str, message: str, *fields: str) -> Refused:
    """An error in Salesforce's form."""
    return Refused(status, [{"errorCode": code, "message": message, "fields": list(fields)}])


def decoded(text: str) -> bytes:
    """Base64 as JWTs have it."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Salesforce(CrmApi):
    """Tasks, contacts and leads; tokens for JWTs that are signed with the key of a connected app."""

    TOKEN_PATH = "/services/oauth2/token"

    def __init__(self, field: str | None = "Switchboard_Call_Key__c") -> None:
        super().__init__()
        self.field = field
        self.consumer_key, self.user = "fake-consumer-key", "switchboard@example.com"
        self.audience = "https://login.salesforce.com"
        self._directory = tempfile.TemporaryDirectory()
        self._keys = Path(self._directory.name)
        subprocess.run(
            ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self._keys / "key.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
        subprocess.run(
            ["openssl", "pkey", "-in", self._keys / "key.pem", "-pubout", "-out", self._keys / "public.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
        self.private_key = (self._keys / "key.pem").read_text()
        self.tasks: dict[str, dict] = {}
        self.people: dict[str, dict] = {}
        self.deleted: set[str] = set()

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        self._directory.cleanup()

    def token(self, form: dict[str, str]) -> tuple[int, Any]:
        refused = 400, {"error": "invalid_grant", "error_description": "invalid assertion"}
        if form.get("grant_type") != JWT_GRANT or set(form) != {"grant_type", "assertion"}:
            return 400, {"error": "unsupported_grant_type"}
        signed, _, signature = form["assertion"].rpartition(".")
        head, claims = (json.loads(decoded(part)) for part in signed.split("."))
        (self._keys / "signature").write_bytes(decoded(signature))
        verified = subprocess.run(
            ["openssl", "dgst", "-sha256", "-verify", self._keys / "public.pem", "-signature", self._keys / "signature"],
            input=signed.encode(), capture_output=True,
        )  # fmt: skip
        expected = {"iss": self.consumer_key, "sub": self.user, "aud": self.audience}
        lives = claims.pop("exp", 0) - time.time()
        if head != {"alg": "RS256"} or verified.returncode or claims != expected or not 0 < lives <= 300:
            return refused
        return 200, {"access_token": self.grant(), "instance_url": self.url, "token_type": "Bearer", "issued_at": "0"}

    def unknown_token(self) -> Refused:
        return error(401, "INVALID_SESSION_ID", "Session expired or invalid")

    def malformed(self, why: str) -> Refused:
        return error(400, "JSON_PARSER_ERROR", why)

    def take(self, method: str, path: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        if path[:2] != ["services", "data"] or not re.fullmatch(r"v\d+\.0", path[2]):
            raise error(404, "NOT_FOUND", "The requested resource does not exist")
        match method, path[3:]:
            case "POST", ["parameterizedSearch"]:
                return 200, {"searchRecords": self.search(body)}
            case "GET", ["query"]:
                records = self.query(query.get("q", ""))
                return 200, {"totalSize": len(records), "done": True, "records": records}
            case "POST", ["sobjects", "Task"]:
                return 201, self.create(body)
            case "PATCH", ["sobjects", "Task", key]:
                if key not in self.tasks:
                    raise error(404, "NOT_FOUND", "The requested resource does not exist")
                self.tasks[key] |= self.checked(body, False)
                return 204, None
            case "PATCH", ["sobjects", "Task", field, value]:
                return self.upsert(field, value, body)
            case "POST", ["sobjects", ("Contact" | "Lead") as kind]:
                return 201, self.create_person(kind, body)
        raise error(404, "NOT_FOUND", "The requested resource does not exist")

    def checked(self, body: Any, is_new: bool) -> dict:
        """The fields of a task, if all of them are good."""
        if not isinstance(body, dict):
            raise self.malformed("not an object")
        for name, value in body.items():
            if name in TEXTS:
                if not isinstance(value, str):
                    raise self.malformed(f"{name} is no text")
                if len(value) > TEXTS[name]:
                    raise error(400, "STRING_TOO_LONG", "data value too large", name)
            elif name == "ActivityDate":
                if not isinstance(value, str) or len(value) != 10 or not date.fromisoformat(value):
                    raise self.malformed("not a date")
            elif name == "CallDurationInSeconds":
                if not isinstance(value, int):
                    raise self.malformed("not an integer")
            else:
                raise error(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type Task")
        if body.get("CallType", "Inbound") not in ("Inbound", "Outbound", "Internal"):
            raise error(400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "bad value", "CallType")
        if not is_new and "TaskSubtype" in body:
            message = "Unable to create/update fields: TaskSubtype"
            raise error(400, "INVALID_FIELD_FOR_INSERT_UPDATE", message, "TaskSubtype")
        if is_new and not body.get("Subject"):
            raise error(400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [Subject]", "Subject")
        who = body.get("WhoId")
        if who in self.deleted:
            raise error(400, "ENTITY_IS_DELETED", "entity is deleted")
        if who and who not in self.people:
            raise error(400, "INVALID_CROSS_REFERENCE_KEY", "id value of incorrect type", "WhoId")
        return dict(body)

    def create(self, body: Any, **more: str) -> dict:
        """A new task."""
        task = self.checked(body, True) | more
        key = f"00T{self.new_id():015}"
        self.tasks[key] = task
        return {"id": key, "success": True, "errors": [], "created": True}

    def upsert(self, field: str, value: str, body: Any) -> tuple[int, Any]:
        """A task by its external id."""
        if field != self.field:
            raise error(404, "NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {field}")
        if field in body or "Id" in body:
            raise error(400, "INVALID_FIELD", "the id must not be in the body", field)
        keys = [key for key, task in self.tasks.items() if task.get(field) == value]
        if len(keys) > 1:
            return 300, [f"/services/data/v62.0/sobjects/Task/{key}" for key in keys]
        if not keys:
            return 201, self.create(body, **{field: value})
        self.tasks[keys[0]] |= self.checked(body, False)
        return 200, {"id": keys[0], "success": True, "errors": [], "created": False}

    def search(self, body: Any) -> list[dict]:
        """Contacts and leads by digits."""
        if not isinstance(body, dict) or set(body) - {"q", "in", "fields", "sobjects", "overallLimit", "defaultLimit"}:
            raise self.malformed("Unrecognized field")
        terms = body.get("q", "").split(" OR ")
        if body.get("in") != "PHONE" or not all(re.fullmatch(r"\d{2,}", term) for term in terms):
            raise error(400, "MALFORMED_SEARCH", "search term must be longer")
        wanted = {one["name"]: one["fields"] for one in body["sobjects"]}
        found = []
        for key, person in self.people.items():
            kind = person["type"]
            numbers = {re.sub(r"\D", "", person.get(name, "")) for name in PHONES[kind]}
            if kind in wanted and numbers & set(terms):
                fields = {name: person.get(name) for name in wanted[kind]}
                found.append({"attributes": {"type": kind}} | fields | {"Id": key})
        return found

    def query(self, soql: str) -> list[dict]:
        """The two queries that there are."""
        if task := re.fullmatch(r"SELECT Id FROM Task WHERE CallObject = '([0-9a-f]+)' ORDER BY CreatedDate ASC, Id ASC LIMIT 1", soql):
            return [{"Id": key} for key, one in self.tasks.items() if one.get("CallObject") == task[1]][:1]
        person = re.fullmatch(
            r"SELECT Id, Phone FROM (Contact|Lead) WHERE Phone = '(\+\d+)'( AND IsConverted = false)? LIMIT \d+", soql
        )
        if not person:
            raise error(400, "MALFORMED_QUERY", "unexpected token")
        return [
            {"attributes": {"type": person[1]}, "Id": key, "Phone": one.get("Phone")}
            for key, one in self.people.items()
            if one["type"] == person[1] and one.get("Phone") == person[2]
        ]

    def create_person(self, kind: str, body: Any) -> dict:
        """A new contact or lead."""
        for name in ("LastName",) if kind == "Contact" else ("LastName", "Company"):
            if not body.get(name):
                raise error(400, "REQUIRED_FIELD_MISSING", f"Required fields are missing: [{name}]", name)
        for name, most in {"FirstName": 40, "LastName": 80, "Phone": 40, "Company": 255}.items():
            if len(body.get(name, "")) > most:
                raise error(400, "STRING_TOO_LONG", "data value too large", name)
        key = f"{'003' if kind == 'Contact' else '00Q'}{self.new_id():015}"
        self.people[key] = body | {"type": kind}
        return {"id": key, "success": True, "errors": []}
