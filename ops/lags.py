"""Since when is there something in the log that a view does not show yet?

A view that is behind may read as many events as it likes: what counts is how old the first one is
that it lacks. So it is noted when positions were published, to the second, and forgotten once every
view has them.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

from msgspec import Struct

SPAN_SECONDS: Final = 1.0
SPANS_MAX: Final = 600


class _Span(Struct):
    began_seconds: float
    through: int


class Lags:
    """What was published lately, and when; from any thread."""

    def __init__(self, head: int, now_seconds: float) -> None:
        """At first the views may be behind by anything that is there already."""
        self.head = head
        self._lock = threading.Lock()
        self._spans = deque([_Span(now_seconds, head)])

    def published(self, head: int, shown: int, now_seconds: float) -> None:
        """Note that the log has come to a position, and how far all views have come."""
        with self._lock:
            self.head = head
            spans = self._spans
            while spans and spans[0].through <= shown:
                spans.popleft()
            last = spans[-1] if spans else None
            is_new = last is None or now_seconds - last.began_seconds >= SPAN_SECONDS
            if last is None or (is_new and len(spans) < SPANS_MAX):
                spans.append(_Span(now_seconds, head))
            else:
                last.through = head

    def seconds(self, shown: int, now_seconds: float) -> float:
        """Answer how long ago the first event was published that a view does not show; 0 for none.

        At most a second too much.
        """
        with self._lock:
            for span in self._spans:
                if span.through > shown:
                    return max(0.0, now_seconds - span.began_seconds)
        return 0.0
