"""Is an evidence pack whole and signed, and do its events amount to the answers that it gives?

    python verify.py PACK.zip [--key VERIFIER_KEY]...

Needs Python 3.11 and `cryptography` only, and stands in every pack as `verify.py`; use a copy that
you trust. It judges the signed manifest (C2SP signed-note), proves every event under the signed
checkpoint (RFC 6962), folds the events by rules of its own, and compares every answer. `--key` is a
key that you know to be the installation's; without it the pack's own keys count.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Json = dict[str, Any]
Key = tuple[str, bytes, bytes]
Place = tuple[str, str, str]
# Position, topic, instant, command and body of an event.
Event = tuple[int, str, datetime, str, Json]
# Binding, group or "", role, place, and the pairs of (type, action) that are granted there.
Grant = tuple[str, str, str, Place, list[tuple[str, str]]]

FORMAT: Final = "muniment evidence pack v1"
# In this order; the manifest, which is the last, names the sums of all the others.
NAMES: Final = """index.html pack.json answers.ndjson events.ndjson checkpoint.txt keys.txt
    verify.py manifest.txt""".split()
# Events that change nobody's rights. An event of any other topic that is not folded is refused.
SILENT: Final = frozenset(
    """
    log.opened tenant.renamed role.renamed role.described role.made_default role.default_ended
    group.created group.deleted group.renamed group.described group.membership_changed
    user.email_changed user.renamed user.password_set user.password_rehashed user.password_removed
    user.restricted user.unrestricted user.sessions_ended user.erased service_account.renamed
    service_account.described instance_owner.granted instance_owner.revoked token.issued
    token.rotated token.disabled token.enabled token.extended token.revoked alias.set alias.removed
    sink.created sink.paused sink.resumed sink.replayed sink.deleted
    """.split()
)
BEGINS: Final = "user.created user.enabled service_account.created service_account.enabled".split()
ENDS: Final = "user.disabled user.deleted service_account.disabled service_account.deleted".split()
ROLES: Final = ("role.created", "role.managed_created", "role.permissions_set")


class RefusedError(Exception):
    """The pack does not prove what it says."""


def require(holds: object, words: str) -> None:
    """RefusedError with these words unless it holds."""
    if not holds:
        raise RefusedError(words)


# The container: a ZIP whose bytes follow from its members


def container(members: Mapping[str, bytes]) -> bytes:
    """Answer the one ZIP of these members: stored, in order, without dates."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            entry = zipfile.ZipInfo(name)
            entry.create_system = 3
            archive.writestr(entry, data)
    return file.getvalue()


def opened(data: bytes) -> dict[str, bytes]:
    """Answer the members by name, of a file that is their one container."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    require([*members] == NAMES, "the pack has other members than it should")
    require(container(members) == data, "the container was changed")
    return members


# Notes, checkpoints and proofs


def decoded(text: str) -> bytes:
    """Answer the bytes of base64; ValueError for anything else."""
    return base64.b64decode(text, validate=True)


def key_of(text: str) -> Key:
    """Answer (name, id, public key) of a verifier key `name+id+key`."""
    name, _, rest = text.strip().partition("+")
    id_, _, encoded = rest.partition("+")
    data = decoded(encoded)
    known = sha256(name.encode() + b"\n" + data).digest()[:4]
    require(data[:1] == b"\1" and id_ == known.hex(), "a key is malformed")
    return name, known, data[1:]


def note(text: str, keys: Sequence[Key]) -> str:
    """Answer what a note says, signed by one of the keys; InvalidSignature for a wrong one."""
    said, blank, lines = text.rpartition("\n\n")
    require(bool(blank) and lines.endswith("\n"), "this is no signed note")
    signers = 0
    for line in lines.split("\n")[:-1]:
        name, _, encoded = line.removeprefix("\N{EM DASH} ").partition(" ")
        data = decoded(encoded)
        for _, _, public in [key for key in keys if key[:2] == (name, data[:4])]:
            Ed25519PublicKey.from_public_bytes(public).verify(data[4:], f"{said}\n".encode())
            signers += 1
    require(signers, "no known key has signed this")
    return said + "\n"


def checkpoint(text: str, keys: Sequence[Key]) -> tuple[str, int, bytes]:
    """Answer origin, size and root of a signed checkpoint."""
    said = note(text, keys)
    found = re.fullmatch(r"([^\s+]+)\n([1-9][0-9]*)\n([A-Za-z0-9+/]{43}=)\n", said)
    if found is None:
        raise RefusedError("this is no checkpoint")
    return found[1], int(found[2]), decoded(found[3])


def root_of(index: int, size: int, leaf: bytes, hashes: Sequence[bytes]) -> bytes:
    """Answer the root that an inclusion proof leads to (RFC 6962, section 2.1.1)."""
    sides: list[bool] = []
    first, beyond = 0, size
    while beyond - first > 1:
        middle = first + (1 << (beyond - first - 1).bit_length() - 1)
        sides.append(index >= middle)
        first, beyond = (middle, beyond) if index >= middle else (first, middle)
    require(0 <= index < size and len(sides) == len(hashes), "a proof has the wrong length")
    for is_right, other in zip(reversed(sides), hashes, strict=True):
        leaf = sha256(b"\1" + (other + leaf if is_right else leaf + other)).digest()
    return leaf


# The events


def proved(lines: str, size: int, root: bytes) -> tuple[list[Event], int]:
    """Answer the events in order, each proved: (position, topic, instant, command, body).

    Of an event that is told and not shown, only its place is proved; the manifest's signer says
    what it was.
    """
    events: list[Event] = []
    told = last = 0
    for line in lines.split("\n")[:-1]:
        one = json.loads(line)
        position, topic = one["position"], one["topic"]
        require(last < position <= size, "the events are not in order")
        last = position
        if "state" in one:
            entry = topic.encode() + b"\n" + one["state"].encode()
            require("\n" not in topic, "a topic is one line")
            leaf, envelope = sha256(b"\0" + entry).digest(), json.loads(one["state"])
        else:
            leaf, envelope, told = decoded(one["leaf"]), one["told"], told + 1
        found = root_of(position - 1, size, leaf, [decoded(hash_) for hash_ in one["proof"]])
        require(found == root, f"the event at {position} is not in the log")
        at = instant(envelope["at"])
        events.append((position, topic, at, envelope["command_id"], envelope["event"]))
    return events, told


def instant(text: str) -> datetime:
    """Answer an instant of RFC 3339."""
    return datetime.fromisoformat(text).astimezone(UTC)


class Facts:
    """What the events of one tenant amount to, by rules written anew from the specification."""

    def __init__(self, tenant: str) -> None:
        self.tenant, self.position = tenant, 0
        self.open: set[str] = set()
        self.enabled: set[str] = set()
        self.access: set[str] = set()
        self.members: dict[tuple[str, str], Json] = {}
        self.roles: dict[str, list[tuple[str, str]]] = {}
        self.bindings: dict[str, Json] = {}

    def apply(self, position: int, topic: str, event: Json) -> None:
        """Fold one event. An unknown topic is refused: it may take a right away."""
        self.position = position
        require(event.get("tenant", self.tenant) == self.tenant, f"{position} is of another tenant")
        name = topic.removesuffix(".v1")
        if name not in SILENT:
            require(name in FOLD, f"the event at {position} has the unknown topic {topic}")
            FOLD[name](self, event)

    def grants(self, subject: str, now: datetime) -> list[Grant]:
        """Answer what is in force for a subject, by binding."""
        if not (self.open and subject in self.enabled & self.access):
            return []
        holders = {subject: ""} | {
            group: group
            for (member, group), held in self.members.items()
            if member == subject and in_time(held, now)
        }
        return sorted(
            (id_, holders[one["subject"]], one["role"], place_of(one), self.roles[one["role"]])
            for id_, one in self.bindings.items()
            if one["subject"] in holders and in_time(one, now)
        )

    def boundaries(self, subject: str) -> list[datetime]:
        """Answer the instants at which the clock alone may change what is in force."""
        held = {group: span for (member, group), span in self.members.items() if member == subject}
        bound = [one for one in self.bindings.values() if one["subject"] in {subject, *held}]
        spans = [*held.values(), *bound]
        edges = [span.get(name) for span in spans for name in ("not_before", "expires_at")]
        return sorted(instant(edge) for edge in edges if edge is not None)


FOLD: Final[dict[str, Callable[[Facts, Json], object]]] = {
    "tenant.created": lambda facts, event: facts.open.add(event["tenant"]),
    "tenant.deleted": lambda facts, event: facts.open.discard(event["tenant"]),
    **{one: lambda facts, event: facts.enabled.add(event["id"]) for one in BEGINS},
    **{one: lambda facts, event: facts.enabled.discard(event["id"]) for one in ENDS},
    "tenant_access.granted": lambda facts, event: facts.access.add(event["principal"]),
    "tenant_access.ended": lambda facts, event: facts.access.discard(event["principal"]),
    **{
        one: lambda facts, event: facts.roles.update({event["id"]: pairs_of(event)})
        for one in ROLES
    },
    "role.deleted": lambda facts, event: facts.roles.pop(event["id"], None),
    "group.member_added": lambda facts, event: facts.members.update({member_of(event): event}),
    "group.member_removed": lambda facts, event: facts.members.pop(member_of(event), None),
    "binding.created": lambda facts, event: facts.bindings.update({event["id"]: event}),
    "binding.deleted": lambda facts, event: facts.bindings.pop(event["id"], None),
}


def member_of(event: Json) -> tuple[str, str]:
    """Answer who is a member of what."""
    return event["principal"], event["group"]


def pairs_of(role: Json) -> list[tuple[str, str]]:
    """Answer the (type, action) pairs that a role grants; READ stands for VIEW and LIST too."""
    found = {(one["type"], action) for one in role["permissions"] for action in one["actions"]}
    return sorted(found | {(t, more) for t, a in found if a == "READ" for more in ("VIEW", "LIST")})


def in_time(span: Json, now: datetime) -> bool:
    """Tell whether an instant lies within a span, whose end is not included."""
    begins, ends = span.get("not_before"), span.get("expires_at")
    return (begins is None or instant(begins) <= now) and (ends is None or now < instant(ends))


def place_of(binding: Json) -> Place:
    """Answer (namespace, resource type, resource id), empty where nothing need be named."""
    scope: Json = binding.get("scope", {})
    resource = scope.get("resource", {"type": "", "id": ""})
    return scope.get("namespace", ""), resource["type"], resource["id"]


def flat(grants: Iterable[Grant], question: Json | None = None) -> set[tuple[str, ...]]:
    """Answer every (place, pair) in force, or those of them that allow what is asked."""
    found: set[tuple[str, ...]] = {(*one[3], *pair) for one in grants for pair in one[4]}
    if question is None:
        return found
    parts = question.get("namespace", "").split(".")
    places = {(".".join(parts[:n]), "", "") for n in range(len(parts) + 1)}
    places |= {("", one["type"], one["id"]) for one in [question.get("resource")] if one}
    type_, action = question["type"], question["action"]
    return {
        one
        for one in found
        if one[:3] in places and one[3] in {type_, "*"} and one[4] in {action, "*"}
    }


def told(grant: Grant) -> Json:
    """Answer a grant as an answer tells it, in the words of JSON."""
    members = ("binding", "group", "role", "place", "permissions")
    return dict(zip(members, json.loads(json.dumps(grant)), strict=True))


def moments(
    events: Iterable[Event], tenant: str, subject: str, until: datetime
) -> Iterator[tuple[datetime, int, bool, list[Grant]]]:
    """Yield after each command, and at each boundary of time: instant, position, clock?, grants.

    The events of a command count together, since no check sees half of one.
    """
    facts, now = Facts(tenant), datetime.min.replace(tzinfo=UTC)
    for _, command in groupby([*events, None], key=lambda one: one and one[3]):
        group = [one for one in command if one is not None]
        at = group[-1][2] if group else until
        for edge in facts.boundaries(subject):
            if now < edge <= at:
                yield edge, facts.position, True, facts.grants(subject, edge)
        now = at
        for position, topic, _, _, body in group:
            facts.apply(position, topic, body)
        yield at, facts.position, False, facts.grants(subject, at)


def history(
    events: Iterable[Event], tenant: str, subject: str, until: datetime, question: Json | None
) -> list[Json]:
    """Answer when what is in force changed, and how; with a question, of what allows that."""
    found: list[Json] = []
    before: set[tuple[str, ...]] = set()
    for at, position, by_clock, grants in moments(events, tenant, subject, until):
        after = flat(grants, question)
        if after != before:
            gained, lost = sorted(map(list, after - before)), sorted(map(list, before - after))
            edge = {"at": at.isoformat(), "position": position, "byClock": by_clock}
            found.append({**edge, "gained": gained, "lost": lost})
        before = after
    return found


def folded(events: Iterable[Event], tenant: str, until: int) -> Facts:
    """Answer what the events up to a position amount to."""
    facts = Facts(tenant)
    for position, topic, _, _, body in events:
        if position <= until:
            facts.apply(position, topic, body)
    return facts


def judge(answer: Json, events: list[Event], facts: Facts) -> None:
    """Refuse an answer that the events do not amount to; `facts` are those of its position."""
    kind, subject, question = answer["kind"], answer["subject"], answer.get("question")
    at = instant(answer["at"])
    grants = facts.grants(subject, at)
    expected: object = [told(one) for one in grants if flat([one], question)]
    if kind == "history":
        known = [one for one in events if one[0] <= answer["position"]]
        expected = history(known, facts.tenant, subject, at, question)
    require(kind in {"rights", "history"}, f"an answer has the unknown kind {kind}")
    require(answer["answer"] == expected, f"the events do not amount to the {kind} of {subject}")


def verify(data: bytes, known: Sequence[str] = ()) -> list[str]:
    """Answer what a pack says and proves, as lines; RefusedError where it does not."""
    members = {name: member.decode() for name, member in opened(data).items()}
    own = [key_of(line) for line in members["keys.txt"].split()]
    keys = [key_of(line) for line in known] or own
    origin, size, root = checkpoint(members["checkpoint.txt"], keys)
    sums = [f"{sha256(members[name].encode()).hexdigest()} {name}" for name in NAMES[:-1]]
    require(
        note(members[NAMES[-1]], [key for key in keys if key[0] == origin])
        == "\n".join([FORMAT, origin, *sums, ""]),
        "the manifest is not of these members",
    )
    pack = json.loads(members["pack.json"])
    answers = [json.loads(line) for line in members["answers.ndjson"].split("\n")[:-1]]
    events, told = proved(members["events.ndjson"], size, root)
    positions = {one["position"] for one in answers} | {*pack.get("complete", ())}
    facts = {position: folded(events, pack["tenant"], position) for position in positions}
    if "allowed" in pack:
        require(pack["allowed"] == bool(answers[0]["answer"]), "it was decided otherwise")
    for answer in answers:
        judge(answer, events, facts[answer["position"]])
    for position in pack.get("complete", ()):
        there = {one["subject"] for one in answers if one["position"] == position}
        require(there == facts[position].access, "nothing is said of somebody who had access")
    return [
        f"{pack['kind']} in tenant {pack['tenant']} of {origin}, made at {pack['madeAt']}",
        f"{len(events)} events are in the signed log of {size}, {told} of them told by place alone",
        f"{len(answers)} answers follow from them",
        "judged by the keys that you gave" if known else
        "judged by the keys in the pack itself: compare keys.txt with what you know",
    ]  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Judge a pack; answer the exit code: 0, 2 for wrong usage, 10 where it is refused."""
    parser = argparse.ArgumentParser(description="Judge an evidence pack offline.")
    parser.add_argument("pack", type=Path)
    parser.add_argument("--key", action="append", default=[], metavar="VERIFIER_KEY")
    given = parser.parse_args(arguments)
    try:
        lines = verify(given.pack.read_bytes(), given.key)
    except Exception as fault:  # noqa: BLE001 - whatever it stumbles over, nothing is proved
        sys.stderr.write(f"refused: {fault or type(fault).__name__}\n")
        return 10
    sys.stdout.write("\n".join(["verified", *lines, ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
