"""Is every request that of whom it says, judged by the right credential and nothing else?"""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from api.authentication import Caller, authenticate
from api.credentials import Sealer
from api.request_errors import MalformedCredentialError
from api.service import Health
from domain.access import Narrowing
from domain.ids import MAIN, UserId
from domain.sealed import Secret
from domain.service_accounts import DisableServiceAccount
from domain.token_text import TokenKind, make
from domain.tokens import DisableToken, RevokeToken, TokenExtended
from domain.users import ChangeUser, DisableUser
from ops.passwords import PasswordHasher
from ops.setup import system_context
from tests.answers import problem
from tests.service import (
    ADDRESS,
    CHEAPEST,
    NOBODY,
    PASSWORD,
    ROOT_EMAIL,
    Headers,
    Served,
    basic,
    bearer,
)

ADA = "ada@example.com"
WRONG = "not the right one at all"
OTHER = "another good long password"
ACCOUNTS = "main/service-accounts/none"


def _cookie(http: Served, email: str, password: str = PASSWORD) -> str:
    response = http.post("/login", {"username": email, "password": password}, by=NOBODY)
    assert 200 == response.status_code
    return response.headers.get_list("set-cookie")[0].partition(";")[0]


# Which credential


def test_no_credential_is_told_so_with_a_challenge(http: Served) -> None:
    """Kestra-iam 2.7: 401 `auth.required`, a Bearer challenge and never a Basic one."""
    response = http.get("me", by=NOBODY)

    problem(response, 401, "auth.required")
    assert response.headers["www-authenticate"] == 'Bearer realm="muniment"'


def test_a_wrong_credential_is_challenged_as_invalid(http: Served) -> None:
    """Kestra-iam 2.7: `error="invalid_token"` when something was presented."""
    response = http.get("me", by=bearer(make(TokenKind.USER, bytes(32))))

    problem(response, 401, "auth.invalid")
    assert 'Bearer realm="muniment", error="invalid_token"' == response.headers["www-authenticate"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_ignores_case(http: Served, scheme: str) -> None:
    """Kestra-iam 3: the scheme is read ignoring case."""
    text = http.token(http.root_id)

    assert 200 == http.get("me", by={"Authorization": f"{scheme} {text}"}).status_code


@pytest.mark.parametrize("empty", ["Basic Og==", "Basic ", "basic Og=="])
def test_an_empty_basic_credential_is_ignored(http: Served, empty: str) -> None:
    """Kestra-iam 3: Terraform always sends Basic, also with no user, beside its cookie."""
    cookie = _cookie(http, ROOT_EMAIL)

    problem(http.get("me", by={"Authorization": empty}), 401, "auth.required")
    assert 200 == http.get("me", by={"Authorization": empty, "Cookie": cookie}).status_code


@pytest.mark.parametrize(
    "presented",
    [
        "Bearer nonsense",
        "Digest abc",
        "Basic ###",
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        "Basic " + "QUJD" * 2000,
        "Basic " + base64.b64encode(b"root@example.com").decode(),
    ],
)
def test_a_wrong_credential_does_not_fall_through_to_the_cookie(
    http: Served, presented: str
) -> None:
    """Kestra-iam 3: one credential is judged; a presented one that is wrong is 401."""
    cookie = _cookie(http, ROOT_EMAIL)

    response = http.get("me", by={"Authorization": presented, "Cookie": cookie})

    problem(response, 401, "auth.invalid")


@pytest.mark.parametrize("value", ["Bearer", "bearer  "])
def test_bearer_without_a_token_is_malformed(http: Served, value: str) -> None:
    """Oauth 5: 400 `invalid_request`, and no fall-through to the cookie."""
    cookie = _cookie(http, ROOT_EMAIL)

    response = http.get("me", by={"Authorization": value, "Cookie": cookie})

    problem(response, 400, "auth.malformed")
    told = response.headers["www-authenticate"]
    assert 'Bearer realm="muniment", error="invalid_request"' == told


def test_two_credentials_are_malformed(http: Served) -> None:
    """Oauth 5: of two Authorization headers, a proxy may have judged the other one."""
    right = (b"authorization", http.root["Authorization"].encode())

    def asked(*headers: tuple[bytes, bytes]) -> Caller:
        scope: Any = {"headers": [*headers], "method": "GET", "state": {}}
        return http.run(authenticate(http.service, scope))

    assert http.root_id == asked(right).principal
    for other in (right, (b"authorization", b"Basic Og==")):
        with pytest.raises(MalformedCredentialError):
            asked(right, other)


def test_impersonation_is_refused_and_never_ignored(http: Served) -> None:
    """Kestra-iam 3: else the caller would act with its own wider rights."""
    response = http.get("me", headers={"X-Kestra-Impersonate": ADA})

    problem(response, 403, "impersonation.unsupported")


# Tokens


def test_a_token_is_refused_with_the_exact_code_only_when_its_secret_was_right(
    http: Served,
) -> None:
    """Kestra-iam 3: disabled, revoked and the owner's end are told to who held the secret."""
    account = http.account()
    disabled, revoked, living = (http.token(account) for _ in range(3))
    http.give(DisableToken(owner=account, id=http.token_id(disabled)))
    http.give(RevokeToken(owner=account, id=http.token_id(revoked)))

    problem(http.get("me", by=bearer(disabled)), 401, "token.disabled")
    problem(http.get("me", by=bearer(revoked)), 401, "token.revoked")
    assert 200 == http.get("me", by=bearer(living)).status_code

    http.give(DisableServiceAccount(id=account))
    problem(http.get("me", by=bearer(living)), 401, "principal.disabled")


def test_a_token_expires_to_the_second(http: Served) -> None:
    """Security 4.4: expiry is judged at every use."""
    text = http.token(http.account(), max_age_seconds=60)
    http.inputs.advance(59)
    assert 200 == http.get("me", by=bearer(text)).status_code

    http.inputs.advance(1)

    problem(http.get("me", by=bearer(text)), 401, "token.expired")


@pytest.mark.parametrize("place", [0, 4, 5, 20, 47, 48, 53])
def test_every_changed_character_makes_a_token_invalid(http: Served, place: int) -> None:
    """Security 4.1: prefix, alphabet, length and checksum are judged without a look-up."""
    text = http.token(http.account())
    changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]

    for wrong in (changed, text[:-1], text + "0", "x" * 1_000_000):
        problem(http.get("me", by=bearer(wrong)), 401, "auth.invalid")


def test_a_token_in_the_query_is_refused(http: Served) -> None:
    """Security 4.3: a token stands in the Authorization header only."""
    text = http.token(http.account())

    problem(http.get(f"me?token={text}"), 400, "token.misplaced")


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("10.1.2.3", 200),
        ("2001:db8::7", 200),
        ("11.0.0.1", 403),
        ("2001:db9::1", 403),
        ("::ffff:10.1.2.3", 403),
        ("not an address", 403),
    ],
)
def test_a_token_works_from_its_addresses_only(http: Served, address: str, status: int) -> None:
    """Kestra-iam 8: a use from elsewhere is 403 `token.address`."""
    text = http.token(http.account(), allowed_addresses=("10.0.0.0/8", "2001:db8::/32"))

    response = http.get("me", by=bearer(text), address=address)

    assert status == response.status_code
    if status == 403:
        problem(response, 403, "token.address")


def test_use_of_an_extended_token_moves_its_expiry(http: Served) -> None:
    """Kestra-iam 6.2: use moves the expiry, by an event for each tenth of the maximum age."""
    text = http.token(http.account(), max_age_seconds=1_000, extended=True)
    before = http.log.head()
    http.inputs.advance(99)
    http.get("me", by=bearer(text))
    http.get("me")
    assert before == http.log.head()

    http.inputs.advance(1)
    http.get("me", by=bearer(text))
    http.get(f"me?at_least={before + 1}")

    (moved,) = http.events(before)
    assert isinstance(moved, TokenExtended)
    http.inputs.advance(999)
    assert 200 == http.get("me", by=bearer(text)).status_code


def test_the_events_name_the_token_the_address_and_the_agent(http: Served) -> None:
    """Issue 2: each act is recorded with the account and the token that did it."""
    text = http.token(http.root_id)
    http.post(
        "main/service-accounts",
        {"name": "ci-bot"},
        by=bearer(text),
        headers={"User-Agent": "terraform/1.0", "X-Request-ID": "r-17"},
        address="198.51.100.7",
    )

    envelope = http.facts()[-1].envelope
    assert envelope.actor.id == http.root_id
    assert envelope.actor.type == "user"
    assert envelope.actor.token_id == http.token_id(text)
    assert ("api", "198.51.100.7") == (envelope.actor.via, envelope.actor.address)
    assert envelope.actor.user_agent == "terraform/1.0"
    assert envelope.correlation_id == "r-17"


# Passwords


def test_a_user_acts_with_e_mail_and_password(http: Served) -> None:
    """Kestra-iam 3: Basic is for users; the e-mail's case, spaces and variants do not count."""
    id_ = http.user(ADA)

    for spelled in (ADA, "Ada@Example.COM", " ada@example.com ", "\uff41da@example.com"):
        response = http.get("me", by=basic(spelled))
        assert 200 == response.status_code
        assert response.json()["id"] == id_


def test_whoever_cannot_sign_in_gets_one_answer(http: Served) -> None:
    """Security 3.3: unknown, wrong, disabled, without password, a service account: all alike."""
    http.user(ADA)
    http.account("ci-bot")
    http.user("none@example.com", password=None)
    http.give(DisableUser(id=http.user("off@example.com")))
    http.user("locked@example.com")
    for _ in range(10):
        http.get("me", by=basic("locked@example.com", WRONG))

    answers = [
        http.get("me", by=by)
        for by in (
            basic(ADA, WRONG),
            basic("nobody@example.com"),
            basic("none@example.com"),
            basic("off@example.com"),
            basic("ci-bot"),
            basic("locked@example.com"),
            basic("locked@example.com", WRONG),
        )
    ]

    shown = {(answer.status_code, _told(answer)) for answer in answers}
    assert 1 == len(shown)
    problem(answers[0], 401, "auth.invalid")


def _told(response: httpx.Response) -> str:
    """Answer all that an answer tells but its request's id."""
    body: dict[str, Any] = response.json()
    headers = dict(response.headers)
    for named in ("x-request-id", "content-length"):
        headers.pop(named)
    body.pop("requestId")
    return repr((sorted(headers.items()), body))


class Counting(PasswordHasher):
    """Notes whose hash was verified: True for a stored one, False for the dummy."""

    def __init__(self, http: Served) -> None:
        super().__init__(http.inputs, CHEAPEST)
        self.verified: list[bool] = []

    async def verify(
        self, stored: str | None, password: Secret, *, remember: UserId | None = None
    ) -> bool:
        self.verified.append(stored is not None)
        return await super().verify(stored, password, remember=remember)


def test_someone_unknown_costs_a_hash_like_anybody(http: Served) -> None:
    """Security 3.3: for the unknown, the locked and the disabled a dummy hash is verified."""
    http.user(ADA)
    http.give(DisableUser(id=http.user("off@example.com")))
    http.user("locked@example.com")
    for _ in range(10):
        http.run(http.failures.failed(http.vault.email_index("locked@example.com"), ADDRESS))
    counting = Counting(http)
    http.service.passwords = counting

    for email in (ADA, "nobody@example.com", "off@example.com", "ci-bot", "locked@example.com"):
        problem(http.get("me", by=basic(email, WRONG)), 401, "auth.invalid")

    assert [True, False, False, False, False] == counting.verified
    counting.close()


def test_ten_wrong_passwords_lock_the_account_for_half_an_hour(http: Served) -> None:
    """Security 3.4: also the right password is not judged then; tokens are not cut."""
    id_ = http.user(ADA)
    token = http.bearer(id_)
    spellings = (ADA, "ADA@example.com", "\uff41da@example.com", " ada@example.com")
    for number in range(10):
        by = basic(spellings[number % 4], WRONG)
        forwarded = {"X-Forwarded-For": f"198.51.100.{number}"}
        problem(http.get("me", by=by, headers=forwarded), 401, "auth.invalid")

    problem(http.get("me", by=basic(ADA)), 401, "auth.invalid")
    assert 200 == http.get("me", by=token).status_code
    assert 200 == http.get("me", by=basic(ROOT_EMAIL)).status_code
    http.inputs.advance(30 * 60)
    assert 200 == http.get("me", by=basic(ADA)).status_code


def test_a_network_that_failed_a_hundred_times_is_judged_no_more(http: Served) -> None:
    """Security 3.4: forwarded headers of an undeclared proxy do not make another network of it."""
    index = http.vault.email_index("nobody@example.com")
    for _ in range(100):
        http.run(http.failures.failed(index, ADDRESS))

    forwarded = {"X-Forwarded-For": "203.0.113.9"}
    problem(http.get("me", by=basic(ROOT_EMAIL), headers=forwarded), 401, "auth.invalid")
    assert 200 == http.get("me", by=basic(ROOT_EMAIL), address="203.0.113.9").status_code


def test_a_remembered_success_ends_with_the_password_and_the_user(http: Served) -> None:
    """Security 3.5: what was remembered is dropped at once when password or user changes."""
    id_ = http.user(ADA)
    assert 200 == http.get("me", by=basic(ADA)).status_code

    http.patch(f"users/{id_}/password", {"password": OTHER})

    problem(http.get("me", by=basic(ADA)), 401, "auth.invalid")
    assert 200 == http.get("me", by=basic(ADA, OTHER)).status_code
    http.post(f"users/{id_}/disable")
    problem(http.get("me", by=basic(ADA, OTHER)), 401, "auth.invalid")


class Overtaken(PasswordHasher):
    """While it verifies a password, an administrator sets another."""

    def __init__(self, http: Served, user: UserId) -> None:
        super().__init__(http.inputs, CHEAPEST)
        self._http = http
        self._user = user

    async def verify(
        self, stored: str | None, password: Secret, *, remember: UserId | None = None
    ) -> bool:
        right = await super().verify(stored, password, remember=remember)
        context = system_context(self._http.inputs)
        sealer = Sealer(self._http.service, context, self._user)
        sealed = await sealer.password(await self.hash(Secret(OTHER)))
        await sealer.execute(ChangeUser(id=self._user, password=sealed))
        return right


@pytest.mark.parametrize("path", ["me", "/login"])
def test_a_password_replaced_while_it_is_judged_opens_nothing(http: Served, path: str) -> None:
    """Security 2.5: whoever typed the old password has neither a request nor a session with it."""
    overtaken = Overtaken(http, http.user(ADA))
    http.service.passwords = overtaken

    if path == "me":
        response = http.run(http.send("GET", path, by=basic(ADA)))
    else:
        typed = {"username": ADA, "password": PASSWORD}
        response = http.run(http.send("POST", path, typed, by=NOBODY))

    problem(response, 401, "auth.invalid")
    overtaken.close()


# The order of judgement


def test_credentials_come_before_the_tenant_the_permission_and_the_body(http: Served) -> None:
    """Kestra-iam 2.6: credentials, tenant, permission, body, existence, state, in this order."""
    beta = http.tenant()
    ada = http.user(ADA)
    by = http.bearer(ada)
    malformed = b'{"name":'

    def post(tenant: str, who: Headers, content: bytes) -> httpx.Response:
        return http.post(f"{tenant}/service-accounts", by=who, content=content)

    problem(post("nowhere", NOBODY, malformed), 401, "auth.required")
    problem(post("nowhere", by, malformed), 404, "tenant.unknown")
    problem(post(beta, by, malformed), 404, "tenant.unknown")
    problem(post("main", by, malformed), 403, "permission.denied")
    http.allow(ada, {"SERVICE_ACCOUNT": ["CREATE", "UPDATE"]})
    problem(post("main", by, malformed), 400, "body.malformed")
    problem(post("main", by, b'{"name":1}'), 422, "body.invalid", "name")
    unknown = http.put(ACCOUNTS, by=by, content=b'{"name":"ci-bot"}')
    problem(unknown, 404, "service_account.unknown")


def test_a_403_names_what_was_required(http: Served) -> None:
    """Http-api 2: a 403 names the permission, as far as the caller may know."""
    response = http.get(ACCOUNTS, by=http.bearer(http.user(ADA)))

    body = problem(response, 403, "permission.denied")
    assert [{"type": "SERVICE_ACCOUNT", "action": "VIEW"}] == body["required"]
    assert "SERVICE_ACCOUNT:VIEW" in response.headers["www-authenticate"]


def test_a_narrowed_token_opens_only_what_it_leaves(http: Served) -> None:
    """Security 2.5: rights of a token are its scope within its owner's rights, at each use."""
    elsewhere = http.bearer(http.root_id, Narrowing(tenants=(http.tenant("beta"),)))
    plain = http.bearer(http.root_id, Narrowing(tenants=(MAIN,)))
    owning = http.bearer(http.root_id, Narrowing(tenants=(MAIN,), instance_owner=True))

    problem(http.get(ACCOUNTS, by=elsewhere), 404, "tenant.unknown")
    problem(http.get(ACCOUNTS, by=plain), 404, "tenant.unknown")
    problem(http.get(ACCOUNTS, by=owning), 404, "service_account.unknown")
    problem(http.get("users", by=owning), 403, "privilege.required")


def test_a_process_that_is_not_ready_answers_nobody(http: Served) -> None:
    """Security 2.1: stale or halted is 503, whoever asks, with Retry-After; never allowed."""
    http.health = Health(reason="stale", head_position=0, staleness_seconds=9.0)

    for by in (http.root, NOBODY, basic(ROOT_EMAIL)):
        problem(http.get("me", by=by), 503, "not_ready.stale")
    signing_in = {"username": ROOT_EMAIL, "password": PASSWORD}
    problem(http.post("/login", signing_in, by=NOBODY), 503, "not_ready.stale")


def test_a_caller_that_ended_since_is_judged_again_by_the_writer(http: Served) -> None:
    """Design 1.2: the caller's own right is judged on the exact head, not at the door."""
    account = http.account()
    http.allow(account, {"SERVICE_ACCOUNT": ["CREATE"]})
    by = http.bearer(account)

    responses = http.together(
        *(http.send("POST", "main/service-accounts", {"name": "x"}, by=by) for _ in range(3)),
        http.send("DELETE", f"main/service-accounts/{account}"),
        *(http.send("POST", "main/service-accounts", {"name": "x"}, by=by) for _ in range(3)),
    )

    assert {200, 401} >= {response.status_code for response in responses}
    problem(http.post("main/service-accounts", {"name": "x"}, by=by), 401, "token.revoked")
