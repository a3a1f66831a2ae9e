"""What does the OpenAPI document tell of the hot endpoints in front of Litestar?

Written by hand from `api/checks.py`, `api/searches.py` and authzen 1, 2 and 4 to 7; a test holds
the paths against one another. Only the reasons of a decision are read from their types.
"""

from __future__ import annotations

from typing import Final

from api.call import POSITION_HEADER
from api.checks import EVALUATION, EVALUATIONS, ITEMS_MAX, ItemContext
from api.explanations import WhyForm
from api.openapi_parts import PROBLEMS
from api.schema_rules import NAMESPACE, TENANT
from api.schemas import Schema, Schemas
from api.searches import ACTIONS, LIMIT_MAX, RESOURCES, SUBJECTS

_WORD: Final = {"type": "string", "maxLength": 256}
_POSITION: Final = {"type": ["integer", "null"], "minimum": 0}
_FREE: Final = {"type": "object", "additionalProperties": True}


def _object(properties: Schema, *required: str, description: str = "") -> Schema:
    return {
        **({"description": description} if description else {}),
        "type": "object",
        "properties": properties,
        **({"required": list(required)} if required else {}),
        "additionalProperties": True,
    }


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_RESOURCE_PROPERTIES: Final = _object(
    {
        "namespace": {"type": ["string", "null"], "pattern": NAMESPACE, "maxLength": 150},
        "tenant": {"type": ["string", "null"], "pattern": TENANT, "default": "main"},
    }
)
_QUESTION: Final = {
    "subject": _reference("AccessSubject"),
    "action": _reference("AccessAction"),
    "resource": _reference("AccessResource"),
    "context": _reference("AccessContext"),
}


def _search(parts: Schema) -> Schema:
    """Answer the schema of a question of which one part is searched, with a page."""
    required = [name for name in parts if name != "context"]
    return _object({**parts, "page": _reference("AccessPageAsked")}, *required)


def _found(result: Schema) -> Schema:
    return _object(
        {
            "page": _reference("AccessPage"),
            "results": {"type": "array", "maxItems": LIMIT_MAX, "items": result},
        },
        "results",
        description="In the order of the bytes; a page where one was asked for or more is left",
    )


_SCHEMAS: Final[dict[str, Schema]] = {
    "AccessSubject": _object(
        {
            "type": {**_WORD, "examples": ["user", "service_account"]},
            "id": _WORD,
            "properties": _FREE,
        },
        "type",
        "id",
        description="Who: by id, by alias, or a user by e-mail and a service account by name",
    ),
    "AccessAction": _object({"name": _WORD, "properties": _FREE}, "name"),
    "AccessResource": _object(
        {
            "type": _WORD,
            "id": {**_WORD, "description": "`*`: no single resource"},
            "properties": _RESOURCE_PROPERTIES,
        },
        "type",
        "id",
    ),
    "AccessContext": _object(
        {
            "at_least": _POSITION,
            "log": {
                "type": ["string", "null"],
                "description": "Refuse unless positions of this log are meant",
            },
            "as_of": _object(
                {
                    "position": _POSITION,
                    "at": {"type": ["string", "null"], "format": "date-time"},
                }
            ),
            "explain": {
                "type": ["boolean", "null"],
                "description": "Tell why; about others than oneself it needs ACCESS:EXPLAIN too",
            },
            "token": {
                "type": ["string", "null"],
                "maxLength": 256,
                "description": "The id of a token of the subject: by it, and what it leaves",
            },
            "address": {
                "type": ["string", "null"],
                "maxLength": 256,
                "description": "Where that token is used from",
            },
        },
        description="Which facts are asked; everything else has no effect",
    ),
    "AccessEvaluation": _object(_QUESTION, "subject", "action", "resource"),
    "AccessEvaluations": _object(
        {
            **_QUESTION,
            "evaluations": {
                "type": "array",
                "maxItems": ITEMS_MAX,
                "items": _object(_QUESTION),
                "description": "What is missing in an item is taken from the request",
            },
            "options": _object(
                {
                    "evaluations_semantic": {
                        "type": "string",
                        "enum": ["execute_all", "deny_on_first_deny", "permit_on_first_permit"],
                        "default": "execute_all",
                    }
                }
            ),
        },
    ),
    "AccessDecisions": _object(
        {
            "decision": {"type": "boolean"},
            "evaluations": {"type": "array", "items": _reference("AccessDecision")},
        },
        description="A decision, or, where evaluations were asked, one for each",
    ),
    "AccessSearchedSubject": _object(
        {"type": {**_WORD, "examples": ["user", "service_account"]}},
        "type",
        description="Of which type the subjects are; an id has no effect",
    ),
    "AccessSearchedResource": _object(
        {"type": _WORD, "properties": _RESOURCE_PROPERTIES},
        "type",
        description="Of which type the resources are, and where; an id has no effect",
    ),
    "AccessPageAsked": _object(
        {
            "token": {"type": "string", "description": "The `next_token` of the page before"},
            "limit": {
                "type": "integer",
                "minimum": 0,
                "default": LIMIT_MAX,
                "description": f"At most {LIMIT_MAX}; the same from page to page",
            },
        },
    ),
    "AccessSubjectSearch": _search({**_QUESTION, "subject": _reference("AccessSearchedSubject")}),
    "AccessResourceSearch": _search(
        {**_QUESTION, "resource": _reference("AccessSearchedResource")}
    ),
    "AccessActionSearch": _search(
        {name: part for name, part in _QUESTION.items() if name != "action"}
    ),
    "AccessPage": _object(
        {
            "next_token": {"type": "string", "description": "Empty at the end"},
            "count": {"type": "integer", "minimum": 0, "maximum": LIMIT_MAX},
            "total": {"type": "integer", "minimum": 0},
        },
        "next_token",
        "count",
        "total",
    ),
    "AccessEntities": _found(_object({"type": _WORD, "id": {"type": "string"}}, "type", "id")),
    "AccessActions": _found(_object({"name": {"type": "string"}}, "name")),
}


def components(schemas: Schemas) -> dict[str, Schema]:
    """Answer the schemas of this page; those of the reasons join the document's own."""
    reasons = [schemas.of(WhyForm), schemas.of(ItemContext)]
    decision = _object(
        {"decision": {"type": "boolean"}, "context": {"anyOf": reasons}},
        "decision",
        description="With `explain` the reasons too; in a batch, what is wrong with an item",
    )
    return {**_SCHEMAS, "AccessDecision": {**decision, "examples": [_EXPLAINED]}}


_EXAMPLE: Final = {
    "subject": {"type": "service_account", "id": "ci-bot"},
    "action": {"name": "UPDATE"},
    "resource": {
        "type": "FLOW",
        "id": "nightly-load",
        "properties": {"namespace": "prod.billing"},
    },
}
_REFUSALS: Final = (400, 401, 403, 408, 413, 414, 429, 431, 503)


_EXPLAINED: Final = {
    "decision": True,
    "context": {
        "position": 1042,
        "at": "2026-01-31T12:00:00Z",
        "code": "allowed",
        "paths": [
            {
                "binding": "3kcUqGm1hRmDvmGGbYMmZe",
                "role": {"id": "7hTzWv2eWmVfV0cZ0l5XkP", "name": "deployer"},
                "permission": {"type": "FLOW", "action": "UPDATE"},
                "scope": {"namespace": "prod"},
                "via": [{"type": "group", "id": "9wLe8xGQk0bS6ZkN3dR5tY", "name": "Bots"}],
                "positions": [12, 40, 1017, 95],
                "steps": {"enabled": [12], "membership": [40], "binding": [1017], "role": [95]},
            }
        ],
    },
}
_CHECKS: Final = "A deny is 200 too. Asking about others than oneself needs ACCESS:CHECK."
_SEARCHES: Final = (
    "What is found is what an evaluation at the same position and instant would allow. "
    "Asking about others than oneself needs ACCESS:SEARCH."
)


def _operation(
    name: str, words: tuple[str, str], body: tuple[str, str], **examples: Schema
) -> Schema:
    summary, description = words
    asked, answered = body
    return {
        "operationId": name,
        "summary": summary,
        "description": f"{summary} {description}",
        "tags": ["checks"],
        "security": [{"bearer": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _reference(asked),
                    "example": examples["asks"],
                }
            },
        },
        "responses": {
            "200": {
                "description": "The answer",
                "headers": {
                    POSITION_HEADER: {"$ref": f"#/components/headers/{POSITION_HEADER}"},
                },
                "content": {
                    "application/json": {
                        "schema": _reference(answered),
                        "example": examples["answers"],
                    }
                },
            },
            **{
                str(status): {"$ref": f"#/components/responses/{PROBLEMS[status]}"}
                for status in _REFUSALS
            },
        },
    }


_ID: Final = "4by6NvSLcPXFhCj8nwbZOM"
_RECORD: Final = {"type": "record", "id": "record-1"}
_BOT: Final = {"type": "service_account", "id": "ci-bot"}

PATHS: Final[dict[str, Schema]] = {
    EVALUATION: {
        "post": _operation(
            "evaluateAccess",
            ("May this subject do that?", _CHECKS),
            ("AccessEvaluation", "AccessDecision"),
            asks=_EXAMPLE,
            answers={"decision": True},
        )
    },
    EVALUATIONS: {
        "post": _operation(
            "evaluateAccesses",
            ("Up to 1000 questions at one position.", _CHECKS),
            ("AccessEvaluations", "AccessDecisions"),
            asks={**_EXAMPLE, "evaluations": [{"action": {"name": "UPDATE"}}]},
            answers={"evaluations": [{"decision": True}]},
        )
    },
    SUBJECTS: {
        "post": _operation(
            "searchSubjects",
            ("Who may do that there?", _SEARCHES),
            ("AccessSubjectSearch", "AccessEntities"),
            asks={
                "subject": {"type": "user"},
                "action": {"name": "read"},
                "resource": _RECORD,
                "page": {"limit": 2},
            },
            answers={
                "page": {"next_token": "", "count": 1, "total": 1},
                "results": [{"type": "user", "id": _ID}],
            },
        )
    },
    RESOURCES: {
        "post": _operation(
            "searchResources",
            ("On which resources may this subject do that?", _SEARCHES),
            ("AccessResourceSearch", "AccessEntities"),
            asks={"subject": _BOT, "action": {"name": "read"}, "resource": {"type": "record"}},
            answers={"results": [_RECORD]},
        )
    },
    ACTIONS: {
        "post": _operation(
            "searchActions",
            ("What may this subject do there?", _SEARCHES),
            ("AccessActionSearch", "AccessActions"),
            asks={"subject": _BOT, "resource": _RECORD},
            answers={"results": [{"name": "read"}]},
        )
    },
}
