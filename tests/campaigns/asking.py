"""What else does the campaign of completeness do, that changes nothing: is it noted all the same?

Refusals, sign-ins, credentials that are not good, readings of the trail, and questions about
access. What is no command and no reading of the trail is to leave nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from domain.token_text import TokenKind
from ops.inputs import SystemInputs
from tests.campaigns.access import EVALUATION
from tests.campaigns.changing import PASSWORDS, Objects
from tests.campaigns.client import basic, bearer
from tests.campaigns.decisions import EVALUATIONS
from tests.campaigns.staff import sign_in, with_token
from tests.campaigns.told import Caller

SHORT_SECONDS: Final = 1
# So often a password may be wrong until the account is locked.
FAILURES: Final = 10
_DENIED: Final = ("decision", "DENIED", "denied")
_ALLOWED: Final = ("decision", "ALLOWED", "")
_FAILED: Final = ("sign_in_failure", "DENIED", "auth.invalid")


def not_permitted(has: Objects) -> None:
    """Who has no right is refused, whatever is asked for; so is who would give more than it has."""
    clerk, low, denied = has.clerk, has.staff.low, "permission.denied"
    group = has.some("group")
    tried: tuple[tuple[str, str, Any], ...] = (
        ("POST", "/main/groups", {"name": has.new()}),
        ("DELETE", f"/main/groups/{group}", None),
        ("GET", "/main/events", None),
        ("GET", "/main/audit/export", None),
        ("GET", "/main/auditlogs/export", None),
    )
    for method, path, body in tried:
        clerk.refused(low, denied, method, path, body, status=403)
    clerk.refused(low, "privilege.required", "GET", "/events", status=403)
    clerk.refused(low, "privilege.required", "POST", "/tenants", {"id": has.new()}, status=403)
    role = {"name": has.new("Role"), "permissions": {"USER": ["*"]}}
    code = "role.escalation"
    clerk.refused(has.staff.clerk, code, "POST", "/main/roles", role, status=403)


def not_found(has: Objects) -> None:
    """What is not there is no command; a tenant where one has no access is not there either."""
    clerk, nowhere = has.clerk, has.staff.tenant
    clerk.refused(has.by, "group.unknown", "DELETE", f"/main/groups/{has.new()}", status=404)
    clerk.quiet(has.by, "GET", f"/main/groups/{has.new()}", status=404)
    for method, path in (("POST", "groups"), ("GET", "groups/search"), ("GET", "audit/export")):
        body = {"name": "Group"} if method == "POST" else None
        where = f"/{nowhere}/{path}"
        clerk.refused(has.staff.low, "tenant.unknown", method, where, body, status=404)


def in_conflict(has: Objects) -> None:
    """A name that is taken, a version that is old, the tenant that stays."""
    clerk, by, path = has.clerk, has.by, "/main/groups"
    body = {"name": has.new("Group")}
    id_ = clerk.change(by, "group.created.v1", "POST", path, body)["id"]
    clerk.refused(by, "group.name_taken", "POST", path, body, status=409)
    clerk.refused(by, "tenant.main", "DELETE", "/tenants/main", status=409)
    old, where = {"If-Match": '"1"'}, f"{path}/{id_}"
    clerk.refused(by, "etag.mismatch", "PUT", where, {"name": "N"}, status=412, headers=old)


def not_valid(has: Objects) -> None:
    """Values that do not fit; what cannot be read at all is no command."""
    clerk, by = has.clerk, has.by
    clerk.refused(by, "group.invalid", "POST", "/main/groups", {"name": ""}, status=422)
    body: dict[str, Any] = {"name": has.new("Role"), "permissions": {"no type": ["VIEW"]}}
    clerk.refused(by, "role.invalid", "POST", "/main/roles", body, status=422)
    clerk.quiet(by, "POST", "/main/groups", {"name": 1}, status=422)
    clerk.quiet(by, "POST", "/main/groups", b"{", status=400)


def plain_readings(has: Objects) -> None:
    """Lists and objects that are not the trail."""
    by = has.by
    ids: dict[str, list[str]] = {"ids": []}
    for path in ("/me", "/main/groups/search", f"/main/groups/{has.some('group')}", "/users"):
        has.clerk.quiet(by, "GET", path)
    for path, body in (
        *(("/main/groups/ids", ids), ("/main/roles/ids", ids)),
        *(("/main/groups/autocomplete", {"q": "g"}), ("/main/roles/autocomplete", {"q": "r"})),
        ("/main/tenant-access/autocomplete", {"q": "w"}),
    ):
        has.clerk.quiet(by, "POST", path, body)


# Sign-ins


def _at_door(has: Objects, id_: str = "") -> Caller:
    """Somebody before a sign-in, from a network that has not been too often wrong."""
    return Caller(id=id_, address=has.elsewhere(), headers={})


def sign_ins(has: Objects) -> None:
    """Somebody signs in, fails to, and signs out again; nobody at all fails, too."""
    email = f"{has.new('u')}@example.com"
    id_ = has.user(email, password=PASSWORDS[0])
    door = _at_door(has, id_)
    session = sign_in(has.clerk, door, door.address, email, PASSWORDS[0])
    has.clerk.quiet(session, "GET", "/me")
    has.clerk.noted(session, (("sign_out", "ALLOWED", ""),), "POST", "/logout")
    clerk, body = has.clerk, {"username": email, "password": PASSWORDS[1]}
    clerk.noted(door, (_FAILED,), "POST", "/login", body, status=401)
    headers = {"Authorization": basic(email, "neither")}
    wrong = Caller(id=id_, address=door.address, headers=headers)
    clerk.noted(wrong, (_FAILED,), "GET", "/me", status=401)
    body = {"username": has.new("nobody"), "password": PASSWORDS[1]}
    clerk.noted(_at_door(has), (_FAILED,), "POST", "/login", body, status=401)


def locked_out(has: Objects) -> None:
    """Too many failures lock an account: that is noted, and so is whoever comes to a locked one."""
    email = f"{has.new('u')}@example.com"
    door = _at_door(has, has.user(email))
    body = {"username": email, "password": PASSWORDS[1]}
    locked = ("account_locked", "DENIED", "account.locked")
    for number in range(1, FAILURES + 1):
        notes = (locked, _FAILED) if number == FAILURES else (_FAILED,)
        has.clerk.noted(door, notes, "POST", "/login", body, status=401)
    refused = ("sign_in_failure", "DENIED", "account.locked")
    has.clerk.noted(door, (refused,), "POST", "/login", body, status=401)


# Tokens that are not good


def failed_tokens(has: Objects) -> None:
    """Unknown, revoked, disabled, of one who is disabled, shown from elsewhere, no token at all."""
    clerk, by, address = has.clerk, has.by, has.elsewhere()
    text = SystemInputs().token(TokenKind.SERVICE_ACCOUNT).reveal()
    stranger = Caller(address=address, headers={"Authorization": bearer(text)})
    clerk.failed(stranger, "auth.invalid")
    nothing = ("token_failure", "DENIED", "auth.invalid")
    scan = Caller(address=address, headers={"Authorization": bearer("muns_nothing")})
    clerk.noted(scan, (nothing,), "GET", "/me", status=401, counted=True)
    without = ("token_failure", "DENIED", "auth.required")
    nobody = Caller(address=address, headers={})
    clerk.noted(nobody, (without,), "GET", "/me", status=401, counted=True)
    id_ = has.made("account")
    path = f"/service-accounts/{id_}/api-tokens"
    shown = with_token(clerk, by, id_, address)
    clerk.change(
        by, "token.disabled.v1", "POST", f"{path}/{shown.token}/disable", about=[shown.token]
    )
    clerk.failed(shown, "token.disabled")
    clerk.change(by, "token.revoked.v1", "DELETE", f"{path}/{shown.token}", about=[shown.token])
    revoked = Caller(token=shown.token, address=address, headers=shown.headers)
    clerk.failed(revoked, "token.revoked")
    bound = with_token(clerk, by, id_, address, allowedAddresses=["192.0.2.1"])
    clerk.failed(bound, "token.address", status=403)
    idle = with_token(clerk, by, id_, address)
    where = f"/main/service-accounts/{id_}/disable"
    clerk.change(by, "service_account.disabled.v1", "POST", where, about=[id_])
    clerk.failed(idle, "principal.disabled")


def expired_token(has: Objects) -> None:
    """A token whose time is over."""
    old = with_token(
        has.clerk, has.by, has.some("account"), has.elsewhere(), maxAge=f"PT{SHORT_SECONDS}S"
    )
    time.sleep(SHORT_SECONDS + 0.1)
    has.clerk.failed(old, "token.expired")


def extended_token(has: Objects) -> None:
    """A token whose use prolongs its life, once a tenth of it is over."""
    account, age = has.some("account"), f"PT{20 * SHORT_SECONDS}S"
    used = with_token(has.clerk, has.by, account, has.elsewhere(), maxAge=age, extended=True)
    time.sleep(2 * SHORT_SECONDS + 0.1)
    has.clerk.quiet(used, "GET", "/me")
    has.extended.append(used)


def leaked_token(has: Objects) -> None:
    """A token that stands where anybody may read it."""
    shown = has.staff.low
    text = shown.headers["Authorization"].removeprefix("Bearer ")
    stranger = Caller(id=shown.id, token=shown.token, address=has.elsewhere(), headers={})
    leak = ("token_leak", "DENIED", "token.misplaced")
    has.clerk.noted(stranger, (leak,), "GET", f"/me?token={text}", status=400)


# The trail


def trail_readings(has: Objects) -> None:
    """Every way to read the trail is noted in it."""
    clerk, read = has.clerk, ("audit_read", "ALLOWED", "")
    id_ = has.some("group")
    about: dict[str, Any] = {"resource": "GROUP", "detail": {"id": id_}}
    found = clerk.noted(has.by, (read,), "POST", "/main/auditlogs/find", about)
    entry = found.body["results"][-1]["auditLog"]
    for path in (
        "/events?after=0&limit=1",
        "/main/events?limit=1",
        f"/events/{entry['position']}",
        f"/main/events/{entry['position']}",
        "/events/tail?after=0&seconds=0&type=tenant.*",
        "/main/events/tail?seconds=0",
        "/auditlogs/search?size=1",
        "/main/auditlogs/search?size=1",
        f"/auditlogs/{entry['id']}/diff",
        f"/main/auditlogs/{entry['id']}/diff",
        f"/main/auditlogs/history/{id_}",
        f"/audit/events/{entry['position']}/entry",
    ):
        clerk.noted(has.by, (read,), "GET", path)


def exports(has: Objects) -> None:
    """Every export of the trail is noted in it."""
    exported = ("audit_export", "ALLOWED", "")
    for path in (
        "/audit/export?until=1",
        "/main/audit/export?until=1&format=csv",
        "/auditlogs/export?id=nothing",
        "/main/auditlogs/export?id=nothing",
    ):
        has.clerk.noted(has.by, (exported,), "GET", path)


# Access


def question(account: str, action: str = "VIEW") -> dict[str, Any]:
    """May this account do something to the groups of `main`?"""
    return {
        "subject": {"type": "service_account", "id": account},
        "action": {"name": action},
        "resource": {"type": "GROUP", "id": "*"},
    }


def checks(has: Objects) -> None:
    """Denied checks are noted one by one, allowed ones are counted."""
    clerk, owner, helper = has.clerk, has.staff.owners[-1], has.staff.clerk.id
    low, path = has.staff.low.id, EVALUATION
    clerk.noted(owner, (_DENIED,), "POST", path, question(low))
    clerk.noted(owner, (_ALLOWED,), "POST", path, question(helper), counted=True)
    unknown = ("decision", "DENIED", "subject.unknown")
    clerk.noted(owner, (unknown,), "POST", path, question(has.new()))
    many = {"evaluations": [question(low, action) for action in ("VIEW", "LIST", "DELETE")]}
    clerk.noted(owner, (_DENIED,) * 3, "POST", EVALUATIONS, many)
    bulk = {"items": [question(low), question(low, "LIST")]}
    clerk.noted(owner, (_DENIED,) * 2, "POST", "/main/access/check-bulk", bulk)
    # Who may not ask about others is refused.
    refused = ("refusal", "DENIED", "permission.denied")
    clerk.noted(has.staff.low, (refused,), "POST", path, question(helper), status=403)


def searches(has: Objects) -> None:
    """Who asks who may do something is noted."""
    clerk, owner = has.clerk, has.staff.owners[-1]
    searched = ("search", "ALLOWED", "")
    asked = question(has.staff.low.id)
    for member in ("subject", "resource", "action"):
        # What is searched for is left open.
        opened = {name: value for name, value in asked.items() if name != member}
        if member != "action":
            opened[member] = {"type": asked[member]["type"]}
        clerk.noted(owner, (searched,), "POST", f"/access/v1/search/{member}", opened)
    id_ = has.some("account")
    for path in (
        "/main/access/who-can?resourceType=GROUP&action=VIEW",
        f"/main/access/what-can?type=service_account&id={id_}",
    ):
        clerk.noted(has.by, (searched,), "GET", path)
    group = {"method": "POST", "path": "/api/v1/main/groups", "body": {"name": has.new()}}
    tried = {"changes": [group]}
    clerk.noted(owner, (searched,), "POST", "/main/access/simulate", tried)


ONCE: Final[tuple[Callable[[Objects], None], ...]] = (*(locked_out, expired_token, extended_token),)
ASKED: Final[tuple[Callable[[Objects], None], ...]] = (
    *(not_permitted, not_found, in_conflict, not_valid, plain_readings, sign_ins, failed_tokens),
    *(leaked_token, trail_readings, exports, checks, searches),
)
