"""Which object does somebody mean by a name or an id? (cli 2.2)."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from ops.cli.failures import Failure, shown
from ops.cli.main import INVALID, NOT_FOUND

if TYPE_CHECKING:
    from ops.cli.client import Server

_NEAR_MAX: Final = 1_000
_ID: Final = re.compile(r"[0-9A-Za-z]{22}")


class Kind(NamedTuple):
    """A kind of object: where one stands, where they are searched, and what a name is called.

    `name` is the field of the filter, `key` the member of the rows.
    """

    word: str
    place: str
    search: str
    name: str
    key: str


SERVICE_ACCOUNT: Final = Kind(
    "service account", "service-accounts", "service-accounts", "name", "username"
)
USER: Final = Kind("user", "users", "tenant-access", "username", "username")
# Users of the installation, whom only an instance owner finds.
INSTANCE_USER: Final = Kind("user", "users", "/api/v1/users", "email", "username")
GROUP: Final = Kind("group", "groups", "groups/search", "name", "name")
ROLE: Final = Kind("role", "roles", "roles/search", "name", "name")
_SUBJECTS: Final = {
    "sa": SERVICE_ACCOUNT,
    "service_account": SERVICE_ACCOUNT,
    "user": USER,
    "group": GROUP,
}


class Subject(NamedTuple):
    """A principal or a group that was named."""

    kind: Kind
    id: str


def subject(server: Server, text: str, *kinds: Kind) -> Subject:
    """Answer whom `sa:NAME`, `user:EMAIL` or `group:NAME` means; only of these kinds if given."""
    word, colon, name = text.partition(":")
    kind = _SUBJECTS.get(word)
    allowed = kinds or (SERVICE_ACCOUNT, USER, GROUP)
    if kind is None or kind not in allowed or not colon or not name:
        forms = {SERVICE_ACCOUNT: "sa:NAME", USER: "user:EMAIL", GROUP: "group:NAME"}
        known = " or ".join(forms[one] for one in allowed)
        raise click.UsageError(f"{shown(text)} must be {known}, with a name or an id")
    return Subject(kind, resolve(server, kind, name))


def resolve(server: Server, kind: Kind, name: str) -> str:
    """Answer the id of what has this name, or the id itself.

    Failure with exit code 6 where there is none, with 8 and `name.ambiguous` where there are more.
    """
    if _ID.fullmatch(name) and _is_there(server, kind, name):
        return name
    found = _named(server, kind, name)
    if len(found) == 1:
        id_: str = found[0]["id"]
        return id_
    if found:
        ids = ", ".join(one["id"] for one in found)
        raise Failure(
            f"{kind.word} {name} is ambiguous: give one of {ids}", INVALID, code="name.ambiguous"
        )
    raise Failure(
        f"there is no {kind.word} {name}{_near(server, kind, name)}",
        NOT_FOUND,
        code="name.unknown",
    )


def _is_there(server: Server, kind: Kind, id_: str) -> bool:
    """Tell whether what looks like an id is one: a name may look so too, but no e-mail."""
    if kind in {USER, INSTANCE_USER}:
        return True
    try:
        server.read(server.path(f"{kind.place}/{id_}"))
    except Failure as refusal:
        # Whoever may not see it may still name it.
        return refusal.exit_code != NOT_FOUND
    return True


def _named(server: Server, kind: Kind, name: str) -> list[dict[str, Any]]:
    query = {f"filters[{kind.name}][EQUALS]": name, "size": _NEAR_MAX}
    found = server.read(_search(server, kind), **query).value["results"]
    # The filter passes over case; only group names and e-mails are one in all cases.
    exact = [one for one in found if one[kind.key] == name]
    return exact or (found if kind is not SERVICE_ACCOUNT and kind is not ROLE else [])


def _search(server: Server, kind: Kind) -> str:
    return kind.search if kind is INSTANCE_USER else server.path(kind.search)


def _near(server: Server, kind: Kind, name: str) -> str:
    rows = server.read(_search(server, kind), size=_NEAR_MAX).value["results"]
    near = difflib.get_close_matches(name, [row[kind.key] for row in rows], n=1)
    return f"; did you mean {near[0]}?" if near else ""
