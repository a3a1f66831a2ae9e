"""Does the evaluation endpoint answer, and refuse, as AuthZEN and our mapping say?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import UNSET, UnsetType

from api.judging import Judge
from domain.access import Narrowing
from domain.bindings import DeleteBinding
from domain.ids import MAIN, TokenId
from domain.permissions import from_lists
from domain.scopes import Resource, Scope
from domain.service_accounts import DisableServiceAccount
from domain.tenants import DeleteTenant
from domain.tokens import DisableToken, RevokeToken
from tests.answers import problem
from tests.api.checking import ALLOWED, HOT, PROD, Desk, Json, question
from tests.service import NOBODY, PASSWORD, ROOT_EMAIL, Served, basic, bearer, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service import Headers


@pytest.fixture
def desk(http: Served) -> Desk:
    """Return an installation with a bot that may update flows below `prod`."""
    return Desk(http)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Yield an installation that several tests ask, and none changes."""
    with served(tmp_path_factory.mktemp("checks")) as http:
        yield Desk(http)


# Answers


def test_an_allow_is_exactly_this(desk: Desk) -> None:
    """The bytes of an allow are fixed (authzen 2)."""
    assert desk.ask(question(desk.bot), desk.by_bot).content == b'{"decision":true}'


def test_a_deny_is_exactly_this_and_200(desk: Desk) -> None:
    """A deny is an answer, not an error (authzen 1)."""
    response = desk.ask(question(desk.bot, "DELETE"), desk.by_bot)

    assert (200, b'{"decision":false}') == (response.status_code, response.content)


@pytest.mark.parametrize(
    ("action", "namespace", "resource", "expected"),
    [
        ("UPDATE", "prod", ("FLOW", "x"), True),
        ("UPDATE", "prod.billing.eu", ("FLOW", "*"), True),
        ("UPDATE", "production", ("FLOW", "x"), False),
        ("UPDATE", UNSET, ("FLOW", "x"), False),
        ("update", "prod", ("FLOW", "x"), False),
        ("UPDATE", "prod", ("flow", "x"), False),
        ("*", "prod", ("FLOW", "x"), False),
        ("UPDATE", "prod", ("*", "x"), False),
        ("UPDATE", "prod", ("UNHEARD", "x"), False),
        ("", "prod", ("FLOW", "x"), False),
    ],
)
def test_an_evaluation_maps_to_our_model(
    shared: Desk,
    action: str,
    namespace: str | UnsetType,
    resource: tuple[str, str],
    *,
    expected: bool,
) -> None:
    """Byte for byte: `prod` covers `prod.billing`, never `production` (authzen 3)."""
    assert expected == shared.says(question(shared.bot, action, namespace, resource=resource))


def test_one_resource_is_covered_by_a_binding_on_it_alone(desk: Desk) -> None:
    """A binding on one resource counts for it, not for `*` and not for another (authzen 3)."""
    place = Scope(resource=Resource("record", "r-17"))
    desk.http.allow(desk.bot, {"record": ["read"]}, place=place)

    found = [
        desk.says(question(desk.bot, "read", UNSET, resource=("record", one)))
        for one in ("r-17", "*", "r-18", "R-17")
    ]

    assert [True, False, False, False] == found


def test_absent_and_null_properties_mean_none(desk: Desk) -> None:
    """No properties, an empty object, and null inside them are passed over (authzen 2)."""
    desk.http.allow(desk.bot, {"FLOW": ["VIEW"]})
    body = question(desk.bot, "VIEW", UNSET)
    nulls: Json = {"namespace": None, "tenant": None, "other": [None, {"deep": 1}]}
    for properties in ({}, nulls, {"tenant": "main"}):
        assert desk.says(body | {"resource": body["resource"] | {"properties": properties}})
    del body["resource"]["properties"]
    assert desk.says(body)


def test_unknown_members_are_ignored_at_every_level(desk: Desk) -> None:
    """Members that nobody knows have no effect (authzen 2)."""
    body = question(desk.bot, context={"other": [1, None], "explain": False})
    for name in ("subject", "action", "resource", "context"):
        body[name]["unheard"] = {"deep": [None]}
    body["subject"]["properties"] = {"role": "owner", "x": None}
    body["action"]["properties"] = {}
    body["evaluations"] = "of no meaning here"

    assert desk.says(body)


def test_a_subject_is_found_by_id_or_by_exact_name(desk: Desk) -> None:
    """Service account by name, user by e-mail, group by name; another type is none (authzen 3)."""
    http = desk.http
    ada, team = http.user("ada@example.com"), http.group("Team")
    http.allow(ada, {"FLOW": ["UPDATE"]})

    found = {
        (type_, text): desk.says(question(text, type_=type_))
        for type_, text in [
            ("service_account", "ci-bot"),
            ("service_account", "CI-BOT"),
            ("service_account", ada),
            ("user", "ada@example.com"),
            ("user", "ADA@example.com"),
            ("user", ada),
            ("user", "ci-bot"),
            ("group", "Team"),
            ("group", team),
            ("identity", "ci-bot"),
        ]
    }

    allowed = {key for key, answer in found.items() if answer}
    assert {
        ("service_account", "ci-bot"),
        ("user", "ada@example.com"),
        ("user", "ADA@example.com"),
        ("user", ada),
    } == allowed


def test_a_name_that_fits_several_resolves_to_none(desk: Desk) -> None:
    """Two accounts of one name: neither is meant; by id each is (authzen 3)."""
    desk.http.account("ci-bot")

    assert not desk.says(question("ci-bot"))
    assert desk.says(question(desk.bot))


def test_unknown_means_no(desk: Desk) -> None:
    """Unknown or disabled subject, unknown tenant: denied, never an error (security 2.1)."""
    assert not desk.says(question("nobody"))
    assert not desk.says(question(desk.bot, tenant="main", type_="unheard"))
    other = desk.http.tenant()
    assert not desk.says(question(desk.bot, tenant=other))
    assert not desk.says(question(desk.bot, tenant="unheard"), desk.by_bot)
    desk.http.give(DisableServiceAccount(id=desk.bot))
    assert not desk.says(question(desk.bot))


def test_the_check_after_a_revocation_is_denied(desk: Desk) -> None:
    """As soon as the revocation is acknowledged (design 5)."""
    assert desk.says(question(desk.bot))
    desk.http.give(DeleteBinding(tenant=MAIN, id=desk.binding))

    assert not desk.says(question(desk.bot))


# Who may ask


def test_one_may_always_ask_about_oneself(desk: Desk) -> None:
    """With any token of one's own, by id or name, in every tenant (authzen 3)."""
    narrow = desk.http.bearer(desk.bot, Narrowing(permissions=from_lists({"APP": ["VIEW"]})))

    for by in (desk.by_bot, narrow):
        assert desk.says(question(desk.bot), by)
        assert desk.says(question("ci-bot"), by)


def may_ask(desk: Desk, by: Headers, body: Json) -> bool:
    """Tell whether the caller is answered about somebody else."""
    response = desk.ask(body, by)
    if response.status_code == 200:
        return True
    said = problem(response, 403, "permission.denied")
    assert "ACCESS" == said["required"][0]["type"]
    assert 'error="insufficient_scope"' in response.headers["www-authenticate"]
    return False


def test_any_token_may_not_ask_about_others(desk: Desk) -> None:
    """Without ACCESS:CHECK it is 403, whether the subject exists or not (security 2.10)."""
    by = desk.http.bearer(desk.http.account("asker"))

    for subject in (desk.bot, "ci-bot", "nobody"):
        assert not may_ask(desk, by, question(subject))


def test_a_service_that_answers_any_token_is_caught(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positive control: the same question is answered by a build without the rule (2.10)."""
    by = desk.http.bearer(desk.http.account("asker"))
    asked = question(desk.bot)

    assert 403 == desk.raw(asked, desk.header(by))[0]

    monkeypatch.setattr(Judge, "require_may_ask", lambda *_: None)

    assert (200, ALLOWED) == desk.raw(asked, desk.header(by))


@pytest.mark.parametrize(
    ("place", "asked", "expected"),
    [
        (Scope(), question("x", namespace=UNSET), True),
        (Scope(), question("x"), True),
        (PROD, question("x", namespace="prod.billing"), True),
        (PROD, question("x", namespace="production"), False),
        (PROD, question("x", namespace=UNSET), False),
        (Scope(resource=Resource("FLOW", "nightly-load")), question("x", namespace=UNSET), True),
        (
            Scope(resource=Resource("FLOW", "nightly-load")),
            question("x", namespace=UNSET, resource=("FLOW", "*")),
            False,
        ),
        (Scope(), question("x", tenant="beta"), False),
        (Scope(), question("x", tenant="unheard"), False),
    ],
)
def test_access_check_counts_where_it_is_held(
    desk: Desk, place: Scope, asked: Json, *, expected: bool
) -> None:
    """ACCESS:CHECK in the tenant, namespace or resource that the question names (authzen 3)."""
    desk.http.tenant("beta")
    asker = desk.http.account("asker")
    desk.http.allow(asker, {"ACCESS": ["CHECK"]}, place=place)

    assert expected == may_ask(desk, desk.http.bearer(asker), asked)


def test_a_narrowed_token_may_ask_only_what_it_leaves(desk: Desk) -> None:
    """The right to ask goes through the token's own list (security 2.5)."""
    asker = desk.http.account("asker")
    desk.http.allow(asker, {"ACCESS": ["CHECK"]})
    flows = Narrowing(permissions=from_lists({"FLOW": ["*"]}))
    access = Narrowing(permissions=from_lists({"ACCESS": ["CHECK"]}), namespaces=("prod",))

    assert not may_ask(desk, desk.http.bearer(asker, flows), question(desk.bot))
    by = desk.http.bearer(asker, access)
    assert may_ask(desk, by, question(desk.bot))
    assert not may_ask(desk, by, question(desk.bot, namespace="dev"))


def test_an_instance_owner_may_ask_in_every_tenant(desk: Desk) -> None:
    """Also where it has no access; by a token that leaves the privilege (kestra-iam 5.5)."""
    beta = desk.http.tenant()
    root = desk.http.root_id
    bare = desk.http.bearer(root, Narrowing())
    whole = desk.http.bearer(root, Narrowing(instance_owner=True))

    assert may_ask(desk, desk.http.root, question("x", tenant=beta))
    assert may_ask(desk, whole, question("x", tenant=beta))
    assert not may_ask(desk, bare, question("x", tenant=beta))


def test_an_unknown_and_a_deleted_tenant_are_the_same_403(desk: Desk) -> None:
    """Status, headers and body tell nothing apart, for the owner too (authzen 3, security 2.3)."""
    gone = desk.http.tenant("gone")
    desk.http.give(DeleteTenant(id=gone))
    hidden = desk.http.tenant("hidden")
    asker = desk.http.bearer(desk.http.account("asker"))

    def told(tenant: str, by: Headers) -> tuple[Any, ...]:
        response = desk.ask(question("x", tenant=tenant), by, headers={"X-Request-ID": "same"})
        assert 403 == response.status_code
        return response.headers.items(), response.content

    assert told(gone, desk.http.root) == told("unheard", desk.http.root)
    assert told(gone, asker) == told("unheard", asker) == told(hidden, asker)


# A token in the context


def token_id(http: Served) -> TokenId:
    """Answer the id of the newest token."""
    return max(http.state.tokens.values(), key=lambda token: token.changed).id


def test_a_token_narrows_the_answer(desk: Desk) -> None:
    """`context.token` judges with that token's state and list as well (authzen 6)."""
    http = desk.http
    http.token(desk.bot, narrowing=Narrowing(namespaces=("prod.billing",)))
    token = token_id(http)
    within = question(desk.bot, context={"token": token})
    outside = question(desk.bot, namespace="prod.sales", context={"token": token})

    assert desk.says(within)
    assert not desk.says(outside)
    assert desk.says(question(desk.bot, namespace="prod.sales", context={"token": None}))
    http.give(DisableToken(owner=desk.bot, id=token))
    assert not desk.says(within)
    http.give(RevokeToken(owner=desk.bot, id=token))
    assert not desk.says(within)


def test_a_token_that_is_not_the_subjects_is_no(desk: Desk) -> None:
    """Someone else's, unknown, or empty: false (authzen 6)."""
    desk.http.token(desk.http.account("other"))

    for token in (token_id(desk.http), "unheard", ""):
        assert not desk.says(question(desk.bot, context={"token": token}))


def test_an_expired_token_in_the_context_is_no(desk: Desk) -> None:
    """Judged by the clock of the question (authzen 6)."""
    desk.http.token(desk.bot, max_age_seconds=60)
    body = question(desk.bot, context={"token": token_id(desk.http)})

    assert desk.says(body)
    desk.http.inputs.advance(60)
    assert not desk.says(body)


# Authentication


@pytest.mark.parametrize("path", HOT)
@pytest.mark.parametrize(
    ("headers", "status", "code", "challenge"),
    [
        (NOBODY, 401, "auth.required", ""),
        (basic(ROOT_EMAIL, PASSWORD), 401, "auth.required", ', error="invalid_token"'),
        ({"Cookie": "JWT=abc"}, 401, "auth.required", ""),
        (bearer("muns_short"), 401, "auth.invalid", ', error="invalid_token"'),
        (
            bearer("muns_" + "0" * 43 + "1pCbGZ"),
            401,
            "auth.invalid",
            ', error="invalid_token"',
        ),
        ({"Authorization": "Bearer"}, 400, "auth.malformed", ', error="invalid_request"'),
        ({"Authorization": "Bearer  "}, 400, "auth.malformed", ', error="invalid_request"'),
    ],
)
def test_a_check_needs_a_token(
    shared: Desk, path: str, headers: Headers, status: int, code: str, challenge: str
) -> None:
    """No credentials, a password, a cookie, what is no token: 401 or 400 (oauth 5)."""
    response = shared.http.post(path, question("x"), by=headers)

    problem(response, status, code)
    assert f'Bearer realm="muniment"{challenge}' == response.headers["www-authenticate"]


def test_two_credentials_are_refused(desk: Desk) -> None:
    """More than one Authorization header is malformed (oauth 5)."""
    header = desk.header(desk.by_bot)

    status, body = desk.raw(question(desk.bot), header, header)

    assert (400, True) == (status, b'"auth.malformed"' in body)


def test_a_token_that_has_ended_is_401_with_its_reason(desk: Desk) -> None:
    """Expired, disabled, revoked, owner disabled: told to who holds the secret (oauth 5)."""
    http = desk.http
    other = http.account("other")
    codes = {}
    for number, code in enumerate(("token.expired", "token.disabled", "token.revoked")):
        by = bearer(http.token(desk.bot, max_age_seconds=60))
        token = token_id(http)
        assert desk.says(question(desk.bot), by)
        if number == 0:
            http.inputs.advance(61)
        elif number == 1:
            http.give(DisableToken(owner=desk.bot, id=token))
        else:
            http.give(RevokeToken(owner=desk.bot, id=token))
        codes[code] = by
    codes["principal.disabled"] = http.bearer(other)
    http.give(DisableServiceAccount(id=other))

    for code, by in codes.items():
        problem(desk.ask(question(desk.bot), by), 401, code)


def test_a_token_is_refused_from_another_address(desk: Desk) -> None:
    """Its list of addresses counts for checks too (security 4.4)."""
    by = bearer(desk.http.token(desk.bot, allowed_addresses=("10.0.0.0/8",)))

    problem(desk.ask(question(desk.bot), by), 403, "token.address")
    assert ALLOWED == desk.ask(question(desk.bot), by, address="10.1.2.3").content
