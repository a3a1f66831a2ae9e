"""Who acts in the campaign of completeness?

Owners in every way in which one can sign in, a clerk with a few rights, and one without any.
"""

from __future__ import annotations

import random
from typing import Any, Final

from msgspec import Struct

from tests.campaigns.client import basic, bearer
from tests.campaigns.told import Caller, Clerk
from tests.e2e.node import OWNER_EMAIL, OWNER_PASSWORD

GAINED: Final = frozenset(
    {
        *("tenant_access.granted.v1", "binding.created.v1", "group.member_added.v1"),
        *("instance_owner.granted.v1", "user.password_set.v1"),
    }
)
ENDED: Final = frozenset(
    {
        *("tenant_access.ended.v1", "binding.deleted.v1", "group.member_removed.v1"),
        *("instance_owner.revoked.v1", "token.revoked.v1", "alias.removed.v1"),
    }
)
# What a clerk may do in `main`; nothing that it makes can hold more.
CLERKS: Final = {"GROUP": ["*"], "ROLE": ["*"]}


class Staff(Struct, frozen=True, kw_only=True):
    """The callers of one thread; nobody else changes what they are."""

    owners: tuple[Caller, ...]
    clerk: Caller
    low: Caller
    # A tenant in which only the owners have access.
    tenant: str

    def owner(self, chance: random.Random) -> Caller:
        """Any of the owners: by a password, a session, a user's token or a program's."""
        return chance.choice(self.owners)


def first_owner(clerk: Clerk, address: str) -> Caller:
    """The user who was there before all requests, by its password."""
    headers = {"Authorization": basic(OWNER_EMAIL, OWNER_PASSWORD)}
    found = clerk.quiet(Caller(address=address, headers=headers), "GET", "/me")
    return Caller(id=found.body["id"], address=address, headers=headers)


def hire(clerk: Clerk, name: str, network: str) -> Staff:
    """Make the callers of a thread, all from addresses of this network (`127.0.1.`)."""
    first = first_owner(clerk, network + "1")
    text = clerk.change(first, "token.issued.v1", "POST", "/me/api-tokens", {"name": name})
    by_token = Caller(
        id=first.id,
        token=text["id"],
        address=network + "2",
        headers={"Authorization": bearer(text["fullToken"])},
    )
    body: dict[str, Any] = {"name": f"{name}-owner", "tenants": ["main"], "instanceOwner": True}
    program = make_program(clerk, first, body, network + "3")
    tenant = f"own-{name}"
    roles = frozenset({"role.managed_created.v1"})
    clerk.change(
        program,
        "tenant.created.v1",
        "POST",
        "/tenants",
        {"id": tenant, "name": tenant},
        about=(tenant,),
        beside=roles,
    )
    helper = make_program(
        clerk, program, {"name": f"{name}-clerk", "tenants": ["main"]}, network + "5"
    )
    body = {"name": f"{name} clerks", "permissions": CLERKS}
    role = clerk.change(program, "role.created.v1", "POST", "/main/roles", body)["id"]
    body = {"type": "USER", "externalId": helper.id, "roleId": role}
    clerk.change(program, "binding.created.v1", "POST", "/main/bindings", body)
    low = make_program(clerk, program, {"name": f"{name}-low", "tenants": ["main"]}, network + "6")
    owners = (first, by_token, sign_in(clerk, first, network + "4"), program)
    return Staff(owners=owners, clerk=helper, low=low, tenant=tenant)


def make_program(clerk: Clerk, by: Caller, body: dict[str, Any], address: str) -> Caller:
    """Make a service account with a token."""
    made = clerk.change(
        by, "service_account.created.v1", "POST", "/service-accounts", body, beside=GAINED
    )
    return with_token(clerk, by, made["id"], address)


def with_token(clerk: Clerk, by: Caller, account: str, address: str, **more: object) -> Caller:
    """A service account with a new token."""
    path = f"/service-accounts/{account}/api-tokens"
    issued = clerk.change(by, "token.issued.v1", "POST", path, {"name": "deploy", **more})
    headers = {"Authorization": bearer(issued["fullToken"])}
    return Caller(id=account, token=issued["id"], address=address, headers=headers)


def sign_in(
    clerk: Clerk,
    user: Caller,
    address: str,
    email: str = OWNER_EMAIL,
    password: str = OWNER_PASSWORD,
) -> Caller:
    """Sign in and come back with the cookie of the session."""
    at_door = Caller(id=user.id, address=address, headers={})
    note = ("sign_in", "ALLOWED", "")
    body = {"username": email, "password": password}
    answer = clerk.noted(at_door, (note,), "POST", "/login", body)
    cookies = [line.partition(";")[0] for line in answer.headers["set-cookie"].split("\n")]
    return Caller(id=user.id, address=address, headers={"Cookie": "; ".join(cookies)})
