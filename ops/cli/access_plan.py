"""Which commands make what is there into what files want? (cli 5.6).

In the order roles, service accounts, groups, members, bindings, removals. A step is a change as
`access/simulate` takes it, so the same list is tried out and then carried out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ops.cli.client import quoted
from ops.cli.failures import Failure
from ops.cli.main import INVALID, NOT_FOUND
from ops.cli.times import instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ops.cli.access_files import Entry, Wanted
    from ops.cli.access_present import Present, Row

_WORDS: Final = {"roles": "role", "service_accounts": "service account", "groups": "group"}
_PATHS: Final = {"roles": "roles", "service_accounts": "service-accounts", "groups": "groups"}
_PERIOD: Final = {"not_before": "notBefore", "expires_at": "expiresAt"}


class Step(NamedTuple):
    """A command: what it does in words, and the request; `name` stands for what it makes."""

    said: str
    method: str
    path: str
    body: Any = None
    name: str | None = None
    position: int | None = None
    removes: bool = False

    def change(self) -> dict[str, Any]:
        """Answer the step as a change of `access/simulate`."""
        found = {"method": self.method, "path": self.path, "body": self.body, "as": self.name}
        if self.position is not None:
            found["ifMatch"] = f'"{self.position}"'
        return {key: value for key, value in found.items() if value is not None}


class Plan:
    """The steps from what is there to what is wanted, none where they are the same."""

    def __init__(
        self, tenant: str, present: Present, wanted: Wanted, *, prune: bool, caller: str
    ) -> None:
        self._base = f"/api/v1/{quoted(tenant)}"
        self._present = present
        self._wanted = wanted
        self._prune = prune
        # Nobody prunes oneself: what comes after would be refused.
        self._caller = caller
        # The id of each wanted object, or the placeholder of one that a step makes.
        self._ids: dict[str, dict[str, str]] = {kind: {} for kind in _WORDS}
        self._removals: list[Step] = []
        self.steps = [
            *self._roles(),
            *self._accounts(),
            *self._groups(),
            *self._members(),
            *self._bindings(),
            *self._removed(),
        ]

    def _roles(self) -> Iterator[Step]:
        for entry, before in self._matched("roles"):
            wanted = entry.value
            body = {
                "name": wanted["name"],
                "description": wanted.get("description", ""),
                "permissions": wanted["permissions"],
                "isDefault": wanted.get("default", False),
            }
            yield from self._kept("roles", entry, before, body)

    def _accounts(self) -> Iterator[Step]:
        for entry, before in self._matched("service_accounts"):
            body = {
                "name": entry.value["name"],
                "description": entry.value.get("description", ""),
            }
            yield from self._kept("service_accounts", entry, before, body)

    def _groups(self) -> Iterator[Step]:
        for entry, before in self._matched("groups"):
            body = {
                "name": entry.value["name"],
                "description": entry.value.get("description", ""),
            }
            yield from self._kept("groups", entry, before, body)

    def _matched(self, kind: str) -> Iterator[tuple[Entry, Row | None]]:
        rows: dict[str, Row] = getattr(self._present, kind)
        for entry in self._wanted.get(kind, ()):
            id_, name = entry.value.get("id"), entry.value["name"]
            if id_ is not None and id_ not in rows:
                raise _fault(entry, f"there is no {_WORDS[kind]} {id_}", NOT_FOUND)
            found = [id_] if id_ else _named(rows, name, in_any_case=kind == "groups")
            if len(found) > 1:
                raise _fault(entry, f"{name} is ambiguous: give one of {', '.join(found)} as id")
            yield entry, rows[found[0]] if found else None

    def _kept(self, kind: str, entry: Entry, before: Row | None, body: Row) -> Iterator[Step]:
        """Make an object, change it where it differs, and remember its id."""
        word, path = _WORDS[kind], f"{self._base}/{_PATHS[kind]}"
        name = str(body["name"])
        if before is None:
            mark = f"{_PATHS[kind]}-{len(self._ids[kind])}"
            self._ids[kind][name] = f"{{{mark}}}"
            yield Step(f"new {word} {name}", "POST", path, body, mark)
            return
        self._ids[kind][before["id"]] = before["id"]
        if before["unique"] or not entry.value.get("id"):
            self._ids[kind][name] = before["id"]
        if all(_same(before.get(key), value) for key, value in body.items()):
            return
        if before.get("isManaged"):
            raise _fault(entry, f"role {name} is managed and never changes")
        if kind == "service_accounts":
            body = {**body, "groups": [{"id": group["id"]} for group in before["groups"]]}
        at = self._present.position
        yield Step(f"change {word} {name}", "PUT", f"{path}/{before['id']}", body, position=at)

    def _members(self) -> Iterator[Step]:
        for entry in self._wanted.get("groups", ()):
            name = entry.value["name"]
            group = self._ids["groups"][entry.value.get("id") or name]
            path = f"{self._base}/groups/{group}/members"
            before = self._present.members.get(group, {})
            kept = set()
            for key, level in (("members", "MEMBER"), ("owners", "OWNER")):
                for member in entry.value.get(key, ()):
                    id_ = self._subject(entry, member["subject"], "sa", "user")
                    if id_ in kept:
                        raise _fault(entry, f"{member['subject']} stands twice in {name}")
                    kept.add(id_)
                    yield from _member(
                        path, id_, before.get(id_), _period(member), level, member["subject"], name
                    )
            if self._prune and not {"members", "owners"}.isdisjoint(entry.value):
                self._removals += [
                    Step(
                        f"remove {self._name_of(id_)} from {name}",
                        "DELETE",
                        f"{path}/{id_}",
                        removes=True,
                    )
                    for id_ in before
                    if id_ not in kept
                ]

    def _bindings(self) -> Iterator[Step]:
        there = {_identity(_asked(row)): id_ for id_, row in self._present.bindings.items()}
        kept = set()
        for entry in self._wanted.get("bindings", ()):
            body = self._binding(entry)
            identity = _identity(body)
            if identity in kept:
                raise _fault(entry, "the same binding stands twice")
            kept.add(identity)
            if identity not in there:
                place = _place(entry.value)
                said = f"bind {entry.value['subject']} to {entry.value['role']} {place}"
                yield Step(said, "POST", f"{self._base}/bindings", body)
        if self._prune and "bindings" in self._wanted:
            self._removals += [
                self._unbound(id_) for identity, id_ in there.items() if identity not in kept
            ]

    def _binding(self, entry: Entry) -> Row:
        """Answer the request of a binding that a file wants."""
        wanted = entry.value
        if "namespace" in wanted and "resource" in wanted:
            raise _fault(entry, "give a namespace or a resource, not both")
        body: Row = {
            "type": "GROUP" if wanted["subject"].startswith("group:") else "USER",
            "externalId": self._subject(entry, wanted["subject"], "sa", "user", "group"),
            "roleId": self._id(entry, "roles", wanted["role"]),
            **_period(wanted),
        }
        if "namespace" in wanted:
            body["namespaceId"] = wanted["namespace"]
        if "resource" in wanted:
            type_, slash, id_ = wanted["resource"].partition("/")
            if not slash:
                raise _fault(entry, "resource is TYPE/ID")
            body["resource"] = {"type": type_, "id": id_}
        return body

    def _unbound(self, id_: str) -> Step:
        row = self._present.bindings[id_]
        who = row["group"]["name"] if "group" in row else row["user"]["displayName"]
        resource = "/".join((row.get("resource") or {}).values())
        place = _place({"namespace": row.get("namespace"), "resource": resource})
        said = f"unbind {who} from {row['role']['name']} {place}"
        return Step(said, "DELETE", f"{self._base}/bindings/{id_}", removes=True)

    def _removed(self) -> Iterator[Step]:
        """Remove what no file names of the kinds in them; bindings and members first."""
        yield from self._removals
        if not self._prune:
            return
        for kind, word in _WORDS.items():
            rows: dict[str, Row] = getattr(self._present, kind)
            if kind not in self._wanted:
                continue
            for id_, row in rows.items():
                is_kept = row.get("isManaged") or id_ == self._caller
                if id_ not in self._ids[kind].values() and not is_kept:
                    path = f"{self._base}/{_PATHS[kind]}/{id_}"
                    yield Step(f"delete {word} {row['name']}", "DELETE", path, removes=True)

    def _subject(self, entry: Entry, text: str, *words: str) -> str:
        word, colon, name = text.partition(":")
        if word not in words or not colon or not name:
            raise _fault(entry, f"{text} must be {' or '.join(f'{one}:NAME' for one in words)}")
        if word == "user":
            found = _named(self._present.users, name, in_any_case=True)
            if not found:
                raise _fault(entry, f"there is no user {name} in this tenant", NOT_FOUND)
            return found[0]
        return self._id(entry, "service_accounts" if word == "sa" else "groups", name)

    def _id(self, entry: Entry, kind: str, name: str) -> str:
        """Answer the id of what a name or an id means, by the files first, then as it is."""
        if name in self._ids[kind]:
            return self._ids[kind][name]
        found = _named(getattr(self._present, kind), name, in_any_case=kind == "groups")
        if len(found) == 1:
            return found[0]
        if found:
            raise _fault(entry, f"{name} is ambiguous: give one of {', '.join(found)}")
        raise _fault(entry, f"there is no {_WORDS[kind]} {name}", NOT_FOUND)

    def _name_of(self, id_: str) -> str:
        for rows in (self._present.service_accounts, self._present.users):
            if id_ in rows:
                return str(rows[id_]["name"])
        return id_


def _place(wanted: Row) -> str:
    if wanted.get("namespace"):
        return f"in {wanted['namespace']}"
    return f"for {wanted['resource']}" if wanted.get("resource") else "in the whole tenant"


def _member(
    path: str,
    id_: str,
    before: Row | None,
    period: Row,
    level: str,
    subject: str,
    group: str,
) -> Iterator[Step]:
    if before is None:
        body = {"membership": level, **period}
        yield Step(f"add {subject} to {group}", "PUT", f"{path}/{id_}", body)
        return
    if {key: before[key] for key in _PERIOD.values() if key in before} != period:
        # A membership's period never changes: it is ended and made anew.
        yield Step(f"end {subject} in {group}", "DELETE", f"{path}/{id_}", removes=True)
        yield Step(
            f"add {subject} to {group}", "PUT", f"{path}/{id_}", {"membership": level, **period}
        )
    elif before["membership"] != level:
        place = f"{path}/membership/{id_}?membership={level}"
        yield Step(f"make {subject} {level} of {group}", "PUT", place)


def _named(rows: dict[str, Row], name: str, *, in_any_case: bool = False) -> list[str]:
    if name in rows:
        return [name]
    if in_any_case:
        return [id_ for id_, row in rows.items() if row["name"].casefold() == name.casefold()]
    return [id_ for id_, row in rows.items() if row["name"] == name]


def _same(before: object, wanted: object) -> bool:
    if isinstance(before, dict) and isinstance(wanted, dict):
        return {type_: sorted(actions) for type_, actions in before.items()} == {
            type_: sorted(actions) for type_, actions in wanted.items()
        }
    return (before or "") == (wanted or "")


def _period(value: dict[str, str]) -> Row:
    return {other: instant(value[key], key) for key, other in _PERIOD.items() if key in value}


def _asked(row: Row) -> Row:
    """Answer a binding as it would be asked for."""
    who = row["group"] if "group" in row else row["user"]
    kept = {key: row[key] for key in ("resource", *_PERIOD.values()) if key in row}
    namespace = {"namespaceId": row["namespace"]} if row.get("namespace") else {}
    return {
        "type": row["type"],
        "externalId": who["id"],
        "roleId": row["role"]["id"],
        **namespace,
        **kept,
    }


def _identity(body: Row) -> tuple[Any, ...]:
    resource = body.get("resource") or {}
    return (
        *(body.get(key, "") for key in ("type", "externalId", "roleId", "namespaceId")),
        *(resource.get(key, "") for key in ("type", "id")),
        *(body.get(key, "") for key in _PERIOD.values()),
    )


def removals(steps: Iterable[Step]) -> bool:
    """Tell whether anything is taken away."""
    return any(step.removes for step in steps)


def _fault(entry: Entry, said: str, status: int = INVALID) -> Failure:
    return Failure(f"{entry.place}: {said}", status, code="file.invalid")
