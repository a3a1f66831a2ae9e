"""How is it told why a decision is what it is, and to whom is which part told?

The shape is that of authzen 6. What the asker may not see is left out: never replaced, because a
made-up word could be taken for a name.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from msgspec import UNSET, Struct, UnsetType

from domain import explaining
from domain.explaining import NEW_ROLE, Code
from domain.permissions import Permission, to_lists
from domain.principals import BindingCreated, MemberAdded, TenantAccessGranted
from domain.roles import RoleCreated
from domain.service_accounts import ServiceAccountEnabled
from domain.users import UserEnabled

if TYPE_CHECKING:
    from api.judging import Asked, Moment, Sight
    from domain.events import Event
    from domain.explaining import Explanation, Held
    from domain.ids import GroupId, RoleId, SubjectId, TenantId
    from domain.scopes import Scope
    from domain.state import State


class Named(Struct, frozen=True):
    """An object by its id and its name at the moment that is shown."""

    id: str
    name: str


class Through(Struct, frozen=True, kw_only=True):
    """What a right comes through; without id and name where the asker may not see it."""

    type: str = "group"
    id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET


class ResourcePlace(Struct, frozen=True):
    type: str
    id: str


class PlaceForm(Struct, frozen=True, kw_only=True):
    """A scope; empty for the whole tenant. With both members, what is asked must name both."""

    namespace: str | UnsetType = UNSET
    resource: ResourcePlace | UnsetType = UNSET


class PathForm(Struct, frozen=True, kw_only=True):
    """One sufficient way; `steps` are the positions of the events behind each of its parts."""

    binding: str | UnsetType = UNSET
    role: Named | UnsetType = UNSET
    permission: Permission | UnsetType = UNSET
    scope: PlaceForm
    via: tuple[Through, ...]
    positions: tuple[int, ...]
    steps: dict[str, tuple[int, ...]]


class NearForm(Struct, frozen=True, kw_only=True):
    """A binding that lacks one thing to allow."""

    binding: str | UnsetType = UNSET
    role: Named | UnsetType = UNSET
    scope: PlaceForm
    via: tuple[Through, ...]
    lacks: str


class StepForm(Struct, frozen=True, kw_only=True):
    """One act of a grant: `enable`, `tenant_access`, `membership`, `role` or `binding`.

    A binding without a role is to the role that the step before it makes.
    """

    kind: str
    group: Named | UnsetType = UNSET
    role: Named | UnsetType = UNSET
    permissions: dict[str, list[str]] | UnsetType = UNSET
    scope: PlaceForm | UnsetType = UNSET


class GrantForm(Struct, frozen=True):
    """What would allow it, if all of it were done."""

    steps: tuple[StepForm, ...]


class WhyForm(Struct, frozen=True, kw_only=True):
    """Why, at which position and instant."""

    position: int
    at: datetime
    code: str
    paths: tuple[PathForm, ...] | UnsetType = UNSET
    reason_admin: dict[str, str] | UnsetType = UNSET
    near: tuple[NearForm, ...] | UnsetType = UNSET
    grants: tuple[GrantForm, ...] | UnsetType = UNSET


class Explained(Struct, frozen=True):
    """A decision with its reasons."""

    decision: bool
    context: WhyForm


_REASONS: Final[dict[Code, str]] = {
    "allowed": "allowed",
    "subject.unknown": "there is no such subject",
    "subject.ambiguous": "several subjects have this name: ask by id",
    "subject.disabled": "the subject is disabled",
    "tenant.no_access": "the subject has no access to the tenant",
    "token.not_usable": "the token is not the subject's, is not usable, or does not leave this",
    "binding.none_in_scope": "no binding of the subject covers this place",
    "binding.outside_time": "no binding that covers this place is valid at this moment",
    "permission.not_granted": "what is bound here does not list this permission",
}


def explain(
    asked: Asked, typed: tuple[str, str], moment: Moment, sight: Sight, *, token_usable: bool
) -> Explained:
    """Answer a decision with its reasons; `typed` is the subject's type and id as sent.

    Reads nothing but the moment's state, so it may run in any thread.
    """
    state, subject = moment.state, asked.subject
    if subject is None or not (sight.strangers or is_known(state, asked.tenant, subject)):
        found = explaining.explain_unresolved(state, asked.tenant, *typed)
    else:
        found = explaining.explain(
            state, subject, asked.question, moment.now, token_usable=token_usable
        )
    told = Told(state, sight)
    at, position = datetime.fromtimestamp(moment.now, UTC), state.position
    if found.code == "allowed":
        return Explained(
            True,  # noqa: FBT003 - the decision itself
            WhyForm(position=position, at=at, code=found.code, paths=told.paths(found)),
        )
    return Explained(
        False,  # noqa: FBT003 - the decision itself
        WhyForm(
            position=position,
            at=at,
            code=found.code,
            reason_admin={"403": told.reason(found, asked)},
            near=told.near(found),
            grants=told.grants(found),
        ),
    )


class Told:
    """What of a state is told to one who sees so much of it."""

    def __init__(self, state: State, sight: Sight) -> None:
        self._state = state
        self._sight = sight

    def paths(self, found: Explanation) -> tuple[PathForm, ...]:
        sees_role = self._sight.own or self._sight.roles
        return tuple(
            PathForm(
                binding=self.binding(path.held),
                role=self.role_of(path.held),
                permission=Permission(*path.permission) if sees_role else UNSET,
                scope=place(path.held.binding.scope),
                via=self.via(path.held),
                positions=tuple(n for step in path.steps.values() for n in step),
                steps=path.steps,
            )
            for path in found.paths
        )

    def near(self, found: Explanation) -> tuple[NearForm, ...]:
        return tuple(
            NearForm(
                binding=self.binding(miss.held),
                role=self.role_of(miss.held),
                scope=place(miss.held.binding.scope),
                via=self.via(miss.held),
                lacks=miss.lacks,
            )
            for miss in found.near
        )

    def grants(self, found: Explanation) -> tuple[GrantForm, ...]:
        """Answer the grants of which the asker may see every part."""
        return tuple(
            GrantForm(tuple(map(self._step, events)))
            for events in found.grants
            if all(map(self._is_seen, events))
        )

    def reason(self, found: Explanation, asked: Asked) -> str:
        """Answer one sentence; it names the roles that are bound there, to who may see them."""
        if found.code != "permission.not_granted" or not (self._sight.own or self._sight.roles):
            return _REASONS[found.code]
        roles = {
            self._state.roles[miss.held.binding.role].name
            for miss in found.near
            if miss.lacks == "permission"
        }
        if not roles:
            return _REASONS[found.code]
        return f"{', '.join(sorted(roles))}: bound here, without {asked.action} of {asked.type}"

    def binding(self, held: Held) -> str | UnsetType:
        """Answer the id of what is held."""
        return held.binding.id if self._sight.own or self._sight.bindings else UNSET

    def role_of(self, held: Held) -> Named | UnsetType:
        """Answer the role that is held."""
        return self._role(held.binding.role) if self._sight.own or self._sight.roles else UNSET

    def via(self, held: Held) -> tuple[Through, ...]:
        """Answer the groups through which it is held."""
        if held.via is None:
            return ()
        if not (self._sight.own or self._sight.groups):
            return (Through(),)
        group = self._group(held.via.group)
        return (Through(id=group.id, name=group.name),)

    def _role(self, id_: RoleId) -> Named:
        return Named(id_, self._state.roles[id_].name)

    def _group(self, id_: GroupId) -> Named:
        return Named(id_, self._state.groups[id_].name)

    def _is_seen(self, event: Event) -> bool:
        if isinstance(event, MemberAdded):
            return self._sight.groups
        is_of_a_role = isinstance(event, BindingCreated) and event.role != NEW_ROLE
        return self._sight.roles or not is_of_a_role

    def _step(self, event: Event) -> StepForm:
        match event:
            case ServiceAccountEnabled() | UserEnabled():
                return StepForm(kind="enable")
            case TenantAccessGranted():
                return StepForm(kind="tenant_access")
            case MemberAdded():
                return StepForm(kind="membership", group=self._group(event.group))
            case RoleCreated():
                return StepForm(kind="role", permissions=to_lists(event.permissions))
            case BindingCreated():
                role = UNSET if event.role == NEW_ROLE else self._role(event.role)
                return StepForm(kind="binding", role=role, scope=place(event.scope))
            case _:
                raise TypeError(event)


def is_known(state: State, tenant: TenantId, subject: SubjectId) -> bool:
    """Tell whether a tenant knows the subject: of those of others it is told nothing."""
    return subject in state.groups or tenant in state.access.get(subject, ())


def place(scope: Scope) -> PlaceForm:
    """Answer the form of a scope."""
    if scope.resource is not UNSET:
        return PlaceForm(resource=ResourcePlace(scope.resource.type, scope.resource.id))
    return PlaceForm(namespace=scope.namespace)
