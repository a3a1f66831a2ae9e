"""Is the trail followed live without gap or repeat, and only by whom may see it?"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from api.request_errors import ThrottledError, UnavailableError
from api.trail.tails import TAILS_A_PRINCIPAL_MAX, TAILS_MAX, Pace, Tails
from domain.bindings import DeleteBinding
from domain.groups import CreateGroup
from domain.ids import MAIN, GroupId, TenantId, UserId
from domain.sealed import Secret
from domain.tenants import EndTenantAccess
from domain.tokens import RevokeToken
from domain.users import DisableUser
from ops.setup import system_context
from tests.answers import problem
from tests.api.trail.tailing import Tailing
from tests.service import NOBODY, PASSWORD, Headers, Served, bearer

if TYPE_CHECKING:
    from domain.commands import Command


def auditor(http: Served, email: str = "auditor@example.com") -> tuple[UserId, Headers]:
    """Answer a user who may list the trail, and nothing else."""
    user = http.user(email)
    http.allow(user, {"AUDITLOG": ["LIST"]})
    return user, http.bearer(user)


async def group(http: Served, name: str, tenant: TenantId = MAIN) -> int:
    """Make a group while others work; answer the position."""
    command = CreateGroup(tenant=tenant, id=GroupId(http.inputs.id()), name=name)
    outcome = await http.service.execute(command, system_context(http.inputs))
    return outcome.position


def feed(http: Served, path: str = "main/events?") -> list[int]:
    """Answer the positions of the feed from its beginning."""
    body = http.get(f"{path}after=0&limit=1000").json()
    return [item["position"] for item in body["items"]]


@pytest.fixture
def quick(http: Served) -> Served:
    """Return an installation whose tails tell, judge and cut within moments."""
    pace = Pace(told_seconds=0.05, judged_seconds=0.02, drained_seconds=0.1, farewell_seconds=5)
    http.service.tails = Tails(pace)
    return http


def test_tail_begins_behind_a_position_and_goes_on_with_what_comes(http: Served) -> None:
    """First what there is, oldest first, then what is written, each as in the list."""

    async def follow() -> Tailing:
        tailing = Tailing(http, "main/events/tail?after=0", http.root)
        await tailing.until(lambda: any(one.name == "through" for one in tailing.told))
        for number in range(5):
            position = await group(http, f"Group {number}")
            await tailing.until(lambda: position in tailing.positions)  # noqa: B023 - awaited at once
        await tailing.leave()
        return tailing

    tailing = http.run(follow())

    assert feed(http) == tailing.positions
    items = http.get("main/events?after=0&limit=1000").json()["items"]
    assert items == [one.data for one in tailing.told if one.name == "entry"]
    assert all(one.id == one.data["position"] for one in tailing.told if one.name == "entry")
    headers = {name.decode(): value.decode() for name, value in tailing.start["headers"]}
    assert ("text/event-stream", "no-store") == (headers["content-type"], headers["cache-control"])


def test_tail_without_a_position_begins_now(http: Served) -> None:
    """Nothing old is sent; a `through` says from where on."""

    async def follow() -> Tailing:
        tailing = Tailing(http, "main/events/tail", http.root)
        await tailing.until(lambda: bool(tailing.told))
        position = await group(http, "New")
        await tailing.until(lambda: position in tailing.positions)
        await tailing.leave()
        return tailing

    before = http.state.position
    tailing = http.run(follow())

    assert ("through", before) == (tailing.told[0].name, tailing.told[0].id)
    assert [before + 1] == tailing.positions


def test_reconnects_under_writes_miss_nothing_and_repeat_nothing(http: Served) -> None:
    """However often the connection breaks, the ids lead from one entry to the next."""
    beta = http.tenant("beta")
    connections = 0

    async def write() -> None:
        for number in range(150):
            await group(http, f"Group {number}", MAIN if number % 3 else beta)

    async def follow(path: str, writing: asyncio.Task[None]) -> list[int]:
        nonlocal connections
        seen: list[int] = []
        last = 0
        while not writing.done() or last < http.state.position:
            # `after` stays in the address, as in a browser's; the header stands above it.
            tailing = Tailing(http, f"{path}after=0", http.root, last_event_id=str(last))
            await tailing.until(lambda: any(one.id is not None for one in tailing.told))  # noqa: B023 - awaited at once
            await tailing.leave()
            connections += 1
            seen += tailing.positions
            last = max(one.id for one in tailing.told if one.id is not None)
        return seen

    async def all_of() -> list[list[int]]:
        writing = asyncio.create_task(write())
        paths = ("main/events/tail?", "beta/events/tail?", "events/tail?type=group.*&")
        return await asyncio.gather(*(follow(path, writing) for path in paths))

    seen = http.run(all_of())

    whole = "events?type=group.*&"
    assert [feed(http), feed(http, "beta/events?"), feed(http, whole)] == seen
    assert connections > 10, "control: it was broken often"


def test_filtered_tail_tells_how_far_it_has_looked(quick: Served) -> None:
    """Where nothing matches, the position still moves, so that nobody looks there again."""

    async def follow() -> list[int | None]:
        tailing = Tailing(quick, "main/events/tail?after=0&type=token.*", quick.root)
        for number in range(3):
            position = await group(quick, f"Group {number}")
            await tailing.until(lambda: position in {one.id for one in tailing.told})  # noqa: B023 - awaited at once
        await tailing.leave()
        assert not tailing.positions
        return [one.id for one in tailing.told]

    told = quick.run(follow())

    assert quick.state.position == told[-1]


def test_tail_shows_its_tenant_only_and_what_its_filters_let_through(http: Served) -> None:
    """Neither another tenant's entries nor others than were asked for."""
    beta = http.tenant("beta")
    path = "main/events/tail?after=0&q=wanted&seconds=0"

    async def follow(path: str) -> list[int]:
        tailing = Tailing(http, path, http.root)
        assert "tail.over" == await tailing.ended()
        return tailing.positions

    wanted = http.run(group(http, "Wanted"))
    http.run(group(http, "Other"))
    foreign = http.run(group(http, "Wanted", beta))

    assert [wanted] == http.run(follow(path))
    assert [foreign] == http.run(follow(path.replace("main", "beta"))), "control"
    assert [wanted, foreign] == http.run(follow(path.replace("main/", ""))), "control"


# Its end


def ends(http: Served, user: UserId) -> dict[str, Command]:
    """Answer what takes the right away, by the code that tells of it."""
    state = http.state
    token = next(iter(state.tokens_of[user]))
    binding = next(one for one in state.bindings_of[user] if one in state.bindings)
    return {
        "token.revoked": RevokeToken(owner=user, id=token),
        "permission.denied": DeleteBinding(tenant=MAIN, id=binding),
        "tenant.unknown": EndTenantAccess(tenant=MAIN, principal=user),
        "principal.disabled": DisableUser(id=user),
    }


@pytest.mark.parametrize(
    "code", ["token.revoked", "permission.denied", "tenant.unknown", "principal.disabled"]
)
def test_who_may_not_see_it_any_more_is_told_and_cut(http: Served, code: str) -> None:
    """Before anything that was written after it lost its right."""
    user, by = auditor(http)
    command = ends(http, user)[code]

    async def follow() -> Tailing:
        tailing = Tailing(http, "main/events/tail", by)
        await tailing.until(lambda: bool(tailing.told))
        await http.service.execute(command, system_context(http.inputs))
        await group(http, "Later")
        assert code == await tailing.ended()
        return tailing

    tailing = http.run(follow())

    later = http.state.position
    assert later not in tailing.positions
    assert later in feed(http), "control"


def test_token_that_expires_ends_its_tail_without_any_news(quick: Served) -> None:
    """The caller is judged every few seconds, whether anything is written or not."""
    user = quick.user("auditor@example.com")
    quick.allow(user, {"AUDITLOG": ["LIST"]})
    by = bearer(quick.token(user, max_age_seconds=60))

    async def follow() -> str:
        tailing = Tailing(quick, "main/events/tail", by)
        await tailing.until(lambda: bool(tailing.told))
        quick.inputs.advance(61)
        return await tailing.ended()

    assert "token.expired" == quick.run(follow())


def test_session_that_is_signed_out_ends_its_tail(quick: Served) -> None:
    """A stream by cookie does not outlive the session."""
    quick.user("auditor@example.com", owner=True)
    credentials = {"username": "auditor@example.com", "password": PASSWORD}
    signed_in = quick.post("login", credentials, by=NOBODY)
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    by = {"Cookie": cookie}

    async def follow() -> str:
        tailing = Tailing(quick, "main/events/tail", by)
        await tailing.until(lambda: bool(tailing.told))
        await quick.service.sessions.end(Secret(cookie.partition("=")[2]))
        return await tailing.ended()

    assert "auth.invalid" == quick.run(follow())


def test_process_that_drains_ends_its_tails(http: Served) -> None:
    """At once, since the news of it wakes them."""

    async def follow() -> str:
        tailing = Tailing(http, "events/tail", http.root)
        await tailing.until(lambda: bool(tailing.told))
        http.health = structs.replace(http.health, reason="draining")
        http.service.tails.wake()
        return await tailing.ended()

    assert "draining" == http.run(follow())


def test_reader_that_does_not_read_is_cut_with_a_word(quick: Served) -> None:
    """It gets no more entries; when it reads again, it learns why and goes on from its last id."""

    async def follow() -> tuple[Tailing, Tailing]:
        slow = Tailing(quick, "main/events/tail?after=0", quick.root)
        brisk = Tailing(quick, "main/events/tail?after=0", quick.root)
        await slow.until(lambda: bool(slow.told))
        slow.stop_reading()
        position = await group(quick, "Unread")
        await brisk.until(lambda: position in brisk.positions)
        # Others are told on; this one's time runs out, and its place is free.
        await brisk.until(lambda: len(quick.service.tails) == 1)
        slow.read_on()
        assert "tail.too_slow" == await slow.ended()
        await brisk.leave()
        return slow, brisk

    slow, brisk = quick.run(follow())

    assert quick.state.position not in slow.positions
    assert feed(quick) == brisk.positions, "control: who reads gets everything"
    last = max(one.id for one in slow.told if one.id is not None)
    assert feed(quick, "main/events?")[len(slow.positions) :] == [
        position for position in brisk.positions if position > last
    ]


# Before it begins


def test_tail_is_refused_as_the_list_is(http: Served) -> None:
    """Malformed filters and ids are told before anything streams, and so is a lack of right."""
    for query, code in (
        ("since=x", "filters.invalid"),
        ("limit=5", "filters.invalid"),
        ("seconds=x", "filters.invalid"),
        ("seconds=86401", "filters.invalid"),
        ("after=x", "position.invalid"),
        (f"position={http.state.position - 1}", "position.invalid"),
    ):
        problem(http.get(f"main/events/tail?{query}"), 400, code)
    headers = {"Last-Event-ID": "x"}
    problem(http.get("main/events/tail", headers=headers), 400, "position.invalid")
    _, by = auditor(http)
    problem(http.get("events/tail?seconds=0", by=by), 403, "privilege.required")
    http.tenant("beta")
    problem(http.get("beta/events/tail?seconds=0", by=by), 404, "tenant.unknown")
    assert 200 == http.get("main/events/tail?seconds=0", by=by).status_code, "control"


def test_caller_takes_a_few_places_and_leaves_the_others_theirs(http: Served) -> None:
    """One more is 429 for this caller alone; who goes away makes room."""
    _, by = auditor(http)

    async def crowd() -> tuple[int, int, int]:
        path = "main/events/tail"
        held = [Tailing(http, path, http.root) for _ in range(TAILS_A_PRINCIPAL_MAX)]
        for one in held:
            await one.until(lambda: bool(one.told))  # noqa: B023 - awaited at once
        refused = await http.send("GET", f"{path}?seconds=0")
        other = await http.send("GET", f"{path}?seconds=0", by=by)
        assert refused.headers["retry-after"]
        assert "tail.too_many" == refused.json()["code"]
        await held[0].leave()
        again = await http.send("GET", f"{path}?seconds=0")
        for one in held[1:]:
            await one.leave()
        return refused.status_code, other.status_code, again.status_code

    assert (429, 200, 200) == http.run(crowd())


def test_process_has_so_many_places_in_all() -> None:
    """Then it is 503; each place is given back, whatever ends it."""
    tails = Tails()
    with ExitStack() as held:
        for number in range(TAILS_MAX):
            held.enter_context(tails.place(UserId(str(number))))
        with pytest.raises(UnavailableError), tails.place(UserId("one more")):
            pass
    assert not len(tails)
    with ExitStack() as held:
        for _ in range(TAILS_A_PRINCIPAL_MAX):
            held.enter_context(tails.place(UserId("greedy")))
        with pytest.raises(ThrottledError), tails.place(UserId("greedy")):
            pass
    assert not len(tails)
