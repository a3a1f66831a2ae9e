"""What if now and then a decision were the opposite? (reliability 1: `flip`).

One in a hundred, because the short form has few tries.
"""

from __future__ import annotations

import itertools
from typing import Final

from api.judging import Asked, Judge, Moment
from tests.campaigns.mutants.start import broken

ONE_IN: Final = 100

_DECIDE = Judge.decide
_ASKED = itertools.count(1)


def decide_and_flip(judge: Judge, asked: Asked, moment: Moment) -> bool:
    """Decide, and say the opposite once in a while."""
    decision = _DECIDE(judge, asked, moment)
    return decision is bool(next(_ASKED) % ONE_IN)


if __name__ == "__main__":
    broken(Judge, "decide", decide_and_flip)
