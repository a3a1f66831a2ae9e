"""Which status, headers and body does each refusal get?

One table from error class to status, one list of codes, one body (http-api 2, kestra-iam 2.7).
Litestar's exception handler and the small ASGI applications all answer through `problem`.
"""

from __future__ import annotations

import logging
import re
from math import ceil
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import ClientException, HTTPException
from msgspec import UNSET, DecodeError, Struct, UnsetType, ValidationError, field

from api.decoding import BodyError
from api.problem_codes import TITLES
from api.request_errors import (
    AuthenticationError,
    ChangeRefusedError,
    ForeignAddressError,
    MalformedCredentialError,
    MalformedError,
    MisshapenTokenError,
    NotSealedError,
    PreconditionRequiredError,
    RequestError,
    ThrottledError,
    UnavailableError,
    UnknownTokenError,
    WrongPasswordError,
)
from domain.errors import (
    ConflictError,
    CredentialError,
    DomainError,
    FieldFault,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    Requirement,
    StaleError,
)
from domain.token_text import redact

Headers = list[tuple[bytes, bytes]]

MEDIA_TYPE: Final = "application/problem+json"
CHALLENGE: Final = 'Bearer realm="muniment"'

_log = logging.getLogger("muniment.problems")


STATUSES: Final[dict[type[Exception], int]] = {
    MalformedError: 400,
    MalformedCredentialError: 400,
    ChangeRefusedError: 400,
    DecodeError: 400,
    UnicodeError: 400,
    RecursionError: 400,
    AuthenticationError: 401,
    UnknownTokenError: 401,
    MisshapenTokenError: 401,
    WrongPasswordError: 401,
    CredentialError: 401,
    ForbiddenError: 403,
    ForeignAddressError: 403,
    NotFoundError: 404,
    NotSealedError: 404,
    ConflictError: 409,
    StaleError: 412,
    InvalidError: 422,
    ValidationError: 422,
    PreconditionRequiredError: 428,
    ThrottledError: 429,
    UnavailableError: 503,
}

# What Litestar itself refuses. Its 403 comes from nothing but its CSRF middleware.
_FRAMEWORK_CODES: Final = {
    400: "request.malformed",
    401: "auth.required",
    403: "csrf",
    404: "route.unknown",
    405: "method.not_allowed",
    413: "body.too_large",
    415: "body.media_type",
    422: "body.invalid",
    429: "throttled",
    503: "unavailable",
}
_FRAMEWORK_HEADERS: Final = frozenset({"allow", "retry-after"})

_DETAIL_CHARACTERS_MAX: Final = 500
_MEMBER_CHARACTERS_MAX: Final = 100

# What msgspec says names the place last, and the value at fault first: the value may be a secret.
_PLACE: Final = re.compile(r"(?P<said>.*) - at `(?:key` in `)?\$(?P<place>[^`]*)`\Z", re.DOTALL)
_MEMBER: Final = re.compile(
    r"Object (?P<fault>missing required|contains unknown) field `(?P<member>.*)`\Z", re.DOTALL
)
_ENUM: Final = re.compile(r"Invalid enum value .*\Z", re.DOTALL)
_MISSING_PARAMETER: Final = re.compile(r".*?Missing required (\w+) parameter '([\w-]+)'")
_STEP: Final = re.compile(r"[^.\[\]]+")
# RFC 6750 3: what may stand in a scope.
_SCOPE_TOKEN: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+\Z")


class _Place(Struct, frozen=True, kw_only=True):
    namespace: str | UnsetType = UNSET
    resource: dict[str, str] | UnsetType = UNSET


class _Required(Struct, frozen=True, kw_only=True):
    type: str
    action: str
    scope: _Place | UnsetType = UNSET


class _Dependent(Struct, frozen=True, kw_only=True):
    type: str
    id: str


class _Pointed(Struct, frozen=True, kw_only=True):
    pointer: str
    detail: str
    code: str


class _Embedded(Struct, frozen=True, kw_only=True):
    message: str
    path: str | UnsetType = UNSET


class _Link(Struct, frozen=True, kw_only=True):
    href: str
    templated: bool = False


class _Links(Struct, frozen=True, kw_only=True):
    self: _Link


class _EmbeddedErrors(Struct, frozen=True, kw_only=True):
    errors: tuple[_Embedded, ...]


class Problem(Struct, frozen=True, kw_only=True):
    """The body of every error: RFC 9457 and Kestra's members side by side."""

    type: str
    title: str
    status: int
    detail: str | UnsetType = UNSET
    instance: str
    code: str
    request_id: str = field(name="requestId")
    required: tuple[_Required, ...] | UnsetType = UNSET
    dependents: tuple[_Dependent, ...] | UnsetType = UNSET
    errors: tuple[_Pointed, ...] | UnsetType = UNSET
    message: str
    links: _Links = field(name="_links")
    embedded: _EmbeddedErrors = field(name="_embedded")


class Refusal(Struct, frozen=True, kw_only=True):
    """What is said about an error, before it is put into the form of a body."""

    status: int
    code: str
    detail: str = ""
    fields: tuple[FieldFault, ...] = ()
    required: tuple[Requirement, ...] = ()
    dependents: tuple[_Dependent, ...] = ()
    headers: tuple[tuple[bytes, bytes], ...] = ()


def problem(error: Exception, *, path: str, request_id: str) -> tuple[int, Headers, bytes]:
    """Answer status, ASGI headers and JSON body for any error at all (http-api 2).

    An error that is not one of ours is 500 `internal`, of which nothing is told.
    """
    return compose(refusal(error), path=path, request_id=request_id)


def compose(said: Refusal, *, path: str, request_id: str) -> tuple[int, Headers, bytes]:
    """Answer status, ASGI headers and JSON body for a refusal.

    `path` is without the query. What looks like a token of ours is blotted out (security 4.5).
    """
    title = TITLES.get(said.code, "Request refused")
    detail = redact(said.detail)[:_DETAIL_CHARACTERS_MAX]
    message = f"{title}: {detail}" if detail else title
    faults = tuple(said.fields)
    instance = redact(path)
    body = msgspec.json.encode(
        Problem(
            type=f"/problems/{said.code}",
            title=title,
            status=said.status,
            detail=detail or UNSET,
            instance=instance,
            code=said.code,
            request_id=request_id,
            required=tuple(map(_required, said.required)) or UNSET,
            dependents=said.dependents or UNSET,
            errors=tuple(map(_pointed, faults)) or UNSET,
            message=message,
            links=_Links(self=_Link(href=instance)),
            embedded=_EmbeddedErrors(
                errors=tuple(map(_embedded, faults)) or (_Embedded(message=detail or title),)
            ),
        )
    )
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        *said.headers,
    ]
    return said.status, headers, body


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Litestar's handler for every exception: `exception_handlers={Exception: answer_error}`."""
    path = request.scope["raw_path"].partition(b"?")[0].decode("latin-1")
    request_id: str = request.scope["state"].get("request_id", "")
    status, headers, body = problem(error, path=path, request_id=request_id)
    if unforeseen(error):
        report(error, request_id)
    elif isinstance(error, UnavailableError) and error.__cause__ is not None:
        # By its name alone, for what a driver says may quote rows.
        cause = type(error.__cause__).__name__
        _log.warning(
            "unavailable", extra={"code": error.code, "cause": cause, "request_id": request_id}
        )
    return Response(
        body,
        status_code=status,
        headers={
            name.decode(): value.decode("latin-1")
            for name, value in headers
            if name not in {b"content-type", b"content-length"}
        },
        media_type=MEDIA_TYPE,
    )


def unforeseen(error: Exception) -> bool:
    """Whether the error is a fault of ours, of which the log must tell."""
    return refusal(error).code == "internal"


def report(error: Exception, request_id: str) -> None:
    """Write an unforeseen error with its trace to the log, under the id the caller was told."""
    _log.error("unforeseen error", exc_info=error, extra={"request_id": request_id})


def page(code: str) -> bytes | None:
    """Answer the text that `/problems/<code>` shows, UTF-8; None when there is no such code."""
    title = TITLES.get(code)
    if title is None:
        return None
    return (
        f"{code}\n\n{title}.\n\nThe code is stable; the wording of a message may change.\n".encode()
    )


def refusal(error: Exception) -> Refusal:
    """Answer what may be said about an error."""
    match error:
        case DomainError():
            return _of_domain(error)
        case RequestError():
            return _of_request(error)
        case BodyError():
            return Refusal(status=error.status, code=error.code, detail=error.detail)
        case HTTPException():
            return _of_framework(error)
        case ValidationError():
            fault = validation_fault(str(error))
            detail = f"{fault.path} {fault.detail}".strip()
            return Refusal(status=422, code="body.invalid", detail=detail, fields=_located(fault))
        case DecodeError() | UnicodeError():
            return Refusal(status=400, code="body.malformed", detail="the body is not valid JSON")
        case RecursionError():
            return Refusal(status=400, code="body.too_complex", detail="the body nests too deep")
        case _:
            return Refusal(status=500, code="internal")


def validation_fault(said: str) -> FieldFault:
    """Turn what msgspec says into a fault with a dotted path: `$.a[0].b` becomes `a[0].b`.

    A missing or unknown member is named by its own path. Below a map the path ends at the map,
    since msgspec does not tell the key. The value at fault is never repeated.
    """
    found = _PLACE.match(said)
    text, place = (found["said"], found["place"]) if found else (said, "")
    path = place.partition("[...]")[0].removeprefix(".")
    member = _MEMBER.match(text)
    if member:
        name = member["member"][:_MEMBER_CHARACTERS_MAX]
        missing = member["fault"].startswith("missing")
        return FieldFault(
            f"{path}.{name}" if path else name,
            "is missing" if missing else "is not a member here",
            "field.missing" if missing else "field.unknown",
        )
    if _ENUM.match(text):
        return FieldFault(path, "is not one of the values allowed", "field.invalid")
    return FieldFault(path, text[:_DETAIL_CHARACTERS_MAX], "field.invalid")


def pointer(path: str) -> str:
    """Answer the JSON Pointer (RFC 6901, as a fragment) of a dotted path: `[2].id` is `#/2/id`."""
    steps = (step.replace("~", "~0").replace("/", "~1") for step in _STEP.findall(path))
    return "#" + "".join(f"/{step}" for step in steps)


def _located(fault: FieldFault) -> tuple[FieldFault, ...]:
    # A fault of the body as a whole has no member to point at.
    return (fault,) if fault.path else ()


def _of_domain(error: DomainError) -> Refusal:
    headers: tuple[tuple[bytes, bytes], ...] = ()
    match error:
        case CredentialError():
            headers = (_challenge('error="invalid_token"'),)
        case ForbiddenError() if error.required:
            headers = (_challenge(_insufficient(error.required)),)
        case StaleError():
            headers = ((b"etag", b'"%d"' % error.position),)
        case _:
            pass
    return Refusal(
        status=_status(error),
        code=error.code,
        detail=error.detail,
        fields=error.fields,
        required=error.required,
        dependents=tuple(_Dependent(type=each.type, id=each.id) for each in error.dependents),
        headers=headers,
    )


def _of_request(error: RequestError) -> Refusal:
    if isinstance(error, ChangeRefusedError):
        return error.said
    headers: tuple[tuple[bytes, bytes], ...] = ()
    match error:
        case AuthenticationError():
            headers = (_challenge('error="invalid_token"' if error.presented else ""),)
        case MalformedCredentialError():
            headers = (_challenge('error="invalid_request"'),)
        case ThrottledError() | UnavailableError() | NotSealedError():
            headers = ((b"retry-after", b"%d" % max(1, ceil(error.retry_after_seconds))),)
        case _:
            pass
    return Refusal(status=_status(error), code=error.code, detail=error.detail, headers=headers)


def _of_framework(error: HTTPException) -> Refusal:
    # Its own words may quote the query or name the library, so they are not passed on.
    cause = _cause(error)
    if isinstance(error, ClientException) and cause is not None:
        return _of_parameters(cause)
    code = _FRAMEWORK_CODES.get(error.status_code)
    if code is None:
        return Refusal(status=500, code="internal")
    missing = _MISSING_PARAMETER.match(str(error))
    return Refusal(
        status=error.status_code,
        code=code,
        detail=f"the {missing[1]} parameter {missing[2]} is missing" if missing else "",
        headers=tuple(
            (name.lower().encode(), value.encode())
            for name, value in (error.headers or {}).items()
            if name.lower() in _FRAMEWORK_HEADERS
        ),
    )


def _of_parameters(cause: DecodeError) -> Refusal:
    # Litestar reads a handler's parameters as one object, in which the body is called `data`.
    if not isinstance(cause, ValidationError):
        return refusal(cause)
    fault = validation_fault(str(cause))
    if (fault.path, fault.code) == ("data", "field.missing"):
        return Refusal(status=400, code="body.missing", detail="a JSON body is required")
    if fault.path.startswith("data"):
        return refusal(ValidationError(str(cause).replace("`$.data", "`$", 1)))
    detail = f"{fault.path} {fault.detail}"
    return Refusal(status=400, code="request.malformed", detail=detail, fields=(fault,))


def _cause(error: BaseException) -> DecodeError | None:
    # Litestar wraps what msgspec raises, some of it twice.
    cause = error.__cause__
    while cause is not None and not isinstance(cause, DecodeError):
        cause = cause.__cause__
    return cause


def _status(error: Exception) -> int:
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def _challenge(parameters: str) -> tuple[bytes, bytes]:
    value = f"{CHALLENGE}, {parameters}" if parameters else CHALLENGE
    return (b"www-authenticate", value.encode())


def _insufficient(required: tuple[Requirement, ...]) -> str:
    scopes = (f"{each.type}:{each.action}" for each in required)
    told = " ".join(scope for scope in scopes if _SCOPE_TOKEN.match(scope))
    return 'error="insufficient_scope"' + (f', scope="{told}"' if told else "")


def _required(requirement: Requirement) -> _Required:
    place: _Place | UnsetType = UNSET
    if requirement.resource is not None:
        kind, name = requirement.resource
        place = _Place(resource={"type": kind, "id": name})
    elif requirement.namespace:
        place = _Place(namespace=requirement.namespace)
    return _Required(type=requirement.type, action=requirement.action, scope=place)


def _pointed(fault: FieldFault) -> _Pointed:
    return _Pointed(pointer=pointer(fault.path), detail=fault.detail, code=fault.code)


def _embedded(fault: FieldFault) -> _Embedded:
    return _Embedded(message=fault.detail, path=fault.path or UNSET)
