"""What access is there, as files would say it? (cli 5.6). All of it is of one position."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ops.cli import lists
from ops.cli.client import target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ops.cli.client import Server

Row = dict[str, Any]
_WORDS: Final = {"STANDARD": "user", "SERVICE_ACCOUNT": "sa"}


class Present(NamedTuple):
    """Roles, service accounts, groups and users by id, members by group, and live bindings."""

    position: int
    roles: dict[str, Row]
    service_accounts: dict[str, Row]
    groups: dict[str, Row]
    users: dict[str, Row]
    members: dict[str, dict[str, Row]]
    bindings: dict[str, Row]


def read(server: Server) -> Present:
    """Answer what there is at the chosen moment, or now."""
    first = server.read(server.path("roles/search"), size=1)
    # A server of the contract alone tells no position, and has no past.
    moment = {"position": first.position} if first.position else {}

    def rows(path: str) -> dict[str, Row]:
        found = lists.pages(server, server.path(path), {}, moment=moment)
        return {row["id"]: row for row in found}

    def one(path: str) -> Row:
        row: Row = server.read_target(target(server.path(path), moment)).value
        return row

    groups = rows("groups/search")
    return Present(
        position=first.position,
        roles=_told({id_: one(f"roles/{id_}") for id_ in rows("roles/search")}),
        service_accounts=_told(rows("service-accounts")),
        groups=_told(groups),
        users=_told(rows("tenant-access")),
        members={
            group: {id_: _in(row, group) for id_, row in rows(f"groups/{group}/members").items()}
            for group in groups
        },
        bindings={
            id_: row
            for id_, row in rows("bindings/search").items()
            if row.get("state") != "EXPIRED"
        },
    )


def _told(rows: dict[str, Row]) -> dict[str, Row]:
    """Answer rows that all have a name, and know whether it is theirs alone in their kind."""
    named = {id_: {"name": row.get("username"), **row} for id_, row in rows.items()}
    often = Counter(row["name"] for row in named.values())
    return {id_: {**row, "unique": often[row["name"]] == 1} for id_, row in named.items()}


def _in(member: Row, group: str) -> Row:
    """Answer a member's membership in one of its groups."""
    (found,) = (one for one in member["groups"] if one["id"] == group)
    membership: Row = found
    return membership


def document(tenant: str, present: Present) -> Row:
    """Answer what there is as one file, in an order that depends on nothing else."""
    return {
        "tenant": tenant,
        "roles": [
            _without_empty(
                {
                    **_named(present.roles, role),
                    "description": role.get("description"),
                    "permissions": role["permissions"],
                    "default": role["isDefault"],
                }
            )
            for role in _in_order(present.roles)
            if not role["isManaged"]
        ],
        "service_accounts": [
            _without_empty(
                {
                    **_named(present.service_accounts, account),
                    "description": account.get("description"),
                }
            )
            for account in _in_order(present.service_accounts)
        ],
        "groups": [_group(present, group) for group in _in_order(present.groups)],
        "bindings": sorted((_binding(present, row) for row in present.bindings.values()), key=repr),
    }


def _group(present: Present, group: Row) -> Row:
    by_level: dict[str, list[Any]] = {"MEMBER": [], "OWNER": []}
    for id_, membership in present.members[group["id"]].items():
        word = "sa" if id_ in present.service_accounts else "user"
        subject = named_subject(present, word, id_)
        period = _period(membership)
        by_level[membership["membership"]].append(
            {"subject": subject, **period} if period else subject
        )
    # Members are said even where there are none: only then does pruning look at them.
    described = {**_named(present.groups, group), "description": group.get("description")}
    owners = _without_empty({"owners": sorted(by_level["OWNER"], key=repr)})
    return {**_without_empty(described), "members": sorted(by_level["MEMBER"], key=repr), **owners}


def _binding(present: Present, row: Row) -> Row:
    if "group" in row:
        subject = named_subject(present, "group", row["group"]["id"])
    else:
        subject = named_subject(present, _WORDS[row["user"]["type"]], row["user"]["id"])
    role = row["role"]["id"]
    resource = row.get("resource")
    return _without_empty(
        {
            "subject": subject,
            "role": _unique(present.roles, role) or role,
            "namespace": row.get("namespace"),
            "resource": f"{resource['type']}/{resource['id']}" if resource else None,
            **_period(row),
        }
    )


def named_subject(present: Present, word: str, id_: str) -> str:
    """Answer `sa:NAME`, `user:EMAIL` or `group:NAME`, with the id where the name is not enough."""
    of = {"sa": present.service_accounts, "user": present.users, "group": present.groups}[word]
    return f"{word}:{_unique(of, id_) or id_}"


def _unique(rows: dict[str, Row], id_: str) -> str | None:
    """Answer a name that nothing else of its kind has."""
    row = rows.get(id_)
    return row["name"] if row is not None and row["unique"] else None


def _named(rows: dict[str, Row], row: Row) -> Row:
    name = {"name": row["name"]}
    return name if _unique(rows, row["id"]) else {**name, "id": row["id"]}


def _period(row: Row) -> Row:
    return _without_empty({"not_before": row.get("notBefore"), "expires_at": row.get("expiresAt")})


def _in_order(rows: dict[str, Row]) -> Iterable[Row]:
    return sorted(rows.values(), key=lambda row: (row["name"], row["id"]))


def _without_empty(row: Row) -> Row:
    return {key: value for key, value in row.items() if value not in (None, "", [], False)}
