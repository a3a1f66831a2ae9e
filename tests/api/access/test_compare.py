"""Who is told what has changed between two moments, and whose rights?"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from domain.bindings import DeleteBinding
from domain.ids import MAIN, TenantId
from domain.service_accounts import DeleteServiceAccount
from tests.answers import problem
from tests.api.access.test_what_can import bind, join, told
from tests.api.checking import PROD, Desk, Json
from tests.fixed_inputs import START

if TYPE_CHECKING:
    from tests.service import Served


@pytest.fixture
def desk(http: Served) -> Desk:
    """Return an installation with a bot that may update flows below `prod`."""
    return Desk(http)


def ask(desk: Desk, query: str, **more: Any) -> httpx.Response:  # noqa: ANN401 - the options of Served.get
    """Compare two moments of the tenant `main`."""
    return desk.http.get(f"main/access/compare?{query}", **more)


def objects(body: Json) -> list[tuple[str, str, bool, bool]]:
    """Return each object by kind and id, and at which moment it was there."""
    return [(one["kind"], one["id"], "before" in one, "after" in one) for one in body["objects"]]


def test_objects_and_rights_are_told_with_their_moments(desk: Desk) -> None:
    """Issue 5: added, removed, changed; and who gained and lost what, by name."""
    http = desk.http
    begin = http.state.position
    bots, role = http.group("Bots"), http.role({"FLOW": ["VIEW"]})
    join(http, bots, desk.bot)
    binding = bind(http, bots, role, PROD)
    http.give(DeleteBinding(tenant=MAIN, id=desk.binding))

    found = told(ask(desk, f"from={begin}"))

    assert (found["begin"]["position"], found["end"]["position"]) == (begin, http.state.position)
    assert found["differences"] == 5
    assert sorted(objects(found)) == sorted(
        [
            ("binding", binding, False, True),
            ("binding", desk.binding, True, False),
            ("group", bots, False, True),
            ("membership", f"{bots}/{desk.bot}", False, True),
            ("role", role, False, True),
        ]
    )
    (gained,), (lost,) = found["access"]["gained"], found["access"]["lost"]
    assert gained["principal"] == {"type": "service_account", "id": desk.bot, "name": "ci-bot"}
    assert (gained["permission"]["action"], lost["permission"]["action"]) == ("VIEW", "UPDATE")


def test_a_moment_is_a_position_or_an_instant(desk: Desk) -> None:
    """By an instant the clock is that instant, so what ended by itself is lost."""
    http = desk.http
    role, bot = http.role({"FLOW": ["VIEW"]}), http.account("timed")
    bind(http, bot, role, expires_at=START + timedelta(hours=1))
    at = http.state.position
    http.inputs.advance(7_200)

    by_position = told(ask(desk, f"from={at}&to={at}"))
    by_clock = told(ask(desk, f"from={at}"))
    both = told(ask(desk, "from=2026-01-01T00:30:00Z&to=2026-01-01T01:30:00Z"))

    assert (by_position["access"]["losses"], by_position["objects"]) == (0, [])
    assert (by_clock["access"]["losses"], by_clock["objects"]) == (1, [])
    assert both["access"] == by_clock["access"]
    assert both["end"]["at"] == "2026-01-01T01:30:00Z"


def test_it_can_be_about_one_principal_or_one_namespace(desk: Desk) -> None:
    """Also about one that is no more; and what lies beside a namespace is left out."""
    http = desk.http
    begin, other = http.state.position, http.account("other")
    http.allow(other, {"FLOW": ["VIEW"]})
    http.give(DeleteServiceAccount(id=desk.bot))

    about = told(ask(desk, f"from={begin}&principal={desk.bot}"))
    below = told(ask(desk, f"from={begin}&namespace=prod.billing"))

    assert ("service_account", desk.bot, True, False) in objects(about)
    assert {right["principal"]["id"] for right in about["access"]["lost"]} == {desk.bot}
    assert about["access"]["gained"] == []
    assert {kind for kind, *_ in objects(below)} == {"binding"}
    assert (below["access"]["gains"], below["access"]["losses"]) == (1, 1)


def test_another_tenants_changes_are_not_told(desk: Desk) -> None:
    """Security 2.3: neither its objects nor what its members gained."""
    http = desk.http
    beta, begin = TenantId(http.tenant("beta")), http.state.position
    bot = http.account("shared", MAIN, beta)
    http.allow(bot, {"FLOW": ["VIEW"]}, tenant=beta)

    found = told(ask(desk, f"from={begin}"))

    assert {kind for kind, *_ in objects(found)} == {"service_account", "tenant_access"}
    assert found["access"]["gained"] == []


def test_rights_are_told_to_those_who_may_ask(desk: Desk) -> None:
    """AUDITLOG:VIEW tells objects; without ACCESS:CHECK only that there are rights."""
    http = desk.http
    begin, auditor = http.state.position, http.account("auditor")
    http.allow(auditor, {"AUDITLOG": ["VIEW"]})

    access = told(ask(desk, f"from={begin}", by=http.bearer(auditor)))["access"]

    assert (access["gained"], access["gains"], access["hidden"]) == ([], 0, True)
    problem(ask(desk, "from=1", by=desk.by_bot), 403, "permission.denied")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "query.invalid"),
        ("from=1&to=999999", "position.future"),
        ("from=9&to=8", "compare.order"),
        ("from=yesterday", "position.invalid"),
        ("from=2099-01-01T00:00:00Z", "position.future"),
        ("from=1&namespace=a..b", "query.invalid"),
        ("from=1&position=2", "position.invalid"),
    ],
)
def test_what_is_no_pair_of_moments_is_refused(desk: Desk, query: str, code: str) -> None:
    """Issue 5: before the first, after the head, or no time at all: a clear 400."""
    problem(ask(desk, query), 400, code)


def test_from_the_very_beginning(desk: Desk) -> None:
    """Position 0 is before the first event: everything was added."""
    found = told(ask(desk, "from=0"))

    assert all(not before and after for *_, before, after in objects(found))
