"""Does the first user's whole journey work, with a real server and Kestra's own client?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from kestrapy.exceptions import ForbiddenException, UnauthorizedException
from kestrapy.kestra_client import KestraClient

from tests.e2e.node import OWNER_EMAIL, OWNER_PASSWORD, Node, muniment


class Journey:
    """What the owner makes with Kestra's client: ci-bot, Bots, operator, a binding, a token."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.kestra = KestraClient(
            host=node.url, username=OWNER_EMAIL, password=OWNER_PASSWORD, timeout=20
        )
        self.bots = self.kestra.groups.create_group("main", {"name": "Bots"})
        self.bot = self.kestra.service_account.create_service_account_for_tenant(
            "main",
            {"name": "ci-bot", "description": "CI pipeline", "groups": [{"id": self.bots.id}]},
        )
        self.role = self.kestra.roles.create_role(
            "main",
            {
                "name": "operator",
                "permissions": {
                    "FLOW": ["VIEW", "LIST", "UPDATE", "EXECUTE"],
                    "EXECUTION": ["VIEW", "RESTART"],
                },
            },
        )
        self.binding = self.kestra.bindings.create_binding(
            "main",
            {
                "type": "GROUP",
                "externalId": self.bots.id,
                "roleId": self.role.id,
                "namespaceId": "prod",
            },
        )
        issued = self.kestra.service_account.create_api_tokens_for_service_account_with_tenant(
            self.bot.id, "main", {"name": "deploy", "description": "prod", "maxAge": "P30D"}
        )
        self.token_id: str = issued["id"]
        self.token: str = issued["fullToken"]

    def allowed(self, namespace: str, action: str = "UPDATE") -> bool:
        """What AuthZEN answers ci-bot's own token about itself."""
        with self.node.client(self.token) as client:
            answer = client.post("/access/v1/evaluation", json=question(namespace, action))
        assert answer.status_code == 200, answer.text
        decision: bool = answer.json()["decision"]
        return decision

    def trail(self) -> list[dict[str, Any]]:
        """The whole audit list of the tenant."""
        page = self.kestra.auditlogs.search_audit_logs("main", size=1000)
        entries: list[dict[str, Any]] = page["results"]
        return entries


def question(namespace: str, action: str = "UPDATE") -> dict[str, Any]:
    """May ci-bot do that to a flow there?"""
    return {
        "subject": {"type": "service_account", "id": "ci-bot"},
        "action": {"name": action},
        "resource": {"type": "FLOW", "id": "nightly", "properties": {"namespace": namespace}},
    }


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    """The journey up to the token, on one server for all tests that leave it as it is."""
    node = Node(tmp_path_factory.mktemp("journey") / "data")
    node.init()
    node.start()
    yield Journey(node)
    node.stop()


def test_kestras_client_makes_an_account_that_a_group_governs(journey: Journey) -> None:
    """What Kestra's client created reads back whole, and the account is in its group."""
    account = journey.kestra.service_account.service_account_for_tenant(journey.bot.id, "main")
    members = journey.kestra.groups.search_group_members(journey.bots.id, "main")
    listed = journey.kestra.service_account.list_api_tokens_for_service_account_with_tenant(
        journey.bot.id, "main"
    )

    assert account.name == "ci-bot"
    assert account.description == "CI pipeline"
    assert [member.username for member in members.results] == ["ci-bot"]
    assert [token["name"] for token in listed["results"]] == ["deploy"]
    assert journey.token not in str(listed)


def test_a_role_through_a_group_reaches_its_namespace_and_no_other(journey: Journey) -> None:
    """A binding on prod covers prod.billing, and never production."""
    assert journey.allowed("prod.billing")
    assert journey.allowed("prod")
    assert not journey.allowed("production")
    assert not journey.allowed("prod.billing", "DELETE")


def test_a_program_may_not_manage_what_it_was_not_given(journey: Journey) -> None:
    """The token calls a management route that it may not: 403 with a stable code."""
    bot = KestraClient(host=journey.node.url, token=journey.token, timeout=20)

    with pytest.raises(ForbiddenException) as refused:
        bot.groups.create_group("main", {"name": "Mine"})

    assert '"code":"permission.denied"' in str(refused.value.body)


def test_a_service_account_never_signs_in(journey: Journey) -> None:
    """Basic credentials and the sign-in refuse a service account, whatever it sends."""
    with journey.node.client(basic=("ci-bot", journey.token)) as client:
        by_name = client.get("/api/v1/me")
    with journey.node.client() as client:
        signed_in = client.post(
            "/api/v1/login", json={"username": "ci-bot", "password": journey.token}
        )

    assert (by_name.status_code, by_name.json()["code"]) == (401, "auth.invalid")
    assert (signed_in.status_code, signed_in.json()["code"]) == (401, "auth.invalid")
    assert "set-cookie" not in signed_in.headers


def test_a_user_acts_with_a_token_of_its_own(journey: Journey) -> None:
    """A user makes a token for itself; what it does with it is traced to user and token."""
    own = journey.kestra.me.create_api_token({"name": "laptop"})
    ada = KestraClient(host=journey.node.url, token=own.full_token, timeout=20)

    made = ada.groups.create_group("main", {"name": "Humans"})

    entry = next(
        entry["auditLog"]
        for entry in journey.trail()
        if entry["auditLog"]["detail"]["id"] == made.id
    )
    assert entry["tokenId"] == own.id
    assert entry["event"] == "group.created.v1"


def test_each_act_is_in_the_audit_list_with_who_and_how(journey: Journey) -> None:
    """The audit list shows every act of the journey with account, address, time and position."""
    entries = [entry["auditLog"] for entry in journey.trail()]
    me = journey.kestra.me.current_user()["id"]
    mine = [entry for entry in entries if entry["userId"] == me]

    done = {(entry["event"], entry["detail"]["id"]) for entry in mine}
    assert {
        ("group.created.v1", journey.bots.id),
        ("service_account.created.v1", journey.bot.id),
        ("role.created.v1", journey.role.id),
        ("binding.created.v1", journey.binding.id),
    } <= done
    assert any(entry.get("detail", {}).get("tokenId") == journey.token_id for entry in mine)
    assert all(entry["ipAddress"] == "127.0.0.1" for entry in mine)
    positions = [entry["position"] for entry in entries]
    assert positions == sorted(positions, reverse=True)


def test_a_revoked_token_is_refused_on_the_very_next_request(node: Node) -> None:
    """Revoking takes effect with the answer."""
    journey = Journey(node)
    assert journey.allowed("prod.billing")

    journey.kestra.service_account.delete_api_token_for_service_account_with_tenant(
        journey.bot.id, journey.token_id, "main"
    )

    with node.client(journey.token) as client:
        refused = client.post("/access/v1/evaluation", json=question("prod.billing"))
    assert (refused.status_code, refused.json()["code"]) == (401, "token.revoked")
    bot = KestraClient(host=node.url, token=journey.token, timeout=20)
    with pytest.raises(UnauthorizedException):
        bot.me.current_user()


def test_killed_and_restarted_it_finds_everything_as_it_was(node: Node) -> None:
    """After kill -9 and a restart: the same digest, the same answers, the same trail."""
    journey = Journey(node)
    before = muniment("digest", data_dir=node.data_dir)
    trail = journey.trail()
    assert before.returncode == 0, before.stderr

    node.kill()
    node.start()

    after = muniment("digest", data_dir=node.data_dir)
    assert after.stdout == before.stdout
    assert journey.allowed("prod.billing")
    assert not journey.allowed("production")
    again = KestraClient(
        host=node.url, username=OWNER_EMAIL, password=OWNER_PASSWORD, timeout=20
    ).auditlogs.search_audit_logs("main", size=1000)
    assert again["results"] == trail


def test_nobody_is_let_in_without_a_credential(journey: Journey) -> None:
    """Without a credential every route of the contract says so."""
    refused = httpx.get(f"{journey.node.url}/api/v1/main/groups/search", timeout=20)

    assert (refused.status_code, refused.json()["code"]) == (401, "auth.required")
