"""What if the headers of requests were logged? (security 4.5: the planted leak)."""

from __future__ import annotations

import logging

from litestar.types import HTTPScope

from api import app, authentication
from api.authentication import Caller
from api.service import Service
from tests.campaigns.mutants.start import broken

_AUTHENTICATE = authentication.authenticate


async def authenticate_aloud(service: Service, scope: HTTPScope, via: str = "api") -> Caller:
    """Authenticate, and tell the log by what."""
    headers = dict(scope["headers"])
    credential = headers.get(b"authorization", b"").decode("latin-1")
    logging.getLogger("muniment.authentication").info("credential %s", credential)
    return await _AUTHENTICATE(service, scope, via)


if __name__ == "__main__":
    broken(app, "authenticate", authenticate_aloud)
