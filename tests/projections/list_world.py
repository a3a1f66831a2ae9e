"""Which known installation are the lists asked about?"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from domain.bindings import Assignment, AssignRole, DeleteBinding
from domain.groups import AddMember, CreateGroup
from domain.ids import MAIN, BindingId, GroupId, RoleId, ServiceAccountId, TenantId, TokenId, UserId
from domain.permissions import from_lists
from domain.roles import CreateRole
from domain.scopes import WHOLE_TENANT, Resource, Scope
from domain.service_accounts import (
    ChangeServiceAccount,
    CreateServiceAccount,
    DeleteServiceAccount,
    DisableServiceAccount,
)
from domain.tenants import CreateTenant, DeleteTenant
from domain.tokens import DisableToken, IssueToken, RotateToken
from domain.users import CreateUser, DisableUser
from projections.pages import Page
from tests.histories import Histories
from tests.projections.view_rows import rebuild

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from domain.ids import SubjectId
    from domain.principals import SubjectType

EVERYTHING = Page(size=1000)
OTHER = TenantId("other")
GONE = TenantId("gone")
HOUR = timedelta(hours=1)


class World:
    """An installation of known objects, by names, and its rows."""

    def __init__(self, engine: Engine) -> None:
        self.histories = histories = Histories(7)
        self.now = histories.inputs.now
        self.marks: dict[str, int] = {}
        for tenant in (OTHER, GONE):
            histories.give(
                CreateTenant(id=tenant, name=tenant.title(), managed_roles=histories.role_ids())
            )
        histories.give(DeleteTenant(id=GONE))
        self.operator = self.role("operator", MAIN, is_default=True)
        self.foreign_role = self.role("operator", OTHER)
        self.bots = self.group("Bots", MAIN)
        self.admins = self.group("admins", MAIN)
        self.foreign = self.group("Bots", OTHER)
        self.ci = self.account("ci-bot", MAIN, "CI pipeline", self.bots, self.admins)
        self.deploy = self.account("deploy", MAIN, "")
        self.shared = self.account("shared", OTHER, "")
        self.retired = self.account("retired", MAIN, "")
        histories.give(CreateServiceAccount(id=self.id(ServiceAccountId), name="nowhere"))
        self.ada = self.user("ada", MAIN)
        self.bob = self.user("bob", MAIN, OTHER)
        self.members()
        self.bindings()
        self.tokens()
        self.marks["before the ends"] = len(histories.records)
        histories.give(DeleteServiceAccount(id=self.retired))
        histories.give(DisableServiceAccount(id=self.deploy))
        histories.give(DisableUser(id=self.bob))
        histories.inputs.advance(60)
        histories.give(
            ChangeServiceAccount(id=self.ci, name="build-bot", description="CI pipeline")
        )
        self.head = rebuild(engine, histories.records)

    def id(self, kind: Callable[[str], Any]) -> Any:  # noqa: ANN401 - each kind of id
        return kind(self.histories.inputs.id())

    def role(self, name: str, tenant: TenantId, *, is_default: bool = False) -> RoleId:
        id_: RoleId = self.id(RoleId)
        permissions = from_lists({"FLOW": ("VIEW", "LIST"), "record": ("read",)})
        self.histories.give(
            CreateRole(
                tenant=tenant, id=id_, name=name, permissions=permissions, is_default=is_default
            )
        )
        return id_

    def group(self, name: str, tenant: TenantId) -> GroupId:
        id_: GroupId = self.id(GroupId)
        self.histories.give(CreateGroup(tenant=tenant, id=id_, name=name, description="a group"))
        return id_

    def account(
        self, name: str, tenant: TenantId, description: str, *joins: GroupId
    ) -> ServiceAccountId:
        self.histories.inputs.advance(60)
        id_: ServiceAccountId = self.id(ServiceAccountId)
        self.histories.give(
            CreateServiceAccount(
                tenant=tenant, id=id_, name=name, description=description, groups=joins
            )
        )
        return id_

    def user(self, name: str, *held: TenantId) -> UserId:
        id_: UserId = self.id(UserId)
        spares = tuple(self.id(BindingId) for _ in held)
        self.histories.give(
            CreateUser(
                id=id_,
                email=self.histories.sealed(),
                email_index=name.encode(),
                tenants=held,
                default_bindings=spares,
                instance_owner=name == "ada",
            )
        )
        return id_

    def members(self) -> None:
        """Let Ada own the bots, and Bob be among them for an hour."""
        add = partial(AddMember, tenant=MAIN, group=self.bots)
        self.histories.give(
            add(principal=self.ada, default_binding=self.id(BindingId), level="OWNER")
        )
        self.histories.give(
            add(
                principal=self.bob,
                default_binding=self.id(BindingId),
                expires_at=self.now() + HOUR,
            )
        )

    def bindings(self) -> None:
        """Bind the bots in prod and billing, and programs to a record, for an hour, and later."""
        bind = self.bind
        self.in_prod = bind("GROUP", self.bots, Scope(namespace="prod"))
        self.in_billing = bind("GROUP", self.bots, Scope(namespace="prod.billing"))
        self.in_production = bind("GROUP", self.admins, Scope(namespace="production"))
        self.on_record = bind("PRINCIPAL", self.ci, Scope(resource=Resource("record", "r-17")))
        self.for_an_hour = bind("PRINCIPAL", self.deploy, expires_at=self.now() + HOUR)
        self.later = bind("PRINCIPAL", self.deploy, not_before=self.now() + HOUR)
        ended = bind("PRINCIPAL", self.ci)
        self.histories.give(DeleteBinding(tenant=MAIN, id=ended))

    def bind(
        self,
        kind: SubjectType,
        subject: SubjectId,
        scope: Scope = WHOLE_TENANT,
        **span: datetime,
    ) -> BindingId:
        id_: BindingId = self.id(BindingId)
        assignment = Assignment(
            id=id_,
            default_binding=self.id(BindingId),
            subject_type=kind,
            subject=subject,
            role=self.operator,
            scope=scope,
            **span,
        )
        self.histories.give(AssignRole(tenant=MAIN, assignment=assignment))
        return id_

    def tokens(self) -> None:
        """Give the CI bot a token that is rotated, and a disabled one."""
        inputs = self.histories.inputs
        issue = partial(IssueToken, owner=self.ci, prefix="ABCDEF")
        self.first, self.second, self.third = (self.id(TokenId) for _ in range(3))
        self.histories.give(
            issue(id=self.first, name="one", digest=b"d" * 32, max_age_seconds=90_000)
        )
        inputs.advance(60)
        self.histories.give(issue(id=self.third, name="three", digest=b"e" * 32))
        self.histories.give(
            RotateToken(
                owner=self.ci,
                id=self.first,
                new_id=self.second,
                digest=b"f" * 32,
                prefix="GHIJKL",
                grace_seconds=3_600,
            )
        )
        self.histories.give(DisableToken(owner=self.ci, id=self.third))
