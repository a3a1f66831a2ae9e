"""What does a request for an export ask for, in which form, and of which stream? (audit-export 1).

The filters are those of the search, read by the same code, so that what is exported is exactly what
a search shows. Where the export has had a name of its own for one, both names do.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from api.call import position_parameter
from api.request_errors import MalformedError
from api.trail import questions
from projections.exporting import Wanted

if TYPE_CHECKING:
    from api.call import Call
    from projections.audit import Scope
    from projections.trail import Sought

Stream = Literal["log", "journal"]

STREAMS: Final[dict[str, Stream]] = {"log": "log", "journal": "journal"}
FORMATS: Final = ("ndjson", "csv", "ocsf", "cloudevents")
PERSONAL: Final = ("omit", "include")

# Further names of the search's filters.
_PARAMETERS: Final[dict[str, str]] = {"subject": "target", "until_time": "until"}
_OTHERS: Final = ("format", "stream", "personal", "after", "before")
_NUMBER: Final = re.compile(r"[0-9]{1,18}\Z")


class Asked(Struct, frozen=True, kw_only=True):
    """What is asked for: behind `after`, up to and with `until`, and ahead of `before`."""

    stream: Stream
    form: str
    personal: bool
    scope: Scope
    sought: Sought
    after: int
    until: int | None
    before: int | None

    def last(self, head: int) -> int:
        """Answer the last position that is exported; MalformedError where there is none such."""
        if self.until is not None and self.until > head:
            raise MalformedError("position.future", "until has not been reached")
        last = head if self.until is None else self.until
        return last if self.before is None else max(0, min(last, self.before - 1))

    def wanted(self, until: int) -> Wanted:
        """Answer what is exported, up to and with a position."""
        return Wanted(scope=self.scope, after=self.after, until=until, sought=self.sought)


def asked(call: Call) -> Asked:
    """Read the query of an export; MalformedError for whatever cannot be read, by its name."""
    # As in the search `until` may be an instant; a number alone is a position.
    until = call.parameter("until")
    is_position = until is not None and _NUMBER.match(until) is not None
    others = (*_OTHERS, "until") if is_position else _OTHERS
    return Asked(
        sought=questions.sought(call, *others, called=_PARAMETERS),
        stream=STREAMS[_chosen("stream", call.parameter("stream"), STREAMS, "log")],
        form=_chosen("format", call.parameter("format"), FORMATS, "ndjson"),
        personal=_chosen("personal", call.parameter("personal"), PERSONAL, "omit") == "include",
        scope=questions.scope(call),
        after=position_parameter(call.query, "after") or 0,
        until=position_parameter(call.query, "until") if is_position else None,
        before=position_parameter(call.query, "before"),
    )


def _chosen(name: str, value: str | None, choices: Collection[str], default: str) -> str:
    chosen = default if value is None else value
    if chosen not in choices:
        raise MalformedError("query.invalid", f"{name}: must be one of {', '.join(choices)}")
    return chosen
