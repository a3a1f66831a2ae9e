"""By which names do applications know a principal, beside its id?

An alias is a pair of subject type and subject id, unique in its tenant (authzen 3). It is found by
a keyed index, because a person's alias is personal data and stands sealed in the event. The ends of
access and of principals end aliases too, so this noun stands below them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, assert_never

from msgspec import UNSET, Struct, UnsetType

from domain import access, escalation, names
from domain.errors import (
    ConflictError,
    Faults,
    FieldFault,
    ForbiddenError,
    InvalidError,
    NotFoundError,
)
from domain.ids import GroupId, PrincipalId, SubjectId, TenantId, UserId
from domain.limits import ALIASES_A_PRINCIPAL_MAX
from domain.permissions import Permission
from domain.sealed import Sealed, Secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.commands import Context
    from domain.state import Draft, Facts

# The name of the field as which a person's alias is sealed.
FIELD: Final = "alias"

# An alias of a principal: where it holds, its type, and the keyed index of all three.
AliasKey = tuple[TenantId, str, bytes]

# Commands


class SetAlias(Struct, frozen=True, kw_only=True):
    """`index` is the vault's for tenant, type and id; `sealed` is the id of a person's alias."""

    needs: ClassVar[Permission] = Permission("SERVICE_ACCOUNT", "UPDATE")
    or_needs: ClassVar[Permission] = Permission("USER", "UPDATE")
    tenant: TenantId
    principal: PrincipalId
    type: str
    id: Secret
    index: bytes
    sealed: Sealed | UnsetType = UNSET


class RemoveAlias(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("SERVICE_ACCOUNT", "UPDATE")
    or_needs: ClassVar[Permission] = Permission("USER", "UPDATE")
    tenant: TenantId
    principal: PrincipalId
    type: str
    index: bytes


Command = SetAlias | RemoveAlias

# Events


class AliasSet(Struct, frozen=True, kw_only=True):
    """`text` is the alias's id, plain for a service account and sealed for a user."""

    topic: ClassVar[str] = "alias.set.v1"
    tenant: TenantId
    principal: PrincipalId
    type: str
    index: bytes
    text: str | Sealed


class AliasRemoved(Struct, frozen=True, kw_only=True):
    topic: ClassVar[str] = "alias.removed.v1"
    tenant: TenantId
    principal: PrincipalId
    type: str
    index: bytes


Event = AliasSet | AliasRemoved

# State


class Alias(Struct, frozen=True, kw_only=True):
    tenant: TenantId
    principal: PrincipalId
    type: str
    index: bytes
    text: str | Sealed

    @property
    def key(self) -> AliasKey:
        """What tells it from the principal's others."""
        return (self.tenant, self.type, self.index)


# Types that mean more than an alias, and the only kind of principal that may carry each.
_KINDS: Final = {"user": "USER", "service_account": "SERVICE_ACCOUNT", "group": ""}

# Rules


def decide(state: Facts, command: Command, context: Context) -> tuple[Event, ...]:
    match command:
        case SetAlias():
            return _set_alias(state, command, context)
        case RemoveAlias():
            return _remove_alias(state, command, context)
        case _:
            assert_never(command)


def held(state: Facts, tenant: TenantId, principal: SubjectId) -> tuple[Alias, ...]:
    """Answer the aliases of a principal in a tenant, in no order."""
    return tuple(one for one in _all(state, principal) if one.tenant == tenant)


def ends(state: Facts, tenant: TenantId, principal: PrincipalId) -> Iterable[AliasRemoved]:
    """Yield the ends of all aliases of a principal in a tenant."""
    for one in held(state, tenant, principal):
        yield AliasRemoved(tenant=tenant, principal=principal, type=one.type, index=one.index)


def _all(state: Facts, principal: SubjectId) -> Iterable[Alias]:
    found = state.aliases_of.get(principal)
    return () if found is None else found.values()


def require_carrier(
    state: Facts, rights: access.Rights, principal: PrincipalId, action: str
) -> str:
    """Answer the kind of a principal whose aliases the caller may see or change: its permission's.

    NotFoundError `principal.unknown`, alike for nobody, for one without access to the tenant, and
    for one of a kind that the caller may not do this with: no id is to be probed without the
    permission (security 2.3).
    """
    kind = "USER" if principal in state.users else "SERVICE_ACCOUNT"
    is_known = kind == "USER" or principal in state.service_accounts
    has_access = rights.tenant in state.access.get(principal, ())
    if not is_known or not has_access or not rights.passes(Permission(kind, action)):
        raise NotFoundError("principal.unknown", f"no user or service account {principal}")
    return kind


def require_no_id(
    state: Facts, tenant: TenantId | UnsetType, text: str, code: str, path: str
) -> None:
    """Refuse a new name that is the id of a user, service account or group.

    An id is looked for before any name, so such a name would never be found (authzen 3). Nor is
    one found that is an id of another tenant, but to refuse it would tell that there is such an id
    (security 2.3); without `tenant` all ids count. Raises ConflictError `code` with a fault at
    `path`, which does not quote a person's alias.
    """
    group = state.groups.get(GroupId(text))
    if group is not None:
        is_id = tenant in (UNSET, group.tenant)
    else:
        there = state.users.get(UserId(text)) or state.service_accounts.get(UserId(text))
        is_id = there is not None and (
            tenant is UNSET or tenant in state.access.get(UserId(text), ())
        )
    if is_id:
        fault = FieldFault(path, "is the id of a user, service account or group", code)
        raise ConflictError(code, f"{path} {fault.detail}", fields=(fault,))


def _set_alias(state: Facts, command: SetAlias, context: Context) -> tuple[Event, ...]:
    faults = Faults()
    type_ = faults.check("type", names.resource_id, command.type)
    id_ = faults.check("id", names.resource_id, command.id.reveal())
    faults.refuse("alias.invalid")
    tenant, principal = command.tenant, command.principal
    rights = access.rights(state, context, tenant)
    kind = require_carrier(state, rights, principal, "UPDATE")
    if _KINDS.get(type_, kind) != kind:
        fault = FieldFault("type", "is of another kind of subject", "alias.invalid")
        raise InvalidError("alias.invalid", f"type {fault.detail}", fields=(fault,))
    _require_may_lend(state, context, tenant, principal)
    carrier = _carrier_of(state, command)
    if carrier == principal:
        return ()
    if carrier is not None:
        fault = FieldFault("id", "is taken in this tenant", "alias.taken")
        detail = "this tenant has such an alias already"
        raise ConflictError("alias.taken", detail, fields=(fault,))
    require_no_id(state, tenant, id_, "alias.is_id", "id")
    if len(held(state, tenant, principal)) >= ALIASES_A_PRINCIPAL_MAX:
        raise ConflictError("alias.too_many", f"{principal} has too many aliases in {tenant}")
    text: str | Sealed = id_
    if kind == "USER":
        if command.sealed is UNSET:
            # The edge knew no such user: it came to be since.
            raise NotFoundError("principal.unknown", f"no user or service account {principal}")
        text = command.sealed
    return (
        AliasSet(tenant=tenant, principal=principal, type=type_, index=command.index, text=text),
    )


def _require_may_lend(
    state: Facts, context: Context, tenant: TenantId, principal: PrincipalId
) -> None:
    """Refuse to let an application's subject act with rights that the caller lacks there.

    A narrowed token would so hand out all that its own owner holds.
    """
    if principal == context.caller and access.is_narrowed(state, context):
        raise ForbiddenError("alias.escalation", "a narrowed token names its owner nothing else")
    only_here = access.Narrowing(tenants=(tenant,))
    escalation.require_may_give_all(state, context, principal, only_here, "alias.escalation")


def _carrier_of(state: Facts, command: SetAlias | RemoveAlias) -> PrincipalId | None:
    found = state.aliases.get((command.tenant, command.type))
    return None if found is None else found.get(command.index)


def _remove_alias(state: Facts, command: RemoveAlias, context: Context) -> tuple[Event, ...]:
    tenant, principal = command.tenant, command.principal
    rights = access.rights(state, context, tenant)
    require_carrier(state, rights, principal, "UPDATE")
    if _carrier_of(state, command) != principal:
        raise NotFoundError("alias.unknown", f"{principal} has no such alias in {tenant}")
    return (
        AliasRemoved(tenant=tenant, principal=principal, type=command.type, index=command.index),
    )


# Memory


def apply(draft: Draft, event: Event) -> None:
    match event:
        case AliasSet():
            alias = Alias(
                tenant=event.tenant,
                principal=event.principal,
                type=event.type,
                index=event.index,
                text=event.text,
            )
            draft.link(draft.aliases, (event.tenant, event.type), event.index, event.principal)
            draft.link(draft.aliases_of, event.principal, alias.key, alias)
        case AliasRemoved():
            key = (event.tenant, event.type, event.index)
            draft.unlink(draft.aliases, (event.tenant, event.type), event.index)
            draft.unlink(draft.aliases_of, event.principal, key)
        case _:
            assert_never(event)
