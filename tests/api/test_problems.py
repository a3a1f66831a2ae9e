"""Does every refusal get its status, headers and body, and give nothing away?"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar, get, post
from litestar.exceptions import HTTPException, PermissionDeniedException
from litestar.params import FromQuery, JSONBody
from litestar.testing import TestClient

from api import problems
from api.decoding import BodyError
from api.problem_codes import TITLES
from api.problems import (
    pointer,
    problem,
    validation_fault,
)
from api.request_errors import (
    AuthenticationError,
    MalformedCredentialError,
    MalformedError,
    PreconditionRequiredError,
    RequestError,
    ThrottledError,
    UnavailableError,
)
from domain.errors import (
    ConflictError,
    CredentialError,
    Dependent,
    DomainError,
    FieldFault,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    Requirement,
    StaleError,
)
from domain.explaining import Code

ROOT = Path(__file__).parents[2]
TOKEN = "muns_" + "0" * 43 + "abcdef"
TITLE = "Group name taken"


def told(error: Exception, path: str = "/api/v1/main/groups") -> dict[str, Any]:
    """Answer the body that a caller reads, with the headers beside it."""
    status, headers, body = problem(error, path=path, request_id="r1")
    answer: dict[str, Any] = msgspec.json.decode(body)
    assert status == answer["status"]
    assert dict(headers)[b"content-length"] == str(len(body)).encode()
    return answer | {"headers": {name.decode(): value.decode() for name, value in headers}}


def test_a_refusal_has_the_members_of_both_worlds() -> None:
    """An error carries problem details and Kestra's fields (http-api 2, kestra-iam 2.7)."""
    fault = FieldFault("name", "already exists", "group.name_taken")

    answer = told(ConflictError("group.name_taken", "a group Bots exists", fields=(fault,)))

    assert answer.pop("headers")["content-type"] == "application/problem+json"
    assert answer == {
        "type": "/problems/group.name_taken",
        "title": TITLE,
        "status": 409,
        "detail": "a group Bots exists",
        "instance": "/api/v1/main/groups",
        "code": "group.name_taken",
        "requestId": "r1",
        "errors": [{"pointer": "#/name", "detail": "already exists", "code": "group.name_taken"}],
        "message": f"{TITLE}: a group Bots exists",
        "_links": {"self": {"href": "/api/v1/main/groups", "templated": False}},
        "_embedded": {"errors": [{"message": "already exists", "path": "name"}]},
    }


def test_a_refusal_without_fields_still_embeds_one_error() -> None:
    """`_embedded.errors` has at least one entry, without a path when no field is at fault."""
    answer = told(NotFoundError("group.unknown", "no group grp_1"))

    assert answer["_embedded"] == {"errors": [{"message": "no group grp_1"}]}
    assert "errors" not in answer
    assert "required" not in answer
    assert "dependents" not in answer


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MalformedError("filters.invalid", "filters[x]"), 400),
        (MalformedCredentialError("auth.malformed", "two of them"), 400),
        (msgspec.DecodeError("truncated"), 400),
        (UnicodeError(), 400),
        (RecursionError(), 400),
        (AuthenticationError("auth.required", "sign in", presented=False), 401),
        (CredentialError("token.expired", "token tok_1"), 401),
        (ForbiddenError("role.escalation", "no"), 403),
        (NotFoundError("group.unknown", "no"), 404),
        (ConflictError("owner.last", "no"), 409),
        (StaleError("etag.mismatch", "no", position=3), 412),
        (BodyError(413, "body.too_large", "no"), 413),
        (InvalidError("tenant.reserved", "no"), 422),
        (msgspec.ValidationError("Expected `int`, got `str`"), 422),
        (PreconditionRequiredError("etag.required", "no"), 428),
        (ThrottledError("throttled", 2), 429),
        (KeyError("internal"), 500),
        (DomainError("bare", "a class that nobody should raise"), 500),
        (UnavailableError("writer.busy", 1), 503),
        (HTTPException(status_code=503), 503),
        (HTTPException(status_code=418), 500),
        (PermissionDeniedException(), 403),
    ],
)
def test_each_class_of_error_has_its_status(error: Exception, status: int) -> None:
    """One table maps the class of an error to its status (http-api 2)."""
    assert told(error)["status"] == status


def test_no_class_of_error_is_forgotten() -> None:
    """Every subclass of the domain's and the API's errors stands in the table of statuses."""

    def family(kind: type[Exception]) -> set[type[Exception]]:
        below = set(kind.__subclasses__())
        return below.union(*map(family, below))

    # Those of `ops` are kinds of what is in the table, and answered as that.
    named = {
        kind
        for kind in family(DomainError) | family(RequestError)
        if kind.__name__[0] != "_" and kind.__module__.partition(".")[0] in {"api", "domain"}
    }

    assert named <= set(problems.STATUSES)
    assert len(named) >= 10


@pytest.mark.parametrize(
    ("error", "challenge"),
    [
        (AuthenticationError("auth.required", "", presented=False), 'Bearer realm="muniment"'),
        (
            AuthenticationError("auth.invalid", "", presented=True),
            'Bearer realm="muniment", error="invalid_token"',
        ),
        (
            CredentialError("principal.disabled", ""),
            'Bearer realm="muniment", error="invalid_token"',
        ),
        (
            MalformedCredentialError("auth.malformed", ""),
            'Bearer realm="muniment", error="invalid_request"',
        ),
        (
            ForbiddenError("role.escalation", "", required=(Requirement("FLOW", "UPDATE"),)),
            'Bearer realm="muniment", error="insufficient_scope", scope="FLOW:UPDATE"',
        ),
        (
            ForbiddenError("role.escalation", "", required=(Requirement('"', " "),)),
            'Bearer realm="muniment", error="insufficient_scope"',
        ),
    ],
)
def test_credentials_are_asked_for_as_rfc_6750_says(error: Exception, challenge: str) -> None:
    """401, malformed credentials and missing permissions name what is wrong, never Basic."""
    assert told(error)["headers"]["www-authenticate"] == challenge


def test_a_403_names_what_was_required() -> None:
    """A 403 names the missing permission and where: tenant, namespace or resource."""
    required = (
        Requirement("SECRET", "VIEW"),
        Requirement("SECRET", "VIEW", "prod"),
        Requirement("FLOW", "VIEW", resource=("FLOW", "f1")),
    )

    answer = told(ForbiddenError("role.escalation", "no", required=required))

    assert answer["required"] == [
        {"type": "SECRET", "action": "VIEW"},
        {"type": "SECRET", "action": "VIEW", "scope": {"namespace": "prod"}},
        {"type": "FLOW", "action": "VIEW", "scope": {"resource": {"type": "FLOW", "id": "f1"}}},
    ]


def test_a_403_without_a_requirement_names_no_scope() -> None:
    """Where no permission would help, as with a missing CSRF token, none is named."""
    assert "www-authenticate" not in told(ForbiddenError("csrf", "no"))["headers"]


def test_what_stands_in_the_way_is_listed() -> None:
    """A refused deletion names the objects that depend on the one to be deleted."""
    error = ConflictError("role.in_use", "1 binding", dependents=(Dependent("BINDING", "bnd_1"),))

    assert told(error)["dependents"] == [{"type": "BINDING", "id": "bnd_1"}]


def test_a_stale_if_match_is_told_the_current_tag() -> None:
    """412 carries the entity's current ETag (http-api 3)."""
    assert told(StaleError("etag.mismatch", "", position=12))["headers"]["etag"] == '"12"'


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (1.2, "2"), (30, "30")])
def test_later_says_when(seconds: float, header: str) -> None:
    """429 and 503 carry Retry-After in whole seconds, never zero."""
    for error in (ThrottledError("throttled", seconds), UnavailableError("writer.busy", seconds)):
        assert told(error)["headers"]["retry-after"] == header


def test_an_unforeseen_error_tells_nothing() -> None:
    """Security 7.8: 500 says `internal` and the request id; SQL and trace stay in the log."""
    answer = told(RuntimeError("SELECT secret FROM vault WHERE key = 'x'"))

    assert answer["code"] == "internal"
    assert answer["requestId"] == "r1"
    assert "SELECT" not in str(answer)
    assert "detail" not in answer


def test_no_error_repeats_a_token() -> None:
    """Security 4.5: a token in the path or in a message is blotted out of the error body."""
    answer = told(NotFoundError("group.unknown", f"no {TOKEN}"), path=f"/api/v1/{TOKEN}")

    assert TOKEN[:12] not in str(answer)
    assert answer["instance"] == "/api/v1/muns_***"


def test_the_body_stays_small_whatever_is_quoted() -> None:
    """A message that quotes a megabyte of the caller's is cut."""
    said = "Object contains unknown field `" + "k" * 1_000_000 + "` - at `$`"

    _, _, body = problem(msgspec.ValidationError(said), path="/", request_id="r1")

    assert len(body) < 2_000


class _Leaf(msgspec.Struct, forbid_unknown_fields=True):
    b: int
    kind: str = ""
    ids: list[int] = []


class _Tree(msgspec.Struct):
    a: list[_Leaf] = []
    by_name: dict[str, list[_Leaf]] = {}


@pytest.mark.parametrize(
    ("document", "path", "json_pointer", "code"),
    [
        ('{"a": [{"b": "x"}]}', "a[0].b", "#/a/0/b", "field.invalid"),
        ('{"a": [{"b": 1}, {}]}', "a[1].b", "#/a/1/b", "field.missing"),
        ('{"a": [{"b": 1, "z/~": 2}]}', "a[0].z/~", "#/a/0/z~1~0", "field.unknown"),
        ('{"by_name": {"x.y": [{}]}}', "by_name.b", "#/by_name/b", "field.missing"),
        ('{"by_name": {"x.y": 1}}', "by_name", "#/by_name", "field.invalid"),
    ],
)
def test_a_body_that_does_not_fit_names_the_member(
    document: str, path: str, json_pointer: str, code: str
) -> None:
    """Msgspec's `$.a[0].b` becomes Kestra's dotted path and a JSON Pointer (http-api 2)."""
    with pytest.raises(msgspec.ValidationError) as raised:
        msgspec.json.decode(document, type=_Tree)

    answer = told(raised.value)

    assert answer["_embedded"]["errors"][0]["path"] == path
    assert answer["errors"][0]["pointer"] == json_pointer
    assert answer["errors"][0]["code"] == code


def test_a_fault_of_the_whole_body_has_no_path() -> None:
    """Where the body as a whole does not fit there is no member to name."""
    with pytest.raises(msgspec.ValidationError) as raised:
        msgspec.json.decode("[]", type=_Tree)

    answer = told(raised.value)

    assert "errors" not in answer
    assert "path" not in answer["_embedded"]["errors"][0]


def test_a_value_at_fault_is_not_repeated() -> None:
    """Security 4.5: the value that is no member of an enumeration may be a secret."""
    fault = validation_fault("Invalid enum value 'hunter2 - at `$.x`' - at `$.a[0].kind`")

    assert fault == FieldFault("a[0].kind", "is not one of the values allowed", "field.invalid")


@given(st.text(), st.text())
def test_no_message_of_the_decoder_breaks_the_reading(said: str, place: str) -> None:
    """Whatever msgspec quotes, a fault and a body come of it."""
    answer = told(msgspec.ValidationError(f"{said} - at `${place}`"))

    assert answer["status"] == 422


@pytest.mark.parametrize(
    ("path", "expected"), [("", "#"), ("[2].roleId", "#/2/roleId"), ("a.b[0]", "#/a/b/0")]
)
def test_a_dotted_path_becomes_a_pointer(path: str, expected: str) -> None:
    """Both ways to name a member say the same."""
    assert pointer(path) == expected


def test_each_code_has_a_page() -> None:
    """`type` leads to a short page on this server, and only for codes there are."""
    assert all(TITLES[code].encode() in (problems.page(code) or b"") for code in TITLES)
    assert problems.page("no.such") is None


CODE = re.compile(r"[a-z_]+\.[a-z_]+")
# Members inside members, which are written like codes.
MEMBER_PATHS = ("resource.", "scope.")
REFUSALS = {"BodyError", "Refusal", "HaltedError"} | {
    kind.__name__ for kind in (*problems.STATUSES, *DomainError.__subclasses__())
}


def _all_codes(source: str) -> set[str]:
    """Collect what looks like a code in a module that writes nothing else of that form."""
    return {
        code for code in _texts(ast.walk(ast.parse(source))) if not code.startswith(MEMBER_PATHS)
    }


def _raised_codes(source: str) -> set[str]:
    """Collect the codes with which refusals are made in a module."""
    return _texts(
        argument
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in REFUSALS
        for argument in (*call.args[:2], *(keyword.value for keyword in call.keywords))
    )


def _texts(nodes: Iterable[ast.AST]) -> set[str]:
    return {
        node.value
        for node in nodes
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and CODE.fullmatch(node.value)
    }


def _modules(package: str) -> list[str]:
    return [path.read_text() for path in sorted(ROOT.glob(f"{package}/**/*.py"))]


def test_every_code_that_is_raised_is_listed() -> None:
    """Codes are stable, so each that any module raises stands in the one list (http-api 2)."""
    in_domain = set().union(*map(_all_codes, _modules("domain")))
    elsewhere = [*_modules("projections"), *_modules("api"), *_modules("ops")]
    raised = set().union(*map(_raised_codes, elsewhere))
    of_the_store = _all_codes((ROOT / "ops/store_errors.py").read_text())

    # Why a check is answered as it is, is no refusal and has no page.
    reasons = {*get_args(Code)}

    assert (in_domain | raised | of_the_store) - reasons - TITLES.keys() == set()
    assert len(in_domain) > 10
    assert len(raised) > 10


def test_a_code_that_is_not_listed_is_found() -> None:
    """Control of the test before: planted codes are seen, wherever the error takes them."""
    planted = (
        'raise InvalidError("no.such", "x")\nraise BodyError(400, "nor.this", "x")\n'
        'Refusal(status=400, code="or.that")\nfaults.add("scope.path", "x", "bad")\n'
        'faults.refuse("last.one")'
    )

    assert _raised_codes(planted) == {"no.such", "nor.this", "or.that"}
    assert _all_codes(planted) == {"no.such", "nor.this", "or.that", "last.one"}


def test_codes_are_dotted_words() -> None:
    """A code is `noun.reason`; three from the contract's pages are a single word."""
    single = {code for code in TITLES if not re.fullmatch(r"[a-z_]+\.[a-z0-9_]+", code)}

    assert single == {"csrf", "internal", "throttled", "unavailable"}


@get("/number", sync_to_thread=False)
def _number(n: FromQuery[int]) -> int:
    return n


@post("/tree", status_code=200, sync_to_thread=False)
def _tree(data: JSONBody[_Tree]) -> int:
    return len(data.a)


@get("/broken", sync_to_thread=False)
def _broken() -> int:
    msg = "SELECT 1"
    raise RuntimeError(msg)


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "code"),
    [
        ("GET", "/nowhere", "", 404, "route.unknown"),
        ("DELETE", "/number", "", 405, "method.not_allowed"),
        ("GET", "/number", "", 400, "request.malformed"),
        ("GET", "/number?n=x", "", 400, "request.malformed"),
        ("POST", "/tree", '{"a": [{"b": "x"}]}', 422, "body.invalid"),
        ("POST", "/tree", '{"a": [{}]}', 422, "body.invalid"),
        ("POST", "/tree", '{"a": [', 400, "body.malformed"),
        ("POST", "/tree", "[" * 100_000, 400, "body.too_complex"),
        ("GET", "/broken", "", 500, "internal"),
    ],
)
def test_what_litestar_refuses_has_the_same_body(
    method: str, target: str, body: str, status: int, code: str
) -> None:
    """Unknown routes, wrong methods, bad parameters and our own faults look like every error."""
    application = Litestar(
        [_number, _tree, _broken], exception_handlers={Exception: problems.answer_error}
    )
    with TestClient(application, raise_server_exceptions=False) as client:
        answer = client.request(method, target, content=body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "?" not in answer.json()["instance"]
    assert "data" not in answer.json()["message"]
    assert ("allow" in answer.headers) is (status == 405)


@get("/away")
async def _away() -> None:
    """A store that does not answer, whose driver quotes what nobody may read."""
    raise UnavailableError("store.unreachable", 1) from OSError("alice@example.com")


def test_why_nothing_can_be_answered_is_logged_by_its_name_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An operator learns what kind of fault stands behind a 503, and no row that it may quote."""
    application = Litestar(
        [_away],
        exception_handlers={Exception: problems.answer_error},
        logging_config=None,
    )
    with TestClient(application) as client, caplog.at_level("WARNING", "muniment.problems"):
        answer = client.get("/away")

    (record,) = (one for one in caplog.records if one.name == "muniment.problems")
    assert (answer.status_code, answer.json()["code"]) == (503, "store.unreachable")
    assert (record.__dict__["code"], record.__dict__["cause"]) == ("store.unreachable", "OSError")
    assert "alice" not in str(record.__dict__)
