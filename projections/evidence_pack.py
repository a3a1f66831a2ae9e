"""What stands in an evidence pack, and how is it written for people and for the verifier?

A pack is a ZIP whose bytes follow from its members. Its manifest names the SHA-256 of each and is
signed as a note by the keys that sign checkpoints; `evidence_verifier` is its reader, and stands in
it as `verify.py`.
"""

from __future__ import annotations

import base64
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from domain.events import decode
from projections import evidence_verifier
from projections.evidence import OF_ACCOUNT, Json
from projections.evidence_verifier import FORMAT, NAMES
from projections.shown import shown
from projections.transparency import leaf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from domain.events import Fact, Record
    from domain.ids import TenantId

_json: Final = msgspec.json.encode


class Pack(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a pack is about; `complete` are positions at which all who had access are told of.

    `allowed` is the decision, of a decision's pack; instants are RFC 3339 in UTC.
    """

    format: str = FORMAT
    kind: str
    tenant: str
    log_id: str
    made_at: str
    made_by: str
    subject: str | UnsetType = UNSET
    question: Json | UnsetType = UNSET
    allowed: bool | UnsetType = UNSET
    begin: Json | UnsetType = UNSET
    end: Json
    complete: tuple[int, ...] = ()
    rests: str = (
        "Every event that is shown is in the log that the checkpoint signs, byte for byte. Events "
        "that are only told belong to the installation: their place is proved, their content is "
        "the signer's word. That no event was left out which concerns the answers is the signer's "
        "word as well; whoever holds the whole log can check it."
    )


class Proved(Struct, frozen=True):
    """A record with the hashes that prove it under the pack's checkpoint."""

    record: Record
    hashes: tuple[bytes, ...]


class Signature(Struct, frozen=True, kw_only=True):
    """The signed checkpoint, its origin, and the keys by which the origin's notes are judged."""

    origin: str
    checkpoint: str
    keys: tuple[str, ...]


def visible(fact: Fact, tenant: TenantId, *, everything: bool) -> bool | None:
    """Tell whether an event is shown, or only told (False), or is no concern of the tenant (None).

    With `everything` the reader may see all of the log.
    """
    if fact.envelope.tenant == tenant:
        return True
    own: TenantId | UnsetType = getattr(fact.envelope.event, "tenant", UNSET)
    if own not in {UNSET, tenant}:
        return None
    if everything:
        return True
    return False if fact.envelope.event.topic in OF_ACCOUNT else None


def event_line(proved: Proved, *, is_shown: bool) -> bytes:
    """Answer the line of an event: as it is stored, or that it is and which account it is of."""
    record, proof = proved.record, [base64.b64encode(one).decode() for one in proved.hashes]
    line: Json = {"position": record.position, "topic": record.topic, "proof": proof}
    if is_shown:
        return _json({**line, "state": record.state.decode()})
    envelope = decode(record).envelope
    told = {
        "at": envelope.at,
        "command_id": envelope.command_id,
        "event": {"id": getattr(envelope.event, "id", "")},
    }
    return _json({**line, "leaf": base64.b64encode(leaf(record)).decode(), "told": told})


def members(
    pack: Pack,
    answers: Sequence[Json],
    events: Sequence[bytes],
    page: str,
    signature: Signature,
) -> dict[str, bytes]:
    """Answer the members in their order, without the manifest."""
    contents = (
        page.encode(),
        _json(pack),
        _lines(map(_json, answers)),
        _lines(events),
        signature.checkpoint.encode(),
        "".join(f"{key}\n" for key in signature.keys).encode(),
        verifier(),
    )
    return dict(zip(NAMES[:-1], contents, strict=True))


def manifest(found: Mapping[str, bytes], origin: str) -> str:
    """Answer the text that is signed: the format, the origin, and the sum of each member."""
    sums = [f"{sha256(data).hexdigest()} {name}" for name, data in found.items()]
    return "\n".join([FORMAT, origin, *sums, ""])


def sealed(found: Mapping[str, bytes], note: str) -> bytes:
    """Answer the file: the members with the signed manifest."""
    return evidence_verifier.container({**found, NAMES[-1]: note.encode()})


@cache
def verifier() -> bytes:
    """Answer the verifier's source."""
    return Path(evidence_verifier.__file__).read_bytes()


def _lines(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


# For people

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1b1b;background:#fff}table{border-collapse:collapse;width:100%;margin:1rem 0}"
    "th,td{border:1px solid #ccc;padding:.3rem .5rem;text-align:left;vertical-align:top;"
    "overflow-wrap:anywhere}th{background:#f2f2f2}code{font-size:13px}"
    ".yes{color:#0a5c1d;font-weight:600}.no{color:#8f1010;font-weight:600}"
)


# It runs nothing and loads nothing, wherever it is opened.
_POLICY: Final = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
)


def page(
    pack: Pack,
    answers: Sequence[Json],
    facts: Sequence[tuple[Fact, bool]],
    names: Mapping[str, str],
    is_erased: Callable[[Any], bool],
) -> str:
    """Answer the page of a pack: it loads nothing, runs nothing and names people by id alone.

    `facts` stand with whether they are shown; `names` are those of things and programs, by id.
    """
    title = f"Evidence: {pack.kind} in tenant {pack.tenant}"
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            _POLICY,
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            _about(pack, names),
            *(_answer(one, names) for one in answers),
            _events(facts, names, is_erased),
            "<h2>How to check this file</h2><p>",
            "Run <code>python verify.py PACK.zip --key VERIFIER_KEY</code> with a copy of ",
            "<code>verify.py</code> and a key that you trust, both from another place than this ",
            f"file. {escape(pack.rests)}</p></body></html>\n",
        )
    )


def _about(pack: Pack, names: Mapping[str, str]) -> str:
    rows = [("Log", pack.log_id), ("Made", f"{pack.made_at} by {pack.made_by}")]
    if pack.subject is not UNSET:
        rows.append(("Subject", _named(pack.subject, names)))
    if pack.question is not UNSET:
        rows.append(("Question", _question(pack.question)))
    if pack.begin is not UNSET:
        rows.append(("From", _moment(pack.begin)))
    rows.append(("To" if pack.begin is not UNSET else "As of", _moment(pack.end)))
    verdict = ""
    if pack.allowed is not UNSET:
        word, style = ("ALLOWED", "yes") if pack.allowed else ("DENIED", "no")
        verdict = f'<p class="{style}">{word}</p>'
    return verdict + _table(("", ""), rows)


def _moment(moment: Json) -> str:
    return f"position {moment['position']}, {moment['at']}"


def _question(question: Json) -> str:
    resource = question.get("resource")
    place = question.get("namespace") or (resource and f"{resource['type']} {resource['id']}")
    return f"{question['type']}:{question['action']} in {place or 'the whole tenant'}"


def _answer(answer: Json, names: Mapping[str, str]) -> str:
    head = f"{answer['kind'].capitalize()} of {_named(answer['subject'], names)}"
    when = f" as of position {answer['position']}"
    rows: list[tuple[str, ...]]
    if answer["kind"] == "rights":
        columns: tuple[str, ...] = ("Place", "Permissions", "Role", "Through", "Binding")
        rows = [
            (
                _place(one["place"]),
                ", ".join(":".join(pair) for pair in one["permissions"]),
                _named(one["role"], names),
                _named(one["group"], names) if one["group"] else "itself",
                one["binding"],
            )
            for one in answer["answer"]
        ]
    else:
        columns = ("When", "Position", "Gained", "Lost")
        rows = [
            (
                one["at"] + (" (by the clock)" if one["byClock"] else ""),
                str(one["position"]),
                _rights(one["gained"]),
                _rights(one["lost"]),
            )
            for one in answer["answer"]
        ]
    table = _table(columns, rows) if rows else "<p>None.</p>"
    return f"<h2>{escape(head + when)}</h2>{table}"


def _rights(found: list[list[str]]) -> str:
    return "; ".join(f"{one[3]}:{one[4]} in {_place(one[:3])}" for one in found)


def _place(place: list[str]) -> str:
    return place[0] or " ".join(place[1:]).strip() or "the whole tenant"


def _events(
    facts: Sequence[tuple[Fact, bool]],
    names: Mapping[str, str],
    is_erased: Callable[[Any], bool],
) -> str:
    rows: list[tuple[str, ...]] = []
    for fact, is_shown in facts:
        envelope = fact.envelope
        who = (
            f"{envelope.actor.type} {_named(envelope.actor.id, names)}" if is_shown else "not shown"
        )
        what = _json(shown(envelope.event, is_erased)).decode() if is_shown else "not shown"
        token, reason = envelope.actor.token_id, envelope.reason
        rows.append(
            (
                str(fact.position),
                envelope.at.isoformat(),
                envelope.event.topic,
                who,
                token if is_shown and token is not UNSET else "",
                envelope.correlation_id if is_shown else "",
                reason if is_shown and reason is not UNSET else "",
                what,
            )
        )
    columns = ("Position", "At", "Event", "Actor", "Token", "Request", "Reason", "Content")
    return f"<h2>Events</h2>{_table(columns, rows)}"


def _named(id_: str, names: Mapping[str, str]) -> str:
    return f"{names[id_]} ({id_})" if id_ in names else id_


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    heading = f"<tr>{head}</tr>" if any(columns) else ""
    return f"<table>{heading}{body}</table>"
