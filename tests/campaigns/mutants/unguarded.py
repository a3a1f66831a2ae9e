"""What if the guard of bodies judged them by parsing, without a thought of hostile JSON?

Security 6.1. Without any guard the answers stay below 500, because what the parser raises is
mapped a second time, in `api/problems.py`.
"""

from __future__ import annotations

import json

from api import decoding
from tests.campaigns.mutants.start import broken


def parse_to_judge(body: bytes, _: int) -> None:
    """Let through whatever the standard library reads; its errors are nobody's."""
    json.loads(body)


if __name__ == "__main__":
    broken(decoding, "guard_json", parse_to_judge)
