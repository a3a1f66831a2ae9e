"""Which tokens, and which commands about them, do the tests of tokens share?"""

from __future__ import annotations

from msgspec import UNSET, structs

from domain.access import Narrowing
from domain.ids import MAIN, TokenId
from domain.tokens import IssueToken, RotateToken, TokenRotated
from tests.domain.world import (
    BOT,
    DAN,
    NEW_TOKEN,
    OPERATOR,
    SOON,
    WORLD,
    bound,
    digest_of,
    prefix_of,
    token,
)

TOKEN = TokenId("tok_1")
OWN = TokenId("tok_own")
DAY_SECONDS = 86_400
ONE_TENANT = Narrowing(tenants=(MAIN,))
ISSUE = IssueToken(
    tenant=MAIN,
    owner=BOT,
    id=NEW_TOKEN,
    name="deploy",
    digest=digest_of(NEW_TOKEN),
    prefix=prefix_of(NEW_TOKEN),
)
OWN_ISSUE = structs.replace(ISSUE, tenant=UNSET, owner=DAN)
ROTATE = RotateToken(
    tenant=MAIN,
    owner=BOT,
    id=TOKEN,
    new_id=NEW_TOKEN,
    digest=digest_of(NEW_TOKEN),
    prefix=prefix_of(NEW_TOKEN),
    grace_seconds=3600,
)
ROTATED = TokenRotated(
    id=TOKEN,
    new_id=NEW_TOKEN,
    digest=digest_of(NEW_TOKEN),
    prefix=prefix_of(NEW_TOKEN),
    grace_until=SOON,
)
HELD = WORLD.and_then(token(TOKEN, BOT, ONE_TENANT))
OPERATING = HELD.and_then(bound(BOT, OPERATOR))
