"""What if somebody left a line of debugging behind? (security 4.5: the planted leak).

Written past the log, which would redact it.
"""

from __future__ import annotations

import sys

from litestar.types import HTTPScope

from api import app, authentication
from api.authentication import Caller
from api.service import Service
from tests.campaigns.mutants.start import broken

_AUTHENTICATE = authentication.authenticate


async def authenticate_aloud(service: Service, scope: HTTPScope, via: str = "api") -> Caller:
    """Authenticate, and tell the terminal by what."""
    headers = dict(scope["headers"])
    credential = headers.get(b"authorization", b"").decode("latin-1")
    sys.stderr.write(f"credential {credential}\n")
    sys.stderr.flush()
    return await _AUTHENTICATE(service, scope, via)


if __name__ == "__main__":
    broken(app, "authenticate", authenticate_aloud)
