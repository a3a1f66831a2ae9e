"""Is it declared, for every route and every kind of caller, which status it gets?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import httpx
import pytest
from jsonschema_rs import Draft202012Validator
from litestar import Litestar, get
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from api.app import UndeclaredRouteError, create_app, require_gates
from api.call import OPEN
from api.checks import PATHS
from api.decoding import LINES
from api.openapi import Operation, document, operations
from tests.api.route_world import QUESTION, SAID, World
from tests.service import NOBODY, served

Described = dict[str, Any]

# What each kind of caller gets from a route with a gate of each kind; `ok` is the route's own
# status. In this order: without a credential; a token that is malformed, has expired, was revoked,
# whose owner was disabled; a tenant's administrator in another tenant; a member of the tenant with
# no right to manage; an instance owner; the same with a token narrowed to FLOW:VIEW in `main`.
KINDS: Final = (
    *("anonymous", "malformed", "expired", "revoked", "disabled"),
    *("foreign", "low", "owner", "narrowed"),
)
GATES: Final[Mapping[str, tuple[int | str, ...]]] = {
    "open": ("ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok"),
    "self": (401, 401, 401, 401, 401, "ok", "ok", "ok", "ok"),
    "owner": (401, 401, 401, 401, 401, 403, 403, "ok", 403),
    "access": (401, 401, 401, 401, 401, 404, "ok", "ok", "ok"),
    "permission": (401, 401, 401, 401, 401, 404, 403, "ok", 403),
}

# Method, gate, the status of success, path, and what differs from the gate's row.
TABLE: Final = """
GET    open       200 /.well-known/authzen-configuration
GET    self       200 /api/v1/audit/checkpoint
GET    self       200 /api/v1/audit/checkpoints
GET    self       200 /api/v1/audit/events/{position}/entry foreign=404 low=403 narrowed=403
GET    self       200 /api/v1/audit/events/{position}/proof foreign=404 low=403 narrowed=403
GET    self       200 /api/v1/audit/keys
GET    self       200 /api/v1/audit/proofs/consistency
GET    self       200 /api/v1/audit/proofs/inclusion
GET    owner      200 /api/v1/audit/export
GET    owner      200 /api/v1/audit/journal
POST   owner      201 /api/v1/audit/sinks
GET    owner      200 /api/v1/audit/sinks
DELETE owner      204 /api/v1/audit/sinks/{id}
GET    owner      200 /api/v1/audit/sinks/{id}
POST   owner      200 /api/v1/audit/sinks/{id}/pause
POST   owner      200 /api/v1/audit/sinks/{id}/replay
POST   owner      200 /api/v1/audit/sinks/{id}/resume
GET    owner      200 /api/v1/auditlogs/export
GET    owner      200 /api/v1/auditlogs/search
GET    owner      200 /api/v1/auditlogs/{id}/diff
GET    self       200 /api/v1/configs
GET    open       200 /api/v1/configs/login
GET    owner      200 /api/v1/erasures
GET    owner      200 /api/v1/events
GET    owner      200 /api/v1/events/tail
GET    owner      200 /api/v1/events/{number}
POST   open       200 /api/v1/login
POST   open       200 /api/v1/logout
GET    self       200 /api/v1/me
PATCH  self       200 /api/v1/me narrowed=403
DELETE self       200 /api/v1/me/api-tokens
POST   self       200 /api/v1/me/api-tokens narrowed=403
GET    self       200 /api/v1/me/api-tokens
GET    self       200 /api/v1/me/api-tokens/{token_id}
DELETE self       200 /api/v1/me/api-tokens/{token_id} narrowed=403
POST   self       200 /api/v1/me/api-tokens/{token_id}/disable narrowed=403
POST   self       200 /api/v1/me/api-tokens/{token_id}/enable narrowed=403
POST   self       200 /api/v1/me/api-tokens/{token_id}/rotate narrowed=403
PUT    self       200 /api/v1/me/password narrowed=403
POST   owner      200 /api/v1/service-accounts
GET    owner      200 /api/v1/service-accounts
DELETE owner      204 /api/v1/service-accounts/{id}
GET    owner      200 /api/v1/service-accounts/{id}
PATCH  owner      200 /api/v1/service-accounts/{id}
POST   owner      200 /api/v1/service-accounts/{id}/api-tokens
DELETE owner      200 /api/v1/service-accounts/{id}/api-tokens
GET    owner      200 /api/v1/service-accounts/{id}/api-tokens
DELETE owner      200 /api/v1/service-accounts/{id}/api-tokens/{token_id}
GET    owner      200 /api/v1/service-accounts/{id}/api-tokens/{token_id}
POST   owner      200 /api/v1/service-accounts/{id}/api-tokens/{token_id}/disable
POST   owner      200 /api/v1/service-accounts/{id}/api-tokens/{token_id}/enable
POST   owner      200 /api/v1/service-accounts/{id}/api-tokens/{token_id}/rotate
POST   owner      200 /api/v1/service-accounts/{id}/disable
POST   owner      200 /api/v1/service-accounts/{id}/enable
PATCH  owner      200 /api/v1/service-accounts/{id}/instanceowner
PATCH  owner      200 /api/v1/service-accounts/{id}/superadmin
GET    open       200 /api/v1/setup
POST   owner      200 /api/v1/tenants
GET    owner      200 /api/v1/system/journal
GET    owner      200 /api/v1/tenants/search
DELETE owner      204 /api/v1/tenants/{id}
GET    owner      200 /api/v1/tenants/{id}
PUT    owner      200 /api/v1/tenants/{id}
GET    owner      200 /api/v1/users
POST   owner      201 /api/v1/users
PATCH  owner      200 /api/v1/users/{id}
DELETE owner      204 /api/v1/users/{id}
PUT    owner      200 /api/v1/users/{id}
GET    owner      200 /api/v1/users/{id}
POST   owner      201 /api/v1/users/{id}/api-tokens
GET    owner      200 /api/v1/users/{id}/api-tokens
DELETE owner      200 /api/v1/users/{id}/api-tokens
DELETE owner      204 /api/v1/users/{id}/api-tokens/{token_id}
GET    owner      200 /api/v1/users/{id}/api-tokens/{token_id}
POST   owner      200 /api/v1/users/{id}/api-tokens/{token_id}/disable
POST   owner      200 /api/v1/users/{id}/api-tokens/{token_id}/enable
POST   owner      200 /api/v1/users/{id}/api-tokens/{token_id}/rotate
POST   owner      200 /api/v1/users/{id}/disable
POST   owner      200 /api/v1/users/{id}/enable
POST   owner      204 /api/v1/users/{id}/erase
DELETE owner      200 /api/v1/users/{id}/auths/{auth}
PATCH  owner      200 /api/v1/users/{id}/instanceowner
PATCH  owner      200 /api/v1/users/{id}/password
DELETE owner      204 /api/v1/users/{id}/refresh-token
PATCH  owner      200 /api/v1/users/{id}/restricted
PATCH  owner      200 /api/v1/users/{id}/superadmin
GET    access     200 /api/v1/{tenant}/access/blame low=403 narrowed=403
POST   access     200 /api/v1/{tenant}/access/check-bulk
GET    permission 200 /api/v1/{tenant}/access/compare
GET    permission 200 /api/v1/{tenant}/access/evidence/decision
GET    permission 200 /api/v1/{tenant}/access/evidence/interval
GET    permission 200 /api/v1/{tenant}/access/evidence/principal
GET    access     200 /api/v1/{tenant}/access/me
GET    access     200 /api/v1/{tenant}/access/what-can low=403 narrowed=403
POST   access     200 /api/v1/{tenant}/access/simulate low=403 narrowed=403
GET    access     200 /api/v1/{tenant}/access/who-can low=403 narrowed=403
GET    access     200 /api/v1/{tenant}/acls/actions
GET    access     200 /api/v1/{tenant}/acls/permissions
GET    access     200 /api/v1/{tenant}/acls/templates
GET    permission 200 /api/v1/{tenant}/audit/export
GET    permission 200 /api/v1/{tenant}/audit/journal
GET    permission 200 /api/v1/{tenant}/auditlogs/export
POST   permission 200 /api/v1/{tenant}/auditlogs/find
GET    access     200 /api/v1/{tenant}/auditlogs/history/{detail_id} low=403 narrowed=403
GET    permission 200 /api/v1/{tenant}/auditlogs/search
GET    access     200 /api/v1/{tenant}/auditlogs/{id}/diff low=403 narrowed=403
POST   permission 200 /api/v1/{tenant}/bindings
POST   permission 200 /api/v1/{tenant}/bindings/bulk
GET    permission 200 /api/v1/{tenant}/bindings/search
DELETE permission 204 /api/v1/{tenant}/bindings/{id}
GET    permission 200 /api/v1/{tenant}/bindings/{id}
GET    permission 200 /api/v1/{tenant}/events
GET    permission 200 /api/v1/{tenant}/events/tail
GET    permission 200 /api/v1/{tenant}/events/{number}
POST   permission 200 /api/v1/{tenant}/groups
POST   permission 200 /api/v1/{tenant}/groups/autocomplete
POST   permission 200 /api/v1/{tenant}/groups/ids
GET    permission 200 /api/v1/{tenant}/groups/search
GET    permission 200 /api/v1/{tenant}/groups/{id}
DELETE permission 200 /api/v1/{tenant}/groups/{id}
PUT    permission 200 /api/v1/{tenant}/groups/{id}
GET    permission 200 /api/v1/{tenant}/groups/{id}/members
PUT    permission 200 /api/v1/{tenant}/groups/{id}/members/membership/{user_id}
DELETE permission 200 /api/v1/{tenant}/groups/{id}/members/{user_id}
PUT    permission 200 /api/v1/{tenant}/groups/{id}/members/{user_id}
GET    permission 200 /api/v1/{tenant}/principals/{id}/aliases
PUT    permission 201 /api/v1/{tenant}/principals/{id}/aliases/{type}
DELETE permission 204 /api/v1/{tenant}/principals/{id}/aliases/{type}
PUT    permission 201 /api/v1/{tenant}/principals/{id}/aliases/{type}/{alias_id}
DELETE permission 204 /api/v1/{tenant}/principals/{id}/aliases/{type}/{alias_id}
POST   permission 200 /api/v1/{tenant}/roles
POST   permission 200 /api/v1/{tenant}/roles/autocomplete
POST   permission 200 /api/v1/{tenant}/roles/ids
GET    permission 200 /api/v1/{tenant}/roles/search
PUT    permission 200 /api/v1/{tenant}/roles/{id}
GET    permission 200 /api/v1/{tenant}/roles/{id}
DELETE permission 204 /api/v1/{tenant}/roles/{id}
POST   permission 200 /api/v1/{tenant}/service-accounts
GET    permission 200 /api/v1/{tenant}/service-accounts
GET    permission 200 /api/v1/{tenant}/service-accounts/{id}
PUT    permission 200 /api/v1/{tenant}/service-accounts/{id}
DELETE permission 200 /api/v1/{tenant}/service-accounts/{id}
GET    permission 200 /api/v1/{tenant}/service-accounts/{id}/api-tokens
DELETE permission 200 /api/v1/{tenant}/service-accounts/{id}/api-tokens
POST   permission 200 /api/v1/{tenant}/service-accounts/{id}/api-tokens
DELETE permission 200 /api/v1/{tenant}/service-accounts/{id}/api-tokens/{token_id}
GET    permission 200 /api/v1/{tenant}/service-accounts/{id}/api-tokens/{token_id}
POST   permission 200 /api/v1/{tenant}/service-accounts/{id}/api-tokens/{token_id}/disable
POST   permission 200 /api/v1/{tenant}/service-accounts/{id}/api-tokens/{token_id}/enable
POST   permission 200 /api/v1/{tenant}/service-accounts/{id}/api-tokens/{token_id}/rotate
POST   permission 200 /api/v1/{tenant}/service-accounts/{id}/disable
POST   permission 200 /api/v1/{tenant}/service-accounts/{id}/enable
GET    permission 200 /api/v1/{tenant}/tenant-access
POST   permission 204 /api/v1/{tenant}/tenant-access
POST   permission 200 /api/v1/{tenant}/tenant-access/autocomplete
PUT    permission 201 /api/v1/{tenant}/tenant-access/{user_id}
DELETE permission 204 /api/v1/{tenant}/tenant-access/{user_id}
GET    permission 200 /api/v1/{tenant}/tenant-access/{user_id}
PUT    permission 204 /api/v1/{tenant}/users/{id}/groups
GET    open       200 /livez
POST   open       200 /login
GET    permission 200 /metrics foreign=403
GET    open       200 /openapi.json
GET    open       200 /problems/{code}
GET    open       200 /readyz
"""

# The hot endpoints stand in front of the application: they take tokens only, and who asks about
# others in a tenant that it has no right in is told no more than that.
HOT: Final = (401, 401, 401, 401, 401, 403, 403, 200, 403)

HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "strict-transport-security": "max-age=31536000",
}


class Row(Struct, frozen=True):
    """What the table declares of one route."""

    method: str
    path: str
    statuses: Mapping[str, int]


def _rows() -> dict[tuple[str, str], Row]:
    rows = [_row(*line.split()) for line in TABLE.strip().splitlines()]
    return {(row.method, row.path): row for row in rows}


def _row(method: str, gate: str, success: str, path: str, *exceptions: str) -> Row:
    named = dict(zip(KINDS, GATES[gate], strict=True))
    statuses = {kind: int(success) if said == "ok" else int(said) for kind, said in named.items()}
    for exception in exceptions:
        kind, _, status = exception.partition("=")
        statuses[kind] = int(status)
    return Row(method, path, statuses)


ROWS: Final = _rows()


def undeclared(rows: Mapping[tuple[str, str], Row], app: Litestar) -> tuple[set[str], set[str]]:
    """Answer the routes that the table does not list, and those it lists that are gone."""
    there = {(operation.method, operation.path) for operation in operations(app)}
    listed = set(rows)
    return {" ".join(each) for each in there - listed}, {" ".join(each) for each in listed - there}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Yield one installation for all rows; each request is about objects of its own."""
    with served(tmp_path_factory.mktemp("matrix")) as http:
        yield World(http)


@pytest.fixture(scope="module")
def app(world: World) -> Litestar:
    """Answer the application, to look at its routes."""
    return create_app(world.http.service)


@pytest.fixture(scope="module")
def described(app: Litestar) -> Described:
    """Answer the OpenAPI document."""
    return document(app, version="0", public_url="")


def require_headers(response: httpx.Response) -> None:
    """Hold an answer against security 5.1."""
    found = {name: response.headers.get(name) for name in HEADERS}
    assert HEADERS == found
    assert "server" not in response.headers
    assert response.headers["x-request-id"]


def test_table_lists_every_route(app: Litestar) -> None:
    """Security 2.4: an unlisted route fails, and so does a listed one that is gone."""
    assert (set(), set()) == undeclared(ROWS, app)


def test_table_without_a_row_or_with_one_too_many_fails(app: Litestar) -> None:
    """Security 2.4, control: a route that nobody listed is found, and a row without a route."""
    rows = dict(ROWS)
    row = rows.pop(("GET", "/livez"))
    rows["GET", "/gone"] = row

    assert ({"GET /livez"}, {"GET /gone"}) == undeclared(rows, app)


def test_application_with_a_planted_open_route_does_not_start() -> None:
    """Security 2.4, control: a handler that declares no gate is refused, one that does is not."""

    @get("/planted")
    async def planted() -> str:
        return "open to the world"

    @get("/declared", opt=OPEN)
    async def declared() -> str:
        return "open on purpose"

    require_gates(_bare(declared))
    with pytest.raises(UndeclaredRouteError, match="/planted"):
        require_gates(_bare(declared, planted))


def _bare(*handlers: HTTPRouteHandler) -> Litestar:
    return Litestar(route_handlers=[*handlers], openapi_config=None)


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: f"{row.method} {row.path}")
def test_route_gives_each_caller_the_declared_status(
    row: Row, world: World, app: Litestar, described: Described
) -> None:
    """Security 2.4 and 5.1: route by caller, the status is the declared one, with all headers."""
    operation = _operation(app, row)
    answers = _answers(world, operation, row)

    assert row.statuses == {kind: answer.status_code for kind, answer in answers.items()}
    for answer in answers.values():
        require_headers(answer)
    told = described["paths"][row.path][row.method.lower()]
    _require_described(told, described["components"], answers.values())


def _operation(app: Litestar, row: Row) -> Operation:
    for operation in operations(app):
        if (operation.method, operation.path) == (row.method, row.path):
            return operation
    raise AssertionError(row)


def _answers(world: World, operation: Operation, row: Row) -> dict[str, httpx.Response]:
    # By these routes a caller changes or ends itself, so it gets one that nobody else uses.
    own = "/me" in operation.path
    refused: tuple[str, Any] | None = None
    answers: dict[str, httpx.Response] = {}
    for kind in KINDS:
        caller, by = world.caller(kind, new=own)
        asked = refused
        if asked is None or own or row.statuses[kind] < 400:
            asked = world.path(operation, caller), world.body(operation)
        if row.statuses[kind] >= 400:
            # What is refused changes nothing, so the same can be asked again.
            refused = asked
        path, body = asked
        by = {**by, **SAID.get(operation.id, {})}
        answers[kind] = world.http.request(operation.method, path, body, by=by)
    return answers


# What the server adds to every answer, and what only some answers have.
_EVERYWHERE: Final = {*HEADERS, "x-request-id", "content-type", "content-length"}
_SOMETIMES: Final = {"idempotency-replayed", "content-disposition"}
_AT_WISH: Final = {LINES, "text/csv"}
_CURSOR: Final = {"$ref": "#/components/parameters/cursor"}


def _require_described(
    operation: Described, components: Described, answers: Iterable[httpx.Response]
) -> None:
    """Hold answers against the document: status, and of success type, body and headers."""
    for answer in answers:
        assert str(answer.status_code) in operation["responses"], answer.text
        if answer.status_code >= 400:
            continue
        said = operation["responses"][str(answer.status_code)]
        media_type = answer.headers["content-type"].partition(";")[0] if answer.content else ""
        # A route may answer in other forms as well, to whom asks for them.
        contents = [
            kind for kind in said.get("content", {}) if kind not in _AT_WISH or kind == media_type
        ]
        assert contents == ([media_type] if media_type else [])
        if media_type == "application/json":
            schema = said["content"][media_type]["schema"]
            Draft202012Validator({**schema, "components": components}).validate(answer.json())
        told = {name.lower() for name in said.get("headers", {})}
        # The last page of a walk leads nowhere.
        sometimes = _SOMETIMES | ({"link"} if _CURSOR in operation["parameters"] else set())
        assert told - sometimes == set(answer.headers) - _EVERYWHERE - sometimes


@pytest.mark.parametrize("path", sorted(PATHS))
def test_hot_endpoint_gives_each_caller_the_declared_status(path: str, world: World) -> None:
    """Security 2.4 and 5.1: the endpoints in front of the application keep the matrix too."""
    answers = [world.http.post(path, QUESTION, by=world.caller(kind)[1]) for kind in KINDS]

    assert list(HOT) == [answer.status_code for answer in answers]
    for answer in answers:
        require_headers(answer)


def test_options_tell_no_more_than_the_table(world: World, app: Litestar) -> None:
    """Security 2.4: OPTIONS, which needs no credential, names declared methods and says no more."""
    methods: dict[str, set[str]] = {}
    for operation in operations(app):
        methods.setdefault(operation.path, set()).add(operation.method)
    for path, declared in methods.items():
        answer = world.http.request("OPTIONS", path.replace("{tenant}", "never"), by=NOBODY)

        assert (204, b"") == (answer.status_code, answer.content), path
        assert set(answer.headers["allow"].split(", ")) <= declared | {"OPTIONS"}, path
        require_headers(answer)


def test_refusals_before_any_route_carry_the_headers(world: World) -> None:
    """Security 5.1: unknown routes, wrong methods, foreign hosts and bad paths do so too."""
    http = world.http
    answers = {
        404: http.get("/nowhere"),
        405: http.put("/livez"),
        400: http.get("/livez", headers={"Host": "evil.example"}),
        413: http.post("main/groups", content=b"x" * 1_048_577),
        415: http.post("main/groups", content=b"x", headers={"Content-Type": "text/plain"}),
        422: http.post("main/groups", {"name": 1}),
    }

    assert list(answers) == [answer.status_code for answer in answers.values()]
    for answer in answers.values():
        require_headers(answer)
    assert "GET" in answers[405].headers["allow"]


def test_answer_without_a_header_is_found(world: World) -> None:
    """Security 5.1, control: an answer that lacks one of the headers does not pass."""
    answer = world.http.get("/livez")
    del answer.headers["content-security-policy"]

    with pytest.raises(AssertionError):
        require_headers(answer)
