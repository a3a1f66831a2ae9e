"""What do files say about access, and where do two of them say it twice? (cli 5.6).

A directory is the union of its files. Texts are taken as they stand: `on` and `2026` are names.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ops.cli.failures import Failure
from ops.cli.main import INVALID

if TYPE_CHECKING:
    from collections.abc import Iterator

    import yaml

KINDS: Final = ("roles", "service_accounts", "groups", "bindings")
_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
# The keys of each kind; the first ones must be there.
_KEYS: Final = {
    "roles": (("name", "permissions"), ("id", "description", "default")),
    "service_accounts": (("name",), ("id", "description")),
    "groups": (("name",), ("id", "description", "members", "owners")),
    "bindings": (
        ("subject", "role"),
        ("namespace", "resource", "not_before", "expires_at"),
    ),
}
_MEMBER: Final = (("subject",), ("not_before", "expires_at"))
_TRUTHS: Final = {"true": True, "false": False}


class Entry(NamedTuple):
    """An object that a file wants, and where that stands, `file:line`."""

    value: dict[str, Any]
    place: str


Wanted = dict[str, list[Entry]]


def read(path: Path) -> tuple[str | None, Wanted]:
    """Answer the tenant, if one is named, and the objects of each kind that occurs.

    Failure with exit code 8 for what cannot be read, unknown keys, and the same object twice.
    """
    tenant: str | None = None
    wanted: Wanted = {}
    for name, text in _texts(path):
        for key, node, place in _top(name, text):
            if key == "tenant":
                said = _value(node, name)
                if not isinstance(said, str) or (tenant is not None and tenant != said):
                    raise _fault(place, "files are of one tenant")
                tenant = said
            elif key in KINDS:
                wanted.setdefault(key, []).extend(_entries(key, node, name))
            else:
                raise _fault(place, f"unknown key {key}")
    for kind, entries in wanted.items():
        _refuse_repeated(kind, entries)
    return tenant, wanted


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    if str(path) == "-":
        yield "standard input", sys.stdin.read()
        return
    try:
        if path.is_dir():
            files = sorted(one for one in path.rglob("*") if one.suffix in _SUFFIXES)
        else:
            files = [path]
        for file in files:
            yield str(file), file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise Failure(f"{path} cannot be read: {type(fault).__name__}", INVALID) from None


def _top(name: str, text: str) -> Iterator[tuple[str, yaml.Node, str]]:
    import yaml

    try:
        top = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        place = name if mark is None else f"{name}:{mark.line + 1}"
        raise _fault(place, "this is no YAML") from None
    if top is None:
        return
    if not isinstance(top, yaml.MappingNode):
        raise _fault(f"{name}:1", f"expected tenant, {', '.join(KINDS)}")
    seen: set[str] = set()
    for key, node in top.value:
        place = _place(key, name)
        word = str(key.value)
        if word in seen:
            raise _fault(place, f"{word} stands twice in this file")
        seen.add(word)
        yield word, node, place


def _entries(kind: str, node: yaml.Node, name: str) -> Iterator[Entry]:
    import yaml

    if not isinstance(node, yaml.SequenceNode):
        raise _fault(_place(node, name), f"{kind} is a list")
    for one in node.value:
        place = _place(one, name)
        value = _checked(_value(one, name), _KEYS[kind], place)
        if "default" in value:
            if value["default"] not in _TRUTHS:
                raise _fault(place, "default is true or false")
            value["default"] = _TRUTHS[value["default"]]
        if "permissions" in value and not _is_permissions(value["permissions"]):
            raise _fault(place, "permissions is {TYPE: [ACTION]}")
        for key in ("members", "owners"):
            if key in value:
                value[key] = _members(value[key], place)
        yield Entry(value, place)


def _checked(
    value: object, keys: tuple[tuple[str, ...], tuple[str, ...]], place: str
) -> dict[str, Any]:
    needed, more = keys
    if not isinstance(value, dict):
        raise _fault(place, f"expected {', '.join(needed)}")
    for key in value:
        if key not in {*needed, *more}:
            raise _fault(place, f"unknown key {key}")
    for key in needed:
        if key not in value:
            raise _fault(place, f"{key} is missing")
    for key, one in value.items():
        if key not in {"permissions", "members", "owners"} and not isinstance(one, str):
            raise _fault(place, f"{key} is a text")
    return value


def _is_permissions(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(actions, list) and all(isinstance(one, str) for one in actions)
        for actions in value.values()
    )


def _members(value: object, place: str) -> list[dict[str, str]]:
    """Answer members as mappings: one who is in for ever may be a mere text."""
    if not isinstance(value, list):
        raise _fault(place, "members and owners are lists")
    found = [{"subject": one} if isinstance(one, str) else one for one in value]
    return [_checked(one, _MEMBER, place) for one in found]


def _value(node: yaml.Node, name: str) -> Any:  # noqa: ANN401 - any value made of texts
    import yaml

    if isinstance(node, yaml.SequenceNode):
        return [_value(one, name) for one in node.value]
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, one in node.value:
            if str(key.value) in found:
                raise _fault(_place(key, name), f"{key.value} stands twice")
            found[str(key.value)] = _value(one, name)
        return found
    return str(node.value)


def _refuse_repeated(kind: str, entries: list[Entry]) -> None:
    places: dict[object, str] = {}
    for value, place in entries:
        if kind == "bindings":
            key: object = tuple(sorted(value.items()))
        else:
            # Names need not be unique where an id tells which one is meant.
            key = value.get("id") or value["name"]
        if key in places:
            raise _fault(place, f"the same stands at {places[key]}")
        places[key] = place


def _place(node: yaml.Node, name: str) -> str:
    return f"{name}:{node.start_mark.line + 1}"


def _fault(place: str, said: str) -> Failure:
    return Failure(f"{place}: {said}", INVALID, code="file.invalid")
