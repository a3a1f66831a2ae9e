"""When has a costly question been worked at for long enough? (security 6.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from api.request_errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.service import Service

STEPS_MAX: Final = 200_000
WORK_SECONDS: Final = 10.0


def paced(service: Service, code: str, hint: str) -> Callable[[], None]:
    """Answer what is to be called at every step of long work, in whatever thread.

    It raises MalformedError with this code and a hint how to ask for less, after so many steps
    whatever the machine, or after so many seconds whatever the steps.
    """
    monotonic = service.inputs.monotonic
    end = monotonic() + WORK_SECONDS
    steps = 0

    def pace() -> None:
        nonlocal steps
        steps += 1
        if steps > STEPS_MAX:
            raise MalformedError(code, f"more than {STEPS_MAX} principals are touched; {hint}")
        if monotonic() > end:
            raise MalformedError(code, f"this takes longer than {WORK_SECONDS:.0f} s; {hint}")

    return pace
