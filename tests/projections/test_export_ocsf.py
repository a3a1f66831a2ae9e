"""Does every event come to a record of OCSF that its schema allows? (audit-export 4)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from domain.events import TOPICS, decode
from domain.ids import UserId
from domain.principals import BindingCreated
from domain.state import State
from domain.tokens import TokenIssued
from domain.users import PasswordSet, UserCreated
from projections import export_ocsf
from projections.export_ndjson import NDJSON
from projections.export_ocsf import OCSF
from projections.exporting import Told
from tests.ocsf_schema import faults
from tests.projections.export_world import World, hostile, lines, telling


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield one world for all tests: nothing changes it."""
    made = World(tmp_path_factory.mktemp("export"))
    yield made
    made.engine.dispose()


def test_every_topic_has_its_row() -> None:
    """Audit-export 2.5: a topic without a row fails here, and so does a row without a topic."""
    assert {*export_ocsf.TABLE} == {*TOPICS.values()}


def test_every_record_keeps_the_schema(world: World) -> None:
    """Audit-export 4: with people named and without, and after what is named is gone."""
    tellings = (
        world.telling(),
        world.telling(person="Ada Lovelace"),
        telling(State()),
    )
    for told in tellings:
        for one in lines(world.export(OCSF, told)):
            assert not faults(one), (one, faults(one))


def test_a_record_that_breaks_the_schema_is_noticed(world: World) -> None:
    """Control: unknown, missing, mistyped, not of the class, wrong sums."""
    told = next(one for one in world.told if one.record.topic == BindingCreated.topic)
    sound = export_ocsf.ocsf(told, world.telling())
    broken: dict[str, dict[str, Any]] = {
        "unknown": {**sound, "colour": "red"},
        "missing": {name: value for name, value in sound.items() if name != "metadata"},
        "no int": {**sound, "time": 1.5},
        "no str": {**sound, "privileges": [7]},
        "no list": {**sound, "privileges": "role:viewer"},
        "no object": {**sound, "actor": "ada"},
        "none of": {**sound, "actor": {"user": {"type_id": 1}}},
        "not one of its values": {**sound, "severity_id": 7},
        "not of this class": {**sound, "activity_id": 57},
        "not class and activity": {**sound, "type_uid": 1},
        "not that of the class": {**sound, "category_uid": 6},
    }

    assert faults(sound) == []
    assert faults({**sound, "class_uid": 1001}) == ["class_uid: unknown"]
    for said, record in broken.items():
        assert any(said in fault for fault in faults(record)), said


def test_records_are_those_of_the_specification(world: World) -> None:
    """Audit-export 4: the row of each topic, its class and activity."""
    expected = {
        "user.created.v1": {(3001, 1)},
        "user.enabled.v1": {(3001, 2)},
        "user.disabled.v1": {(3001, 5)},
        "user.deleted.v1": {(3001, 6)},
        "binding.created.v1": {(3005, 1), (3006, 1)},
        "binding.deleted.v1": {(3005, 2), (3006, 2)},
        "group.created.v1": {(3006, 6)},
        "group.deleted.v1": {(3006, 5)},
        "group.member_added.v1": {(3006, 3)},
        "group.member_removed.v1": {(3006, 4)},
        "token.issued.v1": {(3004, 1)},
        "token.revoked.v1": {(3004, 4)},
        "service_account.enabled.v1": {(3004, 8)},
        "service_account.disabled.v1": {(3004, 9)},
        "role.renamed.v1": {(3004, 3)},
        "tenant.deleted.v1": {(3004, 4)},
    }
    found: dict[str, set[tuple[int, int]]] = {}
    for told in world.told:
        one = export_ocsf.ocsf(told, world.telling())
        found.setdefault(told.record.topic, set()).add((one["class_uid"], one["activity_id"]))

    assert {topic: found[topic] for topic in expected} == expected


def test_a_password_set_by_oneself_is_a_change_and_by_another_a_reset(world: World) -> None:
    """Audit-export 4: activities 3 and 4 of class 3001."""
    told = next(one for one in world.told if one.record.topic == PasswordSet.topic)
    own = msgspec.structs.replace(told.entry, actor_id=told.entry.object_id)

    reset = export_ocsf.ocsf(told, world.telling())
    change = export_ocsf.ocsf(Told(own, told.record), world.telling())

    assert (reset["activity_id"], change["activity_id"]) == (4, 3)


def test_a_binding_tells_role_and_place(world: World) -> None:
    """Audit-export 4: `privileges` by the role's name, `resource` for the scope."""
    places: dict[str, str] = {}
    for told in world.told:
        if told.record.topic == BindingCreated.topic:
            one = export_ocsf.ocsf(told, world.telling())
            event: Any = decode(told.record).envelope.event
            role = world.state.roles.get(event.role)
            assert one["privileges"] == [f"role:{event.role if role is None else role.name}"]
            kind = {"tenant", "namespace"} & {one["resource"]["type"]}
            places["".join(kind) or "resource"] = one["resource"]["uid"]

    assert {*places} == {"tenant", "namespace", "resource"}


def test_names_are_told_of_programs_and_groups_and_of_people_if_asked(world: World) -> None:
    """Audit-export 4: a person's name only with `personal=include`, everybody's id always."""
    created = next(one for one in world.told if one.record.topic == UserCreated.topic)
    added = next(
        one
        for one in world.told
        if one.record.topic == "group.member_added.v1"
        and one.entry.user_id in world.state.service_accounts
    )
    renamed = next(one for one in world.told if one.record.topic == "user.renamed.v1")
    alias = next(one for one in world.told if one.record.topic == "alias.set.v1")
    named = world.telling(person="Ada Lovelace")

    account = world.state.service_accounts[UserId(str(added.entry.user_id))]
    record = export_ocsf.ocsf(added, world.telling())
    assert record["user"] == {
        "uid": account.id,
        "type_id": 2 if account.id in world.state.owners else 4,
        "name": account.name,
    }
    assert record["group"] == {"uid": added.entry.group_id, "name": added.entry.object_name}
    assert "name" not in export_ocsf.ocsf(created, world.telling())["user"]
    assert export_ocsf.ocsf(created, named)["user"]["name"] == "Ada Lovelace"
    assert export_ocsf.ocsf(renamed, named)["entity"]["name"] == "Ada Lovelace"
    assert export_ocsf.ocsf(alias, named)["entity"]["data"]["alias_type"] == alias.entry.alias_type


def test_everybody_has_the_type_of_what_they_are(world: World) -> None:
    """Audit-export 4: 1 user, 2 instance owner, 4 service account; 0 where nobody knows now."""
    state = world.state
    expected = dict.fromkeys(state.users, 1) | dict.fromkeys(state.service_accounts, 4)
    expected |= dict.fromkeys(state.owners, 2)
    removed = next(one for one in world.told if one.record.topic == "group.member_removed.v1")

    for id_, type_id in (*expected.items(), (UserId("gone"), 0)):
        entry = msgspec.structs.replace(removed.entry, user_id=id_)
        record = export_ocsf.ocsf(Told(entry, removed.record), world.telling())
        assert record["user"]["type_id"] == type_id
    assert {*expected.values()} == {1, 2, 4}
    system = msgspec.structs.replace(removed.entry, actor_type="system", actor_id="system")
    record = export_ocsf.ocsf(Told(system, removed.record), world.telling())
    assert record["actor"] == {"user": {"uid": "system", "type_id": 3}}
    owner = msgspec.structs.replace(system, actor_type="user", actor_id=min(state.owners))
    record = export_ocsf.ocsf(Told(owner, removed.record), world.telling())
    assert record["actor"]["user"]["type_id"] == 2


def test_a_token_is_an_entity_with_its_owner(world: World) -> None:
    """Audit-export 4: uid and name are the token's, the owner stands in `data`."""
    told = next(one for one in world.told if one.record.topic == TokenIssued.topic)
    entry = told.entry

    entity = export_ocsf.ocsf(told, world.telling())["entity"]

    assert entity == {
        "uid": entry.token_id,
        "name": entry.token_name,
        "type_id": 99,
        "type": "api_token",
        "data": {f"{entry.resource.lower()}_id": entry.object_id},
    }


def test_an_address_is_the_source_endpoint() -> None:
    """Audit-export 4: `src_endpoint.ip` is where the act came from, absent where unknown."""
    told = hostile("x")
    from_there = msgspec.structs.replace(told.entry, actor_address="10.0.0.9")

    assert "src_endpoint" not in export_ocsf.ocsf(told, telling(State()))
    record = export_ocsf.ocsf(Told(from_there, told.record), telling(State()))
    assert record["src_endpoint"] == {"ip": "10.0.0.9"}
    assert record["metadata"]["tenant_uid"] == "main"
    assert base64.b64decode(msgspec.json.decode(NDJSON.line(told, telling(State())))["envelope"])
