"""Does the trail tell of every event who did what, to whom it may be told, and nothing secret?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.events import TOPICS, Actor, Event, decode
from domain.groups import AddMember, ChangeGroup, CreateGroup, DeleteGroup
from domain.ids import MAIN, BindingId, GroupId, ServiceAccountId, TenantId, TokenId, UserId
from domain.principals import BindingDeleted, TokenRevoked
from domain.service_accounts import CreateServiceAccount, DisableServiceAccount
from domain.state import State
from domain.tenants import CreateTenant
from domain.tokens import IssueToken, RevokeToken
from domain.users import CreateUser
from projections import audit, audit_topics
from projections.audit import EVERYWHERE
from projections.filters import Comparison, Leaf
from projections.pages import Page, Sort
from projections.views import Views
from tests.fixed_inputs import START
from tests.histories import Histories
from tests.projections.test_runner import history
from tests.projections.view_rows import all_rows, rebuild

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from domain.events import Record
    from projections.entries import Entry
    from projections.filters import Node, Value

EVERYTHING = Page(size=1000)
OTHER = TenantId("other")
DIGEST = b"\x01\x02digest-of-a-token-secret\x03\x04"


class World:
    """A short history by a known account with a known token, and its rows."""

    def __init__(self, engine: Engine) -> None:
        self.histories = histories = Histories(8)
        inputs = histories.inputs
        histories.give(CreateTenant(id=OTHER, name="Other", managed_roles=histories.role_ids()))
        self.ci = ServiceAccountId(inputs.id())
        histories.give(
            CreateServiceAccount(tenant=MAIN, id=self.ci, name="ci-bot", instance_owner=True)
        )
        self.token = TokenId(inputs.id())
        histories.give(
            IssueToken(
                tenant=MAIN,
                owner=self.ci,
                id=self.token,
                name="deploy",
                digest=DIGEST,
                prefix="ABCDEF",
            )
        )
        self.actor = Actor(
            type="service_account",
            id=self.ci,
            token_id=self.token,
            via="api",
            address="10.0.0.9",
            user_agent="curl/8",
        )
        self.ada = UserId(inputs.id())
        self.sealed = histories.sealed()
        histories.give(
            CreateUser(
                id=self.ada,
                email=self.sealed,
                email_index=b"index-of-an-e-mail",
                password=self.sealed,
                tenants=(MAIN,),
                default_bindings=(BindingId(inputs.id()),),
            )
        )
        inputs.advance(3_600)
        self.later = inputs.now()
        self.bots = GroupId(inputs.id())
        self.by_ci(CreateGroup(tenant=MAIN, id=self.bots, name="Bots"))
        self.by_ci(
            AddMember(
                tenant=MAIN,
                group=self.bots,
                principal=self.ada,
                default_binding=BindingId(inputs.id()),
            )
        )
        self.by_ci(ChangeGroup(tenant=MAIN, id=self.bots, name="Robots", description=""))
        self.foreign = GroupId(inputs.id())
        self.by_ci(CreateGroup(tenant=OTHER, id=self.foreign, name="Foreign"))
        self.by_ci(DeleteGroup(tenant=MAIN, id=self.bots))
        self.head = rebuild(engine, histories.records)

    def by_ci(self, command: Any) -> None:  # noqa: ANN401 - any command
        self.histories.give(command, actor=self.actor, reason="on-call")


@pytest.fixture
def world(engine: Engine) -> World:
    """Return a known history whose trail is in each kind of database."""
    return World(engine)


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """Yield a connection to ask with."""
    with engine.connect() as found:
        yield found


def leaf(field: str, *values: Value, key: str = "", negated: bool = False) -> Leaf:
    return Leaf(field=field, comparison=Comparison.EQUALS, values=values, key=key, negated=negated)


def contains(text: str) -> Leaf:
    return Leaf(field="q", comparison=Comparison.CONTAINS, values=(text,))


def topics(entries: tuple[Entry, ...]) -> list[str]:
    """Return what happened, without versions."""
    return [entry.topic.removesuffix(".v1") for entry in entries]


# Every event


def topics_without_line(known: dict[str, Any]) -> set[str]:
    """Return the topics of which the trail would not know what they are about."""
    return set(TOPICS.values()) ^ set(known)


def test_every_topic_has_its_line() -> None:
    """No event can come into the log that the trail cannot tell of; a missing line is noticed."""
    known = dict(audit_topics.TOPICS)

    assert topics_without_line(known) == set()

    del known["token.revoked.v1"]
    assert topics_without_line(known) == {"token.revoked.v1"}


@pytest.mark.parametrize(
    ("event", "resource"),
    [
        (BindingDeleted(tenant=MAIN, id=BindingId("gone")), "BINDING"),
        (TokenRevoked(id=TokenId("gone")), "USER"),
    ],
)
def test_an_event_about_what_is_gone_is_told_by_its_id(event: Event, resource: str) -> None:
    """A log that ends a thing twice, as no rule of ours does, is still told."""
    target = audit_topics.TOPICS[event.topic].target(State(), event)

    assert (resource, "gone") == (target.resource, target.object_id)


def test_kinds_follow_the_words_of_the_topics() -> None:
    """Created, granted, added is CREATE; deleted, revoked, removed is DELETE; else UPDATE (6.8)."""
    made = {"log.opened.v1", "token.issued.v1", "alias.set.v1"}

    for topic, about in audit_topics.TOPICS.items():
        verb = topic.split(".")[1]
        if verb.endswith(("created", "granted", "added")) or topic in made:
            expected = "CREATE"
        elif verb.endswith(("deleted", "revoked", "removed")):
            expected = "DELETE"
        else:
            expected = "UPDATE"
        assert about.kind == expected, topic


def test_trail_has_an_entry_for_every_event(engine: Engine) -> None:
    """Position, instant, topic, actor and command are those of the log."""
    records = history(51)
    head = rebuild(engine, records)

    with engine.connect() as connection:
        found = audit.following(connection, head, EVERYWHERE, None, 0, head + 1)

    assert [
        (entry.position, entry.topic, entry.at, entry.actor_type, entry.command_id)
        for entry in found
    ] == [
        (fact.position, record.topic, fact.envelope.at, "system", fact.envelope.command_id)
        for record in records
        for fact in [decode(record)]
    ]


@given(seed=st.integers(0, 10**6))
def test_entries_of_an_object_join_without_a_gap(sqlite_engine: Engine, seed: int) -> None:
    """What an entry found is what the one before left: nothing changes beside the trail.

    Those of principals, roles and tokens aside, which also change by events about others: the
    privilege, another default role, a rotation.
    """
    records = history(seed, 60)
    rebuild(sqlite_engine, records)
    left: dict[tuple[str | None, ...], str | None] = {}
    node = leaf("resources", "GROUP", "BINDING", "TENANT_ACCESS")

    with sqlite_engine.connect() as connection:
        entries = audit.following(connection, len(records), EVERYWHERE, node, 0, 10_000)

    for entry in entries:
        same = (entry.resource, entry.object_id, entry.user_id, entry.tenant)
        assert entry.before == left.get(same), entry.topic
        left[same] = entry.after


# Secrets


def personal_or_secret(records: list[Record], engine: Engine) -> list[bytes]:
    """Return what of sealed values, digests and indexes is found among the views' rows."""
    shown = repr(all_rows(engine)).encode()
    hidden: list[bytes] = []
    for record in records:
        event = msgspec.json.decode(record.state)["event"]
        for member in ("email", "first_name", "last_name", "password"):
            hidden += (
                [event[member][part].encode() for part in ("text", "commit")]
                if member in event
                else []
            )
        hidden += [
            event[member].encode()
            for member in ("digest", "email_index", "index")
            if member in event
        ]
        if isinstance(event.get("text"), dict):
            hidden += [event["text"][part].encode() for part in ("text", "commit")]
    assert hidden
    return [value for value in hidden if value in shown]


def test_no_view_holds_a_digest_or_anything_sealed(engine: Engine) -> None:
    """What must be erasable, and what opens doors, is in the log alone (security 4.1, 7.3)."""
    records = history(52, 200)
    rebuild(engine, records)

    assert personal_or_secret(records, engine) == []


def test_a_digest_in_a_view_would_be_noticed(sqlite_engine: Engine) -> None:
    """Positive control: an object shown as the state has it gives its digest away."""
    records = history(52, 200)

    def shown(facts: Any, id_: str) -> dict[str, Any] | None:  # noqa: ANN401 - as the original
        found = facts.tokens.get(id_)
        return None if found is None else msgspec.to_builtins(found)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("projections.audit_shapes.token", shown)
        rebuild(sqlite_engine, records)

    assert personal_or_secret(records, sqlite_engine)


def test_sealed_values_show_that_they_are_there(world: World, connection: Connection) -> None:
    """A diff of a person tells which values there are, and none of them."""
    of_person = leaf("event", "user.created.v1", "user.password_set.v1")
    oldest_first = Page(sort=(Sort(field="position"),))
    found = audit.search(connection, world.head, EVERYWHERE, of_person, oldest_first)
    created, password = found.entries

    assert msgspec.json.decode(created.after or "")["email"] == {"sealed": True}
    assert audit.patch(password.before, password.after) == [
        {"op": "add", "path": "/password", "value": {"sealed": True}}
    ]


# Tenants


def test_trail_of_a_tenant_shows_that_tenant_alone(world: World, connection: Connection) -> None:
    """No search, entry, history or export of a tenant shows an entry of another (security 2.3)."""
    head = world.head
    main = audit.search(connection, head, MAIN, None, EVERYTHING)
    other = audit.search(connection, head, OTHER, None, EVERYTHING)
    whole = audit.search(connection, head, EVERYWHERE, None, EVERYTHING)
    (foreign,) = audit.history(connection, head, OTHER, world.foreign)

    assert {entry.tenant for entry in main.entries} == {MAIN}
    assert {entry.tenant for entry in other.entries} == {OTHER}
    assert len(whole.entries) == whole.total == head
    assert main.total == len(main.entries)
    assert audit.history(connection, head, MAIN, world.foreign) == ()
    assert audit.entry(connection, head, MAIN, foreign.position) is None
    assert audit.entry(connection, head, OTHER, foreign.position) == foreign
    assert audit.previous(connection, OTHER, foreign) is None
    exported = audit.following(connection, head, OTHER, None, 0, 1000)
    assert exported == other.entries[::-1]


def test_act_on_an_account_belongs_to_the_tenant_of_its_command(engine: Engine) -> None:
    """Accounts and tokens have no tenant of their own: the route that was taken tells it."""
    histories = Histories(9)
    id_ = ServiceAccountId(histories.inputs.id())
    histories.give(CreateServiceAccount(tenant=MAIN, id=id_, name="ci-bot"))
    histories.give(DisableServiceAccount(id=id_))
    head = rebuild(engine, histories.records)

    with engine.connect() as connection:
        by_tenant = audit.history(connection, head, MAIN, id_)
        everywhere = audit.history(connection, head, EVERYWHERE, id_)

    assert topics(by_tenant) == ["tenant_access.granted", "service_account.created"]
    assert topics(everywhere)[0] == "service_account.disabled"


# Asking


def test_trail_is_newest_first_and_counts_all(world: World, connection: Connection) -> None:
    """A page is a part of the whole, as of the position asked about."""
    page = audit.search(connection, world.head, MAIN, None, Page(size=2))
    oldest = audit.search(
        connection, world.head, EVERYWHERE, None, Page(size=1, sort=(Sort(field="date"),))
    )
    before = audit.search(connection, world.head - 1, MAIN, None, Page(size=1))

    assert topics(page.entries) == ["group.deleted", "group.member_removed"]
    assert page.total > 2
    assert topics(oldest.entries) == ["log.opened"]
    assert before.total == page.total - 1
    assert topics(before.entries) == ["group.member_removed"]


def test_entry_tells_actor_token_and_circumstances(world: World, connection: Connection) -> None:
    """Who acted, with which token, from where and why (kestra-iam 6.8)."""
    renamed = audit.search(
        connection, world.head, MAIN, leaf("event", "group.renamed.v1"), EVERYTHING
    ).entries[0]

    assert (renamed.actor_id, renamed.actor_name, renamed.actor_type) == (
        world.ci,
        "ci-bot",
        "service_account",
    )
    assert (renamed.actor_token_id, renamed.actor_address) == (world.token, "10.0.0.9")
    assert (renamed.actor_via, renamed.actor_user_agent) == ("api", "curl/8")
    assert (renamed.reason, renamed.type, renamed.resource) == ("on-call", "UPDATE", "GROUP")
    assert renamed.actor_impersonator is None
    assert audit.detail(renamed) == {
        "type": "GROUP",
        "resource": "GROUP",
        "id": world.bots,
        "name": "Robots",
        "groupId": world.bots,
    }


def test_trail_is_filtered(world: World, connection: Connection) -> None:
    """Every field reads what the contract says (kestra-iam 2.3)."""

    def found(node: Node) -> list[str]:
        entries = audit.search(connection, world.head, MAIN, node, EVERYTHING).entries
        return topics(entries)[::-1]

    by_ci = [
        "group.created",
        "group.member_added",
        "group.renamed",
        "group.member_removed",
        "group.deleted",
    ]
    assert found(leaf("userId", world.ci)) == by_ci
    assert found(leaf("tokenId", world.token)) == by_ci
    assert found(leaf("ipAddress", "10.0.0.9")) == by_ci
    since = Leaf(
        field="date", comparison=Comparison.GREATER_THAN_OR_EQUAL_TO, values=(world.later,)
    )
    assert found(since) == by_ci
    assert found(leaf("date", START))[0] == "tenant.created"
    assert found(leaf("resources", "GROUP")) == by_ci
    assert found(leaf("event", "group.renamed.v1")) == ["group.renamed"]
    assert "group.deleted" in found(leaf("type", "DELETE"))
    assert found(leaf("details", world.ada, key="userId"))[-2:] == [
        "group.member_added",
        "group.member_removed",
    ]
    assert found(leaf("details", "deploy", key="tokenName")) == ["token.issued"]
    assert found(leaf("details", "x", key="flowId")) == []
    assert found(leaf("details", "x", key='"; DROP TABLE entries_v1')) == []
    last = world.head
    assert found(leaf("id", f"e{last}")) == found(leaf("position", last)) == ["group.deleted"]
    assert found(leaf("outcome", "DENIED")) == []
    assert len(found(leaf("outcome", "ALLOWED"))) > len(by_ci)


def test_free_text_finds_actor_target_resource_event_and_detail(
    world: World, connection: Connection
) -> None:
    """`q` is a substring of any of these, whatever its case, and of nothing else (kestra-iam 9)."""

    def found(text: str) -> list[str]:
        entries = audit.search(connection, world.head, MAIN, contains(text), EVERYTHING).entries
        return topics(entries)[::-1]

    assert found("robots") == [
        "group.renamed",
        "group.member_removed",
        "group.deleted",
    ]
    assert found("CI-BOT")[-1] == "group.deleted"
    assert found("member_add") == ["group.member_added"]
    assert "token.issued" in found("deploy")
    assert found("on-call") == []


def test_history_tells_all_of_an_object_newest_first(world: World, connection: Connection) -> None:
    """A group's history has its members' coming and going; an unknown id has none."""
    entries = audit.history(connection, world.head, MAIN, world.bots)

    assert topics(entries) == [
        "group.deleted",
        "group.member_removed",
        "group.renamed",
        "group.member_added",
        "group.created",
    ]
    assert audit.history(connection, world.head, MAIN, "unknown") == ()


def test_previous_entry_is_of_the_very_same_object(world: World, connection: Connection) -> None:
    """A membership is compared with itself and a group with itself."""
    deleted, removed, renamed, added, created = audit.history(
        connection, world.head, MAIN, world.bots
    )

    assert audit.previous(connection, MAIN, deleted) == renamed
    assert audit.previous(connection, MAIN, renamed) == created
    assert audit.previous(connection, MAIN, removed) == added
    assert audit.previous(connection, MAIN, created) is None


def test_deletion_tells_what_was_deleted(engine: Engine) -> None:
    """Of a token that is gone the trail still has owner and name."""
    histories = Histories(10)
    inputs = histories.inputs
    owner, token = ServiceAccountId(inputs.id()), TokenId(inputs.id())
    histories.give(CreateServiceAccount(tenant=MAIN, id=owner, name="ci-bot"))
    histories.give(IssueToken(owner=owner, id=token, name="deploy", digest=DIGEST, prefix="ABCDEF"))
    histories.give(RevokeToken(owner=owner, id=token))
    head = rebuild(engine, histories.records)

    with engine.connect() as connection:
        entry = audit.entry(connection, head, EVERYWHERE, head)

    assert entry is not None
    assert (entry.resource, entry.object_id, entry.object_name) == (
        "SERVICE_ACCOUNT",
        owner,
        "ci-bot",
    )
    assert (entry.token_id, entry.token_name, entry.after) == (token, "deploy", None)


def test_export_yields_every_entry_in_order(engine: Engine) -> None:
    """An export in parts is the whole trail, oldest first, also where a part ends with it."""
    records = history(53, 700)
    head = rebuild(engine, records)
    assert head > 500

    async def exported(position: int) -> list[int]:
        found = audit.stream(Views(engine), position, EVERYWHERE, None)
        return [entry.position async for entry in found]

    assert asyncio.run(exported(head)) == [*range(1, head + 1)]
    assert asyncio.run(exported(500)) == [*range(1, 501)]
