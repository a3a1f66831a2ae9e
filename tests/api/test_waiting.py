"""Does a request wait for what it asks for, and is it judged by what came meanwhile?"""

from __future__ import annotations

import asyncio

import httpx
import pytest
from msgspec import structs
from sqlalchemy import create_engine

from api import service as api_service
from domain.commands import Command
from domain.service_accounts import DisableServiceAccount
from domain.tokens import RevokeAllTokens
from ops.setup import system_context
from projections.views import Views
from tests.answers import problem
from tests.service import Served, bearer

PATIENCE_SECONDS = 30.0


def while_waiting(http: Served, text: str, *commands: Command) -> httpx.Response:
    """Ask by a token for what is not there yet, and give the commands while the request waits."""
    service = http.service
    service.settings = structs.replace(service.settings, at_least_bound_seconds=PATIENCE_SECONDS)
    path = f"me?at_least={http.state.position + len(commands)}"

    async def both() -> httpx.Response:
        asked = asyncio.create_task(http.send("GET", path, by=bearer(text)))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not asked.done()
        for command in commands:
            await service.execute(command, system_context(http.inputs))
        return await asked

    return http.run(both())


def test_a_token_issued_elsewhere_gets_in_when_it_is_waited_for(http: Served) -> None:
    """Http-api 6: what one process acknowledged, another answers for who names its position."""
    bot = http.account()
    text, issue = http.new_token(bot)

    assert while_waiting(http, text, issue).json()["id"] == bot


def test_a_token_that_nothing_issues_stays_refused(http: Served) -> None:
    """Control: waiting alone makes no token good, reached or not."""
    text, _ = http.new_token(http.account())
    _, other = http.new_token(http.account("other"))

    problem(while_waiting(http, text, other), 401, "auth.invalid")
    http.service.settings = structs.replace(http.service.settings, at_least_bound_seconds=0.01)
    for wanted in (str(http.state.position + 1), "abc"):
        problem(http.get(f"me?at_least={wanted}", by=bearer(text)), 401, "auth.invalid")


@pytest.mark.parametrize(
    ("end", "code"), [("tokens", "token.revoked"), ("account", "principal.disabled")]
)
def test_a_caller_that_ends_while_it_waits_is_not_answered(
    http: Served, end: str, code: str
) -> None:
    """Security 4.4: the credential is judged again by what the wait brought."""
    bot = http.account()
    text = http.token(bot)
    command = RevokeAllTokens(owner=bot) if end == "tokens" else DisableServiceAccount(id=bot)

    problem(while_waiting(http, text, command), 401, code)


def test_strangers_take_no_place_that_callers_need(
    http: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Security 6.3: who is not known yet is turned away while there is still room for callers."""
    monkeypatch.setattr(api_service, "STRANGERS_MAX", 0)
    text, issue = http.new_token(http.account())
    known = http.token(http.account("known"))

    ahead = f"me?at_least={http.state.position + 1}"
    problem(http.get(ahead, by=bearer(text)), 401, "auth.invalid")
    assert while_waiting(http, known, issue).is_success


def test_a_list_whose_views_are_away_is_told_so(http: Served) -> None:
    """Security 2.1: 503 to come again, and no fault of ours."""
    http.service.views = Views(create_engine("sqlite:////nowhere/at/all.db"))

    away = http.get("main/groups/search")

    problem(away, 503, "store.unreachable")
    assert away.headers["retry-after"] == "1"
