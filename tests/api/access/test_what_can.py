"""Who is told what a subject may do in a tenant, and how much of where it comes from?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from msgspec import UNSET, UnsetType

from domain.access import Narrowing
from domain.bindings import Assignment, AssignRole, DeleteBinding
from domain.groups import AddMember
from domain.ids import MAIN, BindingId, GroupId, PrincipalId, RoleId, SubjectId, TenantId
from domain.permissions import from_lists
from domain.scopes import WHOLE_TENANT, Resource, Scope
from domain.service_accounts import DisableServiceAccount
from domain.tenants import EndTenantAccess, GrantTenantAccess
from tests.answers import problem
from tests.api.checking import PROD, Desk, Json, question
from tests.api.test_aliases import SPIFFE, place
from tests.fixed_inputs import START
from tests.service import Headers, Served, bearer

if TYPE_CHECKING:
    from datetime import datetime

RECORD = Scope(resource=Resource("record", "r-17"))


@pytest.fixture
def desk(http: Served) -> Desk:
    """Return an installation with a bot that may update flows below `prod`."""
    return Desk(http)


def ask(desk: Desk, id_: str, by: Headers | UnsetType = UNSET, **more: Any) -> httpx.Response:  # noqa: ANN401 - the parameters of a query
    """Ask what a service account may do, or another type of subject."""
    asked = {"type": "service_account", "id": id_, **more}
    tenant = asked.pop("tenant", "main")
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    by = desk.http.root if by is UNSET else by
    return desk.http.get(f"{tenant}/access/what-can?{query}", by=by)


def told(response: httpx.Response) -> Json:
    """Answer the body of a success."""
    assert 200 == response.status_code, response.content
    body: Json = response.json()
    return body


def held(body: Json) -> list[tuple[Json, Json]]:
    """Answer scope and permissions of each item."""
    return [(one["scope"], one["permissions"]) for one in body["items"]]


def bind(
    http: Served,
    subject: SubjectId,
    role: RoleId,
    scope: Scope = WHOLE_TENANT,
    *,
    not_before: datetime | UnsetType = UNSET,
    expires_at: datetime | UnsetType = UNSET,
    tenant: TenantId = MAIN,
) -> BindingId:
    """Bind a principal or group to a role."""
    id_ = BindingId(http.inputs.id())
    given = Assignment(
        id=id_,
        default_binding=BindingId(http.inputs.id()),
        subject_type="GROUP" if subject in http.state.groups else "PRINCIPAL",
        subject=subject,
        role=role,
        scope=scope,
        not_before=not_before,
        expires_at=expires_at,
    )
    http.give(AssignRole(tenant=tenant, assignment=given))
    return id_


def join(http: Served, group: GroupId, principal: PrincipalId, **span: Any) -> None:  # noqa: ANN401 - the limits of AddMember
    """Make a principal a member of a group."""
    default = BindingId(http.inputs.id())
    http.give(
        AddMember(tenant=MAIN, group=group, principal=principal, default_binding=default, **span)
    )


# What is told


def test_an_answer_has_what_is_held_and_where_it_comes_from(desk: Desk) -> None:
    """Scope, permissions, binding, role, group, positions and limits, as the example says."""
    http = desk.http
    group = http.group("Bots")
    role = http.role({"FLOW": ["READ"], "*": ["EXPORT"]}, name="reader")
    begins, ends = START.replace(hour=1), START.replace(hour=5)
    join(http, group, desk.bot, not_before=begins, expires_at=ends)
    membership = http.state.position
    binding = bind(http, group, role, PROD, expires_at=START.replace(hour=4))
    http.inputs.advance(2 * 3_600)

    (item,) = told(ask(desk, "ci-bot"))["items"]

    assert {"namespace": "prod"} == item["scope"]
    permissions = {"*": ["EXPORT"], "FLOW": ["LIST", "READ", "UPDATE", "VIEW"]}
    assert permissions == item["permissions"]
    source = next(one for one in item["sources"] if one["binding"] == binding)
    assert {"id": role, "name": "reader"} == source["role"]
    assert [{"type": "group", "id": group, "name": "Bots"}] == source["via"]
    assert {"FLOW": ["READ", "VIEW", "LIST"], "*": ["EXPORT"]} == source["permissions"]
    assert {membership, http.state.bindings[binding].changed} <= set(source["positions"])
    limits = ("2026-01-01T01:00:00Z", "2026-01-01T04:00:00Z")
    assert limits == (source["notBefore"], source["expiresAt"])
    own = next(one for one in item["sources"] if one["binding"] == desk.binding)
    assert [] == own["via"]
    assert not {"notBefore", "expiresAt"} & set(own)


def test_only_what_is_in_force_is_told(desk: Desk) -> None:
    """What is over or has not begun gives nothing at the moment that is asked about."""
    http = desk.http
    role = http.role({"FLOW": ["VIEW"]})
    bind(http, desk.bot, role, not_before=START.replace(hour=1), expires_at=START.replace(hour=2))
    prod = ({"namespace": "prod"}, {"FLOW": ["UPDATE"]})

    assert [prod] == held(told(ask(desk, "ci-bot")))
    http.inputs.advance(3_600)
    assert [({}, {"FLOW": ["VIEW"]}), prod] == held(told(ask(desk, "ci-bot")))
    http.inputs.advance(3_600)
    assert [prod] == held(told(ask(desk, "ci-bot")))


def test_subjects_are_resolved_as_in_checks(desk: Desk) -> None:
    """By id, alias or name, a user by e-mail, a group by id or name (authzen 3)."""
    http = desk.http
    http.put(place(desk.bot, "identity", SPIFFE))
    user, group = http.user("ada@example.com"), http.group("Bots")
    http.allow(user, {"APP": ["VIEW"]})
    bind(http, group, http.role({"KVSTORE": ["VIEW"]}))

    for type_, id_, permissions in (
        ("service_account", desk.bot, {"FLOW": ["UPDATE"]}),
        ("service_account", "ci-bot", {"FLOW": ["UPDATE"]}),
        ("identity", SPIFFE, {"FLOW": ["UPDATE"]}),
        ("user", user, {"APP": ["VIEW"]}),
        ("user", "ada%40example.com", {"APP": ["VIEW"]}),
        ("group", group, {"KVSTORE": ["VIEW"]}),
        ("group", "Bots", {"KVSTORE": ["VIEW"]}),
    ):
        ((_, found),) = held(told(ask(desk, id_, type=type_)))
        assert permissions == found


@pytest.mark.parametrize("type_", ["service_account", "user", "group", "robot"])
def test_an_unknown_subject_holds_nothing(desk: Desk, type_: str) -> None:
    """Unknown means no rights, and the answer says so (authzen 3)."""
    found = {"items": [], "instanceOwner": False, "code": "subject.unknown"}

    assert found == told(ask(desk, "nobody", type=type_))


def test_an_empty_answer_says_why(desk: Desk) -> None:
    """Disabled, ambiguous, without a binding: the codes of explanations (authzen 6)."""
    http = desk.http
    http.account("idle")
    http.give(DisableServiceAccount(id=desk.bot))

    assert "subject.disabled" == told(ask(desk, "ci-bot"))["code"]
    assert "binding.none_in_scope" == told(ask(desk, "idle"))["code"]
    http.account("idle")
    assert "subject.ambiguous" == told(ask(desk, "idle"))["code"]


def test_a_tenant_knows_nothing_of_the_subjects_of_others(desk: Desk) -> None:
    """An id of another tenant's account, user or group is told of as one that never was."""
    http = desk.http
    beta = http.tenant("beta")
    account, group = http.account("ci-bot", beta), http.group("Crew", tenant=beta)
    user = http.user("eve@example.com", tenants=(beta,))
    http.allow(account, {"FLOW": ["VIEW"]}, tenant=beta)
    http.give(DisableServiceAccount(id=account))
    manager = http.account("manager")
    http.allow(manager, {"*": ["*"]})
    by = http.bearer(manager)

    for type_, id_ in (("service_account", account), ("user", user), ("group", group)):
        never = told(ask(desk, "0" * 22, by, type=type_))
        assert never == told(ask(desk, id_, by, type=type_))
    assert [({"namespace": "prod"}, {"FLOW": ["UPDATE"]})] == held(told(ask(desk, "ci-bot", by)))


def test_rights_of_another_tenant_are_not_told(desk: Desk) -> None:
    """A subject of two tenants holds in each what was given there."""
    http = desk.http
    beta = http.tenant("beta")
    default = BindingId(http.inputs.id())
    http.give(GrantTenantAccess(tenant=beta, principal=desk.bot, default_binding=default))
    http.allow(desk.bot, {"APP": ["VIEW"]}, tenant=beta)

    assert [({"namespace": "prod"}, {"FLOW": ["UPDATE"]})] == held(told(ask(desk, desk.bot)))
    assert [({}, {"APP": ["VIEW"]})] == held(told(ask(desk, desk.bot, tenant="beta")))


# To whom


def test_asking_about_others_needs_check_and_explain(desk: Desk) -> None:
    """Both rights, in the whole tenant, judged now; about oneself none (authzen 3)."""
    http = desk.http
    asker = http.account("asker")
    by = http.bearer(asker)
    assert [] == told(ask(desk, "asker", by))["items"]
    problem(ask(desk, "ci-bot", by), 403, "permission.denied")
    problem(ask(desk, "nobody", by), 403, "permission.denied")

    http.allow(asker, {"ACCESS": ["CHECK", "EXPLAIN"]}, place=PROD)
    problem(ask(desk, "ci-bot", by), 403, "permission.denied")
    http.allow(asker, {"ACCESS": ["EXPLAIN"]})
    lacking = problem(ask(desk, "ci-bot", by), 403, "permission.denied")
    assert [{"type": "ACCESS", "action": "CHECK"}] == lacking["required"]
    right = http.allow(asker, {"ACCESS": ["CHECK"]})
    granted = http.state.position
    assert [({"namespace": "prod"}, {"FLOW": ["UPDATE"]})] == held(told(ask(desk, "ci-bot", by)))

    http.give(DeleteBinding(tenant=MAIN, id=right))
    problem(ask(desk, "ci-bot", by, position=granted), 403, "permission.denied")


def test_a_narrowed_token_asks_as_far_as_it_goes(desk: Desk) -> None:
    """What the token leaves of the right to ask counts, not what its owner has."""
    http = desk.http
    asker = http.account("asker")
    http.allow(asker, {"ACCESS": ["*"]})
    narrowed = Narrowing(permissions=from_lists({"ACCESS": ["CHECK"]}))
    placed = Narrowing(namespaces=("prod",))

    assert 200 == ask(desk, "ci-bot", http.bearer(asker)).status_code
    for narrowing in (narrowed, placed):
        problem(ask(desk, "ci-bot", http.bearer(asker, narrowing)), 403, "permission.denied")
    owned = Narrowing(permissions=from_lists({"ACCESS": ["CHECK"]}), instance_owner=True)
    problem(ask(desk, "ci-bot", http.bearer(http.root_id, owned)), 403, "permission.denied")


def test_a_tenant_that_one_does_not_see_is_unknown(desk: Desk) -> None:
    """One without access and one that does not exist answer alike."""
    desk.http.tenant("beta")

    bodies = []
    for tenant in ("beta", "gamma"):
        body = problem(ask(desk, desk.bot, desk.by_bot, tenant=tenant), 404, "tenant.unknown")
        bodies.append((body["title"], body["detail"].replace(tenant, "")))
    assert bodies[0] == bodies[1]


def test_what_the_asker_may_not_see_is_left_out(desk: Desk) -> None:
    """Ids and names of bindings, roles and groups need VIEW or LIST; of one's own all is told."""
    http = desk.http
    group = http.group("Bots")
    role = http.role({"APP": ["VIEW"]}, name="viewer")
    join(http, group, desk.bot)
    bind(http, group, role)
    asker = http.account("asker")
    http.allow(asker, {"ACCESS": ["*"]})
    by = http.bearer(asker)

    def source() -> Json:
        found: Json = told(ask(desk, "ci-bot", by))["items"][0]["sources"][0]
        return found

    assert {"via", "positions"} == set(source())
    assert [{"type": "group"}] == source()["via"]
    http.allow(asker, {"GROUP": ["VIEW"]})
    assert [{"type": "group", "id": group, "name": "Bots"}] == source()["via"]
    http.allow(asker, {"ROLE": ["LIST"]})
    assert {"via", "positions", "role", "permissions"} == set(source())
    http.allow(asker, {"BINDING": ["READ"]})
    assert {"via", "positions", "role", "permissions", "binding"} == set(source())
    (own, *_) = told(ask(desk, desk.bot, desk.by_bot))["items"][0]["sources"]
    assert {"via", "positions", "role", "permissions", "binding"} == set(own)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("id=x", 400, "query.invalid"),
        ("type=user", 400, "query.invalid"),
        ("type=&id=x", 400, "query.invalid"),
        ("type=user&id=" + "x" * 257, 400, "query.invalid"),
        ("type=user&id=x&cursor=x", 400, "cursor.invalid"),
        ("type=user&id=x&position=x", 400, "position.invalid"),
        ("type=user&id=x&position=99999", 400, "position.future"),
        ("type=user&id=x&at_least=99999", 503, "position.not_reached"),
    ],
)
def test_a_question_that_cannot_be_read_is_refused(
    desk: Desk, query: str, status: int, code: str
) -> None:
    """Both words are needed, and each is at most 256 characters long."""
    problem(desk.http.get(f"main/access/what-can?{query}"), status, code)


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "", "99999"])
def test_a_limit_out_of_range_is_refused(desk: Desk, limit: str) -> None:
    """From 1 to 1,000, never clamped (http-api 5)."""
    problem(ask(desk, "ci-bot", limit=limit), 422, "page.invalid", "limit")


# The past


def test_the_past_is_told_by_position_and_by_instant(desk: Desk) -> None:
    """Facts and clock are those of the moment, as in checks; the position is told."""
    http = desk.http
    limited = bind(http, desk.bot, http.role({"APP": ["VIEW"]}), expires_at=START.replace(hour=2))
    before = http.state.position
    http.inputs.advance(3_600)
    http.give(DeleteBinding(tenant=MAIN, id=desk.binding))
    http.inputs.advance(7_200)

    def shown(moment: Json) -> tuple[list[tuple[Json, Json]], str]:
        response = ask(desk, "ci-bot", **moment)
        return held(told(response)), response.headers["x-muniment-position"]

    app: tuple[Json, Json] = ({}, {"APP": ["VIEW"]})
    prod: tuple[Json, Json] = ({"namespace": "prod"}, {"FLOW": ["UPDATE"]})
    assert ([app, prod], str(before)) == shown({"position": before})
    assert ([app, prod], str(before)) == shown({"at": "2026-01-01T00:59:59Z"})
    assert ([app], str(before + 1)) == shown({"at": "2026-01-01T01:59:59Z"})
    assert ([], str(before + 1)) == shown({"at": "2026-01-01T02:00:00Z"})
    assert ([], str(http.state.position)) == shown({})
    assert limited in http.state.bindings


def test_a_caller_that_lost_its_access_is_not_answered_about_its_past(desk: Desk) -> None:
    """The past is shown by what the caller may see now (http-api 6)."""
    before = desk.http.state.position
    desk.http.give(EndTenantAccess(tenant=MAIN, principal=desk.bot))

    problem(ask(desk, desk.bot, desk.by_bot, position=before), 404, "tenant.unknown")


def test_what_is_listed_is_what_an_evaluation_allows(desk: Desk) -> None:
    """Each listed pair, asked at its scope at that position, is allowed; its neighbours are not."""
    http = desk.http
    http.allow(desk.bot, {"record": ["read"]}, place=RECORD)
    http.allow(desk.bot, {"APP": ["VIEW", "LIST"]})
    body = told(ask(desk, "ci-bot"))

    assert 3 == len(body["items"])
    for item in body["items"]:
        scope = item["scope"]
        for type_, actions in item["permissions"].items():
            thing = scope.get("resource", {"type": type_, "id": "*"})
            resource = (thing["type"], thing["id"])
            namespace = scope.get("namespace", UNSET)
            for action in actions:
                assert desk.says(question(desk.bot, action, namespace, resource=resource))
            assert not desk.says(question(desk.bot, "DELETE", namespace, resource=resource))


def test_a_token_in_the_query_is_refused(desk: Desk) -> None:
    """Security 4.3: it stays nowhere."""
    token = desk.http.token(desk.bot)

    problem(ask(desk, token), 400, "token.misplaced")
    assert 200 == ask(desk, desk.bot, bearer(token)).status_code
