"""What must a record of OCSF 1.8.0 hold, as far as ours go? (audit-export 4).

Written by hand from the published schema: no attribute that it does not know, the required ones,
types, enumerations, "at least one", and the arithmetic of `type_uid` and `category_uid`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

Record = dict[str, Any]

# Activities of the classes that we use.
ACTIVITIES: Final[Mapping[int, frozenset[int]]] = {
    3001: frozenset({0, 99, *range(1, 13)}),
    3002: frozenset({0, 99, *range(1, 8)}),
    3004: frozenset({0, 99, *range(1, 15)}),
    3005: frozenset({0, 1, 2, 99}),
    3006: frozenset({0, 99, *range(1, 7)}),
    6003: frozenset({0, 1, 2, 3, 4, 99}),
}


class Shape(Struct, frozen=True):
    """An object: its attributes with their types, the required ones, and of which one is enough."""

    attributes: Mapping[str, Any]
    required: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()


class Enum(Struct, frozen=True):
    """Whole numbers of which each means something."""

    values: frozenset[int]


class Many(Struct, frozen=True):
    """A list of one type."""

    of: Any


USER_TYPES: Final = Enum(frozenset({0, 1, 2, 3, 4, 99}))
USER: Final = Shape({"uid": str, "name": str, "type_id": USER_TYPES}, (), ("name", "uid"))
GROUP: Final = Shape({"uid": str, "name": str}, (), ("name", "uid"))
ENTITY: Final = Shape(
    {"uid": str, "name": str, "type": str, "type_id": Enum(frozenset({0, 99})), "data": dict},
    (),
    ("name", "uid"),
)
PRODUCT: Final = Shape({"name": str, "vendor_name": str, "version": str}, (), ("name", "uid"))
METADATA: Final = Shape(
    {
        "version": str,
        "product": PRODUCT,
        "uid": str,
        "log_name": str,
        "sequence": int,
        "tenant_uid": str,
        "correlation_uid": str,
        "logged_time": int,
    },
    ("version", "product"),
)
RESOURCE: Final = Shape({"uid": str, "type": str, "name": str}, (), ("name", "uid"))
ENDPOINT: Final = Shape({"ip": str, "name": str}, (), ("ip", "name"))
SERVICE: Final = Shape({"name": str, "uid": str}, (), ("name", "uid"))
REQUEST: Final = Shape({"uid": str}, ("uid",))
RESPONSE: Final = Shape({"code": int})
API: Final = Shape({"operation": str, "request": REQUEST, "response": RESPONSE}, ("operation",))
ACTOR: Final = Shape({"user": USER}, (), ("user",))

BASE: Final[Mapping[str, Any]] = {
    "activity_id": int,
    "category_uid": Enum(frozenset({3, 6})),
    "class_uid": Enum(frozenset(ACTIVITIES)),
    "type_uid": int,
    "time": int,
    "severity_id": Enum(frozenset({0, 1, 2, 3, 4, 5, 6, 99})),
    "status_id": Enum(frozenset({0, 1, 2, 99})),
    "status_detail": str,
    "metadata": METADATA,
    "actor": ACTOR,
    "src_endpoint": ENDPOINT,
    "count": int,
    "start_time": int,
    "end_time": int,
    "unmapped": dict,
}
REQUIRED: Final = (
    *("activity_id", "category_uid", "class_uid", "type_uid", "time", "severity_id", "metadata"),
)
CLASSES: Final[Mapping[int, Shape]] = {
    3001: Shape({"user": USER}, ("user",)),
    3002: Shape(
        {
            "user": USER,
            "service": SERVICE,
            "auth_protocol": str,
            "auth_protocol_id": Enum(frozenset({*range(10), 99})),
        },
        ("user", "service"),
    ),
    3004: Shape({"entity": ENTITY}, ("entity",)),
    3005: Shape(
        {"user": USER, "privileges": Many(str), "resource": RESOURCE}, ("user", "privileges")
    ),
    3006: Shape(
        {"group": GROUP, "user": USER, "privileges": Many(str), "resource": RESOURCE}, ("group",)
    ),
    6003: Shape({"api": API, "resources": Many(RESOURCE)}, ("actor", "src_endpoint", "api")),
}


def faults(record: Record) -> list[str]:
    """Answer what is wrong with a record, nothing where it is sound."""
    class_uid = record.get("class_uid")
    own = CLASSES.get(class_uid or 0)
    if own is None:
        return ["class_uid: unknown"]
    whole = Shape({**BASE, **own.attributes}, (*REQUIRED, *own.required))
    found = [*_faults(record, whole, "")]
    if record.get("activity_id") not in ACTIVITIES[record["class_uid"]]:
        found.append("activity_id: not of this class")
    if record.get("type_uid") != record["class_uid"] * 100 + record.get("activity_id", 0):
        found.append("type_uid: not class and activity")
    if record.get("category_uid") != record["class_uid"] // 1000:
        found.append("category_uid: not that of the class")
    return found


def _faults(value: Any, kind: Any, path: str) -> list[str]:  # noqa: ANN401 - any JSON, any type
    match kind:
        case Enum():
            sound = type(value) is int and value in kind.values
            return [] if sound else [f"{path}: not one of its values"]
        case Many() if isinstance(value, list):
            return [fault for one in value for fault in _faults(one, kind.of, path)]
        case Many():
            return [f"{path}: no list"]
        case Shape() if isinstance(value, dict):
            return _faults_within(value, kind, path)
        case Shape():
            return [f"{path}: no object"]
        case _:
            return [] if type(value) is kind else [f"{path}: no {kind.__name__}"]


def _faults_within(value: Record, kind: Shape, path: str) -> list[str]:
    found = [f"{path}{name}: missing" for name in kind.required if name not in value]
    if kind.one_of and not any(name in value for name in kind.one_of):
        found.append(f"{path}: none of {', '.join(kind.one_of)}")
    for name, member in value.items():
        if name not in kind.attributes:
            found.append(f"{path}{name}: unknown")
        else:
            found += _faults(member, kind.attributes[name], f"{path}{name}.")
    return found
