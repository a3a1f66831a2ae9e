"""How long does a question about the past take, anywhere in 1,000,000 events and near the head?

As in a process that has just been started on a log with snapshots: whatever of the past is kept in
memory, a question before has left there.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from statistics import median, quantiles
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from domain.access import compile_subject, need
from domain.events import decode
from domain.groups import GroupCreated
from domain.ids import MAIN, GroupId, RoleId, ServiceAccountId, TenantId
from domain.principals import TenantAccessGranted
from domain.roles import RoleCreated
from domain.scopes import ancestors
from domain.service_accounts import ServiceAccountCreated
from domain.state import Draft, State, apply, evolve
from ops.bench import data, stores
from ops.bench.report import Options, Report, absolute, at_most, compared
from ops.collection import Freezer, collection_off, collection_paused
from ops.snapshots import Snapshots
from ops.stores import read_all
from projections import audit, views
from projections.access_graph import AccessGraph
from projections.directory import groups, roles, service_accounts
from projections.history import History
from projections.pages import Page
from projections.runner import ViewRunner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine

    from ops.bench.data import Question
    from ops.bench.report import Figure
    from ops.stores import Reader

QUESTIONS: Final = 1_000
LISTS: Final = 40
PROVED: Final = 20
NEAR_POSITIONS: Final = 10_000
_PAGE: Final = Page(size=50)
# Whatever it holds, it judges the state that it is given.
_GRAPH: Final = AccessGraph(State(), str.encode, data.alias_index)


class _Timed(NamedTuple):
    seconds: list[float]
    wrong: int


def run(options: Options) -> Report:
    """Ask on a log of 100,000 events a unit of scale, so 1,000,000 at scale 10."""
    events = max(300, round(data.EVENTS_AT_TEN / 10 * options.scale))
    world = data.make_world(options.scale, options.seed)
    with stores.sqlite_store() as store, stores.private_directory() as directory:
        log = store.log()
        reader = log.reader()
        stores.fill(log, data.records(data.history(world, events)))
        snapshots = Snapshots(directory / "snapshots", reader)
        engine = views.open_sqlite(directory / "views.db")
        with collection_off():
            head = evolve(State(), data.facts(data.history(world, events)))
            first = _first_way(reader, snapshots, events)
            past = History(
                reader,
                snapshots,
                on_folded=Freezer(collects=True).note,
                undisturbed=collection_paused,
            )
            past.keep(head)
        asker = _Asker(past, world, options.seed)
        anywhere = asker.ask(range(1, events + 1), QUESTIONS * options.rounds)
        near = asker.ask(
            range(max(1, events - NEAR_POSITIONS), events + 1), QUESTIONS * options.rounds
        )
        live = asker.ask(range(events, events + 1), QUESTIONS)
        wrong = (
            anywhere.wrong + near.wrong + live.wrong + _unlike(past, reader, events, options.seed)
        )
        # Lists that change last of all: how long they were before is no longer what is kept last.
        late = [*data.records(_LATE, events)]
        log.append(events + 1, late)
        lists = _lists(engine, reader, events, options.rounds)
        engine.dispose()
        log.close()
    figures = [
        absolute(
            "as-of check anywhere, p95", "ms", [_p95(anywhere.seconds)], at_most(20, scale=10)
        ),
        absolute("as-of check within the last 10,000, p95", "ms", [_p95(near.seconds)], at_most(5)),
        absolute("live check by the same way, p95", "ms", [_p95(live.seconds)]),
        absolute("worst of the questions after a start", "s", [max(anywhere.seconds)]),
        absolute("first way through the log, which leaves the snapshots", "s", [first]),
        *lists,
    ]
    return Report(
        figures=figures,
        wrong_answers=wrong,
        notes=(f"{events:,} events in SQLite; positions drawn evenly.",),
    )


def _p95(seconds: list[float]) -> float:
    return quantiles(seconds, n=20)[-1] * 1_000


def _first_way(reader: Reader, snapshots: Snapshots, events: int) -> float:
    begin = perf_counter()
    History(reader, snapshots).at(events)
    return perf_counter() - begin


class _Asker:
    """Asks a history random questions at random positions."""

    def __init__(self, past: History, world: data.World, seed: int) -> None:
        self._past = past
        self._random = Random(seed + 3)  # noqa: S311 - nothing is guarded by it, all repeatable
        asked = data.questions(world, data.Oracle(world), QUESTIONS)
        self._questions = [question for question, _ in asked]

    def ask(self, positions: range, number: int) -> _Timed:
        """Ask so many, at positions of these; an answer is held against the masks themselves."""
        seconds: list[float] = []
        wrong = 0
        for _ in range(number):
            position = self._random.choice(positions)
            question = self._random.choice(self._questions)
            begin = perf_counter()
            state = self._past.at(position)
            allowed = _check(state, question)
            seconds.append(perf_counter() - begin)
            wrong += state.position != position or allowed != _by_masks(state, question)
        return _Timed(seconds, wrong)


def _check(state: State, question: Question) -> bool:
    """Ask as a request does: by the graph's own function, of a state that is not the live one."""
    return _GRAPH.check_in(state)(
        TenantId(question.tenant),
        ServiceAccountId(question.subject),
        question.type,
        question.action,
        question.namespace,
        question.resource,
        data.NOW.timestamp(),
    )


def _by_masks(state: State, question: Question) -> bool:
    """Answer the question by what the domain compiles, without any graph."""
    subject = ServiceAccountId(question.subject)
    compiled = compile_subject(state, TenantId(question.tenant), subject, data.NOW.timestamp())
    if compiled is None:
        return False
    needed = need(state, TenantId(question.tenant), question.type, question.action)
    places = ("", *ancestors(question.namespace), question.resource)
    return any(needed & compiled.masks.get(place, 0) for place in places if place is not None)


def _unlike(past: History, reader: Reader, events: int, seed: int) -> int:
    """Answer how many states of the past are not what a fold from the first event amounts to."""
    random = Random(seed + 4)  # noqa: S311 - nothing is guarded by it, all repeatable
    wrong = 0
    draft = Draft(State())
    wanted = set(random.sample(range(1, events + 1), PROVED))
    for record in read_all(reader):
        apply(draft, decode(record))
        if record.position in wanted:
            state = draft.finish()
            wrong += past.at(record.position) != state
            draft = Draft(state)
    return wrong


# Lists

_Ask = Callable[["Connection", int], "tuple[Sequence[object], int]"]


def _asked(search: Callable[..., Any], *parameters: object) -> _Ask:
    def ask(connection: Connection, position: int) -> tuple[Sequence[object], int]:
        shown = search(connection, position, MAIN, None, *parameters)
        return shown.rows, shown.total

    return ask


def _of_trail(connection: Connection, position: int) -> tuple[Sequence[object], int]:
    found = audit.search(connection, position, MAIN, None, _PAGE)
    return found.entries, found.total


_LATE: Final = (
    ServiceAccountCreated(id=ServiceAccountId("late"), name="late"),
    TenantAccessGranted(tenant=MAIN, principal=ServiceAccountId("late")),
    GroupCreated(tenant=MAIN, id=GroupId("late"), name="late"),
    RoleCreated(tenant=MAIN, id=RoleId("late"), name="late", permissions=()),
)
_LISTS: Final[dict[str, _Ask]] = {
    "service accounts": _asked(service_accounts.of_tenant, _PAGE),
    "groups": _asked(groups.search, _PAGE),
    "roles": _asked(roles.search, _PAGE),
    "trail": _of_trail,
}


def _lists(engine: Engine, reader: Reader, events: int, rounds: int) -> list[Figure]:
    """Ask for first pages as of now and as of random positions, in turns."""
    ViewRunner(reader, engine).catch_up()
    random = Random(events)  # noqa: S311 - nothing is guarded by it, all repeatable
    figures: list[Figure] = []
    with engine.connect() as connection:
        for name, ask in _LISTS.items():
            then: list[float] = []
            now: list[float] = []
            for _ in range(rounds):
                now.append(_median(connection, ask, [events + len(_LATE)] * LISTS))
                positions = [random.randrange(events // 2, events) for _ in range(LISTS)]
                then.append(_median(connection, ask, positions))
            figures.append(
                compared(f"{name} as of a position, beside live", "ms", then, now, at_most(2))
            )
    return figures


def _median(connection: Connection, ask: _Ask, positions: Sequence[int]) -> float:
    seconds: list[float] = []
    for position in positions:
        begin = perf_counter()
        ask(connection, position)
        seconds.append(perf_counter() - begin)
    return median(seconds) * 1_000
