"""Which event of each topic stands for all of its kind, in an order that makes sense?"""

from __future__ import annotations

from datetime import timedelta

from msgspec import UNSET

from domain.access import Narrowing
from domain.aliases import AliasRemoved, AliasSet
from domain.erasures import UserErased
from domain.events import Actor, Envelope, Event, Fact, tenant_of
from domain.groups import (
    GroupCreated,
    GroupDeleted,
    GroupDescribed,
    GroupRenamed,
    MembershipChanged,
)
from domain.ids import MAIN, BindingId, CommandId, SinkId, TokenId
from domain.permissions import from_lists
from domain.principals import (
    BindingCreated,
    BindingDeleted,
    InstanceOwnerGranted,
    InstanceOwnerRevoked,
    MemberAdded,
    MemberRemoved,
    TenantAccessEnded,
    TenantAccessGranted,
    TokenRevoked,
)
from domain.roles import (
    DefaultRoleEnded,
    RoleCreated,
    RoleDeleted,
    RoleDescribed,
    RoleMadeDefault,
    RolePermissionsSet,
    RoleRenamed,
)
from domain.scopes import Resource, Scope
from domain.service_accounts import (
    ServiceAccountCreated,
    ServiceAccountDeleted,
    ServiceAccountDescribed,
    ServiceAccountDisabled,
    ServiceAccountEnabled,
    ServiceAccountRenamed,
)
from domain.sinks import SinkCreated, SinkDeleted, SinkPaused, SinkReplayed, SinkResumed
from domain.tenants import (
    LogOpened,
    ManagedRoleCreated,
    TenantCreated,
    TenantDeleted,
    TenantRenamed,
)
from domain.tokens import (
    TokenDisabled,
    TokenEnabled,
    TokenExtended,
    TokenIssued,
    TokenRotated,
)
from domain.users import (
    PasswordRehashed,
    PasswordRemoved,
    PasswordSet,
    SessionsEnded,
    UserCreated,
    UserDeleted,
    UserDisabled,
    UserEmailChanged,
    UserEnabled,
    UserRenamed,
    UserRestricted,
    UserUnrestricted,
)
from tests.domain.world import (
    ADA,
    BETA,
    BOT,
    BOTS,
    DAN,
    HOUR,
    NEW_TOKEN,
    OPERATOR,
    alias_index,
    digest_of,
    index,
    managed,
    prefix_of,
    sealed,
)
from tests.fixed_inputs import START

ACTOR = Actor(
    type="user",
    id=ADA,
    token_id=NEW_TOKEN,
    via="api",
    address="192.0.2.1",
    user_agent="curl/8",
    impersonator=DAN,
)
BINDING = BindingId("bnd_1")
SIEM = SinkId("snk_siem")

EXAMPLES: tuple[Event, ...] = (
    LogOpened(log_id="log_1"),
    TenantCreated(tenant=MAIN, name="main"),
    ManagedRoleCreated(
        tenant=MAIN,
        id=managed(MAIN, "Viewer"),
        name="Viewer",
        permissions=from_lists({"FLOW": ["VIEW", "LIST"]}),
    ),
    UserCreated(
        id=ADA,
        email=sealed("ada@example.com"),
        email_index=index("ada@example.com"),
        first_name=sealed("Ada"),
        last_name=sealed("Lovelace"),
    ),
    PasswordSet(id=ADA, password=sealed("a hash")),
    InstanceOwnerGranted(principal=ADA),
    TenantRenamed(tenant=MAIN, name="The main tenant"),
    TenantAccessGranted(tenant=MAIN, principal=ADA),
    ServiceAccountCreated(id=BOT, name="ci-bot", description="CI pipeline"),
    ServiceAccountRenamed(id=BOT, name="cd-bot"),
    ServiceAccountDescribed(id=BOT, description="CD pipeline\nwith lines"),
    GroupCreated(tenant=MAIN, id=BOTS, name="Bots", description="All of them"),
    GroupRenamed(tenant=MAIN, id=BOTS, name="Röbots"),
    GroupDescribed(tenant=MAIN, id=BOTS, description=""),
    MemberAdded(
        tenant=MAIN,
        group=BOTS,
        principal=BOT,
        level="OWNER",
        not_before=START,
        expires_at=START + 9 * HOUR,
    ),
    MembershipChanged(tenant=MAIN, group=BOTS, principal=BOT, level="MEMBER"),
    RoleCreated(
        tenant=MAIN,
        id=OPERATOR,
        name="operator",
        description="Runs things",
        permissions=from_lists({"FLOW": ["EXECUTE", "READ"], "record": ["write"], "*": ["*"]}),
    ),
    RoleRenamed(tenant=MAIN, id=OPERATOR, name="runner"),
    RoleDescribed(tenant=MAIN, id=OPERATOR, description="Runs more"),
    RolePermissionsSet(
        tenant=MAIN, id=OPERATOR, permissions=from_lists({"FLOW": ["EXECUTE", "VIEW"]})
    ),
    RoleMadeDefault(tenant=MAIN, id=OPERATOR),
    DefaultRoleEnded(tenant=MAIN, id=OPERATOR),
    BindingCreated(
        tenant=MAIN,
        id=BINDING,
        subject_type="GROUP",
        subject=BOTS,
        role=OPERATOR,
        scope=Scope(resource=Resource("record", "r-17")),
        not_before=START,
        expires_at=START + 9 * HOUR,
    ),
    TokenIssued(
        id=NEW_TOKEN,
        owner=BOT,
        name="deploy",
        description="prod",
        digest=digest_of(NEW_TOKEN),
        prefix=prefix_of(NEW_TOKEN),
        expires_at=START + 24 * HOUR,
        max_age_seconds=86_400,
        extended=True,
        narrowing=Narrowing(
            permissions=from_lists({"FLOW": ["EXECUTE"]}),
            tenants=(MAIN,),
            namespaces=("prod.billing",),
            resources=(Resource("record", "r-17"),),
            instance_owner=True,
        ),
        allowed_addresses=("10.0.0.0/8",),
    ),
    TokenExtended(id=NEW_TOKEN, expires_at=START + 48 * HOUR),
    TokenDisabled(id=NEW_TOKEN),
    TokenEnabled(id=NEW_TOKEN),
    TokenRotated(
        id=NEW_TOKEN,
        new_id=TokenId("tok_newer"),
        digest=digest_of(NEW_TOKEN)[::-1],
        prefix="ABC123",
        grace_until=START + 2 * HOUR,
    ),
    TokenRevoked(id=NEW_TOKEN),
    ServiceAccountDisabled(id=BOT),
    ServiceAccountEnabled(id=BOT),
    UserEmailChanged(id=ADA, email=sealed("ada@x"), email_index=index("ada@x")),
    UserRenamed(id=ADA, last_name=sealed("King")),
    PasswordRehashed(id=ADA, password=sealed("a stronger hash")),
    UserRestricted(id=ADA),
    UserUnrestricted(id=ADA),
    SessionsEnded(id=ADA),
    UserDisabled(id=ADA),
    UserEnabled(id=ADA),
    BindingDeleted(tenant=MAIN, id=BINDING),
    MemberRemoved(tenant=MAIN, group=BOTS, principal=BOT),
    GroupDeleted(tenant=MAIN, id=BOTS),
    RoleDeleted(tenant=MAIN, id=OPERATOR),
    ServiceAccountDeleted(id=BOT),
    TenantAccessEnded(tenant=MAIN, principal=ADA),
    InstanceOwnerRevoked(principal=ADA),
    UserDeleted(id=ADA),
    TenantDeleted(tenant=BETA),
    PasswordRemoved(id=ADA),
    AliasSet(
        tenant=MAIN,
        principal=ADA,
        type="user",
        index=alias_index(MAIN, "user", "ada"),
        text=sealed("ada"),
    ),
    AliasRemoved(tenant=MAIN, principal=ADA, type="user", index=alias_index(MAIN, "user", "ada")),
    SinkCreated(
        id=SIEM,
        name="SIEM",
        kind="webhook",
        url="https://siem.example/in",
        types=("token.*",),
        after=7,
    ),
    SinkPaused(id=SIEM),
    SinkResumed(id=SIEM),
    SinkReplayed(id=SIEM, after=3),
    SinkDeleted(id=SIEM),
    UserErased(id=ADA),
)


def example_facts() -> tuple[Fact, ...]:
    """Answer the examples at their positions; every other one with each member of an envelope."""
    return tuple(
        Fact(
            position,
            Envelope(
                at=START + timedelta(minutes=position),
                actor=ACTOR if position % 2 else Actor(type="system", id="system"),
                tenant=tenant_of(event),
                command_id=CommandId(f"cmd_{position}"),
                fingerprint=UNSET if position % 2 else "fingerprint",
                correlation_id=f"req_{position}",
                reason="an example" if position % 2 else UNSET,
                event=event,
            ),
        )
        for position, event in enumerate(EXAMPLES, 1)
    )
