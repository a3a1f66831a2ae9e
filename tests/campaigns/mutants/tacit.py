"""What if a handler forgot to note a refused command? (security 2.11).

One in ten, because the short form has few refusals.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from api import app
from api.journal import refused
from tests.campaigns.mutants.start import broken

if TYPE_CHECKING:
    from litestar.types import HTTPScope

    from api.service import Service

ONE_IN: Final = 10

_REFUSED = itertools.count(1)


def refuse_in_silence(service: Service, scope: HTTPScope, error: Exception) -> None:
    """Note a refusal, but for one in a while."""
    if next(_REFUSED) % ONE_IN:
        refused(service, scope, error)


if __name__ == "__main__":
    broken(app, "refused", refuse_in_silence)
