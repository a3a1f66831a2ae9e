"""What does `/openapi.json` tell of the routes?

The document is made from the application itself: its routes, their gates and the types that they
read and answer, so that none can be forgotten (http-api 8). What no annotation can say, the names
of query parameters, stands in one table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, get_args, get_origin

import msgspec
from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream
from litestar.routes import HTTPRoute
from msgspec import UNSET, Struct

from api import openapi_access, openapi_audit, openapi_checks, openapi_trail, schema_rules
from api.call import POSITION_HEADER, REPLAYED_HEADER, Gate
from api.decoding import CONTRACT, LINES
from api.dry_runs import DryRunForm
from api.iam.aliases import AliasForm
from api.iam.token_forms import RevokedForm
from api.openapi_links import PATH_PARAMETER, add_links, add_links_from_put
from api.openapi_parts import (
    HEADERS,
    PARAMETERS,
    PROBLEMS,
    SECURITY_SCHEMES,
    problem_responses,
)
from api.paging import Results
from api.problems import Problem
from api.schemas import Schema, Schemas
from api.sign_in import Credentials
from api.trail.events import WholeEntry

VERSION: Final = "3.1.0"

_READING: Final = frozenset({"GET", "HEAD"})
_ALWAYS: Final = (400, 414, 429, 431)
_AUTHENTICATED: Final = (401, 403, 503)
_WITH_BODY: Final = (408, 413, 415, 422)
_WRITING: Final = (409, 422)

_FILTERED: Final = ("filters",)
_PAGED: Final = ("page", "size", "sort", *_FILTERED)
_EXPORTED: Final = (
    *("q", "namespace", "flowId", "executionId", "userId", "id", "resources", "type"),
    *("startDate", "endDate", "details", "filters"),
)

# The query parameters of single routes, by operation id; `*` before a name: it is required.
QUERY: Final[Mapping[str, tuple[str, ...]]] = {
    "deleteGroup": ("ifUnused",),
    "deleteRole": ("ifUnused",),
    "createRole": ("expandLegacy",),
    "replaceRole": ("expandLegacy",),
    "changeGroupMembership": ("*membership",),
    "searchBindings": ("type", "id", "namespace"),
    "autocompleteGroups": _FILTERED,
    "autocompleteRoles": _FILTERED,
    "autocompleteTenantAccess": _FILTERED,
    "setAliasByQuery": ("*alias",),
    "removeAliasByQuery": ("*alias",),
    "diffAuditLog": ("previousId",),
    "diffAnyAuditLog": ("previousId",),
    "exportAuditLogs": _EXPORTED,
    "exportAllAuditLogs": _EXPORTED,
    **openapi_audit.QUERY,
    **openapi_access.QUERY,
    "getCheckpoint": ("treeSize",),
    "listCheckpoints": ("limit", "cursor"),
    "getInclusionProof": ("*index", "treeSize"),
    "getConsistencyProof": ("*from", "to"),
    **openapi_trail.QUERY,
}
# Bodies that a route reads by itself, and what it refuses besides.
_READ: Final[Mapping[str, object]] = {
    "signIn": Credentials,
    "signInAtRoot": Credentials,
    **openapi_access.BODIES,
}
_REFUSED: Final[Mapping[str, tuple[int, ...]]] = {
    "signIn": (401, 403, 503),
    "signInAtRoot": (401, 403, 503),
    "signOut": (403,),
    "getCheckpoint": (404,),
    "listCheckpoints": (422,),
    "getInclusionProof": (404,),
    "getConsistencyProof": (404,),
    "deleteSink": (428,),
    "getDecisionEvidence": (404, 503),
    "getPrincipalEvidence": (404, 503),
    "getIntervalEvidence": (404, 503),
}
# What has an entity tag, though its path does not end with an id.
_VERSIONED: Final = frozenset({"diffAuditLog", "diffAnyAuditLog", "getMe"})
# What has none, though it is one object: a count, an alias, which is set or not, and an event,
# beside which more stand as time goes on.
_UNVERSIONED: Final[frozenset[object]] = frozenset({RevokedForm, AliasForm, WholeEntry})


class Operation(Struct, frozen=True):
    """One route as the application knows it."""

    method: str
    path: str
    handler: HTTPRouteHandler

    @property
    def gate(self) -> Gate:
        """Who may use it."""
        gate: Gate = self.handler.opt["gate"]
        return gate

    @property
    def id(self) -> str:
        """Its name in generated clients; a second path of one handler gets another."""
        return str(self.handler.operation_id)

    @property
    def reads(self) -> bool:
        """Whether it only reads."""
        return self.method in _READING or bool(self.handler.opt.get("reads"))

    @property
    def body(self) -> object:
        """The type of the body that it reads, None for none."""
        data = self.handler.parsed_data_field
        return _READ.get(self.id) if data is None else data.annotation

    @property
    def answers(self) -> object:
        """The type of its answer: of the body, where it comes in a response of its own."""
        annotation = self.handler.parsed_return_field.annotation
        return get_args(annotation)[0] if get_origin(annotation) is Response else annotation


def operations(app: Litestar) -> list[Operation]:
    """Answer every route that has a handler of ours, in the order of path and method."""
    found = [
        Operation(method, route.path_format, handler)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods - {"OPTIONS", "HEAD"}
    ]
    return sorted(found, key=lambda one: (one.path, one.method))


def document(app: Litestar, *, version: str, public_url: str) -> Schema:
    """Answer the OpenAPI 3.1 document of an application and the hot endpoints before it."""
    schemas = Schemas()
    schemas.of(Problem)
    found = operations(app)
    twice = _taken_twice(found)
    paths: dict[str, Schema] = {}
    for operation in found:
        described = _operation(operation, schemas, twice)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    by_hand = openapi_checks.components(schemas)
    components = {**schemas.finish(), **by_hand}
    paths.update(openapi_checks.PATHS)
    _add_examples(paths, components)
    add_links(paths, components)
    add_links_from_put(paths, QUERY)
    responses = problem_responses()
    text = msgspec.json.encode((paths, responses)).decode()
    return {
        "openapi": VERSION,
        "info": {
            "title": "Muniment",
            "version": version,
            "summary": "Who may do what, and the evidence of it",
            "description": _ABOUT,
            "contact": {"name": "Who runs this installation"},
            "license": {"name": "See the repository", "identifier": "LicenseRef-Muniment"},
        },
        "servers": [{"url": public_url or "/", "description": "This installation"}],
        "security": [{name: []} for name in SECURITY_SCHEMES],
        "tags": _tags(paths),
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(components.items())),
            "parameters": _used("parameters", PARAMETERS, text),
            "headers": _used("headers", HEADERS, text),
            "responses": _used("responses", responses, text),
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


_ABOUT: Final = (
    "Service accounts, users, groups, roles, bindings and API tokens come into being only as "
    "events of one log; every answer tells in X-Muniment-Position which position of it is shown."
)


def encoded(app: Litestar, *, version: str, public_url: str) -> bytes:
    """Answer the document as JSON, the same bytes in every process."""
    return msgspec.json.encode(document(app, version=version, public_url=public_url))


# One operation


def _operation(operation: Operation, schemas: Schemas, twice: frozenset[str]) -> Schema:
    handler = operation.handler
    last = operation.path.rpartition("/")[2]
    id_ = operation.id + last.title() if operation.id in twice else operation.id
    described: Schema = {
        "operationId": id_,
        "summary": handler.summary or id_,
        "description": _description(operation),
        "tags": [*(handler.tags or ())] or [_noun(handler)],
        "parameters": [*_parameters(operation)],
        "responses": _responses(operation, schemas),
    }
    if operation.gate.open:
        described["security"] = []
    if operation.body is not None:
        data = handler.parsed_data_field
        media = handler.opt.get("media", CONTRACT)
        content = {"schema": schemas.of(operation.body)}
        described["requestBody"] = {
            "required": data is None or not data.is_optional,
            "content": {
                type_: openapi_access.asked(operation.id, type_, content)
                for type_ in sorted(media.types)
            },
        }
    return described


def _taken_twice(found: list[Operation]) -> frozenset[str]:
    ids = [operation.id for operation in found]
    return frozenset(id_ for id_ in ids if ids.count(id_) > 1)


def _noun(handler: HTTPRouteHandler) -> str:
    return handler.fn.__module__.rpartition(".")[2].replace("_", " ")


def _description(operation: Operation) -> str:
    own = operation.handler.description or operation.handler.fn.__doc__ or ""
    said = " ".join(own.split()) or f"{operation.handler.summary}."
    return f"{said} {_who(operation.gate)}"


def _who(gate: Gate) -> str:
    if gate.open:
        return "Open to everyone."
    if gate.owner:
        return "For instance owners."
    if gate.needs is None:
        return "Needs access to the tenant." if gate.access else "For every authenticated caller."
    either = " or ".join(
        f"{one.type}:{one.action}" for one in (gate.needs, gate.or_needs) if one is not None
    )
    where = "" if gate.tenant is UNSET else f" {gate.tenant}"
    own = ", or a right of its own" if gate.exception else ""
    return f"Needs {either} in the tenant{where}{own}."


def _parameters(operation: Operation) -> Iterator[Schema]:
    for name in PATH_PARAMETER.findall(operation.path):
        rule, example = schema_rules.PATH.get(name, ({}, schema_rules.ID))
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_WORDS.get(name, f"The {name} of the path"),
            "schema": {"type": "string", **rule},
            "example": example,
        }
    names = (*_query(operation), *_headers_read(operation))
    for name in names:
        if name.startswith("*"):
            yield {**PARAMETERS[name[1:]], "required": True}
        else:
            yield {"$ref": f"#/components/parameters/{name}"}


_PATH_WORDS: Final = {
    "tenant": "The tenant's id",
    "id": "The object's id",
    "type": "The type of the alias",
    "alias_id": "The id of the alias",
    "user_id": "The id of a user or service account",
    "token_id": "The token's id",
    "number": "The position of the event",
    "auth": "The id or the type of a way to sign in",
    "code": "The code of an error",
    "position": "The position of an event",
    "detail_id": "The id of the object that the entries are about",
}


def _query(operation: Operation) -> tuple[str, ...]:
    own = QUERY.get(operation.id, ())
    if operation.gate.open or operation.handler.opt.get("bare"):
        return own
    moment = (
        ("at_least", "log", "position", "at") if operation.reads else ("at_least", "log", "dryRun")
    )
    pages = _PAGED if _is_paged(operation) else ()
    return (*own, *(openapi_access.WALKED if _is_walked(operation) else pages), *moment)


def _headers_read(operation: Operation) -> tuple[str, ...]:
    if operation.gate.open:
        return ()
    if operation.handler.opt.get("tails"):
        return openapi_trail.HEADERS
    if operation.reads:
        return ("If-None-Match",) if is_versioned(operation) else ()
    changes = operation.method != "POST" or "{" in operation.path.replace("{tenant}", "")
    return (*(("If-Match",) if changes else ()), "Idempotency-Key", "X-Muniment-Reason")


def _is_paged(operation: Operation) -> bool:
    kind = get_origin(operation.answers) or operation.answers
    is_page = isinstance(kind, type) and issubclass(kind, Results)
    return is_page and not operation.handler.opt.get("whole")


def _is_walked(operation: Operation) -> bool:
    return bool(operation.handler.opt.get("walks"))


def is_versioned(operation: Operation) -> bool:
    """Tell whether an answer is one object with an entity tag."""
    answers = operation.answers
    if answers in _UNVERSIONED:
        return False
    if operation.reads and not operation.path.endswith("}") and operation.id not in _VERSIONED:
        return False
    return isinstance(answers, type) and issubclass(answers, Struct) and not operation.gate.open


# Its answers


def _responses(operation: Operation, schemas: Schemas) -> dict[str, Schema]:
    answers: dict[str, Schema] = {
        str(operation.handler.status_code): _success(operation, schemas),
    }
    if operation.reads and is_versioned(operation):
        answers["304"] = {
            "description": "Nothing has changed since the version that If-None-Match names",
            "headers": _headers("ETag", POSITION_HEADER),
        }
    also: tuple[int, ...] = operation.handler.opt.get("also", ())
    for status in also:
        answers[str(status)] = _success(operation, schemas)
    if operation.handler.opt.get("creates"):
        answers["201"] = _success(operation, schemas, "Location")
    if not (operation.reads or operation.gate.open):
        _add_dry_run(answers, schemas)
    for status in sorted(_refusals(operation)):
        answers.setdefault(str(status), {"$ref": f"#/components/responses/{PROBLEMS[status]}"})
    return dict(sorted(answers.items()))


def _add_dry_run(answers: dict[str, Schema], schemas: Schemas) -> None:
    """Add what `dryRun=true` is answered with, always 200 (api/dry_runs.py)."""
    tried = schemas.of(DryRunForm)
    done = answers.get("200")
    if done is None:
        answers["200"] = {
            "description": "What would be done, with `dryRun=true`",
            "headers": _headers(POSITION_HEADER),
            "content": {"application/json": {"schema": tried}},
        }
        return
    content = done["content"]["application/json"]
    content["schema"] = {"anyOf": [content["schema"], tried]}


def _success(operation: Operation, schemas: Schemas, *more: str) -> Schema:
    described: Schema = {"description": "Done" if not operation.reads else "What was asked for"}
    names = (*_headers_answered(operation), *more)
    if names:
        described["headers"] = _headers(*names)
    content = _content(operation, schemas)
    if content:
        described["content"] = content
    return described


def _content(operation: Operation, schemas: Schemas) -> Schema:
    answers, status = operation.answers, operation.handler.status_code
    media_types = operation.handler.opt.get("answers")
    if media_types or answers is Stream:
        types: tuple[str, ...] = media_types or ("text/csv",)
        return {type_: {"schema": {"type": "string"}} for type_ in types}
    if answers not in {bytes, None, type(None)}:
        content = {"application/json": {"schema": schemas.of(answers)}}
        if operation.handler.opt.get("lines"):
            content[LINES] = {**openapi_access.ANSWERED_LINES}
        return content
    if status == 200:  # noqa: PLR2004 - a 200 without a body of its own carries {} (kestra-iam 1)
        return {"application/json": {"schema": {"type": "object", "maxProperties": 0}}}
    return {}


def _headers_answered(operation: Operation) -> tuple[str, ...]:
    if operation.gate.open:
        return ("Set-Cookie",) if operation.method == "POST" else ()
    return (
        POSITION_HEADER,
        *(("ETag",) if is_versioned(operation) else ()),
        *(("Link",) if _is_paged(operation) or _is_walked(operation) else ()),
        *(() if operation.reads else (REPLAYED_HEADER,)),
        *(("X-Accel-Buffering",) if operation.handler.opt.get("tails") else ()),
    )


def _headers(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _refusals(operation: Operation) -> set[int]:
    statuses = {*_ALWAYS}
    if not operation.gate.open:
        statuses.update(_AUTHENTICATED)
    if "{" in operation.path or (operation.reads and "/me" in operation.path):
        # Nor was the caller itself there at every moment of the past.
        statuses.add(404)
    if operation.body is not None:
        statuses.update(_WITH_BODY)
    if _is_paged(operation) or _is_walked(operation):
        statuses.add(422)
    if not operation.reads and not operation.gate.open:
        statuses.update(_WRITING)
        if "If-Match" in _headers_read(operation):
            statuses.add(412)
    return statuses.union(_REFUSED.get(operation.id, ()))


# The whole

_SHOWABLE: Final = frozenset({"$ref", "items", "anyOf"})


def _tags(paths: Mapping[str, Schema]) -> list[Schema]:
    names = {tag for item in paths.values() for one in item.values() for tag in one["tags"]}
    return [{"name": name, "description": f"Routes about {name}"} for name in sorted(names)]


def _used(kind: str, parts: Mapping[str, Schema], text: str) -> Schema:
    return {name: part for name, part in parts.items() if f'components/{kind}/{name}"' in text}


def _add_examples(paths: Mapping[str, Schema], components: Mapping[str, Schema]) -> None:
    for item in paths.values():
        for described in item.values():
            bodies = [described.get("requestBody", {}), *described["responses"].values()]
            for body in bodies:
                for content in body.get("content", {}).values():
                    if not _SHOWABLE.isdisjoint(content["schema"]):
                        example = schema_rules.example(content["schema"], components)
                        content.setdefault("example", example)
