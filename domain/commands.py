"""What can be asked of the installation, who may ask it, and what happens then?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, get_args

from msgspec import UNSET, Struct, UnsetType

from domain import (
    access,
    aliases,
    bindings,
    erasures,
    groups,
    owners,
    roles,
    service_accounts,
    sinks,
    tenants,
    tokens,
    users,
)
from domain.errors import (
    ConflictError,
    CredentialError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    Requirement,
    StaleError,
)
from domain.events import Actor, Envelope, Event, Fact, Record, encode, tenant_of
from domain.ids import CommandId, TenantId, UserId
from domain.limits import EVENT_BYTES_MAX, EVENTS_A_COMMAND_MAX
from domain.permissions import Permission

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from domain.ids import PrincipalId
    from domain.state import Facts, Recorded

Command = (
    aliases.Command
    | bindings.Command
    | erasures.Command
    | groups.Command
    | owners.Command
    | roles.Command
    | service_accounts.Command
    | sinks.Command
    | tenants.Command
    | tokens.Command
    | users.Command
)


class Expectation(Struct, frozen=True):
    """If-Match: no event after `position` has changed the object; None: it exists."""

    object_id: str
    position: int | None


class Context(Struct, frozen=True, kw_only=True):
    """The circumstances of a command; everything impure is made at the edge and comes in here.

    `at` is set by the writer; a `fingerprint` is there when the caller sent an idempotency key.
    """

    at: datetime
    actor: Actor
    command_id: CommandId
    correlation_id: str
    fingerprint: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    expects: Expectation | UnsetType = UNSET

    @property
    def caller(self) -> PrincipalId:
        """The principal that acts; for the installation itself, an id that names none."""
        return UserId(self.actor.id)


_DECIDE: Final[dict[type, Callable[[Facts, Any, Context], tuple[Event, ...]]]] = {
    command: noun.decide
    for noun in (
        aliases,
        bindings,
        erasures,
        groups,
        owners,
        roles,
        service_accounts,
        sinks,
        tenants,
        tokens,
        users,
    )
    for command in get_args(noun.Command) or (noun.Command,)
}

# Who else may, beside the holders of the permission: one named function for each exception.
_EXCEPTIONS: Final[dict[type, Callable[[Facts, Any, Context], bool]]] = {
    groups.AddMember: groups.is_owners,
    groups.RemoveMember: groups.is_owners,
    groups.ChangeMembership: groups.is_owners,
    users.ChangeOwnProfile: users.is_own,
    users.ChangeOwnPassword: users.is_own,
    users.RehashPassword: users.is_own,
    **dict.fromkeys(get_args(tokens.Command), tokens.is_own),
}


def decide(state: Facts, command: Command, context: Context) -> tuple[Event, ...] | Recorded:
    """Answer the events of a command on this state, or the record of the same one done before.

    No event means that there is nothing to do. Raises a DomainError where the caller may not,
    or a rule refuses. The caller is judged first, then the idempotency record (http-api 4),
    then the noun's own rule, and If-Match last: it counts only where all else would succeed
    (RFC 9110, 13.2.1), and before the rule it would tell whether a foreign object exists.
    """
    gate(state, command, context)
    recorded = state.recorded.get(context.command_id)
    if recorded is not None:
        if recorded.fingerprint != context.fingerprint:
            raise InvalidError(
                "idempotency.mismatch", "this idempotency key was used for another request"
            )
        return recorded
    events = _DECIDE[type(command)](state, command, context)
    if context.expects is not UNSET:
        _require_expected(state, context.expects)
    if len(events) > EVENTS_A_COMMAND_MAX:
        raise ConflictError(
            "command.too_large", f"this would be {len(events)} events; take it in parts"
        )
    return events


def facts_of(
    command: Command, context: Context, events: Iterable[Event], after: int
) -> Iterator[Fact]:
    """Yield the events of a command as facts behind a position, with all its circumstances."""
    for position, event in enumerate(events, after + 1):
        tenant = tenant_of(event)
        envelope = Envelope(
            at=context.at,
            actor=context.actor,
            tenant=getattr(command, "tenant", UNSET) if tenant is UNSET else tenant,
            command_id=context.command_id,
            fingerprint=context.fingerprint,
            correlation_id=context.correlation_id,
            reason=context.reason,
            event=event,
        )
        yield Fact(position, envelope)


def record_of(fact: Fact) -> Record:
    """Answer a fact as it is stored; ConflictError `event.too_large` beyond 64 KiB."""
    record = encode(fact.position, fact.envelope)
    if len(record.state) > EVENT_BYTES_MAX:
        raise ConflictError("event.too_large", f"{record.topic} exceeds 64 KiB")
    return record


# The gate


def gate(state: Facts, command: Command, context: Context) -> None:
    """Refuse a caller who may not give this command, judged on the command's own state.

    Raises CredentialError, NotFoundError of the tenant, ForbiddenError.
    """
    require_usable(state, context)
    tenant: TenantId | UnsetType = getattr(command, "tenant", UNSET)
    if tenant is not UNSET:
        access.require_tenant(state, context, tenant)
    exception = _EXCEPTIONS.get(type(command))
    if exception is not None and exception(state, command, context):
        return
    if tenant is UNSET:
        require_owner(state, context)
        return
    needs: Permission = type(command).__dict__["needs"]
    alternative: Permission = type(command).__dict__.get("or_needs", needs)
    require_permission(state, context, tenant, needs, alternative)


def require_usable(state: Facts, context: Context) -> None:
    """Refuse a principal or token that has ended since the request was authenticated."""
    if context.actor.type == "system":
        return
    caller = context.caller
    principal = state.users.get(caller) or state.service_accounts.get(caller)
    if principal is None or not principal.enabled:
        raise CredentialError("principal.disabled", f"{caller} is disabled or deleted")
    if context.actor.token_id is not UNSET:
        token = state.tokens.get(context.actor.token_id)
        if token is None:
            raise CredentialError("token.revoked", "this token has been revoked")
        code = tokens.refusal(token, context.at)
        if code is not None:
            raise CredentialError(code, f"token {token.id} is not usable")


def require_owner(state: Facts, context: Context) -> None:
    """Refuse who is no instance owner, or acts by a token that narrows anything else."""
    if not access.is_unbounded_owner(state, context):
        raise ForbiddenError("privilege.required", "this needs an instance owner")


def require_permission(
    state: Facts,
    context: Context,
    tenant: TenantId,
    needs: Permission,
    alternative: Permission | None = None,
) -> None:
    """Refuse who holds neither permission in the whole tenant: `permission.denied`."""
    rights = access.rights(state, context, tenant)
    if rights.passes(needs) or (alternative is not None and rights.passes(alternative)):
        return
    raise ForbiddenError(
        "permission.denied",
        f"this needs {needs.type}:{needs.action} in tenant {tenant}",
        required=(Requirement(needs.type, needs.action),),
    )


def _require_expected(state: Facts, expects: Expectation) -> None:
    changed = changed_at(state, expects.object_id)
    if changed is None:
        raise NotFoundError("object.unknown", f"no object {expects.object_id}")
    if expects.position is not None and changed > expects.position:
        raise StaleError(
            "etag.mismatch",
            f"{expects.object_id} was changed at position {changed}",
            position=changed,
        )


def changed_at(state: Facts, object_id: str) -> int | None:
    """Answer the position of the last event that changed the object, None if there is none."""
    tables: tuple[Any, ...] = (
        state.service_accounts,
        state.users,
        state.groups,
        state.roles,
        state.bindings,
        state.tokens,
        state.tenants,
        state.sinks,
    )
    for table in tables:
        found = table.get(object_id)
        if found is not None:
            changed: int = found.changed
            # Memberships, access and the privilege show in a principal's answer too.
            return max(changed, state.touched.get(object_id, 0))
    return None
