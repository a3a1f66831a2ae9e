"""Do the intervals of a blame say at each moment what a check said then?"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import count, islice
from typing import TYPE_CHECKING, Final, cast

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from msgspec import structs

from domain.access import Question, allows
from domain.events import Fact, decode
from domain.groups import CreateGroup
from domain.ids import (
    MAIN,
    BindingId,
    CommandId,
    GroupId,
    RoleId,
    ServiceAccountId,
    TenantId,
)
from domain.permissions import TypeActions
from domain.principals import MemberRemoved
from domain.service_accounts import CreateServiceAccount
from domain.state import State, evolve
from domain.tenants import CreateTenant, GrantTenantAccess
from projections import blame, views
from projections.blame import Interval, TooMuchError, concerning, intervals
from projections.runner import ViewRunner
from tests.domain.test_explaining_histories import drawn
from tests.domain.world import account, bound, group, member, opened, role
from tests.fixed_inputs import START
from tests.histories import Histories
from tests.memory_log import MemoryLog
from tests.projections.undoing import SHORT, undone
from tests.spec import facts

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from domain.events import Event
    from domain.ids import PrincipalId

COMMANDS: Final = 250
QUESTIONS: Final = 12
EVERYTHING: Final = 1_000_000


def answer(found: list[Interval], position: int, at: float) -> bool:
    """Return what the intervals say of the facts up to a position, at an instant."""
    for begin, end in found:
        if _is_before(begin, position, at) and (end is None or not _is_before(end, position, at)):
            return True
    return False


def _is_before(edge: blame.Edge, position: int, at: float) -> bool:
    return edge.position <= position and edge.at.timestamp() <= at


def faults(engine: Engine, seed: int, blamed: Callable[..., list[Interval]]) -> Iterator[str]:
    """Yield where the intervals say something else than the whole log; nothing, if all is well."""
    history = Histories(seed)
    history.run(COMMANDS)
    log = MemoryLog(f"log-{seed}")
    log.append(1, history.records)
    ViewRunner(log, engine).catch_up()
    recorded = [decode(record) for record in history.records]
    states = [*_states(recorded)]
    chance = random.Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    peopled = [state for state in states if state.service_accounts]
    for _ in range(QUESTIONS):
        drawn_from = chance.choice(peopled)
        subject, question = drawn(drawn_from, chance)
        if subject in drawn_from.groups:
            continue
        with engine.connect() as connection:
            positions = concerning(
                connection,
                question.tenant,
                cast("PrincipalId", subject),
                history.state.position,
                EVERYTHING,
            )
        now = history.inputs.now().timestamp()
        found = blamed([recorded[one - 1] for one in positions], subject, question, now)
        for state, following in zip(states, [*states[1:], None], strict=True):
            begun = state.at.timestamp()
            ended = now if following is None else following.at.timestamp()
            for at in {begun, (begun + ended) / 2}:
                if following is not None and at >= ended:
                    continue
                if allows(state, subject, question, at) != answer(found, state.position, at):
                    yield f"{subject} {question} at {state.position}, {at}"


def _states(recorded: list[Fact]) -> Iterator[State]:
    """Yield the state after each command."""
    state = State()
    for number, fact in enumerate(recorded):
        state = evolve(state, [fact])
        following = recorded[number + 1 : number + 2]
        if not following or following[0].envelope.command_id != fact.envelope.command_id:
            yield state


@pytest.fixture(scope="module")
def file_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Yield views in a file, made anew for each log."""
    engine = views.open_sqlite(tmp_path_factory.mktemp("blame") / "views.db")
    yield engine
    engine.dispose()


@settings(max_examples=12, deadline=None)
@for_all(seed=st.integers(0, 2**32))
def test_intervals_say_what_checks_said(file_engine: Engine, seed: int) -> None:
    """Issue 5: at every position and between, allowed is inside an interval, denied outside."""
    assert [] == [*faults(file_engine, seed, intervals)]


def deaf_to_the_clock(
    concerned: Iterable[Fact], subject: PrincipalId, question: Question, until: float
) -> list[Interval]:
    """Broken: time changes nothing."""
    found = intervals(concerned, subject, question, until)
    return [one for one in found if not one.begin.by_clock]


def never_ends(
    concerned: Iterable[Fact], subject: PrincipalId, question: Question, until: float
) -> list[Interval]:
    """Broken: what was once allowed is for ever."""
    return [Interval(begin, None) for begin, _ in intervals(concerned, subject, question, until)]


@pytest.mark.parametrize("broken", [deaf_to_the_clock, never_ends])
def test_intervals_that_lie_are_noticed(
    file_engine: Engine, broken: Callable[..., list[Interval]]
) -> None:
    """Control of the property above."""
    assert any(True for seed in range(30) for _ in faults(file_engine, seed, broken))


# Undoing what is blamed


def test_undoing_what_is_blamed_flips_the_answer(file_engine: Engine) -> None:
    """Issue 5: of 1,000 in the long form, `python -m tests.campaigns blame --long`."""
    tried = (one for seed in count(1) for one in undone(file_engine, seed))
    found = [*islice(tried, SHORT)]

    assert len(found) == SHORT
    assert all(found)


def blames_another(
    concerned: Iterable[Fact], subject: PrincipalId, question: Question, until: float
) -> list[Interval]:
    """Broken: the event before the one that did it is blamed."""
    return [
        Interval(begin._replace(position=max(2, begin.position - 3)), end)
        for begin, end in intervals(concerned, subject, question, until)
    ]


def test_blaming_another_event_is_noticed(file_engine: Engine) -> None:
    """Control: undoing some other event changes nothing."""
    tried = (one for seed in count(1) for one in undone(file_engine, seed, blames_another))

    assert not all(islice(tried, 100))


# By example

BOT, READER, BOTS = ServiceAccountId("sa_bot"), RoleId("rol_reader"), GroupId("grp_bots")
VIEW = TypeActions("FLOW", ("VIEW",))
QUESTION = Question(MAIN, "FLOW", "VIEW", ("prod",), None)
BEGINNING: Final = (*opened(MAIN, "Main"), *account(BOT, MAIN), role(READER, (VIEW,)))
LATER: Final = START + timedelta(days=1)


def told(*events: Event, until: datetime = START) -> list[Interval]:
    """Return the intervals of the bot after these events, each its own command."""
    return intervals(facts(State(), (*BEGINNING, *events)), BOT, QUESTION, until.timestamp())


def test_each_edge_names_the_event_that_made_it() -> None:
    """Joining begins it, leaving ends it; what comes between changes nothing."""
    first = len(BEGINNING)
    joined = (group(BOTS, "Bots"), bound(BOTS, READER), member(BOTS, BOT))
    (found,) = told(*joined, MemberRemoved(tenant=MAIN, group=BOTS, principal=BOT))

    assert found.begin == blame.Edge(START, first + 3, by_clock=False)
    assert found.end == blame.Edge(START, first + 4, by_clock=False)


def test_the_clock_begins_and_ends_what_a_binding_says() -> None:
    """No event stands there: the edge says so, and names the facts that it was judged by."""
    given = bound(BOT, READER, not_before=LATER, expires_at=LATER + timedelta(days=1))
    at = len(BEGINNING) + 1

    assert told(given) == []
    assert told(given, until=LATER) == [Interval(blame.Edge(LATER, at, by_clock=True), None)]
    (found,) = told(given, until=LATER + timedelta(days=9))
    assert found.end == blame.Edge(LATER + timedelta(days=1), at, by_clock=True)


def test_an_edge_names_the_event_of_a_command_that_decided() -> None:
    """Of a command with several events the one since which the answer is what it is."""
    beginning = facts(State(), BEGINNING)
    state = evolve(State(), beginning)
    made = facts(state, (bound(BOT, READER), *opened(TenantId("other"), "Other")))
    together = [structs_replaced(fact, "cmd_one") for fact in made]
    (found,) = intervals([*beginning, *together], BOT, QUESTION, START.timestamp())

    assert found.begin.position == state.position + 1


def structs_replaced(fact: Fact, command: str) -> Fact:
    """Return the fact as of another command."""
    envelope = structs.replace(fact.envelope, command_id=CommandId(command))
    return Fact(fact.position, envelope)


@pytest.fixture
def history(file_engine: Engine) -> Histories:
    """Return a history with a large group, and its views."""
    found = Histories(3)
    for number in range(30):
        found.give(CreateServiceAccount(id=ServiceAccountId(f"sa{number}"), name=f"bot-{number}"))
    for number in range(30):
        found.give(
            GrantTenantAccess(
                tenant=MAIN,
                principal=ServiceAccountId(f"sa{number}"),
                default_binding=BindingId(f"default{number}"),
            )
        )
    everyone = tuple(ServiceAccountId(f"sa{number}") for number in range(30))
    found.give(
        CreateGroup(
            tenant=MAIN,
            id=BOTS,
            name="Bots",
            members=everyone,
            default_bindings=tuple(BindingId(f"spare{one}") for one in everyone),
        )
    )
    log = MemoryLog("log-large")
    log.append(1, found.records)
    ViewRunner(log, file_engine).catch_up()
    return found


def test_the_other_members_of_a_large_group_are_not_looked_at(
    file_engine: Engine, history: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost follows what concerns the principal, and is bounded."""
    monkeypatch.setattr(blame, "PAGE_ENTRIES", 2)
    head = history.state.position
    with file_engine.connect() as connection:
        found = concerning(connection, MAIN, ServiceAccountId("sa7"), head, 20)
        with pytest.raises(TooMuchError):
            concerning(connection, MAIN, ServiceAccountId("sa7"), head, 3)

    topics = [history.records[position - 1].topic for position in found]
    assert topics == [
        "tenant.created.v1",
        "service_account.created.v1",
        "tenant_access.granted.v1",
        "group.created.v1",
        "group.member_added.v1",
    ]


def test_what_happens_in_other_tenants_concerns_nobody_here(
    file_engine: Engine, history: Histories
) -> None:
    """A principal of two tenants is told about one at a time."""
    other = TenantId("other")
    history.give(CreateTenant(id=other, name="Other", managed_roles=history.role_ids()))
    log = MemoryLog("log-other")
    log.append(1, history.records)
    ViewRunner(log, file_engine).catch_up()
    with file_engine.connect() as connection:
        found = concerning(connection, other, ServiceAccountId("sa7"), history.state.position, 99)

    topics = [history.records[position - 1].topic for position in found]
    assert "group.created.v1" not in topics
    assert "service_account.created.v1" in topics
