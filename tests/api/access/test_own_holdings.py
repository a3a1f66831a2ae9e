"""Is a caller told exactly what it may do, with the very credential that it asks by?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import UNSET, UnsetType

from api.access import what_can
from domain.access import Narrowing, covers
from domain.ids import MAIN
from domain.permissions import from_lists
from domain.scopes import WHOLE_TENANT, Resource, Scope
from projections.held_rights import holdings
from tests.answers import problem
from tests.api.access.test_what_can import held, told
from tests.api.checking import PROD, Desk, Json, question
from tests.service import Headers, Served, basic, served

if TYPE_CHECKING:
    from collections.abc import Iterator

NARROWINGS = (
    Narrowing(permissions=from_lists({"FLOW": ["READ"], "record": ["*"]})),
    Narrowing(namespaces=("prod.a", "dev")),
    Narrowing(resources=(Resource("record", "r1"), Resource("record", "r2"))),
    Narrowing(namespaces=("prod",), resources=(Resource("record", "r1"),)),
    Narrowing(tenants=(MAIN,), permissions=from_lists({"*": ["UPDATE"]})),
    UNSET,
)
PAIRS = [(type_, action) for type_ in ("FLOW", "record") for action in ("VIEW", "UPDATE", "*")]
NAMESPACES = ("", "prod", "prod.a", "production", "dev.x")
RESOURCES = (("FLOW", "*"), ("record", "r1"), ("record", "r3"))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Yield an installation whose bot holds rights at places of every kind."""
    with served(tmp_path_factory.mktemp("own")) as http:
        desk = Desk(http)
        http.allow(desk.bot, {"FLOW": ["VIEW"], "record": ["UPDATE"]}, place=PROD)
        http.allow(desk.bot, {"record": ["VIEW"]}, place=Scope(resource=Resource("record", "r1")))
        http.allow(desk.bot, {"record": ["*"]}, place=Scope(resource=Resource("record", "r3")))
        http.allow(desk.bot, {"FLOW": ["READ"]}, place=WHOLE_TENANT)
        yield desk


def ask(http: Served, by: Headers, query: str = "") -> Json:
    """Ask what one may do oneself."""
    return told(http.get(f"main/access/me{query}", by=by))


def nothing_by(code: str) -> Json:
    """Answer what is said where nothing is held."""
    return {"items": [], "instanceOwner": False, "code": code}


def wrong(desk: Desk, narrowing: Narrowing | UnsetType) -> int:
    """Count the questions to which the list and a check with the token answer differently."""
    http = desk.http
    text = http.token(desk.bot, narrowing=narrowing)
    by = {"Authorization": f"Bearer {text}"}
    found = held(ask(http, by))
    context = {"token": http.token_id(text)}
    different = 0
    for pair in PAIRS:
        for namespace in NAMESPACES:
            for resource in RESOURCES:
                asked = question(
                    desk.bot, pair[1], namespace or UNSET, resource=resource, context=context
                )
                asked["resource"]["type"] = resource[0] if resource[1] != "*" else pair[0]
                type_ = asked["resource"]["type"]
                listed = follows(found, (type_, pair[1]), namespace, resource)
                different += listed != desk.says(asked)
    return different


def follows(
    found: list[tuple[Json, Json]], pair: tuple[str, str], namespace: str, resource: tuple[str, str]
) -> bool:
    """Tell whether a right at a place follows from what is listed."""
    return any(
        (namespace + ".").startswith(scope.get("namespace", "") + "." * ("namespace" in scope))
        and scope.get("resource", {"id": resource[1]})["id"] == resource[1]
        and any(covers((type_, action), pair) for type_ in held_ for action in held_[type_])
        for scope, held_ in found
    )


@pytest.mark.parametrize("narrowing", NARROWINGS, ids=range(len(NARROWINGS)))
def test_what_is_listed_is_what_a_check_with_the_token_allows(
    desk: Desk, narrowing: Narrowing | UnsetType
) -> None:
    """(Pair, place) follows from the list exactly where a check that names the token says yes."""
    assert 0 == wrong(desk, narrowing)


def test_a_list_that_forgets_the_token_is_caught(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positive control: what the owner holds is listed, whatever the token leaves."""
    monkeypatch.setattr(what_can, "holdings", lambda *asked: holdings(*asked[:4]))

    assert wrong(desk, NARROWINGS[0])


def test_a_place_may_have_to_be_named_twice(desk: Desk) -> None:
    """A right on one resource, by a token for a namespace: a question has to name both."""
    by = desk.http.bearer(desk.bot, Narrowing(namespaces=("dev",)))

    scopes = [scope for scope, _ in held(ask(desk.http, by))]

    r1, r3 = ({"type": "record", "id": f"r{number}"} for number in (1, 3))
    dev = {"namespace": "dev"}
    assert [dev, dev | {"resource": r1}, dev | {"resource": r3}] == scopes


def test_a_token_that_leaves_nothing_says_so(desk: Desk) -> None:
    """The owner holds something, and the token is why none of it is left."""
    http = desk.http
    nothing = Narrowing(permissions=from_lists({"SECRET": ["VIEW"]}))

    assert nothing_by("token.not_usable") == ask(http, http.bearer(desk.bot, nothing))
    idle = http.account("idle")
    assert "binding.none_in_scope" == ask(http, http.bearer(idle, nothing))["code"]
    assert "binding.none_in_scope" == ask(http, http.bearer(idle))["code"]


def test_a_user_is_answered_by_its_password_too(desk: Desk) -> None:
    """Every credential will do; a password narrows nothing."""
    http = desk.http
    user = http.user("ada@example.com")
    http.allow(user, {"APP": ["VIEW"]})

    assert [({}, {"APP": ["VIEW"]})] == held(ask(http, basic("ada@example.com")))


def test_an_owner_without_access_holds_nothing_there(desk: Desk) -> None:
    """The privilege opens the tenant and gives no right in it (kestra-iam 5.5)."""
    found = nothing_by("tenant.no_access") | {"instanceOwner": True}

    assert found == ask(desk.http, desk.http.root)


def test_the_privilege_is_told_as_far_as_the_token_leaves_it(desk: Desk) -> None:
    """A narrowed token has it only where it says so (kestra-iam 8)."""
    owner = desk.http.user("owner@example.com", owner=True)

    found = [
        ask(desk.http, desk.http.bearer(owner, narrowing))["instanceOwner"]
        for narrowing in (UNSET, Narrowing(), Narrowing(instance_owner=True))
    ]

    assert [True, False, True] == found


def test_a_token_for_another_tenant_does_not_see_this_one(desk: Desk) -> None:
    """What a token is narrowed to holds for questions about oneself too."""
    beta = desk.http.tenant("beta")
    by = desk.http.bearer(desk.bot, Narrowing(tenants=(beta,)))

    problem(desk.http.get("main/access/me", by=by), 404, "tenant.unknown")


def test_ones_own_past_is_told(desk: Desk) -> None:
    """Before anything was given to the bot, it held nothing."""
    seen = desk.http.state.access[desk.bot][MAIN].position

    found = ask(desk.http, desk.by_bot, f"?position={seen}")

    assert nothing_by("binding.none_in_scope") == found
