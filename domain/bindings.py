"""Who holds which role where, and from when until when?

A binding is immutable: it is created and deleted. Its span is judged when a question is decided,
to the second; nothing sweeps.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, assert_never

from msgspec import UNSET, Struct, UnsetType, structs

from domain import access, escalation, names, principals
from domain.errors import ConflictError, Faults, FieldFault, InvalidError, NotFoundError
from domain.ids import BindingId, RoleId, SubjectId, TenantId
from domain.limits import BINDINGS_A_REQUEST_MAX
from domain.permissions import Permission
from domain.principals import SubjectType
from domain.scopes import WHOLE_TENANT, Scope

if TYPE_CHECKING:
    from domain.commands import Context
    from domain.state import Facts

# Commands


class Assignment(Struct, frozen=True, kw_only=True):
    """One binding to be made; `default_binding` is for a default role, should access be gained."""

    id: BindingId
    default_binding: BindingId
    subject_type: SubjectType
    subject: SubjectId
    role: RoleId
    scope: Scope = WHOLE_TENANT
    not_before: datetime | UnsetType = UNSET
    expires_at: datetime | UnsetType = UNSET


class AssignRole(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("BINDING", "CREATE")
    tenant: TenantId
    assignment: Assignment


class AssignRoles(Struct, frozen=True, kw_only=True):
    """All of the assignments or none."""

    needs: ClassVar[Permission] = Permission("BINDING", "CREATE")
    tenant: TenantId
    assignments: tuple[Assignment, ...]


class DeleteBinding(Struct, frozen=True, kw_only=True):
    needs: ClassVar[Permission] = Permission("BINDING", "DELETE")
    tenant: TenantId
    id: BindingId


Command = AssignRole | AssignRoles | DeleteBinding

# Rules


def decide(state: Facts, command: Command, context: Context) -> tuple[principals.Event, ...]:
    match command:
        case AssignRole():
            return _assign(state, command.tenant, (command.assignment,), context, ("",))
        case AssignRoles():
            return _assign_roles(state, command, context)
        case DeleteBinding():
            return (principals.unbind(require(state, command.tenant, command.id)),)
        case _:
            assert_never(command)


def require(state: Facts, tenant: TenantId, id_: BindingId) -> principals.Binding:
    """Answer the binding of this tenant; NotFoundError `binding.unknown`."""
    binding = state.bindings.get(id_)
    if binding is None or binding.tenant != tenant:
        raise NotFoundError("binding.unknown", f"no binding {id_}")
    return binding


def _assign_roles(
    state: Facts, command: AssignRoles, context: Context
) -> tuple[principals.Event, ...]:
    if len(command.assignments) > BINDINGS_A_REQUEST_MAX:
        raise InvalidError("binding.too_many", f"at most {BINDINGS_A_REQUEST_MAX} bindings at once")
    paths = tuple(f"[{index}]." for index in range(len(command.assignments)))
    return _assign(state, command.tenant, command.assignments, context, paths)


def _assign(
    state: Facts,
    tenant: TenantId,
    assignments: tuple[Assignment, ...],
    context: Context,
    paths: tuple[str, ...],
) -> tuple[principals.Event, ...]:
    """Judge every assignment; `paths` begin the fields that faults name."""
    faults = Faults()
    judged = [
        _judged(assignment, context, faults, path)
        for assignment, path in zip(assignments, paths, strict=True)
    ]
    faults.refuse("binding.invalid")
    events: list[principals.Event] = []
    seen: set[Assignment] = set()
    gained: set[SubjectId] = set()
    rights = access.rights(state, context, tenant)
    for assignment, path in zip(judged, paths, strict=True):
        _require_known(state, tenant, assignment, context, path)
        escalation.require_may_give_role(
            rights, assignment.role, assignment.scope, "binding.escalation"
        )
        # All but the ids: the same role for another time is another binding.
        same = structs.replace(assignment, id="", default_binding="")
        if same in seen or _exists(state, tenant, assignment, context):
            raise ConflictError(
                "binding.exists",
                "this binding exists already",
                fields=(FieldFault(f"{path}roleId", "is bound already", "binding.exists"),),
            )
        seen.add(same)
        principal = principals.as_principal(assignment.subject_type, assignment.subject)
        if principal is not None and principal not in gained:
            gained.add(principal)
            events += principals.ensure_access(
                state, context, tenant, principal, assignment.default_binding
            )
        events.append(
            principals.BindingCreated(
                tenant=tenant,
                id=assignment.id,
                subject_type=assignment.subject_type,
                subject=assignment.subject,
                role=assignment.role,
                scope=assignment.scope,
                not_before=assignment.not_before,
                expires_at=assignment.expires_at,
            )
        )
    new = Counter(event.subject for event in events if isinstance(event, principals.BindingCreated))
    for subject, count in new.items():
        principals.require_room_for_binding(state, subject, count)
    return tuple(events)


def _judged(assignment: Assignment, context: Context, faults: Faults, path: str) -> Assignment:
    """Answer the assignment with its span in UTC, noting what does not fit."""
    scope = assignment.scope
    if scope.namespace is not UNSET and scope.resource is not UNSET:
        raise InvalidError(
            "binding.scope",
            "a binding has a namespace or a resource, not both",
            fields=(FieldFault(f"{path}resource", "stands beside a namespace", "binding.scope"),),
        )
    if scope.namespace is not UNSET:
        faults.check(f"{path}namespaceId", names.namespace, scope.namespace)
    if scope.resource is not UNSET:
        faults.check(f"{path}resource.type", names.identifier, scope.resource.type)
        faults.check(f"{path}resource.id", names.resource_id, scope.resource.id)
    not_before, expires_at = access.judge_span(
        assignment.not_before, assignment.expires_at, context.at, faults, path
    )
    return structs.replace(assignment, not_before=not_before, expires_at=expires_at)


def _require_known(
    state: Facts, tenant: TenantId, assignment: Assignment, context: Context, path: str
) -> None:
    role = state.roles.get(assignment.role)
    if role is None or role.tenant != tenant:
        raise NotFoundError(
            "role.unknown",
            f"no role {assignment.role}",
            fields=(FieldFault(f"{path}roleId", "is unknown", "role.unknown"),),
        )
    principal = principals.as_principal(assignment.subject_type, assignment.subject)
    if principal is None:
        group = state.groups.get(assignment.subject)
        known = group is not None and group.tenant == tenant
    else:
        principals.require_may_reach(state, context, tenant, principal)
        known = principals.find(state, principal) is not None
    if not known:
        code = "group.unknown" if assignment.subject_type == "GROUP" else "principal.unknown"
        raise NotFoundError(
            code,
            f"no subject {assignment.subject}",
            fields=(FieldFault(f"{path}externalId", "is unknown", code),),
        )


def _exists(state: Facts, tenant: TenantId, assignment: Assignment, context: Context) -> bool:
    return any(
        binding.tenant == tenant
        and binding.role == assignment.role
        and binding.scope == assignment.scope
        and binding.not_before == assignment.not_before
        and binding.expires_at == assignment.expires_at
        and not access.is_over(binding.expires_at, context.at)
        for binding in access.bindings_of(state, assignment.subject)
    )
