"""Does a tenant's administrator learn or change anything of another tenant? (security 2.3)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from tests.campaigns import access
from tests.campaigns.client import POSITION, Answer, Client, bearer
from tests.campaigns.report import say
from tests.e2e.node import OWNER_PASSWORD, Node

API = "/api/v1"
CANARY = "canary-7f3a"
PATH_ONLY = "tests.campaigns.mutants.path_only"
NEVER = "0" * 22
# Kinds of ids that stand together in a path.
PAIRS = [
    ("group", "user"),
    ("group", "service account"),
    ("service account", "token"),
    ("user", "token"),
]
# Headers that differ from answer to answer, whoever asks.
CHANGING = frozenset({"date", "x-request-id"})


class Tenants(Struct, frozen=True):
    """An administrator of `alpha`, and every id of `beta`."""

    owner_token: str
    administrator: str
    ids: dict[str, str]
    secrets: tuple[str, ...]


def populate(url: str) -> Tenants:
    """Make two tenants: one with an administrator, one with an object of every kind."""
    owner_token = access.owner_token(url)
    with Client(url, bearer(owner_token)) as owner:
        for tenant, name in (("alpha", "Alpha"), ("beta", CANARY)):
            owner.made("POST", f"{API}/tenants", {"id": tenant, "name": name})
        administrator = _administrator(owner)
        made = _everything(owner)
    return Tenants(owner_token, administrator, *made)


def _administrator(owner: Client) -> str:
    account = owner.made("POST", f"{API}/alpha/service-accounts", {"name": "alpha-admin"})["id"]
    permissions = owner.made("GET", f"{API}/alpha/acls/permissions")
    # Principals live on the installation. Who may give them access to a tenant meets them by
    # their ids or e-mails, as the contract has it (kestra-iam 6.7); nobody else does.
    permissions["USER"].remove("CREATE")
    permissions["TENANT_ACCESS"].remove("CREATE")
    permissions["ACCESS"] = ["CHECK"]
    everything = {"name": "everything else", "permissions": permissions}
    role = owner.made("POST", f"{API}/alpha/roles", everything)["id"]
    bound = {"type": "USER", "externalId": account, "roleId": role}
    owner.made("POST", f"{API}/alpha/bindings", bound)
    tokens = f"{API}/alpha/service-accounts/{account}/api-tokens"
    return str(owner.made("POST", tokens, {"name": "admin"})["fullToken"])


def _everything(owner: Client) -> tuple[dict[str, str], tuple[str, ...]]:
    beta = f"{API}/beta"
    named = {"name": CANARY, "description": CANARY}
    group = owner.made("POST", f"{beta}/groups", named)["id"]
    account = owner.made("POST", f"{beta}/service-accounts", {**named, "groups": [{"id": group}]})
    permissions = {"FLOW": ["VIEW"], CANARY: ["READ"]}
    role = owner.made("POST", f"{beta}/roles", {**named, "permissions": permissions})["id"]
    bound = {"type": "GROUP", "externalId": group, "roleId": role, "namespaceId": CANARY}
    binding = owner.made("POST", f"{beta}/bindings", bound)["id"]
    tokens = f"{beta}/service-accounts/{account['id']}/api-tokens"
    token = owner.made("POST", tokens, named)
    person = {
        "email": f"{CANARY}@example.com",
        "firstName": CANARY,
        "password": OWNER_PASSWORD,
        "tenants": ["beta"],
        "groups": [group],
    }
    user = owner.made("POST", f"{API}/users", person)["id"]
    for carrier in (account["id"], user):
        owner.made("PUT", f"{beta}/principals/{carrier}/aliases/identity/{CANARY}-{carrier}")
    audit = owner.made("GET", f"{beta}/auditlogs/search?size=1")["results"][0]["auditLog"]["id"]
    ids = {
        "group": group,
        "service account": account["id"],
        "role": role,
        "binding": binding,
        "token": token["id"],
        "user": user,
        "audit": audit,
    }
    return ids, (token["fullToken"],)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A server with two tenants."""
    node = Node(tmp_path_factory.mktemp("isolation") / "data")
    node.init()
    node.start()
    yield node
    node.stop()


@pytest.fixture(scope="module")
def tenants(served: Node) -> Tenants:
    """What stands in the two tenants."""
    return populate(served.url)


def routes(url: str) -> list[tuple[str, str]]:
    """Every route of the OpenAPI document that has something in its path to be changed."""
    with Client(url) as anonymous:
        paths: dict[str, dict[str, Any]] = anonymous.made("GET", "/openapi.json")["paths"]
    verbs = {"get", "put", "post", "delete", "patch"}
    return [
        (verb.upper(), _of_one_type(path))
        for path, operations in sorted(paths.items())
        for verb in sorted(verbs & operations.keys())
        if path.startswith(API) and "{" in path
    ]


def _of_one_type(path: str) -> str:
    """The path with a type of alias, which is no id, an alias where it has none, and an end."""
    query = "?alias=x" if path.endswith("{type}") else ""
    if path.endswith("/tail"):
        query = "?after=0&seconds=0"
    if path.endswith("/journal"):
        # Of all that is asked here it tells, so that no two readings are alike.
        query = "?type=journal.sign_in"
    return path.replace("{type}", "identity") + query


def bodies(verb: str, path: str, ids: dict[str, str], name: str) -> list[Any]:
    """Bodies with ids in every place that the contract knows; None for no body."""
    if verb in {"GET", "DELETE"}:
        return [None]
    bound = {"type": "USER", "externalId": ids["service account"], "roleId": ids["role"]}
    by_group = {"type": "GROUP", "externalId": ids["group"], "roleId": ids["role"]}
    named = {"name": name, "email": "somebody@example.com", "permissions": {"FLOW": ["VIEW"]}}
    if path.endswith("bulk"):
        return [[bound, by_group]]
    return [
        None,
        {**named, **bound, "groups": [{"id": ids["group"]}], "membersId": [ids["user"]]},
        {**named, **by_group, "groups": [ids["group"]], "ids": list(ids.values())},
        {"groupIds": [ids["group"]], "q": CANARY, "existingOnly": False, "resource": "ROLE"},
    ]


def told(answer: Answer, ids: dict[str, str]) -> tuple[int, dict[str, str], str]:
    """What an answer tells, with the ids that were asked for taken out."""
    text = answer.text.decode()
    for id_ in ids.values():
        text = text.replace(id_, "ID")
    text = re.sub(r'"requestId":"[^"]*"', "", text)
    headers = {name: value for name, value in answer.headers.items() if name not in CHANGING}
    headers.pop("content-length", None)
    return answer.status, headers, text


class Probe(Struct, frozen=True):
    """One request, about ids of one kind or another."""

    verb: str
    path: str
    body: Any

    def about(self, ids: dict[str, str], kind: tuple[str, ...], tenant: str) -> tuple[str, Any]:
        """The path and body with these ids in the places of the parameters."""
        names = iter(kind)
        path = self.path.replace("{tenant}", tenant)
        path = re.sub(r"\{[^}]*\}", lambda _: ids[next(names)], path)
        return path, self.body


def probes(url: str, ids: dict[str, str], nothing: dict[str, str]) -> Iterator[tuple[Any, ...]]:
    """Requests about real ids, each with its twin about ids that never existed."""
    for verb, path in routes(url):
        places = len(re.findall(r"\{(?!tenant\})[^}]*\}", path))
        kinds = [(kind,) for kind in ids] if places == 1 else PAIRS if places else [()]
        twins = (bodies(verb, path, ids, "one"), bodies(verb, path, nothing, "other"))
        for real, made_up in zip(*twins, strict=True):
            # A body that names ids is tried with one kind in the path.
            for kind in kinds if real is None else kinds[:1]:
                yield Probe(verb, path, real), Probe(verb, path, made_up), kind


def differences(node: Node, tenants: Tenants) -> tuple[int, list[str]]:
    """Ask everything as the administrator of alpha; how much, and what told the two apart."""
    nothing = {kind: NEVER[:-1] + str(number) for number, kind in enumerate(tenants.ids)}
    found: list[str] = []
    asked = 0
    with Client(node.url, bearer(tenants.administrator)) as client:
        for real, made_up, kind in probes(node.url, tenants.ids, nothing):
            # The tenant of the path and the tenant of the ids vary apart.
            for tenant, twin in (("alpha", "alpha"), ("beta", "gamma")):
                path, body = real.about(tenants.ids, kind, tenant)
                other_path, other_body = made_up.about(nothing, kind, twin)
                one = client.ask(real.verb, path, body)
                other = client.ask(real.verb, other_path, other_body)
                asked += 1
                seen = told(one, {**tenants.ids, "tenant": tenant})
                wanted = told(other, {**nothing, "tenant": twin})
                if one.ok and other.ok and one.headers.get(POSITION) != other.headers.get(POSITION):
                    # Both made something in alpha, at two positions of the log.
                    continue
                if CANARY.encode() in one.text and CANARY not in json.dumps(body):
                    found.append(f"{real.verb} {path} {body}: tells of the canary: {one.text!r}")
                elif seen != wanted:
                    found.append(f"{real.verb} {path} {body}: {seen} and not {wanted}")
    return asked, found


def test_another_tenants_objects_are_as_if_they_had_never_been(
    served: Node, tenants: Tenants
) -> None:
    """Security 2.3: every route with every id of another tenant tells nothing, changes nothing."""
    with Client(served.url, bearer(tenants.owner_token)) as owner:
        before = shown(owner, tenants)

        asked, found = differences(served, tenants)

        say("security 2.3", f"{len(found)} told", n=asked)
        assert found == [], "\n".join(found)
        assert asked >= 200
        assert shown(owner, tenants) == before


def shown(owner: Client, tenants: Tenants) -> list[Any]:
    """Everything of the other tenant, as an owner sees it."""
    ids, beta = tenants.ids, f"{API}/beta"
    account = f"{beta}/service-accounts/{ids['service account']}"
    paths = (
        f"{beta}/groups/{ids['group']}",
        f"{beta}/groups/{ids['group']}/members",
        account,
        f"{account}/api-tokens",
        f"{beta}/roles/{ids['role']}",
        f"{beta}/bindings/{ids['binding']}",
        f"{beta}/tenant-access",
        f"{API}/users/{ids['user']}",
        f"{beta}/principals/{ids['user']}/aliases",
        f"{beta}/principals/{ids['service account']}/aliases",
        f"{beta}/auditlogs/search?size=100&filters[event][NOT_CONTAINS]=journal.",
    )
    found = [owner.made("GET", path) for path in paths]
    # How far the log is signed goes on by itself.
    found[-1].pop("sealedThrough")
    return found


def test_a_tenants_check_knows_nobody_of_another(served: Node, tenants: Tenants) -> None:
    """Security 2.3: asked in its own tenant, a principal of another is as unknown as any."""
    with Client(served.url, bearer(tenants.administrator)) as client:
        answers = [
            client.ask(
                "POST",
                access.EVALUATION,
                {
                    "subject": {"type": "service_account", "id": subject},
                    "action": {"name": "VIEW"},
                    "resource": {"type": "FLOW", "id": "x", "properties": {"tenant": tenant}},
                },
            )
            for subject in (tenants.ids["service account"], NEVER)
            for tenant in ("alpha", "beta", "gamma")
        ]
    own, other, nowhere, *unknown = [told(answer, {}) for answer in answers]

    assert [own, other, nowhere] == unknown
    assert answers[0].body["decision"] is False


def test_a_build_that_judges_the_path_only_is_noticed(tmp_path: Path) -> None:
    """Control of security 2.3: a look-up that ignores the tenant tells of the other's objects."""
    broken = Node(tmp_path / "data", program=PATH_ONLY)
    broken.init()
    broken.start()

    asked, found = differences(broken, populate(broken.url))

    broken.stop()
    say("security 2.3, path only", f"{len(found)} told", n=asked)
    assert found
