"""Does Kestra's search of the trail show sign-ins, readings and refusals beside the events?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domain.users import DeleteUser
from tests.answers import has_null
from tests.api.journaling import REQUEST, sign_in
from tests.service import ADDRESS, ROOT_EMAIL

if TYPE_CHECKING:
    from tests.service import Served


def search(http: Served, query: str = "size=1000", path: str = "auditlogs") -> list[Any]:
    """The items that a search answers, newest first."""
    answer = http.get(f"{path}/search?{query}").json()
    assert not has_null(answer)
    found: list[Any] = answer["results"]
    assert answer["total"] >= len(found)
    return found


def acts(items: list[Any]) -> list[tuple[str, str, str]]:
    """Id's first letter, type and outcome of each."""
    logs = [item["auditLog"] for item in items]
    return [(log["id"][0], log["type"], log["outcome"]) for log in logs]


def test_sign_ins_and_refusals_stand_between_the_events(http: Served) -> None:
    """Kestra-iam 6.8: LOGIN, LOGOUT, LOGIN_FAILURE and refused commands, at their place."""
    cookie = {"Cookie": f"JWT={sign_in(http).cookies['JWT']}"}
    group = http.post("main/groups", {"name": "Bots"}).json()["id"]
    sign_in(http, password="wrong wrong wrong")
    bot = http.account()
    http.delete(f"main/groups/{group}", by=http.bearer(bot), headers=REQUEST)
    http.post("logout", by=cookie)

    newest = search(http, "size=7")

    assert [
        ("j", "LOGOUT", "ALLOWED"),
        ("j", "DELETE", "DENIED"),
        ("e", "CREATE", "ALLOWED"),
        ("e", "CREATE", "ALLOWED"),
        ("e", "CREATE", "ALLOWED"),
        ("j", "LOGIN_FAILURE", "DENIED"),
        ("e", "CREATE", "ALLOWED"),
    ] == acts(newest)
    refused = newest[1]
    assert {
        "id": "j3",
        "tenantId": "main",
        "type": "DELETE",
        "date": "2026-01-01T00:00:00Z",
        "userId": bot,
        "ipAddress": ADDRESS,
        "detail": {
            "type": "GROUP",
            "resource": "GROUP",
            "id": group,
            "code": "permission.denied",
            "operation": "deleteGroup",
        },
        "appliedPatch": [],
        "revertPatch": [],
        "position": http.state.position,
        "event": "journal.refusal",
        "tokenId": refused["auditLog"]["tokenId"],
        "userAgent": "curl/8",
        "requestId": "req-1",
        "outcome": "DENIED",
    } == refused["auditLog"]
    assert ("ci-bot", "SERVICE_ACCOUNT") == (refused["user"]["username"], refused["user"]["type"])
    assert ROOT_EMAIL == newest[5]["user"]["username"]


def test_who_is_not_known_or_is_gone_is_still_shown(http: Served) -> None:
    """A failure of nobody has an empty user; one who was deleted is named as it was then."""
    sign_in(http, "nobody@example.com")
    ada = http.user("ada@example.com")
    sign_in(http, "ada@example.com")
    http.give(DeleteUser(id=ada))

    failed = search(http, "filters[type][EQUALS]=LOGIN_FAILURE")
    came = search(http, "filters[type][EQUALS]=LOGIN")

    assert ("", "") == (failed[0]["user"]["id"], failed[0]["user"]["username"])
    assert ada == came[0]["user"]["id"]


def test_a_tenant_shows_what_was_tried_in_it_only(http: Served) -> None:
    """Security 2.3: neither sign-ins nor what happened in another tenant."""
    http.tenant("beta")
    sign_in(http)
    bot = http.account()
    for tenant in ("main", "beta"):
        http.post(f"{tenant}/groups", {"name": "Bots"}, by=http.bearer(bot))

    here = search(http, path="main/auditlogs")

    refusals = [item for item in here if item["auditLog"]["id"].startswith("j")]
    assert [("j", "CREATE", "DENIED")] == acts(refusals)
    assert {"main"} == {item["auditLog"]["tenantId"] for item in here}


def test_readings_are_shown_to_who_asks_for_them_and_push_no_page(http: Served) -> None:
    """One who pages through the trail sees each entry once, though each page is a reading."""
    for number in range(5):
        http.group(f"Group {number}")
        sign_in(http)
    whole = [item["auditLog"]["id"] for item in search(http)]

    paged: list[str] = []
    for page in range(1, 100):
        items = search(http, f"size=3&page={page}")
        paged += [item["auditLog"]["id"] for item in items]
        if len(items) < 3:
            break

    assert whole == paged
    assert len(whole) == len(set(whole))
    readings = search(http, "size=1000&filters[type][EQUALS]=READ")
    assert len(paged) // 3 + 2 == len(readings)


def test_the_past_does_not_grow(http: Served) -> None:
    """What is shown of a position is the same whenever it is asked."""
    sign_in(http)
    http.group()
    position = http.state.position
    query = f"size=1000&position={position}"
    before = search(http, query)
    sign_in(http)
    http.get("auditlogs/export")

    assert before == search(http, query)
    assert ("j", "LOGIN", "ALLOWED") in acts(before)


def test_pages_are_sorted_over_both(http: Served) -> None:
    """Any order of the list holds over events and entries alike, page by page."""
    sign_in(http)
    http.group()
    sign_in(http, password="wrong wrong wrong")

    for sort in ("date:asc", "type:asc", "event:desc", "userId:asc", "resources:desc"):
        whole = search(http, f"size=1000&sort={sort}")
        pages = [
            item for page in (1, 2, 3) for item in search(http, f"size=5&page={page}&sort={sort}")
        ]
        assert whole[:15] == pages
    oldest_first = search(http, "size=1000&sort=date:asc")
    assert [*reversed(search(http))] == oldest_first
