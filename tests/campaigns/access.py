"""Which small world do campaigns ask about: a bot whose group may work in one namespace?"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from tests.campaigns.client import Client, basic
from tests.e2e.node import OWNER_EMAIL, OWNER_PASSWORD

EVALUATION = "/access/v1/evaluation"
ACCOUNTS = "/api/v1/main/service-accounts"


class World(Struct, frozen=True):
    """The ids and secrets of what `build` made."""

    owner_token: str
    bot: str
    bot_token_id: str
    bot_token: str
    group: str
    role: str
    binding: str


def owner_token(url: str) -> str:
    """Make a program that is an instance owner, whose requests cost no password hash; its token."""
    with Client(url, basic(OWNER_EMAIL, OWNER_PASSWORD)) as owner:
        body = {"name": "campaign", "tenants": ["main"], "instanceOwner": True}
        program = owner.made("POST", "/api/v1/service-accounts", body)["id"]
        tokens = f"/api/v1/service-accounts/{program}/api-tokens"
        return str(owner.made("POST", tokens, {"name": "campaign"})["fullToken"])


def build(url: str, name: str = "Bots") -> World:
    """Make a bot that may update flows in `prod`, through a group of this name, and its token."""
    token = owner_token(url)
    with Client(url, f"Bearer {token}") as owner:
        group = owner.made("POST", "/api/v1/main/groups", {"name": name})["id"]
        body: dict[str, Any] = {"name": "ci-bot", "groups": [{"id": group}]}
        bot = owner.made("POST", ACCOUNTS, body)["id"]
        body = {"name": "operator", "permissions": {"FLOW": ["VIEW", "UPDATE"]}}
        role = owner.made("POST", "/api/v1/main/roles", body)["id"]
        body = {"type": "GROUP", "externalId": group, "roleId": role, "namespaceId": "prod"}
        binding = owner.made("POST", "/api/v1/main/bindings", body)["id"]
        issued = owner.made("POST", f"{ACCOUNTS}/{bot}/api-tokens", {"name": "deploy"})
    return World(token, bot, issued["id"], issued["fullToken"], group, role, binding)


def question(bot: str, namespace: str = "prod.billing", **context: int) -> dict[str, Any]:
    """May this bot update a flow there?"""
    return {
        "subject": {"type": "service_account", "id": bot},
        "action": {"name": "UPDATE"},
        "resource": {"type": "FLOW", "id": "nightly", "properties": {"namespace": namespace}},
        "context": context,
    }
