"""What if now and then a decision were the opposite? (reliability 1: `flip`).

One in a hundred, because the short form has few tries.
"""

from __future__ import annotations

import itertools
from typing import Final

from api.checks import Checks, Evaluation, Moment
from domain.tokens import Token
from tests.campaigns.mutants.start import broken

ONE_IN: Final = 100

_JUDGE = Checks._judge  # noqa: SLF001 - the part that is broken
_ASKED = itertools.count(1)


def judge_and_flip(checks: Checks, caller: Token, question: Evaluation, moment: Moment) -> bool:
    """Judge, and say the opposite once in a while."""
    decision = _JUDGE(checks, caller, question, moment)
    return decision is bool(next(_ASKED) % ONE_IN)


if __name__ == "__main__":
    broken(Checks, "_judge", judge_and_flip)
