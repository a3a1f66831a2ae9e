"""How long does the first page of the trail take, by any one filter, among 1,000,000 events?

The rows are put into the view directly: how they come there otherwise is what catching up costs.
Every page is held against the positions that were noted while the rows were made.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from random import Random
from statistics import quantiles
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import Struct, structs

from domain.ids import MAIN, TenantId
from ops.bench import data
from ops.bench.report import Options, Report, absolute, at_most
from ops.bench.stores import private_directory
from projections import marks, trail, views
from projections.audit import EVERYWHERE
from projections.batch import Batch
from projections.entries import TABLE
from projections.sentences import TEMPLATES
from projections.trail import Sought

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from projections.audit import Scope
    from projections.views import Values

EVENTS_AT_ONE: Final = 1_000_000
PAGE_ENTRIES: Final = 100
_BATCH_ROWS: Final = 5_000
_BETA: Final = TenantId("beta")
_SCOPES: Final = (MAIN, _BETA, EVERYWHERE)
_TOPICS: Final = tuple(TEMPLATES)
_VALUES_A_FILTER: Final = 8

# How many different values there are, and which share of the events has the most frequent one.
_ACTORS: Final = 500
_BUSY: Final = 0.5
_WORDS: Final = 5_000

_FIELDS: Final = {
    "actor": "actor_id",
    "token": "actor_token_id",
    "target": "object_id",
    "address": "actor_address",
    "correlation": "correlation_id",
    "command": "command_id",
}


class _Noted(NamedTuple):
    """One question, and where its answers are: positions with their tenants, oldest first."""

    sought: Sought
    found: list[tuple[int, TenantId]]


class _Trail(Struct, frozen=True):
    """How many rows there are, and what is asked of them by the name of the filter."""

    size: int
    asked: dict[str, list[_Noted]]


def run(options: Options) -> Report:
    """Fill the view once, then ask every question in each tenant, everywhere, and both ways."""
    size = max(_BATCH_ROWS // 5, int(EVENTS_AT_ONE * options.scale))
    seconds: dict[str, list[float]] = {}
    wrong = 0
    with private_directory() as directory:
        engine = views.open_sqlite(directory / "views.db")
        with engine.begin() as connection:
            made = _fill(connection, size, options.seed)
        with engine.connect() as connection:
            for name, questions in made.asked.items():
                for _ in range(options.rounds):
                    for question in questions:
                        wrong += _ask(connection, made, question, seconds.setdefault(name, []))
        engine.dispose()
    figures = [
        absolute(f"by {name}, p95", "ms", [_p95(samples) * 1_000], at_most(50, scale=1))
        for name, samples in seconds.items()
    ]
    return Report(
        figures=figures,
        wrong_answers=wrong,
        notes=(
            f"{size:,} events in SQLite; pages of {PAGE_ENTRIES}, both ways, by tenant and in all.",
        ),
    )


def _p95(samples: list[float]) -> float:
    return quantiles(samples, n=20)[-1]


def _ask(connection: Connection, made: _Trail, question: _Noted, seconds: list[float]) -> int:
    """Ask for both first pages in each scope; answer how many were wrong."""
    wrong = 0
    for scope in _SCOPES:
        for look, found in (
            (trail.part, question.found),
            (trail.part_before, question.found[::-1]),
        ):
            begin = perf_counter()
            part = look(connection, scope, question.sought, 0, made.size, PAGE_ENTRIES)
            seconds.append(perf_counter() - begin)
            expected = [*islice(_in_scope(found, scope), PAGE_ENTRIES)]
            wrong += expected != [entry.position for entry in part.entries]
    return wrong


def _in_scope(found: list[tuple[int, TenantId]], scope: Scope) -> Iterator[int]:
    return (position for position, tenant in found if scope in (EVERYWHERE, tenant))


# The rows


def _fill(connection: Connection, size: int, seed: int) -> _Trail:
    """Write the rows, and note where those are that will be asked for."""
    random = Random(seed)  # noqa: S311 - nothing is to be secret, all repeatable
    asked = _questions(size, random)
    watched = {
        name: {_key(name, one.sought): one.found for one in some} for name, some in asked.items()
    }
    batch = Batch()
    for position in range(1, size + 1):
        row = _row(position, size, random)
        _note(watched, row)
        batch.insert(marks.TABLE, {"rowid": position, "marks": marks.of_entry(row)})
        batch.insert(TABLE, row)
        if position % _BATCH_ROWS == 0 or position == size:
            batch.write(connection)
            batch = Batch()
    return _Trail(size, asked)


def _row(position: int, size: int, random: Random) -> Values:
    """Answer a row; two events follow each other in one command and one request."""
    command = (position + 1) // 2
    actor = 0 if random.random() < _BUSY else random.randrange(_ACTORS)
    words = (f"word{random.randrange(_WORDS)}", f"word{int(_WORDS * random.random() ** 4)}")
    row: Values = dict.fromkeys(TABLE.columns.keys())
    row.update(
        position=position,
        at=_instant(position),
        tenant=_BETA if random.random() < 1 / 100 else MAIN,
        topic=_TOPICS[int(len(_TOPICS) * random.random() ** 2)],
        type="UPDATE",
        resource="GROUP",
        object_id=f"object{random.randrange(max(1, size // 10)):016}",
        object_name="-".join(words),
        actor_type="service_account",
        actor_id=f"actor{actor:017}",
        actor_name=f"bot-{actor}",
        actor_token_id=f"token{actor:017}",
        actor_address=f"10.0.{actor % 4}.{actor % 250}",
        actor_user_agent="muniment-client/1.0 (linux)",
        command_id=f"command{command:015}",
        correlation_id=f"request-{command:x}",
        before='{"id":"0000000000000000000000","name":"before","description":""}',
        after='{"id":"0000000000000000000000","name":"after","description":"longer than before"}',
        search="\n".join(words),
    )
    return row


def _instant(position: int) -> Any:  # noqa: ANN401 - a datetime, as rows hold anything
    return data.NOW + timedelta(seconds=position)


# The questions


def _questions(size: int, random: Random) -> dict[str, list[_Noted]]:
    """Answer what is asked: by each filter values that are frequent, rare and nowhere."""
    asked: dict[str, list[_Noted]] = {name: [] for name in (*_FIELDS, "type", "prefix", "word")}
    for number in range(_VALUES_A_FILTER):
        # Each second one of somewhere in the trail, the others of the most frequent.
        row = _row(random.randrange(1, size + 1), size, random)
        for name, column in _FIELDS.items():
            value = "nowhere" if number == 1 else row[column]
            asked[name].append(_Noted(structs.replace(Sought(), **{name: value}), []))
        topic = _TOPICS[number * 5]
        asked["type"].append(_Noted(Sought(topics=(topic,)), []))
        prefix = topic.partition(".")[0] + ".*"
        asked["prefix"].append(_Noted(Sought(topics=(prefix,)), []))
        asked["word"].append(_Noted(Sought(words=f"word{number * number * 50}"), []))
    asked["time"] = [_span(size, share) for share in (0, 0.3, 0.6, 0.9)]
    asked["nothing"] = [_span(size, None)]
    return {name: _once(name, some) for name, some in asked.items()}


def _once(name: str, some: list[_Noted]) -> list[_Noted]:
    return [*{_key(name, one.sought): one for one in some}.values()]


def _span(size: int, share: float | None) -> _Noted:
    """Answer a tenth of the time from this share on, or the question without any filter."""
    if share is None:
        return _Noted(Sought(), [])
    first, last = int(size * share), int(size * (share + 0.1))
    return _Noted(Sought(since=_instant(first), until=_instant(last)), [])


def _key(name: str, sought: Sought) -> Any:  # noqa: ANN401 - whatever rows are noted by
    match name:
        case "type" | "prefix":
            return sought.topics[0]
        case "word":
            return sought.words
        case "time":
            return sought.since, sought.until
        case "nothing":
            return None
        case _:
            return getattr(sought, name)


def _note(watched: dict[str, dict[Any, list[tuple[int, TenantId]]]], row: Values) -> None:
    place = (row["position"], row["tenant"])
    for name, column in _FIELDS.items():
        if (found := watched[name].get(row[column])) is not None:
            found.append(place)
    topic: str = row["topic"]
    keys = {("type", topic), ("prefix", topic.partition(".")[0] + ".*"), ("nothing", None)}
    keys.update(("word", word) for word in row["object_name"].split("-"))
    for name, key in keys:
        if (found := watched[name].get(key)) is not None:
            found.append(place)
    for (since, until), found in watched["time"].items():
        if since <= row["at"] <= until:
            found.append(place)
