"""Which four families of token routes are there, and who uses each? (kestra-iam 6.2)."""

from __future__ import annotations

from typing import Any, Final

import httpx
from msgspec import Struct

from domain.ids import PrincipalId
from tests.service import Headers, Served

NAMED: Final = {"name": "deploy"}
ALL: Final = {"SERVICE_ACCOUNT": ["*"]}


class Base(Struct, frozen=True):
    """One of the four families: where its routes stand, whose they are, what they answer."""

    path: str
    owner: PrincipalId
    by: Headers
    prefix: str = "muns_"
    issued: int = 200
    revoked: int = 200


def base(http: Served, family: str) -> Base:
    """Answer a family of token routes, with a caller who may use all of them."""
    match family:
        case "tenant":
            account = http.account()
            admin = http.user("admin@example.com")
            http.allow(admin, ALL)
            path = f"main/service-accounts/{account}/api-tokens"
            return Base(path, account, http.bearer(admin))
        case "instance":
            account = http.account()
            return Base(f"service-accounts/{account}/api-tokens", account, http.root)
        case "user":
            user = http.user()
            return Base(f"users/{user}/api-tokens", user, http.root, "munu_", 201, 204)
        case _:
            user = http.user()
            return Base("me/api-tokens", user, http.bearer(user), "munu_")


def issue(http: Served, family: Base, **body: object) -> dict[str, Any]:
    """Issue a token by its route; answer the answer."""
    response = http.post(family.path, {**NAMED, **body}, by=family.by)
    assert family.issued == response.status_code, response.text
    issued: dict[str, Any] = response.json()
    return issued


def others(http: Served, family: Base) -> httpx.Response:
    """Answer the list of tokens."""
    return http.get(family.path, by=family.by)
