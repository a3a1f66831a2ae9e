"""What does the OpenAPI document tell of the native questions about access, beyond their types?

The parameters of their queries, and the bodies of lines, of which no type can say what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api.access.check_bulk import BulkRequest
from api.access.lines import LINE_BYTES_MAX
from api.decoding import JSON, LINES
from api.questions import Evaluation

Schema = dict[str, Any]

QUERY: Final[Mapping[str, tuple[str, ...]]] = {
    "listHoldings": ("*type", "*id"),
    "blameAccess": ("*type", "*id", "*resourceType", "*action", "namespace", "resourceId"),
    "compareAccess": ("*beginning", "ending", "principal", "namespace"),
    "getDecisionEvidence": (
        *("number", "type", "id", "resourceType", "action", "namespace", "resourceId"),
    ),
    "getPrincipalEvidence": ("*type", "*id"),
    "getIntervalEvidence": ("*beginning", "ending"),
    "listWhoCan": ("*resourceType", "*action", "namespace", "resourceId", "subjectType"),
}
# What every walk through pages of our own takes (http-api 5).
WALKED: Final = ("limit", "cursor")

BODIES: Final = {"checkInBulk": BulkRequest[Evaluation]}

_QUESTION: Final = {
    "subject": {"type": "service_account", "id": "ci-bot"},
    "action": {"name": "UPDATE"},
    "resource": {"type": "FLOW", "id": "*", "properties": {"namespace": "prod.billing"}},
}
_LINE: Final = (
    '{"subject":{"type":"service_account","id":"ci-bot"},"action":{"name":"UPDATE"},'
    '"resource":{"type":"FLOW","id":"*","properties":{"namespace":"prod.billing"}}}\n'
)
_EXAMPLES: Final[Mapping[str, Schema]] = {"checkInBulk": {JSON: {"items": [_QUESTION]}}}

ASKED_LINES: Final[Schema] = {
    "schema": {
        "type": "string",
        "description": (
            "A question a line, as the items of the JSON body are, without defaults; a line has at "
            f"most {LINE_BYTES_MAX} bytes"
        ),
    },
    "example": _LINE,
}
ANSWERED_LINES: Final[Schema] = {
    "schema": {
        "type": "string",
        "description": (
            "A decision a line, in the order of the questions, as the items of the JSON answer "
            "are. A last line with `error` and no `decision` ends answers that are not whole."
        ),
    },
    "example": '{"decision":true}\n',
}


def asked(operation_id: str, media_type: str, content: Schema) -> Schema:
    """Answer the content of a request of one media type, with an example where there is one."""
    if media_type == LINES:
        return {**ASKED_LINES}
    example = _EXAMPLES.get(operation_id, {}).get(media_type)
    return {**content} if example is None else {**content, "example": example}
