"""How fast is a check beside pycasbin and cedarpy, on the same data and in the same loop?

Each peer gets the model in which it is fastest, with everything prepared that can be prepared
before the first question: groups, and for pycasbin roles too, are worked out in advance, so both
are spared what we do when a principal is compiled. Our own check runs with all its rules.

pycasbin: FastEnforcer, whose cache is keyed by type, action and scope (performance 4), with one
row for each permission that a subject holds at a scope, put in directly; one call an ancestor of
the namespace until one allows. What the cache has compared already is not in the matcher. The
same with the subject as a fourth key, which is faster still, is shown beside it.

cedarpy: one PolicySet for each (type, action), all Entities parsed once, no schema, and requests
as dicts, which are faster than text. A principal's attributes hold the namespaces of each role,
a namespace has the one above it as parent, and one policy allows what any of the roles that list
the pair does: several policies would be evaluated all, one ends at the first that is true. The
batch call was no faster for each request.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from domain.scopes import ancestors
from domain.state import State, evolve
from ops.bench import data
from ops.bench.check import Lane, Ours, ask, measure, wrong_answers
from ops.bench.report import Figure, Options, Report, absolute, at_least, compared
from ops.collection import collection_off
from projections.access_graph import AccessGraph

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from ops.bench.check import Row, Speed
    from ops.bench.data import World

# So many that principals and namespaces vary, and the slowest engine is through in seconds.
_QUESTIONS_MAX: Final = 10_000
_CHUNK: Final = 500

# What is installed, and what is imported.
PACKAGES: Final = {"pycasbin": "casbin", "cedarpy": "cedarpy"}

_CASBIN_MODEL: Final = """
[request_definition]
r = sub, type, act, scope
[policy_definition]
p = sub, type, act, scope
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub
"""


Answer = Callable[["Row"], bool]


class _Peer(NamedTuple):
    name: str
    engine: PeerEngine
    goal: float | None


class _Holding(NamedTuple):
    """A role, and the namespace that a principal has it at."""

    role: str
    namespace: str


Held = dict[str, set[_Holding]]


class PeerEngine:
    """A peer behind a function that answers one question: its call is little beside the rest."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def answers(self, rows: list[Row]) -> list[bool]:
        """Answer them one after the other, as fast as it goes."""
        answer = self._answer
        return [answer(row) for row in rows]

    def times(self, rows: list[Row]) -> list[int]:
        """Answer the nanoseconds of each."""
        answer, clock = self._answer, perf_counter_ns
        taken: list[int] = []
        for row in rows:
            begin = clock()
            answer(row)
            taken.append(clock() - begin)
        return taken


def run(options: Options) -> Report:
    """Let all that are installed answer the same questions by turns."""
    world = data.make_world(options.scale, options.seed)
    asked = ask(world, _QUESTIONS_MAX, _CHUNK)
    installed = _installed()
    with collection_off():
        peers = list(_peers(world, installed))
        state = evolve(State(), data.facts(world.events()))
        ours = Ours(AccessGraph(state, str.encode, data.alias_index))
    lanes = [Lane(ours, asked), *(Lane(peer.engine, asked) for peer in peers)]
    wrong = wrong_answers(lanes)
    gc.collect()
    gc.freeze()
    rounds = [measure(lanes, options.seconds) for _ in range(options.rounds)]
    figures: list[Figure] = []
    for index, peer in enumerate(peers, 1):
        figures += _figures(peer, [(speeds[0], speeds[index]) for speeds in rounds])
    figures.append(absolute("ours, p50", "µs", [speeds[0].p50_us for speeds in rounds]))
    figures.append(absolute("ours, p99", "µs", [speeds[0].p99_us for speeds in rounds]))
    return Report(
        figures=figures,
        wrong_answers=wrong,
        not_run=tuple(f"{package} missing" for package in PACKAGES if package not in installed),
        notes=tuple(f"{package} {metadata.version(package)}" for package in installed),
    )


def _figures(peer: _Peer, speeds: list[tuple[Speed, Speed]]) -> list[Figure]:
    return [
        compared(
            f"rate beside {peer.name}",
            "checks/s",
            [ours.checks_a_second for ours, _ in speeds],
            [theirs.checks_a_second for _, theirs in speeds],
            None if peer.goal is None else at_least(peer.goal, scale=1),
        ),
        absolute(f"{peer.name}, p50", "µs", [theirs.p50_us for _, theirs in speeds]),
        absolute(f"{peer.name}, p99", "µs", [theirs.p99_us for _, theirs in speeds]),
    ]


def _installed() -> dict[str, ModuleType]:
    """Answer the packages that are there, by the names that they are installed under."""
    found: dict[str, ModuleType] = {}
    for package, module in PACKAGES.items():
        with suppress(ImportError):
            found[package] = importlib.import_module(module)
    return found


def _peers(world: World, installed: dict[str, ModuleType]) -> Iterator[_Peer]:
    held = _held(world)
    if "pycasbin" in installed:
        rows = list(_rows(world, held))
        for name, keys, goal in (
            ("pycasbin", (1, 2, 3), 80),
            ("pycasbin, subject keyed", (0, 1, 2, 3), None),
        ):
            engine = PeerEngine(_ask_casbin(installed["pycasbin"], world, rows, keys))
            yield _Peer(name, engine, goal)
    if "cedarpy" in installed:
        yield _Peer("cedarpy", PeerEngine(_ask_cedar(installed["cedarpy"], world, held)), 50)


def _held(world: World) -> Held:
    """Answer what every principal holds where, by itself and by its groups."""
    oracle = data.Oracle(world)
    principals = [*(account.id for account in world.accounts), *(user.id for user in world.users)]
    return {
        principal: {
            _Holding(binding.role, binding.scope.namespace or "")
            for binding in oracle.held(principal)
        }
        for principal in principals
    }


# pycasbin


def _ask_casbin(
    package: ModuleType, world: World, rows: list[tuple[str, str, str, str]], keys: tuple[int, ...]
) -> Answer:
    # The package hides this module of its own behind another of the same name.
    model = importlib.import_module("casbin.model").FastModel(keys)
    model.load_model_from_text(_CASBIN_MODEL)
    policy = model.model["p"]["p"].policy
    for row in rows:
        policy.append(row)
    enforce = package.FastEnforcer(model, cache_key_order=keys).enforce
    above = {namespace: ancestors(namespace) for namespace in world.namespaces}

    def answer(row: Row) -> bool:
        subject, type_, action, namespace, _, _ = row
        return any(enforce(subject, type_, action, scope) for scope in above[namespace])

    return answer


def _rows(world: World, held: Held) -> Iterator[tuple[str, str, str, str]]:
    pairs: dict[str, list[tuple[str, str]]] = {
        role.id: [(entry.type, action) for entry in role.permissions for action in entry.actions]
        for role in world.roles
    }
    for principal, holdings in held.items():
        for holding in holdings:
            for type_, action in pairs[holding.role]:
                yield principal, type_, action, holding.namespace


# cedarpy


def _ask_cedar(package: ModuleType, world: World, held: Held) -> Answer:
    names: dict[str, str] = {role.id: f"role{number}" for number, role in enumerate(world.roles)}
    holders: dict[tuple[str, str], list[str]] = {}
    for role in world.roles:
        for entry in role.permissions:
            for action in entry.actions:
                holders.setdefault((entry.type, action), []).append(names[role.id])
    policies = {
        (type_, action): package.PolicySet.from_str(_policy(holders.get((type_, action), [])))
        for type_ in data.TYPES
        for action in data.ACTIONS
    }
    known = [*map(_namespace, world.namespaces)]
    known += [_principal(id_, holdings, names) for id_, holdings in held.items()]
    entities = package.Entities.from_json_str(msgspec.json.encode(known).decode())
    is_authorized = package.is_authorized

    def answer(row: Row) -> bool:
        subject, type_, action, namespace, _, _ = row
        request = {
            "principal": {"type": "Principal", "id": subject},
            "action": {"type": "Action", "id": "act"},
            "resource": {"type": "Namespace", "id": namespace},
        }
        allowed: bool = is_authorized(request, policies[type_, action], entities).allowed
        return allowed

    return answer


def _policy(roles: list[str]) -> str:
    anywhere = " || ".join(
        f"(principal has {role} && resource in principal.{role})" for role in roles
    )
    return f"permit(principal, action, resource) when {{ {anywhere or 'false'} }};"


def _namespace(name: str) -> dict[str, Any]:
    above = ancestors(name)[1:2]
    return {
        "uid": {"type": "Namespace", "id": name},
        "attrs": {},
        "parents": [{"type": "Namespace", "id": parent} for parent in above],
    }


def _principal(id_: str, held: set[_Holding], names: dict[str, str]) -> dict[str, Any]:
    places: dict[str, list[Any]] = {}
    for holding in sorted(held):
        entity = {"__entity": {"type": "Namespace", "id": holding.namespace}}
        places.setdefault(names[holding.role], []).append(entity)
    return {"uid": {"type": "Principal", "id": id_}, "attrs": places, "parents": []}
