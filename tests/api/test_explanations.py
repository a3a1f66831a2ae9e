"""What does a check that is asked for reasons tell, and whom does it tell what?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from api.checks import EVALUATIONS, EXPLAINED_MAX
from api.judging import Judge, Sight
from domain.access import Narrowing
from domain.bindings import Assignment, AssignRole
from domain.groups import AddMember
from domain.ids import MAIN, BindingId, GroupId, TenantId
from domain.scopes import WHOLE_TENANT, Resource, Scope
from domain.service_accounts import DisableServiceAccount
from domain.tenants import EndTenantAccess
from domain.tokens import DisableToken
from tests.answers import problem
from tests.api.checking import ALLOWED, DENIED, PROD, Desk, Json, question
from tests.service import ADDRESS, Headers, Served, bearer

if TYPE_CHECKING:
    from domain.ids import RoleId

WHY: Json = {"explain": True}


@pytest.fixture
def desk(http: Served) -> Desk:
    """Return an installation with a bot that may update flows below `prod`."""
    return Desk(http)


def told(desk: Desk, body: Json, by: Headers | None = None) -> Json:
    """Ask for reasons; answer the whole body."""
    response = desk.ask(
        {**body, "context": {**body.get("context", {}), **WHY}}, by or desk.http.root
    )
    assert 200 == response.status_code, response.content
    found: Json = response.json()
    return found


def group_with_role(desk: Desk, member: str, name: str = "Bots") -> tuple[GroupId, RoleId]:
    """Make a group that may delete secrets in `dev`, and this member of it."""
    http = desk.http
    group, role = http.group(name), http.role({"SECRET": ["DELETE"]}, name="janitor")
    http.give(
        AssignRole(
            tenant=MAIN,
            assignment=Assignment(
                id=BindingId(http.inputs.id()),
                default_binding=BindingId(http.inputs.id()),
                subject_type="GROUP",
                subject=group,
                role=role,
                scope=Scope(namespace="dev"),
            ),
        )
    )
    if member:
        http.give(
            AddMember(
                tenant=MAIN,
                group=group,
                principal=desk.bot,
                default_binding=BindingId(http.inputs.id()),
            )
        )
    return group, role


# The shape


def test_an_allow_names_its_paths(desk: Desk) -> None:
    """Authzen 6: position, instant, code and every path, with the positions behind it."""
    group, role = group_with_role(desk, desk.bot)

    found = told(desk, question(desk.bot, "DELETE", "dev.a", resource=("SECRET", "key")))

    path = found["context"]["paths"][0]
    assert found == {
        "decision": True,
        "context": {
            "position": desk.http.state.position,
            "at": desk.http.inputs.now().isoformat().replace("+00:00", "Z"),
            "code": "allowed",
            "paths": [
                {
                    "binding": path["binding"],
                    "role": {"id": role, "name": "janitor"},
                    "permission": {"type": "SECRET", "action": "DELETE"},
                    "scope": {"namespace": "dev"},
                    "via": [{"type": "group", "id": group, "name": "Bots"}],
                    "positions": [n for step in path["steps"].values() for n in step],
                    "steps": path["steps"],
                }
            ],
        },
    }
    kinds = {
        step: type(desk.http.events(at[0] - 1)[0]).__name__ for step, at in path["steps"].items()
    }
    assert kinds == {
        "enabled": "ServiceAccountCreated",
        "access": "TenantAccessGranted",
        "membership": "MemberAdded",
        "binding": "BindingCreated",
        "role": "RoleCreated",
    }


def test_a_deny_names_reason_near_misses_and_grants(desk: Desk) -> None:
    """Authzen 6 and issue 3: the first failing condition, what was near, what would allow it."""
    found = told(desk, question(desk.bot, "DELETE"))["context"]

    assert "permission.not_granted" == found["code"]
    assert {"403": "a role: bound here, without DELETE of FLOW"} == found["reason_admin"]
    assert [("permission", desk.binding, PROD.namespace)] == [
        (miss["lacks"], miss["binding"], miss["scope"]["namespace"]) for miss in found["near"]
    ]
    smallest = found["grants"][0]["steps"]
    scope = {"resource": {"type": "FLOW", "id": "nightly-load"}}
    assert smallest == [
        {"kind": "role", "permissions": {"FLOW": ["DELETE"]}},
        {"kind": "binding", "scope": scope},
    ]


def test_a_proposed_grant_that_is_given_allows(desk: Desk) -> None:
    """What is proposed by name is what the routes of the contract take."""
    body = question(desk.bot, "DELETE", "dev", resource=("SECRET", "*"))
    group_with_role(desk, "")
    steps = [grant["steps"][0] for grant in told(desk, body)["context"]["grants"]]
    group = next(step["group"]["id"] for step in steps if step["kind"] == "membership")
    role = next(step["role"]["name"] for step in steps if step["kind"] == "binding")

    desk.http.put(f"main/groups/{group}/members/{desk.bot}")

    assert desk.says(body)
    assert "janitor" == role


def test_what_comes_first_is_proposed_first(desk: Desk) -> None:
    """To be enabled and to have access are steps of their own."""
    desk.http.give(EndTenantAccess(tenant=MAIN, principal=desk.bot))
    desk.http.give(DisableServiceAccount(id=desk.bot))

    found = told(desk, question(desk.bot))["context"]

    assert "subject.disabled" == found["code"]
    for grant in found["grants"]:
        assert ["enable", "tenant_access"] == [step["kind"] for step in grant["steps"][:2]]


@pytest.mark.parametrize(
    ("subject", "code"), [("nobody", "subject.unknown"), ("twin", "subject.ambiguous")]
)
def test_an_unresolved_subject_says_which(desk: Desk, subject: str, code: str) -> None:
    """Authzen 3: a name that fits several resolves to none, and says so only here."""
    desk.http.account("twin")
    desk.http.account("twin")

    found = told(desk, question(subject))

    assert (False, code, []) == (
        found["decision"],
        found["context"]["code"],
        found["context"]["grants"],
    )


def test_a_binding_on_one_resource_and_on_the_tenant_show_their_scope(desk: Desk) -> None:
    """A scope is a namespace, a resource, or empty for the whole tenant."""
    record = Scope(resource=Resource("record", "r-17"))
    desk.http.allow(desk.bot, {"record": ["read"]}, place=record)
    desk.http.allow(desk.bot, {"record": ["read"]}, place=WHOLE_TENANT)

    found = told(desk, question(desk.bot, "read", resource=("record", "r-17")))

    scopes = [path["scope"] for path in found["context"]["paths"]]
    assert [{}, {"resource": {"type": "record", "id": "r-17"}}] == sorted(scopes, key=len)


# Batches and moments


def test_a_batch_explains_the_items_that_ask(desk: Desk) -> None:
    """Authzen 6: `explain` is read from the context in force for each item."""
    body = {
        **question(desk.bot),
        "context": WHY,
        "evaluations": [
            {},
            {"context": {}},
            {"action": {"name": "DELETE"}},
            {"subject": {"type": "user"}},
        ],
    }

    items = desk.http.post(EVALUATIONS, body).json()["evaluations"]

    assert ["allowed", "permission.not_granted"] == [items[i]["context"]["code"] for i in (0, 2)]
    assert {"decision": True} == items[1]
    assert 400 == items[3]["context"]["error"]["status"]


def test_few_items_of_a_batch_are_explained(desk: Desk) -> None:
    """Each costs far more than a check: the ones beyond the limit fail alone."""
    body = {
        **question(desk.bot),
        "context": WHY,
        "evaluations": [{}] * (EXPLAINED_MAX + 1) + [{"context": {}}],
    }

    items = desk.http.post(EVALUATIONS, body, by=desk.by_bot).json()["evaluations"]

    assert all("paths" in item["context"] for item in items[:EXPLAINED_MAX])
    assert [(False, 400), True] == [
        (items[-2]["decision"], items[-2]["context"]["error"]["status"]),
        items[-1]["decision"],
    ]


def test_the_past_is_explained_as_it_was(desk: Desk) -> None:
    """One code path with the present: what was deleted since is named as it was then."""
    before = desk.http.state.position
    desk.http.delete(f"main/bindings/{desk.binding}")
    body = question(desk.bot, context={"as_of": {"position": before}})

    then, now = told(desk, body)["context"], told(desk, question(desk.bot))["context"]

    assert ("allowed", before, desk.binding) == (
        then["code"],
        then["position"],
        then["paths"][0]["binding"],
    )
    assert "binding.none_in_scope" == now["code"]


def test_an_explained_decision_is_repeated_by_its_position_and_instant(desk: Desk) -> None:
    """Authzen 6: with both, facts and clock are fixed, and the answer is the same."""
    first = told(desk, question(desk.bot))
    desk.http.inputs.advance(3600)
    desk.http.account("later")
    moment = {key: first["context"][key] for key in ("position", "at")}

    assert first == told(desk, question(desk.bot, context={"as_of": moment}))


@pytest.mark.parametrize("explain", [None, False])
def test_without_explain_the_answer_is_exact(desk: Desk, *, explain: bool | None) -> None:
    """Authzen 6: a decision and nothing else."""
    assert desk.says(question(desk.bot, context={"explain": explain}))


def test_explain_that_is_no_truth_value_is_malformed(desk: Desk) -> None:
    """Authzen 6: a wrong type is 400."""
    problem(
        desk.ask(question(desk.bot, context={"explain": "yes"})),
        400,
        "body.invalid",
        "context.explain",
    )


# Who is told what


def asker(desk: Desk, permissions: dict[str, list[str]], *tenants: TenantId) -> Headers:
    """Answer the credential of an account that holds these permissions in the tenant."""
    account = desk.http.account("asker", *tenants)
    desk.http.allow(account, permissions)
    return desk.http.bearer(account)


def test_explaining_others_needs_a_right_of_its_own(desk: Desk) -> None:
    """Authzen 3: ACCESS:EXPLAIN in addition to ACCESS:CHECK; oneself may always."""
    checks = asker(desk, {"ACCESS": ["CHECK"]})
    body = question(desk.bot, context=WHY)

    said = problem(desk.ask(body, checks), 403, "permission.denied")

    assert ("ACCESS", "EXPLAIN") == (said["required"][0]["type"], said["required"][0]["action"])
    assert 200 == desk.ask(question(desk.bot), checks).status_code
    assert 200 == desk.ask(body, desk.by_bot).status_code


def test_explain_alone_is_not_enough(desk: Desk) -> None:
    """The explanation holds the decision, so it needs the right to that too."""
    explains = asker(desk, {"ACCESS": ["EXPLAIN"]})

    problem(desk.ask(question(desk.bot, context=WHY), explains), 403, "permission.denied")


def names_in(found: Json) -> set[str]:
    """Answer all that is named in an explanation."""
    parts = [*found.get("paths", ()), *found.get("near", ()), *found.get("grants", ())]
    words = {word for word in ("janitor", "a role", "Bots") if f"'{word}'" in str(parts)}
    return words | {"binding" for part in parts if "binding" in part}


def test_names_are_left_out_for_who_may_not_see_them(desk: Desk) -> None:
    """Authzen 6: roles, groups and bindings are named to who may see such objects."""
    group_with_role(desk, desk.bot)
    body = question(desk.bot, "DELETE", "dev", resource=("SECRET", "*"))
    rights = {"ACCESS": ["CHECK", "EXPLAIN"]}

    blind = told(desk, body, asker(desk, rights))["context"]
    sees_roles = told(desk, body, asker(desk, {**rights, "ROLE": ["LIST"]}))["context"]
    sees_groups = told(desk, body, asker(desk, {**rights, "GROUP": ["VIEW"]}))["context"]
    sees_bindings = told(desk, body, asker(desk, {**rights, "BINDING": ["VIEW"]}))["context"]

    assert [set(), {"janitor"}, {"Bots"}, {"binding"}] == [
        names_in(found) for found in (blind, sees_roles, sees_groups, sees_bindings)
    ]
    assert [{"type": "group"}] == blind["paths"][0]["via"]
    assert "permission" not in blind["paths"][0]


def test_an_explanation_that_shows_all_to_all_is_caught(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: were everything in sight, the blind would be told names."""
    group_with_role(desk, desk.bot)
    body = question(desk.bot, "DELETE", "dev", resource=("SECRET", "*"))
    blind = asker(desk, {"ACCESS": ["CHECK", "EXPLAIN"]})
    everything = Sight(own=True, strangers=True, bindings=True, roles=True, groups=True)

    monkeypatch.setattr(Judge, "sight", lambda *_: everything)

    assert names_in(told(desk, body, blind)["context"])


def test_a_principal_of_another_tenant_is_unknown_to_this_one(desk: Desk) -> None:
    """Security 2.3: whoever only asks in this tenant is told of it as of nobody at all."""
    http = desk.http
    stranger = http.account("stranger", http.tenant())
    asks = asker(desk, {"ACCESS": ["CHECK", "EXPLAIN"], "*": ["*"]})

    def said(subject: str, by: Headers) -> list[object]:
        context = told(desk, question(subject), by)["context"]
        return [context["code"], context["grants"]]

    assert said("nobody", asks) == said(stranger, asks) == ["subject.unknown", []]
    assert "tenant.no_access" == said(stranger, http.root)[0]
    outside = http.bearer(stranger)
    assert "tenant.no_access" == said(stranger, outside)[0]


def test_grants_and_reasons_name_nothing_unseen(desk: Desk) -> None:
    """What would help is proposed as far as its parts may be seen; the reason stays general."""
    group_with_role(desk, "")
    body = question(desk.bot, "DELETE", "dev", resource=("SECRET", "*"))
    elsewhere = question(desk.bot, "DELETE")
    rights = {"ACCESS": ["CHECK", "EXPLAIN"]}

    blind = asker(desk, rights)
    kinds = [
        [step["kind"] for step in grant["steps"]]
        for grant in told(desk, body, blind)["context"]["grants"]
    ]

    assert [["role", "binding"]] == kinds
    reason = told(desk, elsewhere, blind)["context"]["reason_admin"]["403"]
    assert "what is bound here does not list this permission" == reason


def test_one_is_told_what_one_holds_and_not_what_one_could(desk: Desk) -> None:
    """Own paths and near misses in full; roles and groups that one is not in stay unnamed."""
    group_with_role(desk, "")
    allowed = told(desk, question(desk.bot), desk.by_bot)["context"]
    denied = told(desk, question(desk.bot, "DELETE", "dev", resource=("SECRET", "*")), desk.by_bot)[
        "context"
    ]

    assert {"a role", "binding"} == names_in(allowed)
    assert set() == names_in({"grants": denied["grants"]})


# Decisions made with a token


def test_a_named_token_narrows_the_decision_and_says_so(desk: Desk) -> None:
    """Issue 3: scope and state of the token, explained as `token.not_usable`."""
    narrowed = desk.http.token(desk.bot, narrowing=Narrowing(namespaces=("dev",)))
    id_ = desk.http.token_id(narrowed)
    body = question(desk.bot, context={"token": id_})

    found = told(desk, body)

    assert (False, "token.not_usable", []) == (
        found["decision"],
        found["context"]["code"],
        found["context"]["grants"],
    )
    assert desk.says(question(desk.bot))


@pytest.mark.parametrize(
    ("address", "allowed"),
    [("10.1.2.3", True), ("192.0.2.1", False), ("no address", False), (None, False)],
)
def test_the_address_list_of_a_named_token_narrows_too(
    desk: Desk, address: str | None, *, allowed: bool
) -> None:
    """Issue 3: from where it is used is told in the context; unknown means no."""
    text = desk.http.token(desk.bot, allowed_addresses=("10.0.0.0/8",))
    context = {"token": desk.http.token_id(text), "address": address}

    assert allowed is desk.says(question(desk.bot, context=context))


def test_the_very_token_of_the_request_comes_from_where_that_came(desk: Desk) -> None:
    """Asking with a token about that token, its address is known without being told."""
    text = desk.http.token(desk.bot, allowed_addresses=(f"{ADDRESS}/32",))
    other = desk.http.token(desk.bot, allowed_addresses=(f"{ADDRESS}/32",))

    own = question(desk.bot, context={"token": desk.http.token_id(text)})
    others = question(desk.bot, context={"token": desk.http.token_id(other)})

    assert [ALLOWED, DENIED] == [desk.ask(one, bearer(text)).content for one in (own, others)]


def test_a_disabled_token_is_not_usable(desk: Desk) -> None:
    """Its state is judged at the moment of the question."""
    id_ = desk.http.token_id(desk.http.token(desk.bot))
    desk.http.give(DisableToken(owner=desk.bot, id=id_))

    assert (
        "token.not_usable"
        == told(desk, question(desk.bot, context={"token": id_}))["context"]["code"]
    )
