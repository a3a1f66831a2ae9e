"""Who is given which evidence, does it hold, and does it tell nothing of another tenant?"""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from api.access import evidence as packs
from domain.bindings import DeleteBinding
from domain.ids import MAIN, TenantId
from domain.service_accounts import DeleteServiceAccount, DisableServiceAccount
from domain.tokens import RevokeToken
from domain.users import DeleteUser
from ops.setup import system_context
from projections import evidence, evidence_verifier
from tests.answers import problem
from tests.api.access.test_what_can import bind, join
from tests.api.checking import PROD, Desk, Json, question
from tests.fixed_inputs import START
from tests.service import served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service import Headers, Served

ALL = {"ACCESS": ["CHECK", "EXPLAIN"], "AUDITLOG": ["EXPORT"]}
QUESTION = "resourceType=FLOW&action=UPDATE&namespace=prod.billing"


@pytest.fixture
def desk(http: Served) -> Desk:
    """Return an installation with a bot that may update flows below `prod`."""
    return Desk(http)


@pytest.fixture
def talkative(tmp_path: Any) -> Iterator[Desk]:  # noqa: ANN401 - a path
    """Yield an installation whose journal keeps every decision."""
    with served(tmp_path, "all") as http:
        yield Desk(http)


class Pack:
    """A pack as its reader sees it, which verifies."""

    def __init__(self, answer: httpx.Response, http: Served) -> None:
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/zip"
        keys = [one["verifierKey"] for one in http.get("audit/keys").json()["keys"]]
        self.lines = evidence_verifier.verify(answer.content, keys)
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            self.members = {name: archive.read(name).decode() for name in archive.namelist()}
        self.about: Json = json.loads(self.members["pack.json"])
        self.answers = self._lines("answers.ndjson")
        self.events = self._lines("events.ndjson")

    def _lines(self, name: str) -> list[Json]:
        return [json.loads(line) for line in self.members[name].split("\n")[:-1]]

    @property
    def topics(self) -> set[str]:
        """The topics of its events."""
        return {one["topic"] for one in self.events}


def get(desk: Desk, path: str, **more: Any) -> httpx.Response:  # noqa: ANN401 - the options of Served.get
    """Ask for a pack of the tenant `main`."""
    return desk.http.get(f"main/access/evidence/{path}", **more)


def decision(desk: Desk, query: str = QUESTION, **more: Any) -> Pack:  # noqa: ANN401 - the options of Served.get
    """Answer the pack of a decision about the bot."""
    path = f"decision?type=service_account&id={desk.bot}&{query}"
    return Pack(get(desk, path, **more), desk.http)


def test_a_decision_is_proved_with_what_it_rests_on(desk: Desk) -> None:
    """Issue 5: the answer, what gave it, since when, the events, and a page for people."""
    http = desk.http
    bots, role = http.group("Bots"), http.role({"FLOW": ["UPDATE"]})
    join(http, bots, desk.bot, expires_at=START + timedelta(days=2))
    bind(http, bots, role, PROD)

    pack = decision(desk)

    assert (pack.about["kind"], pack.about["allowed"]) == ("decision", True)
    rights, history, every = (one["answer"] for one in pack.answers)
    assert {one["group"] for one in rights} == {"", bots}
    assert rights == every
    assert len(history) == 1  # the second way added nothing that was not there
    assert {"group.member_added.v1", "binding.created.v1", "role.created.v1"} <= pack.topics
    assert "ALLOWED" in pack.members["index.html"]
    assert f"Bots ({bots})" in pack.members["index.html"]


def test_a_denial_is_proved_as_well(desk: Desk) -> None:
    """What was not allowed: nothing in force gave it, and the events say since when."""
    http = desk.http
    then = http.state.position
    http.give(DeleteBinding(tenant=MAIN, id=desk.binding))

    now, past = decision(desk), decision(desk, f"{QUESTION}&position={then}")
    elsewhere = decision(desk, "resourceType=FLOW&action=UPDATE&namespace=dev&resourceId=x")

    assert (now.about["allowed"], past.about["allowed"]) == (False, True)
    assert [bool(one["lost"]) for one in now.answers[1]["answer"]] == [False, True]
    assert past.about["end"]["position"] == then
    assert elsewhere.about["question"]["resource"] == {"type": "FLOW", "id": "x"}
    assert not elsewhere.about["allowed"]


def test_a_decision_of_the_journal_is_proved_by_its_number(talkative: Desk) -> None:
    """Issue 5: what the service answered then, by the facts and the clock of then."""
    desk, http = talkative, talkative.http
    bots, role = http.group("Bots"), http.role({"FLOW": ["VIEW"]})
    join(http, bots, desk.bot, expires_at=START + timedelta(hours=1))
    bind(http, bots, role, PROD)
    assert desk.says(question(desk.bot, "VIEW"))
    assert not desk.says(question(desk.bot, "DELETE"))
    assert desk.says(question(desk.bot, namespace="prod"))
    http.inputs.advance(7_200)
    http.give(DeleteBinding(tenant=MAIN, id=desk.binding))

    found = http.get("main/audit/journal?order=asc").json()["items"]
    told = [one for one in found if one["kind"] == "decision"]
    proved = [Pack(get(desk, f"decision?number={one['number']}"), http) for one in told]

    assert [one.about["allowed"] for one in proved] == [True, False, True]
    assert [one["outcome"] for one in told] == ["ALLOWED", "DENIED", "ALLOWED"]
    assert all(one.about["end"]["position"] < http.state.position for one in proved)


def test_a_decision_that_no_pack_can_tell_is_refused(talkative: Desk) -> None:
    """Unknown means no: nobody, a group, one for a token, another number, another tenant."""
    desk, http = talkative, talkative.http
    group = http.group("Bots")
    beta = TenantId(http.tenant("beta"))
    desk.says(question("nobody"))
    desk.says(question(group, type_="group"))
    token = http.token_id(desk.by_bot["Authorization"].removeprefix("Bearer "))
    http.inputs.advance(1)
    desk.ask(question(desk.bot, context={"token": token, "address": "192.0.2.7"}))
    desk.ask(question(desk.bot, tenant=beta))
    http.run(http.service.journal.settle())
    found = http.get("main/audit/journal?order=asc").json()["items"]
    numbers = [one["number"] for one in found if one["kind"] == "decision"]

    assert len(numbers) == 3
    for number in numbers:
        problem(get(desk, f"decision?number={number}"), 400, "evidence.unsupported")
    foreign = http.get("beta/audit/journal?order=asc").json()["items"]
    other = next(one["number"] for one in foreign if one["kind"] == "decision")
    for number in (other, 0, 10**9, "x", "9" * 30):
        problem(get(desk, f"decision?number={number}"), 404, "evidence.unknown")


def test_a_principal_is_proved_also_when_it_is_no_more(desk: Desk) -> None:
    """Issue 5: all its rights, and every time at which they changed."""
    http = desk.http
    then = http.state.position
    http.give(DeleteServiceAccount(id=desk.bot))

    path = f"principal?type=service_account&id={desk.bot}"
    gone, past = Pack(get(desk, path), http), Pack(get(desk, f"{path}&position={then}"), http)

    assert gone.answers[0]["answer"] == []
    assert [bool(one["lost"]) for one in gone.answers[1]["answer"]] == [False, True]
    assert len(past.answers[0]["answer"]) == 1
    assert "service_account.deleted.v1" in gone.topics - past.topics


def test_an_interval_is_proved_with_all_who_had_access(desk: Desk) -> None:
    """Issue 5: who else could, at both moments, and every event between."""
    http = desk.http
    begin = http.state.position
    user, other = http.user(), http.account("other")
    http.allow(other, {"FLOW": ["VIEW"]})
    http.give(DeleteBinding(tenant=MAIN, id=desk.binding))
    http.group("Later")

    pack = Pack(get(desk, f"interval?from={begin}"), http)

    held = {(one["subject"], one["position"]): one["answer"] for one in pack.answers}
    end = http.state.position
    assert {subject for subject, at in held if at == end} == {desk.bot, user, other}
    assert (len(held[desk.bot, begin]), held[desk.bot, end]) == (1, [])
    assert pack.about["complete"] == [begin, end]
    assert "group.created.v1" in pack.topics


def member(desk: Desk, rights: dict[str, list[str]], tenant: TenantId = MAIN) -> Headers:
    """Make a user with these rights in a tenant."""
    http = desk.http
    user = http.user(f"{http.state.position}@example.com", tenants=(tenant,))
    http.allow(user, rights, tenant=tenant)
    return http.bearer(user)


@pytest.mark.parametrize("missing", ["CHECK", "EXPLAIN", "EXPORT"])
def test_each_right_is_needed(desk: Desk, missing: str) -> None:
    """Security 2.4: to ask about others, to have it explained, and to export the trail."""
    rights = {type_: [one for one in held if one != missing] for type_, held in ALL.items()}
    by = member(desk, {type_: held for type_, held in rights.items() if held})

    for path in (
        f"decision?type=service_account&id={desk.bot}&{QUESTION}",
        f"principal?type=service_account&id={desk.bot}",
        "interval?from=1",
    ):
        problem(get(desk, path, by=by), 403, "permission.denied")
        assert get(desk, path, by=member(desk, ALL)).status_code == 200


def test_a_tenants_pack_tells_nothing_of_another_tenant(desk: Desk) -> None:
    """Security 2.3: neither events nor names, and of the installation's only that they were."""
    http = desk.http
    beta = TenantId(http.tenant("beta"))
    shared = http.account("shared", MAIN, beta)
    crew, role = http.group("Secret Crew", tenant=beta), http.role({"FLOW": ["VIEW"]}, tenant=beta)
    http.allow(shared, {"FLOW": ["VIEW"]}, tenant=beta)
    http.give(DisableServiceAccount(id=shared))
    by = member(desk, ALL)

    path = f"principal?type=service_account&id={shared}"
    own = Pack(get(desk, path, by=by), http)
    whole = Pack(get(desk, "interval?from=1", by=by), http)
    owners = Pack(get(desk, path), http)

    for pack in (own, whole):
        text = "".join(pack.members.values()).replace(pack.members["verify.py"], "")
        for secret in (beta, "Secret Crew", crew, role, "example.com"):
            assert secret not in text
        told = [one for one in pack.events if "told" in one]
        assert told
        assert all(set(one["told"]["event"]) == {"id"} for one in told)
        assert any("told by place alone" in line and " 0 of" not in line for line in pack.lines)
    assert "service_account.disabled.v1" in own.topics
    assert not [one for one in owners.events if "told" in one]
    assert beta not in "".join(one["state"] for one in owners.events)


def test_one_who_never_had_access_is_unknown(desk: Desk) -> None:
    """Security 2.3: no id is to be probed, and no typed name comes into a file."""
    http = desk.http
    beta = TenantId(http.tenant("beta"))
    foreign = http.account("foreign", beta)

    for id_ in (foreign, "nobody", "someone@example.com"):
        path = f"principal?type=service_account&id={id_}"
        problem(get(desk, path), 404, "principal.unknown")
    problem(get(desk, f"principal?type=group&id={http.group()}"), 400, "query.invalid")


def test_people_are_told_by_id_alone(desk: Desk) -> None:
    """Transparency-log 5: a file outside is out of reach of erasure, so it names nobody."""
    http = desk.http
    user = http.user("planted.grace@example.com", first_name="Plantedfirst")
    http.allow(user, {"FLOW": ["VIEW"]})
    pack = Pack(get(desk, f"principal?type=user&id={user}"), http)
    http.give(DeleteUser(id=user))
    later = Pack(get(desk, f"principal?type=user&id={user}"), http)

    for one in (pack, later):
        assert "lanted" not in "".join(one.members.values())
        assert user in one.members["index.html"]


def test_too_much_and_bad_moments_are_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 5, bad input: bounded, with a hint how to narrow."""
    head = desk.http.state.position
    problem(get(desk, f"interval?from={head}&to=1"), 400, "compare.order")
    problem(get(desk, "interval?from=1&position=2"), 400, "position.invalid")
    problem(get(desk, f"interval?from={head + 9}"), 400, "position.future")
    problem(get(desk, "interval?from=then"), 400, "position.invalid")
    problem(get(desk, "principal?type=service_account"), 400, "query.invalid")
    monkeypatch.setattr(packs, "EVENTS_MAX", 3)
    for path in ("interval?from=1", f"principal?type=service_account&id={desk.bot}"):
        refused = problem(get(desk, path), 400, "evidence.too_large")
        assert "shorter interval" in refused["message"]


def test_a_pack_that_does_not_verify_is_not_given_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service holds its own answer against the verifier, and says no rather than lie."""
    monkeypatch.setattr(evidence, "rights", lambda *_: [])

    problem(get(desk, "interval?from=1"), 503, "evidence.unprovable")


def test_a_token_that_is_revoked_meanwhile_gets_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Security 2.1: whoever may not ask any more when the pack is made is not given it."""
    http = desk.http
    by = member(desk, ALL)
    token = http.token_id(by["Authorization"].removeprefix("Bearer "))
    made = packs._members  # noqa: SLF001 - what takes a while

    def meanwhile(*given: Any) -> Any:  # noqa: ANN401 - as there
        revoke = RevokeToken(owner=http.state.tokens[token].owner, id=token)
        context = system_context(http.inputs)
        loop = http._loop  # noqa: SLF001 - the loop that waits for this thread
        asyncio.run_coroutine_threadsafe(http.service.execute(revoke, context), loop).result()
        return made(*given)

    path = f"principal?type=service_account&id={desk.bot}"
    assert get(desk, path, by=by).status_code == 200
    monkeypatch.setattr(packs, "_members", meanwhile)

    answer = http.run(http.send("GET", f"main/access/evidence/{path}", by=by))
    problem(answer, 401, "token.revoked")


def test_a_pack_is_noted_in_the_journal(desk: Desk) -> None:
    """Audit-export 2.1: who took evidence away is told like any other export."""
    get(desk, f"principal?type=service_account&id={desk.bot}")

    found = desk.http.get("main/audit/journal").json()["items"]
    (noted,) = [one for one in found if one["kind"] == "audit_export"]
    assert noted["detail"]["stream"] == "evidence"
    assert noted["operation"] == "getPrincipalEvidence"
