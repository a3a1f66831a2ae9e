"""What does the OpenAPI document tell of the hot endpoints in front of Litestar?

Written by hand from `api/checks.py` and authzen 1, 2, 4, 6 and 7; a test holds the paths of both
against one another.
"""

from __future__ import annotations

from typing import Any, Final

from api.call import POSITION_HEADER
from api.checks import EVALUATION, EVALUATIONS, ITEMS_MAX
from api.openapi_parts import PROBLEMS
from api.schema_rules import NAMESPACE, TENANT

Schema = dict[str, Any]

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


_QUESTION: Final = {
    "subject": _reference("AccessSubject"),
    "action": _reference("AccessAction"),
    "resource": _reference("AccessResource"),
    "context": _reference("AccessContext"),
}

SCHEMAS: Final[dict[str, Schema]] = {
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
            "properties": _object(
                {
                    "namespace": {
                        "type": ["string", "null"],
                        "pattern": NAMESPACE,
                        "maxLength": 150,
                    },
                    "tenant": {"type": ["string", "null"], "pattern": TENANT, "default": "main"},
                }
            ),
        },
        "type",
        "id",
    ),
    "AccessContext": _object(
        {
            "at_least": _POSITION,
            "as_of": _object(
                {
                    "position": _POSITION,
                    "at": {"type": ["string", "null"], "format": "date-time"},
                }
            ),
            "token": {"type": ["string", "null"], "maxLength": 256},
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
    "AccessDecision": _object({"decision": {"type": "boolean"}, "context": _FREE}, "decision"),
    "AccessDecisions": _object(
        {
            "decision": {"type": "boolean"},
            "evaluations": {"type": "array", "items": _reference("AccessDecision")},
        },
        description="A decision, or, where evaluations were asked, one for each",
    ),
}

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


def _operation(name: str, summary: str, asked: str, answered: str, **examples: Schema) -> Schema:
    return {
        "operationId": name,
        "summary": summary,
        "description": (
            f"{summary} A deny is 200 too. Asking about others than oneself needs ACCESS:CHECK."
        ),
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
                "description": "The decision",
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


PATHS: Final[dict[str, Schema]] = {
    EVALUATION: {
        "post": _operation(
            "evaluateAccess",
            "May this subject do that?",
            "AccessEvaluation",
            "AccessDecision",
            asks=_EXAMPLE,
            answers={"decision": True},
        )
    },
    EVALUATIONS: {
        "post": _operation(
            "evaluateAccesses",
            "Up to 1000 questions at one position.",
            "AccessEvaluations",
            "AccessDecisions",
            asks={**_EXAMPLE, "evaluations": [{"action": {"name": "UPDATE"}}]},
            answers={"evaluations": [{"decision": True}]},
        )
    },
}
