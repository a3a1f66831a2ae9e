"""Which texts do the routes refuse, said in the words of JSON Schema, and what is an example?

The rules themselves are the domain's (`domain/names.py`, `domain/limits.py`); these tables tell
clients of them, because a refusal that the document does not announce looks like a fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from api.access.check_bulk import ITEMS_MAX
from domain import limits, names

Schema = dict[str, Any]

IDENTIFIER: Final = r"^([A-Za-z0-9_.:-]{1,64}|\*)$"
TENANT: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"
NAMESPACE: Final = r"^([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)?$"
LABEL: Final = r"^[a-z0-9]+(-[a-z0-9]+)*$"
DURATION: Final = r"^(P([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+(\.[0-9]+)?S)?)?)?$"
EMAIL: Final = r"^\s*[^\s@]+@[^\s@]+\s*$"

_LABEL: Final = {"pattern": LABEL, "minLength": 1, "maxLength": 63}
_NAME: Final = {"minLength": 1, "maxLength": names.NAME_CHARACTERS_MAX, "pattern": r"\S"}
_NAMESPACE: Final = {"pattern": NAMESPACE, "maxLength": names.NAMESPACE_CHARACTERS_MAX}
_PERSON: Final = {"maxLength": names.NAME_CHARACTERS_MAX}
_ADDRESSES: Final = {"maxItems": limits.ADDRESSES_A_TOKEN_MAX}

# What holds for a member of any request.
_MEMBERS: Final[Mapping[str, Schema]] = {
    "name": _NAME,
    "description": {"maxLength": names.DESCRIPTION_CHARACTERS_MAX},
    "namespace": _NAMESPACE,
    "namespaceId": _NAMESPACE,
    "email": {"pattern": EMAIL, "maxLength": names.EMAIL_CHARACTERS_MAX},
    "firstName": _PERSON,
    "lastName": _PERSON,
    "maxAge": {"pattern": DURATION},
    "grace": {"pattern": DURATION},
    "allowedAddresses": _ADDRESSES,
    "permissions": {"propertyNames": {"pattern": IDENTIFIER}},
}
# What holds for the member of one noun's requests.
_NOUNS: Final[Mapping[tuple[str, str], Schema]] = {
    ("service_accounts", "name"): _LABEL,
    ("tokens", "name"): _LABEL,
    ("tenants", "id"): {"pattern": TENANT},
    ("check_bulk", "items"): {"maxItems": ITEMS_MAX},
}
# What requests hold inside, and answers too.
_CLASSES: Final[Mapping[tuple[str, str], Schema]] = {
    ("ResourceForm", "type"): {"pattern": IDENTIFIER},
    ("ResourceForm", "id"): {"minLength": 1, "maxLength": names.RESOURCE_ID_CHARACTERS_MAX},
}


def rule(noun: str, class_name: str, member: str) -> Schema:
    """Answer what the server refuses a member by, in JSON Schema; nothing for free members."""
    if class_name.endswith("Request"):
        return _NOUNS.get((noun, member)) or _MEMBERS.get(member, {})
    return _CLASSES.get((class_name, member), {})


# What holds for a parameter of a path, and an example of it.
PATH: Final[Mapping[str, tuple[Schema, str]]] = {
    "tenant": ({"pattern": TENANT}, "main"),
    "type": ({"maxLength": names.RESOURCE_ID_CHARACTERS_MAX}, "identity"),
    "alias_id": ({"maxLength": names.RESOURCE_ID_CHARACTERS_MAX}, "4711"),
    "number": ({}, "1042"),
}

# Examples

ID: Final = "4by6NvSLcPXFhCj8nwbZOM"
_INSTANT: Final = "2026-01-31T12:00:00Z"

_EXAMPLES: Final[Mapping[str, object]] = {
    "id": ID,
    "name": "ci-bot",
    "username": "ci-bot",
    "displayName": "ci-bot",
    "description": "CI pipeline",
    "email": "ada@example.com",
    "firstName": "Ada",
    "lastName": "Lovelace",
    "namespace": "prod.billing",
    "namespaceId": "prod.billing",
    "tenants": ["main"],
    "tenantId": "main",
    "tenant": "main",
    "permissions": {"FLOW": ["VIEW", "LIST", "EXECUTE"]},
    "actions": ["VIEW", "LIST", "EXECUTE"],
    "maxAge": "P30D",
    "grace": "PT24H",
    "prefix": "TCAMX5",
    "allowedAddresses": ["10.20.0.0/16"],
    "permissionCount": 3,
    "total": 1,
    "version": "2.0.0",
    "edition": "EE",
    "url": "https://iam.example.com",
    "uuid": "1b4e28ba-2fa1-4d2f-883f-0016d3cca427",
    "date": _INSTANT,
    "position": 1042,
    "code": "group.name_taken",
    "title": "Group name taken",
    "detail": "A group named Bots already exists.",
    "message": "Group name taken: A group named Bots already exists.",
    "instance": "/api/v1/main/groups",
    "requestId": "4by6NvSLcPXFhCj8nwbZOM",
    "href": "/api/v1/main/groups",
    "pointer": "#/name",
    "path": "name",
}


def example(schema: Schema, components: Mapping[str, Schema], member: str = "") -> object:
    """Answer an example of a schema, by the names of its members where they tell more.

    Members that need not be there stand in it where the table knows them.
    """
    if "$ref" in schema:
        target = components[schema["$ref"].rpartition("/")[2]]
        return example(target, components, member)
    known = _EXAMPLES.get(member)
    if known is not None and fits(schema, known):
        return known
    if "anyOf" in schema:
        return example(schema["anyOf"][0], components, member)
    if "enum" in schema:
        return schema["enum"][0]
    return _of_kind(kinds(schema)[0], schema, components, member)


def kinds(schema: Schema) -> list[str]:
    """Answer the types that a schema allows, none for a reference or a choice."""
    types: list[str] | str = schema.get("type", [])
    return [types] if isinstance(types, str) else types


def fits(schema: Schema, value: object) -> bool:
    """Tell whether a value is of a schema's type, and the members of a list of theirs."""
    allowed = kinds(schema)
    match value:
        case str():
            is_listed = value in schema.get("enum", (value,))
            fits_pattern = re.search(schema.get("pattern", ""), value)
            return "string" in allowed and is_listed and bool(fits_pattern)
        case int():
            return "integer" in allowed
        case list():
            members = cast("list[object]", value)
            return "array" in allowed and all(fits(schema["items"], one) for one in members)
        case _:
            return "object" in allowed


def _of_kind(kind: str, schema: Schema, components: Mapping[str, Schema], member: str) -> object:
    match kind:
        case "object":
            return _object(schema, components)
        case "array":
            return [example(schema["items"], components, member.removesuffix("s"))]
        case "boolean":
            return False
        case "integer" | "number":
            return int(schema.get("minimum", 1))
        case _:
            spelled = (_INSTANT,) if schema.get("format") == "date-time" else (ID, "gamma")
            return next(text for text in spelled if fits(schema, text))


def _object(schema: Schema, components: Mapping[str, Schema]) -> Schema:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    required = schema.get("required", ())
    return {
        name: example(inner, components, name)
        for name, inner in properties.items()
        if name in required or (name in _EXAMPLES and fits(inner, _EXAMPLES[name]))
    }
