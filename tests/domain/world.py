"""Which installation do most rules of the domain get tested in?

Two tenants. In `main`: ROOT is the instance owner; ADA is Admin; CAL may use every route of
administration but holds nothing else; DAN has access and no rights; BOT is a service account in
the group BOTS. In `beta`: EVE is Admin, and CREW and DRONE are a group and a service account.
SHARED is a service account of both.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256

from msgspec import UNSET, UnsetType

from domain.access import Narrowing
from domain.aliases import AliasSet
from domain.events import Event
from domain.groups import GroupCreated
from domain.ids import (
    MAIN,
    BindingId,
    CommandId,
    GroupId,
    PrincipalId,
    RoleId,
    ServiceAccountId,
    SubjectId,
    TenantId,
    TokenId,
    UserId,
)
from domain.permissions import MANAGED_ROLES, Permissions, from_lists
from domain.principals import (
    BindingCreated,
    InstanceOwnerGranted,
    Level,
    MemberAdded,
    TenantAccessGranted,
)
from domain.roles import RoleCreated
from domain.scopes import WHOLE_TENANT, Resource, Scope
from domain.sealed import KeyId, Sealed
from domain.service_accounts import ServiceAccountCreated
from domain.tenants import LogOpened, ManagedRoleCreated, TenantCreated
from domain.tokens import TokenIssued
from domain.users import PasswordSet, UserCreated
from tests.fixed_inputs import START
from tests.spec import given

BETA = TenantId("beta")
NOWHERE = TenantId("nowhere")

ROOT = UserId("usr_root")
ADA = UserId("usr_ada")
CAL = UserId("usr_cal")
DAN = UserId("usr_dan")
EVE = UserId("usr_eve")
NEW = UserId("usr_new")
BOT = ServiceAccountId("sa_bot")
SHARED = ServiceAccountId("sa_shared")
DRONE = ServiceAccountId("sa_drone")
NEW_BOT = ServiceAccountId("sa_new")
BOTS = GroupId("grp_bots")
CREW = GroupId("grp_crew")
NEW_GROUP = GroupId("grp_new")
OPERATOR = RoleId("rol_operator")
MANAGER = RoleId("rol_manager")
BETA_ROLE = RoleId("rol_beta")
NEW_ROLE = RoleId("rol_new")
SPARE = BindingId("bnd_spare")
NEW_BINDING = BindingId("bnd_new")
NEW_TOKEN = TokenId("tok_new")

PROD = Scope(namespace="prod")
RECORD = Scope(resource=Resource("record", "r-17"))
HOUR = timedelta(hours=1)
SOON = START + HOUR
LATER = START + 2 * HOUR
PAST = START - HOUR

OPERATOR_PERMISSIONS = from_lists({"FLOW": ["VIEW", "EXECUTE"], "EXECUTION": ["READ"]})
ADMINISTRATION = from_lists(
    {
        "USER": ["*"],
        "GROUP": ["*"],
        "ROLE": ["*"],
        "BINDING": ["*"],
        "SERVICE_ACCOUNT": ["*"],
        "AUDITLOG": ["*"],
    }
)


def sealed(text: str) -> Sealed:
    """Answer a dummy that stands for a sealed value."""
    return Sealed(
        key=KeyId(f"key_{text}"),
        command_id=CommandId("cmd_sealed"),
        text=text.encode(),
        commit=sha256(text.encode()).digest(),
    )


def index(text: str) -> bytes:
    """Answer a dummy that stands for the keyed index of an e-mail."""
    return sha256(b"index " + text.encode()).digest()


def alias_index(tenant: TenantId, type_: str, text: str) -> bytes:
    """Answer a dummy that stands for the keyed index of an alias."""
    return index(f"{tenant} {type_} {text}")


def alias(principal: PrincipalId, type_: str, text: str, *, tenant: TenantId = MAIN) -> AliasSet:
    """An alias, sealed where it is a person's."""
    return AliasSet(
        tenant=tenant,
        principal=principal,
        type=type_,
        index=alias_index(tenant, type_, text),
        text=text if principal.startswith("sa_") else sealed(text),
    )


def managed(tenant: TenantId, name: str) -> RoleId:
    """Answer the id of a managed role."""
    return RoleId(f"rol_{tenant}_{name.lower()}")


def managed_ids(tenant: TenantId) -> tuple[RoleId, ...]:
    """Answer the ids of all managed roles, in the order in which they are made."""
    return tuple(managed(tenant, name) for name in MANAGED_ROLES)


def opened(tenant: TenantId, name: str) -> tuple[Event, ...]:
    """A tenant with its managed roles."""
    return (
        TenantCreated(tenant=tenant, name=name),
        *(
            ManagedRoleCreated(
                tenant=tenant, id=managed(tenant, role), name=role, permissions=permissions
            )
            for role, permissions in MANAGED_ROLES.items()
        ),
    )


def user(id_: UserId, *tenants: TenantId, owner: bool = False) -> tuple[Event, ...]:
    """A user with a password and access to the tenants."""
    granted = (TenantAccessGranted(tenant=tenant, principal=id_) for tenant in tenants)
    owned = (InstanceOwnerGranted(principal=id_),) if owner else ()
    return (
        UserCreated(id=id_, email=sealed(f"{id_} mail"), email_index=index(id_)),
        PasswordSet(id=id_, password=sealed(f"{id_} password")),
        *granted,
        *owned,
    )


def account(id_: ServiceAccountId, *tenants: TenantId) -> tuple[Event, ...]:
    """A service account with access to the tenants."""
    granted = (TenantAccessGranted(tenant=tenant, principal=id_) for tenant in tenants)
    return (ServiceAccountCreated(id=id_, name=id_.removeprefix("sa_")), *granted)


def role(id_: RoleId, permissions: Permissions, tenant: TenantId = MAIN) -> RoleCreated:
    """A role of that name and those permissions."""
    name = id_.removeprefix("rol_")
    return RoleCreated(tenant=tenant, id=id_, name=name, permissions=permissions)


def group(id_: GroupId, name: str, tenant: TenantId = MAIN) -> GroupCreated:
    """A group without members."""
    return GroupCreated(tenant=tenant, id=id_, name=name)


def bound(
    subject: SubjectId,
    role_id: RoleId,
    scope: Scope = WHOLE_TENANT,
    *,
    tenant: TenantId = MAIN,
    id_: str = "",
    not_before: datetime | UnsetType = UNSET,
    expires_at: datetime | UnsetType = UNSET,
) -> BindingCreated:
    """A binding, by default with an id made of its subject and role."""
    return BindingCreated(
        tenant=tenant,
        id=BindingId(id_ or f"bnd_{subject}_{role_id}"),
        subject_type="GROUP" if subject.startswith("grp_") else "PRINCIPAL",
        subject=subject,
        role=role_id,
        scope=scope,
        not_before=not_before,
        expires_at=expires_at,
    )


def member(
    group_id: GroupId,
    principal: PrincipalId,
    level: Level = "MEMBER",
    *,
    tenant: TenantId = MAIN,
    not_before: datetime | UnsetType = UNSET,
    expires_at: datetime | UnsetType = UNSET,
) -> MemberAdded:
    """A membership."""
    return MemberAdded(
        tenant=tenant,
        group=group_id,
        principal=principal,
        level=level,
        not_before=not_before,
        expires_at=expires_at,
    )


def token(
    id_: TokenId,
    owner: PrincipalId,
    narrowing: Narrowing | UnsetType = UNSET,
    *,
    expires_at: datetime | UnsetType = UNSET,
    max_age_seconds: int | UnsetType = UNSET,
    extended: bool = False,
    allowed_addresses: tuple[str, ...] = (),
) -> TokenIssued:
    """A token whose digest and prefix follow from its id."""
    return TokenIssued(
        id=id_,
        owner=owner,
        name="deploy",
        digest=digest_of(id_),
        prefix=prefix_of(id_),
        expires_at=expires_at,
        max_age_seconds=max_age_seconds,
        extended=extended,
        narrowing=narrowing,
        allowed_addresses=allowed_addresses,
    )


def digest_of(id_: TokenId) -> bytes:
    """Answer the digest that a token of this id has in tests."""
    return sha256(id_.encode()).digest()


def prefix_of(id_: TokenId) -> str:
    """Answer the public prefix that a token of this id has in tests."""
    return sha256(id_.encode()).hexdigest()[:6].upper()


BEGINNING: tuple[Event, ...] = (
    LogOpened(log_id="log_1"),
    *opened(MAIN, "main"),
    *opened(BETA, "Beta"),
    *user(ROOT, owner=True),
)

EVENTS: tuple[Event, ...] = (
    *BEGINNING,
    *user(ADA, MAIN),
    *user(CAL, MAIN),
    *user(DAN, MAIN),
    *user(EVE, BETA),
    *account(BOT, MAIN),
    *account(SHARED, MAIN, BETA),
    *account(DRONE, BETA),
    role(OPERATOR, OPERATOR_PERMISSIONS),
    role(MANAGER, ADMINISTRATION),
    role(BETA_ROLE, OPERATOR_PERMISSIONS, BETA),
    group(BOTS, "Bots"),
    group(CREW, "Crew", BETA),
    member(BOTS, BOT),
    bound(ADA, managed(MAIN, "Admin")),
    bound(EVE, managed(BETA, "Admin"), tenant=BETA),
    bound(CAL, MANAGER),
)

WORLD = given(*EVENTS)
