"""Which commands does the campaign of completeness give: every kind that the HTTP API has?

Each method makes what it needs and tells the clerk which events have to come of it. What several
threads could change at once is changed by none of them, so that every outcome is known before.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any, Final

from tests.campaigns.client import bearer
from tests.campaigns.staff import ENDED, GAINED, Staff
from tests.campaigns.told import Caller, Clerk

PASSWORDS: Final = ("a long enough passphrase", "another passphrase, as long")
# How many objects of a kind are kept, to be used again.
KEPT: Final = 20
NETWORKS: Final = 250
_LEFT: Final = frozenset({"group.member_removed.v1", "binding.deleted.v1"})
_UNBOUND: Final = frozenset({"binding.deleted.v1"})
_OPENED: Final = frozenset({"role.managed_created.v1"})


class Objects:
    """What one thread has made, of which it knows how it is."""

    def __init__(self, clerk: Clerk, staff: Staff, chance: random.Random, name: str) -> None:
        self.clerk = clerk
        self.staff = staff
        self.chance = chance
        self._name = name
        self._network = staff.low.address.rpartition(".0.")[0]
        self._numbers = itertools.count(1)
        self._networks = itertools.count()
        self._made: dict[str, list[str]] = {}
        # Whose tokens were used when their life was to be prolonged.
        self.extended: list[Caller] = []

    def new(self, word: str = "n") -> str:
        """A word that nobody has used."""
        return f"{word}-{self._name}-{next(self._numbers)}"

    def elsewhere(self) -> str:
        """An address of a network from which seldom anything came."""
        number = next(self._networks) % NETWORKS
        return f"{self._network}.{number + 1}.9"

    @property
    def by(self) -> Caller:
        """Any owner."""
        return self.staff.owner(self.chance)

    def some(self, noun: str) -> str:
        """An object of a kind that was made before, or now."""
        made = self._made.setdefault(noun, [])
        if len(made) < KEPT and (not made or self.chance.random() < 0.2):
            made.append(self.made(noun))
        return self.chance.choice(made)

    def made(self, noun: str) -> str:
        """A new object of a kind."""
        makers: dict[str, Callable[[], str]] = {
            "account": self._account,
            "group": self._group,
            "role": self._role,
            "user": lambda: self.user(f"{self.new('u')}@example.com"),
        }
        return makers[noun]()

    def _account(self) -> str:
        body = {"name": self.new("bot"), "groups": [{"id": self.some("group")}]}
        path = "/main/service-accounts"
        topic = "service_account.created.v1"
        made: str = self.clerk.change(self.by, topic, "POST", path, body, beside=GAINED)["id"]
        return made

    def user(self, email: str, **more: object) -> str:
        """A new user in `main`."""
        body = {"email": email, "tenants": ["main"], **more}
        made = self.clerk.change(self.by, "user.created.v1", "POST", "/users", body, beside=GAINED)
        return str(made["id"])

    def person(self, user: str) -> Caller:
        """A user with a new token of its own."""
        path = f"/users/{user}/api-tokens"
        issued = self.give("token.issued", "POST", path, {"name": "laptop"})
        headers = {"Authorization": bearer(issued["fullToken"])}
        address = self.staff.low.address
        return Caller(id=user, token=issued["id"], address=address, headers=headers)

    def _group(self) -> str:
        by = self.chance.choice((self.by, self.staff.clerk))
        body = {"name": self.new("Group")}
        made: str = self.clerk.change(by, "group.created.v1", "POST", "/main/groups", body)["id"]
        return made

    def _role(self) -> str:
        by = self.chance.choice((self.by, self.staff.clerk))
        body = {"name": self.new("Role"), "permissions": {"GROUP": ["VIEW"]}}
        made: str = self.clerk.change(by, "role.created.v1", "POST", "/main/roles", body)["id"]
        return made

    def give(
        self,
        topic: str,
        method: str,
        path: str,
        body: Any = None,  # noqa: ANN401 - JSON may be anything
        *about: str,
        beside: frozenset[str] = frozenset(),
    ) -> Any:  # noqa: ANN401 - JSON may be anything
        """Let any owner give a command."""
        return self.clerk.change(
            self.by, f"{topic}.v1", method, path, body, about=about, beside=beside
        )


# Each takes the objects of its thread.


def tenant(has: Objects) -> None:
    """A tenant comes and goes."""
    id_ = has.new("t")
    has.give("tenant.created", "POST", "/tenants", {"id": id_, "name": id_}, id_, beside=_OPENED)
    has.give("tenant.renamed", "PUT", f"/tenants/{id_}", {"name": "Renamed"}, id_)
    has.give("tenant.deleted", "DELETE", f"/tenants/{id_}", None, id_)


def account_names(has: Objects) -> None:
    """A service account is renamed in its tenant, and described in the installation."""
    id_, name = has.made("account"), has.new("bot")
    path = f"/main/service-accounts/{id_}"
    has.give("service_account.renamed", "PUT", path, {"name": name}, id_)
    body = {"name": name, "description": has.new("described")}
    has.give("service_account.described", "PATCH", f"/service-accounts/{id_}", body, id_)


def account_switch(has: Objects) -> None:
    """A service account is disabled, twice, of which the second changes nothing, and enabled."""
    id_ = has.some("account")
    for place in ("/main", ""):
        path = f"{place}/service-accounts/{id_}"
        has.give("service_account.disabled", "POST", f"{path}/disable", None, id_)
        has.clerk.quiet(has.by, "POST", f"{path}/disable")
        has.give("service_account.enabled", "POST", f"{path}/enable", None, id_)


def account_privilege(has: Objects) -> None:
    """A program becomes an instance owner and is none any more."""
    id_ = has.some("account")
    for name in ("superAdmin", "instanceOwner"):
        where = f"/service-accounts/{id_}/{name.lower()}"
        has.give("instance_owner.granted", "PATCH", where, {name: True}, id_)
        has.give("instance_owner.revoked", "PATCH", where, {name: False}, id_)


def account_end(has: Objects) -> None:
    """A program with a token ends, and its token with it; and one by its only tenant."""
    body = {"name": has.new("bot"), "tenants": ["main", has.staff.tenant]}
    topic = "service_account.created"
    made = has.give(topic, "POST", "/service-accounts", body, beside=GAINED)["id"]
    path = f"/service-accounts/{made}"
    has.give("token.issued", "POST", f"{path}/api-tokens", {"name": "deploy"})
    has.give("service_account.deleted", "DELETE", path, None, made, beside=ENDED)
    made = has.made("account")
    path = f"/main/service-accounts/{made}"
    has.give("service_account.deleted", "DELETE", path, None, made, beside=ENDED)


def user_names(has: Objects) -> None:
    """A person's name and e-mail change."""
    id_, email = has.made("user"), f"{has.new('u')}@example.com"
    path = f"/users/{id_}"
    has.give("user.email_changed", "PATCH", path, {"email": email}, id_)
    has.give("user.renamed", "PATCH", path, {"firstName": has.new("Ada")}, id_)
    has.give("user.renamed", "PUT", path, {"email": email, "firstName": has.new("Ada")}, id_)


def user_password(has: Objects) -> None:
    """A password is set, changed by its owner, and taken away."""
    path = f"/users/{(id_ := has.made('user'))}"
    has.give("user.password_set", "PATCH", f"{path}/password", {"password": PASSWORDS[0]}, id_)
    person = has.person(id_)
    body = dict(zip(("oldPassword", "newPassword"), PASSWORDS, strict=True))
    topic = "user.password_set.v1"
    has.clerk.change(person, topic, "PUT", "/me/password", body, about=(id_,))
    has.give("user.password_removed", "DELETE", f"{path}/auths/BASIC_AUTH", None, id_)


def user_switch(has: Objects) -> None:
    """A person is restricted, disabled, made to sign in anew, promoted, and all is undone."""
    path = f"/users/{(id_ := has.some('user'))}"
    has.give("user.restricted", "PATCH", f"{path}/restricted", {"restricted": True}, id_)
    has.give("user.unrestricted", "PATCH", f"{path}/restricted", {"restricted": False}, id_)
    has.give("user.disabled", "POST", f"{path}/disable", None, id_)
    has.give("user.enabled", "POST", f"{path}/enable", None, id_)
    has.give("user.sessions_ended", "DELETE", f"{path}/refresh-token", None, id_)
    for name in ("superAdmin", "instanceOwner"):
        where = f"{path}/{name.lower()}"
        has.give("instance_owner.granted", "PATCH", where, {name: True}, id_)
        has.give("instance_owner.revoked", "PATCH", where, {name: False}, id_)


def user_end(has: Objects) -> None:
    """A person ends."""
    id_ = has.made("user")
    has.give("user.deleted", "DELETE", f"/users/{id_}", None, id_, beside=ENDED)
    has.clerk.change(
        has.by,
        "user.erased.v1",
        "POST",
        f"/users/{id_}/erase",
        about=(id_,),
        headers={"X-Muniment-Reason": "asked for it"},
    )


def group_names(has: Objects) -> None:
    """A clerk renames and describes a group."""
    id_, name = has.made("group"), has.new("Group")
    by, path = has.staff.clerk, f"/main/groups/{id_}"
    clerk = has.clerk
    clerk.change(by, "group.renamed.v1", "PUT", path, {"name": name}, about=(id_,))
    body = {"name": name, "description": has.new("described")}
    clerk.change(by, "group.described.v1", "PUT", path, body, about=(id_,))


def members(has: Objects) -> None:
    """Somebody joins a group, owns it, leaves it, and is put into others at once."""
    group, who = has.made("group"), has.some("user")
    path = f"/main/groups/{group}/members"
    has.give("group.member_added", "PUT", f"{path}/{who}", {}, who, beside=GAINED)
    where = f"{path}/membership/{who}?membership=OWNER"
    has.give("group.membership_changed", "PUT", where, None, who)
    has.give("group.member_removed", "DELETE", f"{path}/{who}", None, who)
    where = f"/main/users/{who}/groups"
    has.give("group.member_added", "PUT", where, {"groupIds": [group]}, who)
    has.give("group.member_removed", "PUT", where, {"groupIds": []}, who)


def group_end(has: Objects) -> None:
    """A group ends, and whoever was in it is in it no more."""
    body = {"name": has.new("Group"), "membersId": [has.some("account")]}
    made = has.give("group.created", "POST", "/main/groups", body, beside=GAINED)["id"]
    has.give("group.deleted", "DELETE", f"/main/groups/{made}", None, made, beside=_LEFT)


def role_life(has: Objects) -> None:
    """A role of a tenant of the thread's own changes in every way, and ends."""
    home, name = f"/{has.staff.tenant}/roles", has.new("Role")
    body: dict[str, Any] = {"name": name, "permissions": {"FLOW": ["VIEW"]}}
    id_ = has.give("role.created", "POST", home, body)["id"]
    for topic, changed in (
        ("role.renamed", {"name": has.new("Role")}),
        ("role.described", {"description": "described"}),
        ("role.permissions_set", {"permissions": {"FLOW": ["VIEW", "LIST"]}}),
        ("role.made_default", {"isDefault": True}),
        ("role.default_ended", {"isDefault": False}),
    ):
        body |= changed
        has.give(topic, "PUT", f"{home}/{id_}", body, id_)
    has.give("role.deleted", "DELETE", f"{home}/{id_}", None, id_, beside=_UNBOUND)


def bindings(has: Objects) -> None:
    """A role is bound once, and at several places at once, and unbound."""
    bound = {"type": "GROUP", "externalId": has.made("group"), "roleId": has.some("role")}
    path, topic = "/main/bindings", "binding.created"
    id_ = has.give(topic, "POST", path, {**bound, "namespaceId": "prod"})["id"]
    has.give("binding.deleted", "DELETE", f"{path}/{id_}", None, id_)
    places = [{**bound, "namespaceId": f"prod.{number}"} for number in range(3)]
    assert len(has.give(topic, "POST", f"{path}/bulk", places)) == len(places)


def tenant_access(has: Objects) -> None:
    """Somebody may come into a tenant, by id and by e-mail, and may not any more."""
    email = f"{has.new('u')}@example.com"
    who, home = has.user(email), f"/{has.staff.tenant}/tenant-access"
    beside = frozenset({"binding.created.v1"})
    for method, path, body in (("PUT", f"{home}/{who}", None), ("POST", home, {"email": email})):
        has.give("tenant_access.granted", method, path, body, who, beside=beside)
        ended = frozenset(ENDED - {"tenant_access.ended.v1"})
        has.give("tenant_access.ended", "DELETE", f"{home}/{who}", None, who, beside=ended)


def _token_life(has: Objects, by: Caller, path: str) -> None:
    """A token is issued, disabled, enabled, rotated and revoked; then all that are left."""

    def give(topic: str, method: str, verb: str = "", body: object = None, *about: str) -> str:
        found = has.clerk.change(by, f"{topic}.v1", method, path + verb, body, about=about)
        return "" if found is None or about else str(found["id"])

    id_ = give("token.issued", "POST", "", {"name": "deploy"})
    give("token.disabled", "POST", f"/{id_}/disable", None, id_)
    give("token.enabled", "POST", f"/{id_}/enable", None, id_)
    next_ = give("token.rotated", "POST", f"/{id_}/rotate", {"grace": "PT1H"})
    give("token.revoked", "DELETE", f"/{id_}", None, id_)
    left = (next_, by.token) if path.startswith("/me") else (next_,)
    give("token.revoked", "DELETE", "", None, *left)


def account_tokens(has: Objects) -> None:
    """A program's tokens, in the installation and in its tenant."""
    for place in ("/main", ""):
        path = f"{place}/service-accounts/{has.made('account')}/api-tokens"
        _token_life(has, has.by, path)


def user_tokens(has: Objects) -> None:
    """A person's tokens, given by an owner, and by the person, who also changes its name."""
    user = has.made("user")
    _token_life(has, has.by, f"/users/{user}/api-tokens")
    person, name = has.person(user), {"firstName": has.new("Me")}
    has.clerk.change(person, "user.renamed.v1", "PATCH", "/me", name, about=(user,))
    _token_life(has, person, "/me/api-tokens")


def aliases(has: Objects) -> None:
    """A person and a program are given further names, which are taken away."""
    for noun in ("user", "account"):
        id_ = has.some(noun)
        path = f"/main/principals/{id_}/aliases/identity"
        named = f"{path}?alias={has.new('spiffe')}", f"{path}/{has.new('sub')}"
        for where in named:
            has.give("alias.set", "PUT", where, None, id_)
            has.give("alias.removed", "DELETE", where, None, id_)


def sink(has: Objects) -> None:
    """A sink is made, paused, set back, lets go on, and ends."""
    clerk, by, path = has.clerk, has.by, "/audit/sinks"
    body = {"name": "Files", "kind": "file"}
    id_ = clerk.change(by, "sink.created.v1", "POST", path, body)["id"]
    for topic, verb, said in (
        ("sink.paused.v1", "pause", None),
        ("sink.replayed.v1", "replay", {"after": 0}),
        ("sink.resumed.v1", "resume", None),
    ):
        clerk.change(by, topic, "POST", f"{path}/{id_}/{verb}", said, about=(id_,))
    any_version = {"If-Match": "*"}
    where = f"{path}/{id_}"
    clerk.change(by, "sink.deleted.v1", "DELETE", where, about=(id_,), headers=any_version)


def repeated(has: Objects) -> None:
    """A command that is sent twice with one key is carried out once."""
    key, body = {"Idempotency-Key": has.new("key")}, {"name": has.new("Group")}
    by, path = has.by, "/main/groups"
    has.clerk.change(by, "group.created.v1", "POST", path, body, headers=key)
    again = has.clerk.quiet(by, "POST", path, body, headers=key)
    assert again.headers["idempotency-replayed"] == "true"


CHANGES: Final[tuple[Callable[[Objects], None], ...]] = (
    *(tenant, account_names, account_switch, account_privilege, account_end),
    *(user_names, user_password, user_switch, user_end, group_names, members, group_end),
    *(role_life, bindings, tenant_access, account_tokens, user_tokens, aliases, sink, repeated),
)
