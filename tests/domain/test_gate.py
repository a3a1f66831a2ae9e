"""Is every caller judged before its command, and every command before its circumstances?"""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec import UNSET, structs

from domain import commands
from domain.access import Narrowing
from domain.commands import Expectation, changed_at, decide
from domain.errors import ForbiddenError, Requirement, StaleError
from domain.events import Actor
from domain.groups import ChangeGroup, CreateGroup, DeleteGroup, GroupRenamed, RemoveMember
from domain.ids import MAIN, BindingId, CommandId, GroupId, TokenId, UserId
from domain.owners import GrantInstanceOwner
from domain.permissions import Permission, from_lists
from domain.principals import InstanceOwnerGranted, TokenRevoked
from domain.service_accounts import ServiceAccountDeleted, ServiceAccountDisabled
from domain.state import Draft, Recorded, apply
from domain.tokens import TokenDisabled
from tests.domain.world import (
    ADA,
    BETA,
    BOT,
    BOTS,
    CAL,
    CREW,
    DAN,
    NEW_GROUP,
    OPERATOR,
    ROOT,
    SOON,
    WORLD,
    bound,
    group,
    managed,
    member,
    token,
)
from tests.fixed_inputs import START
from tests.spec import COMMAND_ID, SYSTEM, History, context, facts

CREATE = CreateGroup(tenant=MAIN, id=NEW_GROUP, name="Night")
RENAME = ChangeGroup(tenant=MAIN, id=BOTS, name="Robots", description="")
TOKEN = TokenId("tok_1")
EVERYTHING = bound(BOT, managed(MAIN, "Admin"))


@pytest.mark.parametrize(
    "by",
    [UserId("usr_none"), Actor(type="anonymous", id="anonymous"), Actor(type="user", id="system")],
)
def test_a_caller_who_is_nobody_is_refused(by: str | Actor) -> None:
    """Security 2.1: unknown principals may do nothing."""
    WORLD.when(CREATE, by=by).refuses("principal.disabled")


def test_the_installation_itself_may_do_everything() -> None:
    """`init` makes the first owner before anyone could allow it."""
    WORLD.when(GrantInstanceOwner(principal=DAN), by=SYSTEM).then(
        InstanceOwnerGranted(principal=DAN)
    )
    assert WORLD.when(CREATE, by=SYSTEM).events


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (TokenRevoked(id=TOKEN), "token.revoked"),
        (TokenDisabled(id=TOKEN), "token.disabled"),
        (ServiceAccountDisabled(id=BOT), "principal.disabled"),
        (ServiceAccountDeleted(id=BOT), "principal.disabled"),
    ],
)
def test_a_credential_that_ended_since_authentication_is_refused(
    ending: TokenRevoked | TokenDisabled | ServiceAccountDisabled | ServiceAccountDeleted, code: str
) -> None:
    """Security 2.2 and 2.5: judged on the exact head, so a race is always lost by the caller."""
    world = WORLD.and_then(EVERYTHING, token(TOKEN, BOT))

    assert world.when(CREATE, by=BOT, token=TOKEN).events
    world.and_then(ending).when(CREATE, by=BOT, token=TOKEN).refuses(code)


def test_a_token_that_expired_since_authentication_is_refused() -> None:
    """Kestra-iam 6.2: a token is good until its expiry, judged at the instant of the command."""
    world = WORLD.and_then(EVERYTHING, token(TOKEN, BOT, expires_at=SOON))

    world.later(SOON).when(CREATE, by=BOT, token=TOKEN).refuses("token.expired")


@pytest.mark.parametrize(
    ("narrowing", "allowed"),
    [
        (Narrowing(), True),
        (Narrowing(permissions=from_lists({"GROUP": ["CREATE"]})), True),
        (Narrowing(permissions=from_lists({"GROUP": ["DELETE"]})), False),
        (Narrowing(namespaces=("prod",)), False),
        (Narrowing(tenants=(MAIN,)), True),
    ],
)
def test_a_narrowed_token_passes_the_gates_that_it_leaves(
    narrowing: Narrowing, *, allowed: bool
) -> None:
    """Kestra-iam 8: administration is tenant-wide, so a token for some places has none of it."""
    world = WORLD.and_then(EVERYTHING, token(TOKEN, BOT, narrowing))

    outcome = world.when(CREATE, by=BOT, token=TOKEN)

    assert allowed == isinstance(outcome.verdict, tuple)
    if not allowed:
        outcome.refuses("permission.denied")


def test_a_token_for_another_tenant_finds_none_here() -> None:
    """Kestra-iam 8: a tenant that the token leaves out answers as one that never existed."""
    world = WORLD.and_then(EVERYTHING, token(TOKEN, BOT, Narrowing(tenants=(BETA,))))

    world.when(CREATE, by=BOT, token=TOKEN).refuses("tenant.unknown")


def test_an_instance_owners_token_holds_the_privilege_only_if_it_says_so() -> None:
    """Kestra-iam 8: with a scope present the privilege works only if asked for."""
    bare = WORLD.and_then(token(TOKEN, ROOT, Narrowing()))
    asked = WORLD.and_then(token(TOKEN, ROOT, Narrowing(instance_owner=True)))

    bare.when(CREATE, by=ROOT, token=TOKEN).refuses("tenant.unknown")
    assert asked.when(CREATE, by=ROOT, token=TOKEN).events


def test_an_instance_owners_token_passes_the_gates_that_it_leaves() -> None:
    """Kestra-iam 8: the privilege too is cut down by the permissions listed."""
    narrowing = Narrowing(permissions=from_lists({"ROLE": ["*"]}), instance_owner=True)
    world = WORLD.and_then(token(TOKEN, ROOT, narrowing))

    world.when(CREATE, by=ROOT, token=TOKEN).refuses("permission.denied")


def test_an_instance_owner_passes_administration_and_nothing_else() -> None:
    """Kestra-iam 5.5: the privilege gives no right on FLOW, EXECUTION or any other type."""
    circumstances = context(ROOT)

    commands.require_permission(WORLD.state, circumstances, MAIN, Permission("ROLE", "DELETE"))
    with pytest.raises(ForbiddenError):
        commands.require_permission(WORLD.state, circumstances, MAIN, Permission("FLOW", "VIEW"))
    with pytest.raises(ForbiddenError) as refused:
        commands.require_permission(WORLD.state, context(DAN), MAIN, Permission("FLOW", "VIEW"))
    assert (Requirement("FLOW", "VIEW"),) == refused.value.required


def test_an_owner_of_a_group_with_a_token_that_leaves_that_out_is_refused() -> None:
    """Kestra-iam 8: also an exception from a permission is cut down by the token."""
    narrowing = Narrowing(permissions=from_lists({"FLOW": ["*"]}))
    command = RemoveMember(tenant=MAIN, group=BOTS, principal=BOT)
    world = WORLD.and_then(member(BOTS, DAN, "OWNER"), token(TOKEN, DAN, narrowing))

    world.when(command, by=DAN, token=TOKEN).refuses("permission.denied")
    assert world.when(command, by=DAN).events


def test_a_command_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Security 6.2: one command is not allowed to fill the log."""
    monkeypatch.setattr("domain.commands.EVENTS_A_COMMAND_MAX", 1)

    WORLD.when(DeleteGroup(tenant=MAIN, id=BOTS), by=CAL).refuses("command.too_large")


# Idempotency (http-api 4)


def recorded(fingerprint: str = "print") -> History:
    """A history in which COMMAND_ID has been done once."""
    draft = Draft(WORLD.state)
    created = group(NEW_GROUP, "Night")
    (fact,) = facts(WORLD.state, (created,))
    envelope = structs.replace(fact.envelope, command_id=COMMAND_ID, fingerprint=fingerprint)
    apply(draft, structs.replace(fact, envelope=envelope))
    return History(draft.finish())


def test_a_command_repeated_answers_its_record() -> None:
    """http-api 4: found with the same fingerprint, nothing is appended."""
    world = recorded()

    verdict = world.when(CREATE, by=CAL, fingerprint="print").verdict

    assert Recorded(world.state.position, "print", START) == verdict


def test_a_key_used_for_another_request_is_refused() -> None:
    """http-api 4: found with another fingerprint."""
    recorded().when(CREATE, by=CAL, fingerprint="other").refuses("idempotency.mismatch")


def test_a_repeat_by_one_who_may_no_longer_is_refused() -> None:
    """http-api 4: the caller is judged anew, before the look-up."""
    recorded().when(CREATE, by=DAN, fingerprint="print").refuses("permission.denied")


def test_a_command_without_a_key_leaves_no_record() -> None:
    """http-api 4: only who sends a key may repeat."""
    assert CommandId("cmd_1") not in WORLD.state.recorded


def test_records_are_forgotten_two_days_after_by_the_logs_own_time() -> None:
    """http-api 4: 48 hours behind the newest event, judged without any clock."""
    state = recorded().state
    position = state.position
    for hours, kept in ((24, True), (48, True), (49, False)):
        at = START + timedelta(hours=hours)
        draft = Draft(state)
        other = GroupRenamed(tenant=MAIN, id=NEW_GROUP, name=f"Night {hours}")
        (fact,) = facts(state, (other,), at)
        envelope = structs.replace(
            fact.envelope, command_id=CommandId(f"cmd_{hours}"), fingerprint="x"
        )
        apply(draft, structs.replace(fact, envelope=envelope))
        state = draft.finish()
        found = state.recorded.get(COMMAND_ID)
        assert kept == (found == Recorded(position, "print", START))
    assert 3 == len(state.recorded) == len(state.recorded_order)


def test_a_command_of_several_events_is_recorded_with_its_last() -> None:
    """http-api 4: the answer to a repeat is built as of the last position."""
    draft = Draft(WORLD.state)
    both = (group(NEW_GROUP, "Night"), GroupRenamed(tenant=MAIN, id=NEW_GROUP, name="Day"))
    for fact in facts(WORLD.state, both):
        envelope = structs.replace(fact.envelope, command_id=COMMAND_ID, fingerprint="print")
        apply(draft, structs.replace(fact, envelope=envelope))

    state = draft.finish()

    assert Recorded(WORLD.state.position + 2, "print", START) == state.recorded[COMMAND_ID]
    assert 1 == len(state.recorded_order)


# If-Match (http-api 3)


def test_a_stale_expectation_is_refused_with_the_position_of_the_change() -> None:
    """http-api 3: If-Match is judged on the exact head."""
    world = WORLD.and_then(GroupRenamed(tenant=MAIN, id=BOTS, name="B"))
    position = world.state.position

    refusal = world.when(RENAME, by=CAL, expects=Expectation(BOTS, position - 1))

    assert isinstance(refusal.refuses("etag.mismatch"), StaleError)
    assert isinstance(refusal.refusal, StaleError)
    assert position == refusal.refusal.position
    assert world.when(RENAME, by=CAL, expects=Expectation(BOTS, position)).events
    assert world.when(RENAME, by=CAL, expects=Expectation(BOTS, None)).events


def test_an_expectation_of_what_is_not_there_is_refused() -> None:
    """http-api 3: `If-Match: *` asks that the entity exists."""
    WORLD.when(CREATE, by=CAL, expects=Expectation(NEW_GROUP, None)).refuses("object.unknown")


@pytest.mark.parametrize("position", [None, 0, 10**9])
def test_an_expectation_tells_nothing_of_a_foreign_object(position: int | None) -> None:
    """Security 2.3: another tenant's object answers as one that never existed, also to If-Match."""
    for id_ in (CREW, GroupId("grp_none")):
        command = structs.replace(RENAME, id=id_)
        outcome = WORLD.when(command, by=CAL, expects=Expectation(id_, position))
        assert f"no group {id_}" == outcome.refuses("group.unknown").detail


def test_an_expectation_comes_after_the_callers_rights() -> None:
    """Kestra-iam 2.6: an object cannot be probed without the permission."""
    WORLD.when(RENAME, by=DAN, expects=Expectation(BOTS, 0)).refuses("permission.denied")


def test_every_kind_of_object_knows_its_last_change() -> None:
    """http-api 3: an entity's tag is the position of the last event that changed it."""
    world = WORLD.and_then(
        bound(BOT, OPERATOR, id_="bnd_1"), token(TOKEN, BOT), group(NEW_GROUP, "Night")
    )
    last = world.state.position

    found = [changed_at(world.state, id_) for id_ in (BindingId("bnd_1"), TOKEN, NEW_GROUP)]
    assert [last - 2, last - 1, last] == found
    for id_ in (BOT, ADA, OPERATOR, MAIN):
        assert 0 < (changed_at(world.state, id_) or 0) < last
    assert changed_at(world.state, "none") is None


def test_a_state_is_judged_like_a_draft() -> None:
    """Deciding needs nothing that only a draft has: a what-if is a decision on a state."""
    assert decide(WORLD.state, CREATE, context(CAL)) == WORLD.when(CREATE, by=CAL).events
    assert UNSET is context(CAL).fingerprint
