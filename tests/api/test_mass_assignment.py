"""Do members that a request may not set, or that nobody knows, change anything?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec import UNSET, structs

from api.app import create_app
from api.openapi import Operation, document, operations
from domain.state import State, digest
from tests.api.route_world import SAID, World
from tests.service import served

# Read-only members of one object or another, and members that no object has (security 2.8).
EXTRA: Final[dict[str, Any]] = {
    "id": "0" * 22,
    "tenant": "beta",
    "tenantId": "beta",
    "position": 1,
    "created": "2020-01-01T00:00:00Z",
    "createdBy": "0" * 22,
    "owner": "0" * 22,
    "enabled": False,
    "disabled": True,
    "deleted": True,
    "locked": True,
    "isManaged": True,
    "is_default": True,
    "instance_owner": True,
    "isInstanceOwner": True,
    "digest": "0" * 64,
    "fullToken": "chosen by the caller",
    "prefix": "AAAAAA",
    "state": "ACTIVE",
    "commandId": "0" * 22,
    "__proto__": {"instanceOwner": True},
    "unheard": {"of": [1, {"instanceOwner": True}]},
}


class Pair:
    """Two installations that are told the same, one of them with more members in each body."""

    def __init__(self, plain: World, extended: World) -> None:
        self.plain = plain
        self.extended = extended
        app = create_app(plain.http.service)
        described = document(app, version="0", public_url="")
        self.schemas: dict[str, Any] = described["components"]["schemas"]
        self.paths: dict[str, Any] = described["paths"]

    def ask(self, world: World, operation: Operation, extra: dict[str, Any]) -> int:
        """Carry a write out as an instance owner and answer its status."""
        caller, by = world.caller("owner", new="/me" in operation.path)
        path, body = world.path(operation, caller), world.body(operation)
        if extra:
            body = self._extended(operation, body, extra)
        by = {**by, **SAID.get(operation.id, {})}
        return world.http.request(operation.method, path, body, by=by).status_code

    def _extended(self, operation: Operation, body: object, extra: dict[str, Any]) -> object:
        known = self._known(operation)
        added = {name: value for name, value in extra.items() if name not in known}
        if isinstance(body, list):
            return [{**item, **added} for item in body]
        # A route without a body is sent one of nothing but unknown members.
        return {**(body if isinstance(body, dict) else {}), **added}

    def _known(self, operation: Operation) -> set[str]:
        """Answer the members that the body of a route has by the document."""
        described = self.paths[operation.path][operation.method.lower()]
        names: set[str] = set()
        for content in described.get("requestBody", {}).get("content", {}).values():
            schema = content["schema"]
            for inner in (schema, schema.get("items", {}), *schema.get("anyOf", [])):
                component = self.schemas.get(inner.get("$ref", "").rpartition("/")[2], {})
                names |= set(component.get("properties", {}))
        return names


def facts(world: World) -> str:
    """Answer the digest of a state but for the passwords, whose salts are truly random."""
    state: State = world.http.state
    users = state.users
    for id_, user in state.users.items():
        users = users.set(id_, structs.replace(user, password=UNSET))
    return digest(structs.replace(state, users=users))


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Yield two installations that begin alike."""
    with (
        served(_made(tmp_path / "plain")) as plain,
        served(_made(tmp_path / "extended")) as extended,
    ):
        yield Pair(World(plain), World(extended))


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def writes(pair: Pair) -> list[Operation]:
    """Answer every route that changes something."""
    app = create_app(pair.plain.http.service)
    return [one for one in operations(app) if not one.reads and not one.gate.open]


def _refuses_unknown(operation: Operation) -> bool:
    """Our own routes refuse what they do not know; the contract's ignore it (http-api 1)."""
    config = getattr(operation.body, "__struct_config__", None)
    return config is not None and bool(config.forbid_unknown_fields)


def test_members_that_may_not_be_set_change_nothing(pair: Pair) -> None:
    """Security 2.8: for every write, with extra members and without, the same state comes out."""
    found = writes(pair)
    assert len(found) > 50
    for operation in found:
        extra = EXTRA
        if _refuses_unknown(operation):
            worlds = (pair.plain, pair.extended)
            assert [422, 422] == [pair.ask(world, operation, EXTRA) for world in worlds]
            extra = {}
        plain = pair.ask(pair.plain, operation, {})
        extended = pair.ask(pair.extended, operation, extra)
        assert plain == extended, operation.id
        assert plain < 300, operation.id
        assert facts(pair.plain) == facts(pair.extended), operation.id


def test_member_that_may_be_set_changes_the_state(pair: Pair) -> None:
    """Security 2.8, control: a member that the route knows makes the states differ."""
    operation = next(one for one in writes(pair) if one.id == "createGroup")
    assert pair.ask(pair.plain, operation, {}) == 200

    caller, by = pair.extended.caller("owner")
    path, body = pair.extended.path(operation, caller), pair.extended.body(operation)
    assert isinstance(body, dict)
    told = {**body, "description": "told"}
    assert pair.extended.http.request("POST", path, told, by=by).status_code == 200

    assert facts(pair.plain) != facts(pair.extended)
