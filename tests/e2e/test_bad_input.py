"""Is bad input refused with the right code, and without a trace in the state?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import pytest
from msgspec import Struct, structs

from tests.campaigns import access, corpus
from tests.campaigns.access import World
from tests.campaigns.client import Answer, Client, bearer
from tests.campaigns.report import say
from tests.campaigns.stored import digest_of
from tests.e2e.node import OWNER_EMAIL, OWNER_PASSWORD, Node, muniment

API = "/api/v1"
MAIN = f"{API}/main"
NOBODY = "0" * 22
UNGUARDED = "tests.campaigns.mutants.unguarded"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A server that the tests of this module share, since none of them may change anything."""
    node = Node(tmp_path_factory.mktemp("bad") / "data")
    node.init()
    node.start()
    yield node
    node.stop()


@pytest.fixture(scope="module")
def world(served: Node) -> World:
    """What bad requests are about."""
    return access.build(served.url)


@pytest.fixture
def owner(served: Node, world: World) -> Iterator[Client]:
    """An instance owner."""
    with Client(served.url, bearer(world.owner_token)) as client:
        yield client


class Case(Struct, frozen=True):
    """A bad request; `$name` stands for a member of the world."""

    method: str
    path: str
    body: Any
    status: int
    code: str
    fields: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()

    def ask(self, client: Client, world: World) -> Answer:
        """Send it."""
        known = structs.asdict(world)
        body = self.body
        if not isinstance(body, bytes) and body is not None:
            body = Template(json.dumps(body)).safe_substitute(known).encode()
        path = Template(self.path).safe_substitute(known)
        return client.ask(self.method, path, body, dict(self.headers))


def unknown(method: str, path: str, body: Any, noun: str) -> Case:  # noqa: ANN401 - any JSON value
    """A request that names something that is not there."""
    return Case(method, path, body, 404, f"{noun}.unknown")


def binding(**changes: str) -> dict[str, str]:
    """A binding of the world's group and role with these changes."""
    return {"type": "GROUP", "externalId": "$group", "roleId": "$role", **changes}


CASES = {
    "unknown role": unknown("GET", f"{MAIN}/roles/{NOBODY}", None, "role"),
    "unknown role replaced": unknown(
        "PUT", f"{MAIN}/roles/{NOBODY}", {"name": "x", "permissions": {}}, "role"
    ),
    "unknown role deleted": unknown("DELETE", f"{MAIN}/roles/{NOBODY}", None, "role"),
    "unknown role bound": unknown("POST", f"{MAIN}/bindings", binding(roleId=NOBODY), "role"),
    "unknown group": unknown("GET", f"{MAIN}/groups/{NOBODY}", None, "group"),
    "unknown group bound": unknown("POST", f"{MAIN}/bindings", binding(externalId=NOBODY), "group"),
    "unknown group joined": unknown("PUT", f"{MAIN}/groups/{NOBODY}/members/$bot", None, "group"),
    "unknown group of a new account": unknown(
        "POST", f"{MAIN}/service-accounts", {"name": "x", "groups": [{"id": NOBODY}]}, "group"
    ),
    "unknown tenant": unknown("GET", f"{API}/nowhere/groups/search", None, "tenant"),
    "unknown tenant written to": unknown("POST", f"{API}/nowhere/groups", {"name": "x"}, "tenant"),
    "unknown tenant of a new account": unknown(
        "POST", f"{API}/service-accounts", {"name": "x", "tenants": ["nowhere"]}, "tenant"
    ),
    "unknown principal bound": unknown(
        "POST", f"{MAIN}/bindings", binding(type="USER", externalId=NOBODY), "principal"
    ),
    "unknown principal joins": unknown(
        "PUT", f"{MAIN}/groups/$group/members/{NOBODY}", None, "principal"
    ),
    "unknown user": unknown("GET", f"{API}/users/{NOBODY}", None, "user"),
    "unknown account": unknown("GET", f"{MAIN}/service-accounts/{NOBODY}", None, "service_account"),
    "unknown token": unknown(
        "DELETE", f"{MAIN}/service-accounts/$bot/api-tokens/{NOBODY}", None, "token"
    ),
    "unknown binding": unknown("DELETE", f"{MAIN}/bindings/{NOBODY}", None, "binding"),
    "unknown route": unknown("GET", f"{API}/nothing/here/at/all", None, "route"),
    "duplicate group name": Case(
        "POST", f"{MAIN}/groups", {"name": "bOTS"}, 409, "group.name_taken", ("name",)
    ),
    "duplicate e-mail": Case(
        "POST", f"{API}/users", {"email": "ADA@example.com"}, 409, "user.email_taken", ("email",)
    ),
    "duplicate binding": Case(
        "POST", f"{MAIN}/bindings", binding(namespaceId="prod"), 409, "binding.exists"
    ),
    "duplicate member": Case(
        "PUT", f"{MAIN}/groups/$group/members/$bot", None, 409, "group.already_member"
    ),
    "malformed JSON": Case("POST", f"{MAIN}/groups", b'{"name":', 400, "body.malformed"),
    "no JSON": Case("POST", f"{MAIN}/groups", b"name=x", 400, "body.malformed"),
    "not UTF-8": Case("POST", f"{MAIN}/groups", b'{"name":"\xff"}', 400, "body.not_utf8"),
    "control character": Case(
        "POST", f"{MAIN}/groups", b'{"name":"a\\u0000"}', 400, "body.control_character"
    ),
    "too deep": Case("POST", f"{MAIN}/groups", b"[" * 33 + b"]" * 33, 400, "body.too_complex"),
    "too large": Case("POST", f"{MAIN}/groups", b" " * 1_048_577, 413, "body.too_large"),
    "other media type": Case(
        "POST",
        f"{MAIN}/groups",
        b"{}",
        415,
        "body.media_type",
        headers=(("Content-Type", "text/plain"),),
    ),
    "name missing": Case("POST", f"{MAIN}/groups", {}, 422, "body.invalid", ("name",)),
    "name of another type": Case(
        "POST", f"{MAIN}/groups", {"name": 5}, 422, "body.invalid", ("name",)
    ),
    "empty group name": Case(
        "POST", f"{MAIN}/groups", {"name": " "}, 422, "group.invalid", ("name",)
    ),
    "account name": Case(
        "POST",
        f"{MAIN}/service-accounts",
        {"name": "Not A Name", "description": "d" * 2_001},
        422,
        "service_account.invalid",
        ("name", "description"),
    ),
    "role": Case(
        "POST",
        f"{MAIN}/roles",
        {"name": "", "permissions": {"no type!": ["VIEW"]}, "description": "d" * 2_001},
        422,
        "role.invalid",
        ("name", "description", "permissions"),
    ),
    "binding over before it begins": Case(
        "POST",
        f"{MAIN}/bindings",
        binding(
            namespaceId="no..namespace",
            notBefore="2050-01-02T00:00:00Z",
            expiresAt="2050-01-01T00:00:00Z",
        ),
        422,
        "binding.invalid",
        ("namespaceId", "expiresAt"),
    ),
    "second binding of several": Case(
        "POST",
        f"{MAIN}/bindings/bulk",
        [binding(), binding(roleId=NOBODY)],
        404,
        "role.unknown",
        ("[1].roleId",),
    ),
    "token": Case(
        "POST",
        f"{MAIN}/service-accounts/$bot/api-tokens",
        {"name": "No Name", "description": "d" * 2_001, "allowedAddresses": ["10.0.0.0/99"]},
        422,
        "token.invalid",
        ("name", "description", "allowedAddresses[0]"),
    ),
    "lifetime": Case(
        "POST",
        f"{MAIN}/service-accounts/$bot/api-tokens",
        {"name": "short", "maxAge": "P1Y"},
        422,
        "duration.invalid",
        ("maxAge",),
    ),
    "reserved tenant id": Case(
        "POST", f"{API}/tenants", {"id": "users", "name": "x"}, 422, "tenant.reserved", ("id",)
    ),
    "weak password": Case(
        "POST",
        f"{API}/users",
        {"email": "eve@example.com", "password": "short"},
        422,
        "user.invalid",
        ("password",),
    ),
    "bad page": Case("GET", f"{MAIN}/groups/search?size=1001", None, 422, "page.invalid"),
    "bad filter": Case(
        "GET", f"{MAIN}/groups/search?filters[colour][EQUALS]=x", None, 400, "filters.invalid"
    ),
    "position on a write": Case(
        "POST", f"{MAIN}/groups?position=1", {"name": "x"}, 400, "position.on_write"
    ),
    "stale If-Match": Case(
        "PUT",
        f"{MAIN}/groups/$group",
        {"name": "Robots"},
        412,
        "etag.mismatch",
        headers=(("If-Match", '"1"'),),
    ),
    "malformed If-Match": Case(
        "PUT",
        f"{MAIN}/groups/$group",
        {"name": "Robots"},
        400,
        "etag.invalid",
        headers=(("If-Match", "1"),),
    ),
    "malformed Idempotency-Key": Case(
        "POST",
        f"{MAIN}/groups",
        {"name": "x"},
        400,
        "idempotency.invalid",
        headers=(("Idempotency-Key", "k" * 256),),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_with_its_code_and_changes_nothing(
    served: Node, world: World, owner: Client, name: str
) -> None:
    """Issue "Bad input": the code of each fault, each field by its path, the digest unchanged."""
    case = CASES[name]
    before = digest_of(served.data_dir)

    answer = case.ask(owner, world)

    assert (answer.status, answer.code) == (case.status, case.code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    faults = answer.body["_embedded"]["errors"]
    assert set(case.fields) <= {fault.get("path") for fault in faults}, faults
    assert digest_of(served.data_dir) == before


def test_a_key_with_another_body_is_refused_and_with_the_same_answered_again(
    served: Node, owner: Client
) -> None:
    """Issue "Bad input", http-api 4: 422 for another body, the first answer for the same one."""
    body = {"name": "Once"}
    key = {"Idempotency-Key": "a-key-of-mine"}
    first = owner.ask("POST", f"{MAIN}/groups", body, key)
    assert first.ok
    before = digest_of(served.data_dir)

    again = owner.ask("POST", f"{MAIN}/groups", body, key)
    other = owner.ask("POST", f"{MAIN}/groups", {"name": "Twice"}, key)

    assert (again.status, again.text, again.position) == (first.status, first.text, first.position)
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert (other.status, other.code) == (422, "idempotency.mismatch")
    assert digest_of(served.data_dir) == before


def test_a_repeated_answer_shows_no_secret_again(served: Node, world: World, owner: Client) -> None:
    """http-api 4: the secret of a token is in one answer, once."""
    path = f"{access.ACCOUNTS}/{world.bot}/api-tokens"
    key = {"Idempotency-Key": "a-token-of-mine"}
    first = owner.ask("POST", path, {"name": "once"}, key)
    before = digest_of(served.data_dir)

    again = owner.ask("POST", path, {"name": "once"}, key)

    secret = first.body["fullToken"]
    assert again.status == first.status
    assert again.body == {key: value for key, value in first.body.items() if key != "fullToken"}
    assert secret.encode() not in again.text
    assert digest_of(served.data_dir) == before


def test_a_key_of_somebody_else_is_another_key(served: Node, owner: Client) -> None:
    """http-api 4: the caller is part of the command's id, so nobody finds another's answer."""
    key = {"Idempotency-Key": "shared"}
    mine = owner.ask("POST", f"{MAIN}/service-accounts", {"name": "mine"}, key)
    basic = served.client(basic=(OWNER_EMAIL, OWNER_PASSWORD))

    theirs = basic.post(f"{MAIN}/service-accounts", json={"name": "theirs"}, headers=key)

    basic.close()
    assert mine.ok
    assert theirs.status_code == 200
    assert theirs.json()["name"] == "theirs"
    assert "idempotency-replayed" not in theirs.headers


def broken_answers(node: Node, token: str) -> Counter[int]:
    """Send the whole corpus; the statuses that came back, hangs as status 0."""
    statuses: Counter[int] = Counter()
    for payload in corpus.requests():
        try:
            statuses.update(corpus.send(node.url, payload, token))
        except TimeoutError:
            statuses[0] += 1
    return statuses


def test_no_bytes_make_the_server_fail_or_hang(served: Node, world: World) -> None:
    """Security 6.6 and 9: over raw sockets 0 x 5xx, 0 hangs, and nothing is changed."""
    before = digest_of(served.data_dir)

    statuses = broken_answers(served, world.owner_token)

    say("security 9", dict(sorted(statuses.items())), n=sum(1 for _ in corpus.requests()))
    assert {status for status in statuses if status == 0 or status >= 500} == set()
    assert sum(statuses.values()) > 200
    assert digest_of(served.data_dir) == before
    with Client(served.url) as probe:
        assert probe.ask("GET", "/readyz").status == 200


def test_with_a_careless_guard_the_same_bytes_make_it_fail(tmp_path: Path) -> None:
    """Control of security 6.1: with a careless guard the same corpus is answered 500."""
    broken = Node(tmp_path / "data", program=UNGUARDED)
    broken.init()
    broken.start()

    statuses = broken_answers(broken, access.owner_token(broken.url))

    broken.stop()
    say("security 9, careless", dict(sorted(statuses.items())))
    assert any(status == 0 or status >= 500 for status in statuses)


def test_no_character_of_a_token_can_be_changed(served: Node, world: World) -> None:
    """Security 4.1: of every single-character change none is let in."""
    variants = list(corpus.token_variants(world.owner_token))

    statuses = [corpus.send(served.url, variant, "") for variant in variants]

    say("security 4.1", Counter(map(tuple, statuses)), n=len(variants))
    assert all(status == [401] for status in statuses)


def test_the_command_line_tells_the_same_digest(served: Node) -> None:
    """What these tests compare is what `muniment digest` prints beside the running server."""
    printed = muniment("digest", data_dir=served.data_dir)

    assert printed.stdout.strip() == digest_of(served.data_dir)
