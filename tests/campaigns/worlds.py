"""Which random installation is made over HTTP, and what does the oracle know of it?

Every change is given to a real server and, once acknowledged, written into the oracle's plain
rows (`tests/oracle.py`), which know nothing of how the product keeps them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct

from ops.inputs import SystemInputs
from tests.campaigns.client import Client
from tests.oracle import Model, allowed, grants, reaches

# The clock by which the servers under test judge.
CLOCK: Final = SystemInputs()
TYPES: Final = ("FLOW", "EXECUTION", "record", "*")
ACTIONS: Final = ("VIEW", "LIST", "READ", "UPDATE", "record:write", "*")
NAMESPACES: Final = ("prod", "prod.billing", "production", "dev", "dev.a.b", "deva")
RESOURCES: Final = ("r-1", "r-2", "prod")
NAMES: Final = ("alpha", "beta", "gamma", "delta")
ALIASES: Final = ("4711", "spiffe://example.org/ci", "alpha")
API: Final = "/api/v1"
ROWS: Final = ("members", "bindings")
# How often each change is made, in the order of `_makers`.
WEIGHTS: Final = (4, 1, 2, 1, 6, 1, 1, 3, 1, 1, 4, 2, 14, 2, 4, 2, 4, 1)


class Question(Struct, frozen=True):
    """One question, in the words of authzen and in those of the oracle."""

    tenant: str
    subject_type: str
    subject: str
    type: str
    action: str
    namespace: str
    resource: str
    token: str = ""

    def item(self) -> dict[str, Any]:
        """The item of a batch, or the body of a single evaluation."""
        properties = {"tenant": self.tenant}
        if self.namespace:
            properties["namespace"] = self.namespace
        item: dict[str, Any] = {
            "subject": {"type": self.subject_type, "id": self.subject},
            "action": {"name": self.action},
            "resource": {"type": self.type, "id": self.resource, "properties": properties},
        }
        if self.token:
            item["context"] = {"token": self.token}
        return item


class World:
    """Tenants, programs, people, groups, roles, bindings and tokens, made by one owner."""

    def __init__(self, owner: Client, chance: random.Random, label: str) -> None:
        self._owner = owner
        self._chance = chance
        self._label = label
        self._names: dict[str, str] = {}
        self._users: set[str] = set()
        self._home: dict[str, str] = {}
        self._group_tenant: dict[str, str] = {}
        self._gone: list[str] = []
        self._aliases: dict[tuple[str, str, str], str] = {}
        self._numbers = 0
        self.position = 0
        self.tokens: dict[str, dict[str, Any]] = {}
        second = f"second-{label}"
        self.tenants = ("main", second)
        self._give("POST", "/tenants", {"id": second, "name": second})
        self.model: Model = {
            "tenants": {*self.tenants},
            "groups": set(),
            "enabled": {},
            "access": set(),
            "members": [],
            "roles": {},
            "bindings": [],
        }

    # What is asked

    def question(self) -> Question:
        """A random question, most of them about what there is."""
        one = self._chance.choice
        tenant, subject_type, subject = self._someone()
        own = [id_ for id_, token in self.tokens.items() if token["owner"] == subject]
        token = one(own) if own and self._chance.random() < 0.5 else ""
        return Question(
            tenant,
            subject_type,
            subject,
            one(TYPES[:3]),
            one(ACTIONS[:5]),
            one(("", *NAMESPACES)),
            one(("*", *RESOURCES)),
            token,
        )

    def _someone(self) -> tuple[str, str, str]:
        """A tenant and a subject, most often one that is bound there or in a group that is."""
        if self._aliases and self._chance.random() < 0.2:
            return self._chance.choice([*self._aliases])
        if not self.model["bindings"] or self._chance.random() < 0.3:
            return self._chance.choice(self.tenants), *self._subject()
        row = self._chance.choice(self.model["bindings"])
        members = [
            one["principal"] for one in self.model["members"] if one["group"] == row["subject"]
        ]
        subject = self._chance.choice([row["subject"], *members])
        return row["tenant"], self._type_of(subject), subject

    def _type_of(self, id_: str) -> str:
        if id_ in self.model["groups"]:
            return "group"
        return "user" if id_ in self._users else "service_account"

    def _subject(self) -> tuple[str, str]:
        one, draw = self._chance.choice, self._chance.random()
        if draw < 0.1:
            return "service_account", one(NAMES) + self._label
        if draw < 0.25 and self.model["groups"]:
            return "group", one(sorted(self.model["groups"]))
        if draw < 0.3 and self._gone:
            return "service_account", one(self._gone)
        who = one(sorted(self.model["enabled"]) or ["nobody"])
        return (one(("user", "group")) if draw > 0.97 else self._type_of(who)), who

    def verdict(self, question: Question, now: float) -> bool:
        """What the oracle says."""
        tenant = question.tenant
        subject = self._resolved(question)
        key = "" if question.resource == "*" else f"{question.type}/{question.resource}"
        place = (question.type, question.action, question.namespace, key)
        if not subject or not allowed(self.model, tenant, subject, place, now):
            return False
        if not question.token:
            return True
        token = self.tokens.get(question.token)
        return token is not None and token["owner"] == subject and leaves(token, tenant, place)

    def _resolved(self, question: Question) -> str:
        text, type_ = question.subject, question.subject_type
        if type_ == "group":
            return text if self._group_tenant.get(text) == question.tenant else ""
        ids = {"user": self._users, "service_account": set(self._names)}.get(type_, set())
        carrier = text if text in ids else self._aliases.get((question.tenant, type_, text))
        if carrier or type_ != "service_account":
            return carrier or ""
        named = [
            id_
            for id_, name in self._names.items()
            if name == text and (id_, question.tenant) in self.model["access"]
        ]
        return named[0] if len(named) == 1 else ""

    # What is changed

    def grow(self, changes: int) -> None:
        """Make so many random changes."""
        for _ in range(changes):
            self._chance.choices(self._makers(), WEIGHTS)[0]()

    def _makers(self) -> Sequence[Callable[[], None]]:
        return (
            self._create_account,
            self._create_user,
            self._switch,
            self._delete_account,
            self._add_member,
            self._end_access,
            self._delete_group,
            self._create_group,
            self._remove_member,
            self._delete_role,
            self._create_role,
            self._change_role,
            self._bind,
            self._unbind,
            self._issue,
            self._revoke,
            self._set_alias,
            self._remove_alias,
        )

    def _give(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 - any JSON value
        """Give a command that must be acknowledged; its body."""
        answer = self._owner.ask(method, API + path, body)
        assert answer.ok, f"{method} {path} {body}: {answer.status} {answer.text.decode()}"
        self.position = answer.position
        return answer.body

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _some(self, values: Sequence[str], most: int = 2) -> list[str]:
        return self._chance.sample(sorted(values), min(len(values), self._chance.randint(1, most)))

    def _span(self) -> tuple[dict[str, str], dict[str, float]]:
        """Perhaps a time limit that the clock crosses soon, as sent and as known."""
        begins, ends = -math.inf, math.inf
        sent: dict[str, str] = {}
        draw = self._chance.random()
        if draw < 0.15:
            begins = round(CLOCK.now().timestamp() + self._chance.uniform(0.0, 0.6), 3)
            sent["notBefore"] = _instant(begins)
        elif draw < 0.3:
            ends = round(CLOCK.now().timestamp() + self._chance.uniform(0.3, 0.9), 3)
            sent["expiresAt"] = _instant(ends)
        return sent, {"begins": begins, "ends": ends}

    def _create_account(self) -> None:
        name = self._chance.choice(NAMES) + self._label
        tenants = self._some(self.tenants)
        made = self._give("POST", "/service-accounts", {"name": name, "tenants": tenants})
        self._names[made["id"]] = name
        self._known(made["id"], tenants)

    def _create_user(self) -> None:
        tenants = self._some(self.tenants)
        email = f"u{self._number()}-{self._label}@example.com"
        made = self._give("POST", "/users", {"email": email, "tenants": tenants})
        self._users.add(made["id"])
        self._known(made["id"], tenants)

    def _known(self, id_: str, tenants: Sequence[str]) -> None:
        self.model["enabled"][id_] = True
        self.model["access"] |= {(id_, tenant) for tenant in tenants}

    def _account(self) -> str:
        return self._chance.choice([*self._names] or [""])

    def _switch(self) -> None:
        """Disable an account, or enable it again."""
        account = self._account()
        tenants = [tenant for tenant in self.tenants if (account, tenant) in self.model["access"]]
        if tenants:
            verb = "disable" if self.model["enabled"][account] else "enable"
            self._give("POST", f"/{tenants[0]}/service-accounts/{account}/{verb}")
            self.model["enabled"][account] = not self.model["enabled"][account]

    def _delete_account(self) -> None:
        account = self._account()
        if account:
            self._give("DELETE", f"/service-accounts/{account}")
            del self._names[account], self.model["enabled"][account]
            self._gone.append(account)
            self.model["access"] = {pair for pair in self.model["access"] if pair[0] != account}
            self._end_aliases(account, self.tenants)
            self._drop(lambda row: account in (row.get("principal"), row.get("subject")))
            self.tokens = {id_: row for id_, row in self.tokens.items() if row["owner"] != account}

    def _end_access(self) -> None:
        pairs = sorted(pair for pair in self.model["access"] if pair[0] in self._names)
        if pairs:
            account, tenant = self._chance.choice(pairs)
            self._give("DELETE", f"/{tenant}/tenant-access/{account}")
            self.model["access"].remove((account, tenant))
            self._end_aliases(account, (tenant,))
            self._drop(
                lambda row: (
                    tenant == row["tenant"]
                    and account in (row.get("principal"), row.get("subject"))
                )
            )

    def _drop(self, is_gone: Callable[[dict[str, Any]], bool]) -> None:
        for rows in ROWS:
            self.model[rows] = [row for row in self.model[rows] if not is_gone(row)]

    def _set_alias(self) -> None:
        """Give somebody a name by which applications may ask, unless it is another's."""
        carrier, tenant = self._chance.choice(sorted(self.model["access"]) or [("", "")])
        type_ = self._chance.choice((self._type_of(carrier), "identity"))
        text = self._chance.choice(ALIASES) + self._label
        if carrier and self._aliases.setdefault((tenant, type_, text), carrier) == carrier:
            self._give("PUT", _alias_path(tenant, carrier, type_, text))

    def _remove_alias(self) -> None:
        if self._aliases:
            tenant, type_, text = self._chance.choice([*self._aliases])
            carrier = self._aliases.pop((tenant, type_, text))
            self._give("DELETE", _alias_path(tenant, carrier, type_, text))

    def _end_aliases(self, carrier: str, tenants: Sequence[str]) -> None:
        self._aliases = {
            key: known
            for key, known in self._aliases.items()
            if known != carrier or key[0] not in tenants
        }

    def _create_group(self) -> None:
        tenant = self._chance.choice(self.tenants)
        body = {"name": f"Group {self._label} {self._number()}"}
        made = self._give("POST", f"/{tenant}/groups", body)
        self._group_tenant[made["id"]] = tenant
        self.model["groups"].add(made["id"])

    def _delete_group(self) -> None:
        if self.model["groups"]:
            group = self._chance.choice(sorted(self.model["groups"]))
            self._give("DELETE", f"/{self._group_tenant.pop(group)}/groups/{group}")
            self.model["groups"].remove(group)
            self._drop(lambda row: group in (row.get("group"), row.get("subject")))

    def _add_member(self) -> None:
        who = self._chance.choice(sorted(self.model["enabled"]) or [""])
        inside = {row["group"] for row in self.model["members"] if row["principal"] == who}
        groups = sorted(self.model["groups"] - inside)
        if not who or not groups:
            return
        group = self._chance.choice(groups)
        tenant = self._group_tenant[group]
        sent, span = self._span()
        self._give("PUT", f"/{tenant}/groups/{group}/members/{who}", sent)
        self.model["access"].add((who, tenant))
        self.model["members"].append({"tenant": tenant, "group": group, "principal": who, **span})

    def _remove_member(self) -> None:
        # Whose time is over is no member any more, and cannot be removed.
        lasting = [row for row in self.model["members"] if row["ends"] == math.inf]
        if lasting:
            row = self._chance.choice(lasting)
            place = f"/{row['tenant']}/groups/{row['group']}/members/{row['principal']}"
            self._give("DELETE", place)
            self.model["members"].remove(row)

    def _permissions(self) -> dict[str, list[str]]:
        types = self._some(TYPES, 3)
        return {type_: self._some(ACTIONS, 3 if type_ != "*" else 1) for type_ in types}

    def _create_role(self) -> None:
        tenant, listed = self._chance.choice(self.tenants), self._permissions()
        body = {"name": f"Role {self._label} {self._number()}", "permissions": listed}
        made = self._give("POST", f"/{tenant}/roles", body)
        self._home[made["id"]] = tenant
        self.model["roles"][made["id"]] = pairs(listed)

    def _change_role(self) -> None:
        if self.model["roles"]:
            role, listed = self._chance.choice(sorted(self.model["roles"])), self._permissions()
            body = {"name": f"Role {self._label} {self._number()}", "permissions": listed}
            self._give("PUT", f"/{self._home[role]}/roles/{role}", body)
            self.model["roles"][role] = pairs(listed)

    def _delete_role(self) -> None:
        if self.model["roles"]:
            role = self._chance.choice(sorted(self.model["roles"]))
            self._give("DELETE", f"/{self._home[role]}/roles/{role}")
            del self.model["roles"][role]
            self._drop(lambda row: row.get("role") == role)

    def _bind(self) -> None:
        if not self.model["roles"]:
            return
        role = self._chance.choice(sorted(self.model["roles"]))
        tenant = self._home[role]
        groups = [group for group, home in self._group_tenant.items() if home == tenant]
        subject = self._chance.choice([*sorted(self.model["enabled"]), *groups] or [""])
        sent, span = self._span()
        place, scope = self._place()
        row = {"tenant": tenant, "subject": subject, "role": role, "place": place}
        if not subject or any(row.items() <= known.items() for known in self.model["bindings"]):
            return
        kind = "GROUP" if subject in groups else "USER"
        body = {"type": kind, "externalId": subject, "roleId": role, **scope, **sent}
        made = self._give("POST", f"/{tenant}/bindings", body)
        if kind == "USER":
            self.model["access"].add((subject, tenant))
        self.model["bindings"].append({**row, **span, "id": made["id"]})

    def _place(self) -> tuple[str, dict[str, Any]]:
        draw = self._chance.random()
        if draw < 0.2:
            return "", {}
        if draw < 0.7:
            namespace = self._chance.choice(NAMESPACES)
            return namespace, {"namespaceId": namespace}
        type_, id_ = self._chance.choice(TYPES[:3]), self._chance.choice(RESOURCES)
        return f"{type_}/{id_}", {"resource": {"type": type_, "id": id_}}

    def _unbind(self) -> None:
        if self.model["bindings"]:
            row = self._chance.choice(self.model["bindings"])
            self._give("DELETE", f"/{row['tenant']}/bindings/{row['id']}")
            self.model["bindings"].remove(row)

    def _issue(self) -> None:
        account = self._account()
        if not account:
            return
        scope: dict[str, Any] = {}
        if self._chance.random() < 0.5:
            scope["permissions"] = self._permissions()
        if self._chance.random() < 0.3:
            scope["tenants"] = self._some(self.tenants, 1)
        if self._chance.random() < 0.5:
            scope["namespaces"] = self._some(NAMESPACES)
        body = {"name": f"t{self._number()}", **({"scope": scope} if scope else {})}
        made = self._give("POST", f"/service-accounts/{account}/api-tokens", body)
        self.tokens[made["id"]] = {"owner": account, **scope}

    def _revoke(self) -> None:
        if self.tokens:
            id_ = self._chance.choice([*self.tokens])
            owner = self.tokens.pop(id_)["owner"]
            self._give("DELETE", f"/service-accounts/{owner}/api-tokens/{id_}")


def _alias_path(tenant: str, carrier: str, type_: str, text: str) -> str:
    return f"/{tenant}/principals/{carrier}/aliases/{type_}?alias={text}"


def pairs(listed: dict[str, list[str]]) -> list[tuple[str, str]]:
    """The pairs of a role or a token, as they were written."""
    return [(type_, action) for type_, actions in listed.items() for action in actions]


def leaves(token: dict[str, Any], tenant: str, question: tuple[str, str, str, str]) -> bool:
    """Whether a narrowed token leaves a right, by the plainest reading (kestra-iam 8)."""
    type_, action, namespace, resource = question
    listed, namespaces = token.get("permissions"), token.get("namespaces")
    return (
        tenant in token.get("tenants", [tenant])
        and (listed is None or grants(pairs(listed), type_, action))
        and (namespaces is None or any(reaches(one, namespace, resource) for one in namespaces))
    )


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
