"""Is an export exactly the filtered view that the search shows, whatever it is filtered by?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec
import pytest

from api.trail.questions import FILTERS
from domain.groups import DeleteGroup
from domain.ids import MAIN
from tests.answers import problem

if TYPE_CHECKING:
    from tests.service import Served

HOUR: Final = 3_600
WORDS: Final = {"q": "night watch", "outcome": "ALLOWED", "type": "token.*,group.created.v1"}
EARLY: Final = "2026-01-01T00:30:00Z"


def exported(http: Served, asked: dict[str, str], path: str = "main/audit/export") -> list[int]:
    """Answer the positions that an export holds."""
    answer = http.get(f"{path}?{urlencode(asked)}")
    assert answer.status_code == 200, answer.text
    return [msgspec.json.decode(line)["position"] for line in answer.text.splitlines()]


def listed(http: Served, asked: dict[str, str], path: str = "main/events") -> list[int]:
    """Answer the positions that the search lists, oldest first."""
    answer = http.get(f"{path}?{urlencode({**asked, 'order': 'asc', 'limit': '1000'})}")
    assert answer.status_code == 200, answer.text
    return [item["position"] for item in answer.json()["items"]]


def history(http: Served) -> dict[str, str]:
    """Make a trail of which every filter finds some and not all; answer a value of each."""
    http.tenant("beta")
    bot = http.account("ci-bot")
    http.allow(bot, {"GROUP": ["*"]})
    http.group("Day Watch")
    http.inputs.advance(HOUR)
    by = http.bearer(bot)
    body, place = {"name": "Night Watch"}, "198.51.100.7"
    group = http.post("main/groups", body, by=by, address=place, headers={"X-Request-ID": "r-1"})
    fact = http.facts()[-1]
    http.inputs.advance(HOUR)
    http.give(DeleteGroup(tenant=MAIN, id=group.json()["id"]))
    return {
        **WORDS,
        "actor": bot,
        "token": next(iter(http.state.tokens_of[bot])),
        "target": group.json()["id"],
        "address": place,
        "correlation": "r-1",
        "command": fact.envelope.command_id,
        "since": EARLY,
        "until": EARLY,
    }


def test_whatever_filters_the_search_filters_the_export_alike(http: Served) -> None:
    """Issue 4.5: of exactly the filtered view; each filter, each pair of them, and positions."""
    values = history(http)
    assert {*values} == {*FILTERS}, "a filter of the search that is not tried here"
    everything = exported(http, {})
    cases = [{one: values[one], other: values[other]} for one in FILTERS for other in FILTERS]
    cases += [{}, {"type": "group"}, {"outcome": "DENIED"}, {"q": "nigh"}]
    cases += [
        {"after": "4", **case} for case in ({"q": "created"}, {"before": "12"}, {"before": "0"})
    ]

    for case in cases:
        assert exported(http, case) == listed(http, case), case
    for name in FILTERS:
        found = exported(http, {name: values[name]})
        assert found, name
        assert name == "outcome" or found != everything, name


def test_the_whole_log_takes_the_filters_too_and_that_of_the_tenant(http: Served) -> None:
    """An instance owner's export is that of an instance owner's search."""
    values = history(http)
    cases = [{name: values[name]} for name in FILTERS]
    cases += [{"tenant": "main"}, {"tenant": "beta", "type": "role.*"}, {"tenant": "nowhere"}]

    for case in cases:
        assert exported(http, case, "audit/export") == listed(http, case, "events"), case
    assert exported(http, {"tenant": "main"}, "audit/export") == exported(http, {})


def test_the_exports_own_names_mean_the_filters_of_the_search(http: Served) -> None:
    """Audit-export 1: `subject` is the target, `until_time` the instant; a bare number a position.

    All that is given holds together.
    """
    values = history(http)
    head = http.state.position
    same: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"subject": values["target"]}, {"target": values["target"]}),
        ({"until_time": EARLY}, {"until": EARLY}),
        ({"until_time": "2026-01-01T00:30:00"}, {"until": EARLY}),
        ({"until": str(head - 1)}, {"before": str(head)}),
        (
            {"until": str(head), "until_time": EARLY, "subject": values["actor"]},
            {"until": EARLY, "target": values["actor"]},
        ),
    ]

    for own, of_search in same:
        assert exported(http, own) == listed(http, of_search), own
    answer = http.get("main/audit/export?until=9&before=7&after=2")
    assert answer.headers["x-muniment-position"] == "6"
    assert http.get("main/audit/export?before=0").headers["x-muniment-position"] == "0"


BAD: Final[dict[str, tuple[str, ...]]] = {
    "since": ("yesterday", ""),
    "until": ("2026-13-01", "x", "-1", "9" * 19),
    "until_time": ("", "x"),
    "address": ("localhost",),
    "type": ("TOKEN", "token.*,", "*", "group..x", "", ",".join(["group.*"] * 51)),
    "outcome": ("MAYBE",),
    "actor": ("", "x" * 257),
    "subject": ("x" * 257,),
    "q": ("",),
    "typ": ("token.*",),
    "tenant": ("beta",),
    "order": ("asc",),
}


@pytest.mark.parametrize("stream", ["log", "journal"])
def test_a_filter_that_is_malformed_or_unknown_is_named(http: Served, stream: str) -> None:
    """Issue 4: 400 with the filter's name; what is misspelt never shows more than was asked."""
    for name, values in BAD.items():
        for value in values:
            query = urlencode({"stream": stream, name: value})
            body = problem(http.get(f"main/audit/export?{query}"), 400, "filters.invalid")
            assert body["detail"].startswith(f"{name}: "), (name, value)


@pytest.mark.parametrize(
    ("query", "code", "named"),
    [
        ("format=cef", "query.invalid", "format: "),
        ("stream=both", "query.invalid", "stream: "),
        ("personal=yes", "query.invalid", "personal: "),
        ("target=a&subject=a", "filters.invalid", "subject: "),
        ("until=2026-01-01&until_time=2026-01-01", "filters.invalid", "until_time: "),
        ("type=token.*&type=group.*", "query.repeated", "type "),
        ("after=-1", "position.invalid", "after "),
        ("before=x", "position.invalid", "before "),
        ("until=99999", "position.future", "until "),
        ("stream=journal&until=99999", "position.future", "until "),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_name(
    http: Served, query: str, code: str, named: str
) -> None:
    """Http-api 2: 400, and nothing is exported."""
    body: dict[str, Any] = problem(http.get(f"main/audit/export?{query}"), 400, code)

    assert body["detail"].startswith(named)
