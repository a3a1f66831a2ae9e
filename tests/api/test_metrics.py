"""Who may see how the process fares, and does each number move by what it tells of?"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from api import measures
from api.app import create_app
from api.measures import Measures
from api.openapi import operations
from api.problem_codes import TITLES
from api.request_errors import UnavailableError
from api.service import Health
from domain.access import Narrowing
from domain.events import TOPICS
from domain.ids import MAIN
from domain.permissions import from_lists
from domain.service_accounts import DisableServiceAccount
from domain.token_text import TokenKind, make
from domain.tokens import DisableToken, RevokeToken
from ops import journal as ops_journal
from ops import sessions, writer
from projections.rebuilding import TABLES
from tests.answers import problem
from tests.api.route_world import QUESTION
from tests.scraping import Page, faults
from tests.service import NOBODY, PASSWORD, ROOT_EMAIL, Headers, Served, basic, bearer, served

EVALUATION: Final = "/access/v1/evaluation"
EVALUATIONS: Final = "/access/v1/evaluations"
SEARCH: Final = "/access/v1/search/action"
VIEWER: Final = {"METRICS": ["VIEW"]}
UNKNOWN_TOKEN: Final = make(TokenKind.SERVICE_ACCOUNT, bytes(32))

# The table of operations 1, as far as what it tells of is there, and what was added.
NAMES: Final = """
append_commands append_conflicts append_duration_seconds applied_position build_info
check_duration_seconds checkpoint_age_seconds checkpoint_conflict commands_refused decisions
events_appended halted journal_counted journal_dropped journal_queued journal_unwritten
journal_write_failures journal_written log_position log_sealed_size password_hash_waiting
projection_lag_events projection_lag_seconds request_duration_seconds requests
self_check_differing_rows self_check_position self_check_timestamp_seconds self_checks sign_ins
sink_failures sink_halted sink_lag_events sink_position staleness_seconds throttled
token_auth_failures
"""


def scrape(http: Served) -> Page:
    """Read the page as an instance owner."""
    return Page(http.get("/metrics").text)


# The page


def test_the_page_tells_everything_and_lints_clean(http: Served) -> None:
    """Operations 1: every metric of the table, in the text format, by Prometheus's own rules."""
    http.sink()
    http.get(f"audit/proofs/inclusion?index=0&size={http.log.head()}")
    http.post(EVALUATION, QUESTION)

    answer = http.get("/metrics")

    assert "text/plain; version=0.0.4; charset=utf-8" == answer.headers["content-type"]
    assert [] == faults(answer.text)
    assert {f"muniment_{name}" for name in NAMES.split()} == set(Page(answer.text).families)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("# TYPE muniment_x counter\nmuniment_x 1", "muniment_x_total: no HELP"),
        ("# HELP muniment_x X\nmuniment_x 1", "muniment_x: no TYPE"),
        ("# HELP muniment_x_ms X\n# TYPE muniment_x_ms gauge\nmuniment_x_ms 1", "the name"),
        ("# HELP muniment_x_total X\n# TYPE muniment_x_total gauge\nmuniment_x_total 1", "ending"),
        ('# HELP muniment_x X\n# TYPE muniment_x gauge\nmuniment_x{Id="1"} 1', "label Id"),
        ("# HELP muniment_x X\n# TYPE muniment_x gauge\nmuniment_x 1\nmuniment_x 2", "twice"),
    ],
)
def test_a_page_that_breaks_a_rule_is_noticed(line: str, fault: str) -> None:
    """Control: the linter finds what it is there for."""
    assert any(fault in found for found in faults(line + "\n"))


# Who may


def test_metrics_need_the_permission_in_main(http: Served) -> None:
    """Operations 1, security 2.4: METRICS:VIEW, and in no other tenant; owners have it."""
    beta = http.tenant()
    allowed, elsewhere, without = (http.account(name, MAIN, beta) for name in ("a", "b", "c"))
    http.allow(allowed, VIEWER)
    http.allow(elsewhere, VIEWER, tenant=beta)
    http.allow(without, {"FLOW": ["*"], "AUDITLOG": ["VIEW"], "METRICS": ["LIST"]})

    assert 200 == http.get("/metrics", by=http.bearer(allowed)).status_code
    assert 200 == http.get("/metrics").status_code
    for refused in (elsewhere, without):
        problem(http.get("/metrics", by=http.bearer(refused)), 403, "permission.denied")
    problem(http.get("/metrics", by=NOBODY), 401, "auth.required")
    problem(http.get("/metrics", by=bearer(UNKNOWN_TOKEN)), 401, "auth.invalid")


def test_a_token_may_be_narrowed_to_the_metrics(http: Served) -> None:
    """Security 2.5: what a scraper holds need open nothing else; narrowed to others, it is shut."""
    narrow = from_lists(VIEWER)
    only = http.bearer(http.root_id, Narrowing(permissions=narrow, instance_owner=True))
    foreign = Narrowing(permissions=narrow, instance_owner=True, tenants=(http.tenant(),))

    assert 200 == http.get("/metrics", by=only).status_code
    assert 403 == http.get("main/groups/search", by=only).status_code
    assert 403 == http.get("/metrics", by=http.bearer(http.root_id, foreign)).status_code


def test_metrics_take_no_parameters(http: Served) -> None:
    """Operations 1: they are of now, and all of them."""
    for query in ("position=1", "at_least=1", "name[]=muniment_halted"):
        problem(http.get(f"/metrics?{query}"), 400, "query.invalid")


# What moves


def test_checks_are_timed_by_endpoint_and_decisions_counted_singly(http: Served) -> None:
    """Operations 1: items of a batch count one by one; what was refused is no decision."""
    account = http.account("shared")
    http.allow(account, {"FLOW": ["VIEW"]})
    others = [{"action": {"name": name}} for name in ("VIEW", "VIEW", "DELETE")]

    http.post(EVALUATION, QUESTION)
    http.post(EVALUATIONS, {**QUESTION, "evaluations": [*others, {"action": {"name": 1}}]})
    http.post(SEARCH, {name: QUESTION[name] for name in ("subject", "resource")})
    http.post("main/access/check-bulk", {"items": [QUESTION] * 5})
    http.post(EVALUATION, QUESTION, by=NOBODY)

    page = scrape(http)
    assert {"evaluation": 1, "evaluations": 1, "search": 1} == {
        endpoint: page.value("check_duration_seconds_count", endpoint=endpoint)
        for endpoint in ("evaluation", "evaluations", "search")
    }
    assert 8 == page.value("decisions_total", decision="allow")
    assert 1 == page.value("decisions_total", decision="deny")


def test_a_histogram_keeps_sum_and_buckets() -> None:
    """Operations 1: a value that is a bound is up to it."""
    histogram = measures.Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 7.0):
        histogram.add(value)

    assert ([2, 1, 1], 10.0) == (histogram.counts, histogram.total)


def test_requests_are_counted_by_route_and_status(http: Served) -> None:
    """Operations 1: by the route's template, so that no path ever becomes a label."""
    route = "/api/v1/{tenant}/groups"
    http.post("main/groups", {"name": "Bots"})
    http.post("main/groups", {"name": "Bots"})

    page = scrape(http)

    assert 1 == page.value("requests_total", method="POST", route=route, status="200")
    assert 1 == page.value("requests_total", method="POST", route=route, status="409")
    assert 2 == page.value("request_duration_seconds_count", method="POST", route=route)


def test_refused_commands_are_counted_by_code(http: Served) -> None:
    """Operations 1: refused by the gate or by the rule; a reading is no command."""
    nobody = http.bearer(http.account())
    http.post("main/groups", {"name": "Bots"})

    http.post("main/groups", {"name": "Bots"})
    http.post("main/groups", {"name": "Bots"}, by=nobody)
    http.get("main/groups/search", by=nobody)

    page = scrape(http)
    assert 1 == page.value("commands_refused_total", code="group.name_taken")
    assert 1 == page.value("commands_refused_total", code="permission.denied")


def test_tokens_that_are_not_accepted_are_counted_by_reason(http: Served) -> None:
    """Operations 1: at the checks and at every route alike."""
    ended, expired, revoked, disabled, bound = (
        http.account(name) for name in ("a", "b", "c", "d", "e")
    )
    tokens = {
        "owner_disabled": http.token(ended),
        "expired": http.token(expired, max_age_seconds=60),
        "revoked": http.token(revoked),
        "disabled": http.token(disabled),
        "address": http.token(bound, allowed_addresses=("203.0.113.0/24",)),
        "malformed": "muns_x",
        "unknown": UNKNOWN_TOKEN,
    }
    http.give(DisableServiceAccount(id=ended))
    http.inputs.advance(61)
    http.give(RevokeToken(owner=revoked, id=http.token_id(tokens["revoked"])))
    http.give(DisableToken(owner=disabled, id=http.token_id(tokens["disabled"])))

    for text in tokens.values():
        http.post(EVALUATION, QUESTION, by=bearer(text))
        http.get("me", by=bearer(text))
    http.get("me", by=NOBODY)

    page = scrape(http)
    assert set(measures.TOKEN_FAULTS) == set(tokens)
    assert dict.fromkeys(tokens, 2) == {
        reason: page.value("token_auth_failures_total", reason=reason) for reason in tokens
    }


def test_sign_ins_are_counted_by_outcome(http: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations 1: a sign-in, a wrong password, a locked account, and no place to judge one."""

    def sign_in(password: str) -> int:
        said = {"username": ROOT_EMAIL, "password": password}
        return http.post("/login", said, by=NOBODY).status_code

    assert [200, 401] == [sign_in(PASSWORD), sign_in("wrong")]
    http.get("me", by=basic(ROOT_EMAIL, "wrong"))
    for _ in range(8):
        sign_in("wrong")
    assert 401 == sign_in(PASSWORD)
    monkeypatch.setattr(sessions, "WAITING_MAX", -1)
    assert 503 == sign_in(PASSWORD)

    page = scrape(http)
    assert {"success": 1, "failure": 10, "locked": 1, "busy": 1} == {
        outcome: page.value("sign_ins_total", outcome=outcome) for outcome in measures.SIGN_INS
    }
    assert 1 == page.value("throttled_total", kind="sign_in")


def test_what_is_throttled_is_counted_by_kind(
    http: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operations 1: exports, streams and writes that were one too many."""
    monkeypatch.setattr("api.turnstile.A_PRINCIPAL_MAX", 0)
    monkeypatch.setattr("api.trail.tails.TAILS_A_PRINCIPAL_MAX", 0)
    monkeypatch.setattr(writer, "QUEUE_COMMANDS_MAX", writer.RESERVED_COMMANDS)

    asked = [
        http.get("main/audit/export"),
        http.get("main/events/tail?seconds=0"),
        http.post("main/groups", {"name": "Bots"}),
    ]

    assert [429, 429, 503] == [answer.status_code for answer in asked]
    page = scrape(http)
    kinds = {"export": 1, "tail": 1, "write": 1, "journal": 0, "sign_in": 0, "connection": 0}
    assert set(measures.THROTTLES) == set(kinds)
    assert kinds == {kind: page.value("throttled_total", kind=kind) for kind in kinds}
    assert 1 == page.value("commands_refused_total", code="writer.busy")


def test_a_full_journal_throttles_what_must_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operations 1: where records are required, a full queue refuses, and both are told."""
    with served(tmp_path, "required") as http:
        with monkeypatch.context() as patch:
            patch.setattr(ops_journal, "QUEUE_MAX", 0)
            assert 503 == http.post(EVALUATION, QUESTION).status_code
        page = scrape(http)

    assert 1 == page.value("throttled_total", kind="journal")
    assert page.value("journal_dropped_total") >= 1


# What never stands there


def test_labels_stay_within_their_sets_whatever_is_sent(http: Served) -> None:
    """Operations 1: no tenant, principal, resource, path or message, and no word of a stranger."""
    canary = "canary"
    http.tenant(canary)
    account = http.account(canary)
    http.allow(account, {canary: [canary]})
    sink = http.sink(f'{canary}"}} 1 muniment_evil 1')
    odd: Headers = {"User-Agent": canary, "X-Request-ID": canary, "X-Muniment-Reason": canary}
    for path in (canary, f"{canary}/groups", f"main/groups/{canary}", f"/{canary}?{canary}=1"):
        for method in ("GET", "POST", "OPTIONS", "HEAD", canary.upper()):
            http.request(method, path, headers=odd)
            http.request(method, path, by=bearer(canary))
    subject = {"type": "service_account", "id": canary}
    question = {"subject": subject, "action": {"name": canary}}
    http.post(EVALUATION, {**question, "resource": {"type": canary, "id": canary}})
    http.post(f"{EVALUATION}/{canary}", question)
    http.post("main/groups", {"name": canary, "membersId": [canary]})
    http.post("/login", {"username": canary, "password": canary}, by=NOBODY)
    http.get(f"/problems/{canary}")

    page = scrape(http)

    assert [] == faults(page.text)
    assert canary not in page.text.lower()
    routes = {operation.path for operation in operations(create_app(http.service))}
    listed: dict[str, set[str]] = {
        "endpoint": set(measures.ENDPOINTS),
        "decision": {"allow", "deny"},
        "topic": set(TOPICS.values()),
        "code": set(TITLES),
        "view": {"access_graph", "directory", "audit", "transparency", *TABLES},
        "reason": set(measures.TOKEN_FAULTS),
        "outcome": {*measures.SIGN_INS, "equal", "healed", "failed"},
        "kind": set(measures.THROTTLES),
        "sink": {sink},
        "method": {"GET", "POST", "OPTIONS", "HEAD", "PUT", "PATCH", "DELETE"},
        "route": routes,
        "status": {str(status) for status in range(200, 600)},
    }
    assert {*listed, "version", "python", "le"} == page.label_names
    assert {} == {
        label: strange for label, known in listed.items() if (strange := page.labels(label) - known)
    }


def test_a_code_that_is_not_listed_is_no_label() -> None:
    """Operations 1: the set is that of the codes which an answer may carry."""
    counted = Measures()
    counted.refused(UnavailableError("canary", 1), None)

    assert {} == counted.commands_refused


def test_a_halted_node_answers_nobody(http: Served) -> None:
    """Security 2.1: whether the one who asks still may is not known then."""
    http.health = Health(reason="halted", head_position=0, staleness_seconds=0.0)

    problem(http.get("/metrics"), 503, "not_ready.halted")
