"""How are tenants managed, and what does the installation tell of itself? (kestra-iam 6.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from api import listing
from api.call import OPEN, OWNER, SELF, Call
from api.list_fields import TENANTS
from api.paging import Results
from domain import commands, tenants
from domain.ids import RoleId, TenantId
from domain.permissions import MANAGED_ROLES
from domain.state import State
from domain.tenants import CreateTenant, DeleteTenant, RenameTenant
from projections.directory import tenants as directory

if TYPE_CHECKING:
    from api.service import Service

# What Kestra's clients take us for: kestractl refuses the features of 2.x below this version.
KESTRA_VERSION: Final = "2.0.0"
KESTRA_EDITION: Final = "EE"

# Shapes


class CreateRequest(Struct, frozen=True, kw_only=True):
    id: str
    name: str


class ChangeRequest(Struct, frozen=True, kw_only=True):
    name: str


class TenantForm(Struct, frozen=True, kw_only=True):
    """A tenant; a deleted one is shown by questions about the past only."""

    id: str
    name: str
    deleted: bool = False


class Release(Struct, frozen=True, kw_only=True):
    version: str


class Configuration(Struct, frozen=True, kw_only=True, rename="camel"):
    """What clients ask once to learn what they may use."""

    uuid: str
    version: str = KESTRA_VERSION
    edition: str = KESTRA_EDITION
    url: str
    is_basic_auth_initialized: bool
    muniment: Release


class SignInConfiguration(Struct, frozen=True, kw_only=True, rename="camel"):
    is_basic_auth_initialized: bool


class Setup(Struct, frozen=True, kw_only=True):
    done: bool


def tenant_form(state: State, id_: TenantId) -> tuple[TenantForm, int]:
    """Answer the tenant, and the position of its last change."""
    tenant = tenants.require(state, id_)
    return TenantForm(id=tenant.id, name=tenant.name), commands.changed_at(state, id_) or 0


# Tenants


@post(
    "/tenants",
    status_code=200,
    opt=OWNER,
    operation_id="createTenant",
    summary="Create a tenant with the managed roles, of which none is bound to its maker",
)
async def create(
    data: JSONBody[CreateRequest], call: NamedDependency[Call]
) -> Response[TenantForm]:
    done = await call.execute(
        CreateTenant(
            id=TenantId(data.id),
            name=data.name,
            managed_roles=tuple(RoleId(call.service.inputs.id()) for _ in MANAGED_ROLES),
        )
    )
    return await done.show(lambda state: tenant_form(state, TenantId(data.id)))


@get("/tenants/{id:str}", opt=OWNER, operation_id="getTenant", summary="Show a tenant")
async def show(id: FromPath[str], call: NamedDependency[Call]) -> Response[TenantForm]:
    return call.entity(*tenant_form(call.state, TenantId(id)))


@put("/tenants/{id:str}", opt=OWNER, operation_id="replaceTenant", summary="Rename a tenant")
async def change(
    id: FromPath[str], data: JSONBody[ChangeRequest], call: NamedDependency[Call]
) -> Response[TenantForm]:
    done = await call.execute(RenameTenant(id=TenantId(id), name=data.name), on=id)
    return await done.show(lambda state: tenant_form(state, TenantId(id)))


@delete(
    "/tenants/{id:str}",
    status_code=204,
    opt=OWNER,
    operation_id="deleteTenant",
    summary="Delete a tenant; its id is not given again",
)
async def remove(id: FromPath[str], call: NamedDependency[Call]) -> Response[None]:
    return (await call.execute(DeleteTenant(id=TenantId(id)), on=id)).empty()


@get("/tenants/search", opt=OWNER, operation_id="searchTenants", summary="List the tenants")
async def search(call: NamedDependency[Call]) -> Response[Results[TenantForm]]:
    asked = listing.asked(call, TENANTS, directory.SORTABLE)
    found = await listing.ask(call, directory.search, call.state.position, asked.where, asked.page)
    rows = [TenantForm(id=row.id, name=row.name) for row in found.rows]
    return listing.answer(call, asked.page, rows, found.total)


# The installation


@get("/configs", opt=SELF, operation_id="getConfiguration", summary="What clients ask first")
async def configuration(call: NamedDependency[Call]) -> Response[Configuration]:
    settings = call.service.settings
    return call.answer(
        Configuration(
            uuid=call.state.log_id,
            url=settings.public_url,
            is_basic_auth_initialized=_is_set_up(call.state),
            muniment=Release(version=settings.version),
        )
    )


def open_routes(service: Service) -> list[Any]:
    """Answer the routes that tell anyone whether there is an instance owner yet."""

    @get(
        "/configs/login",
        opt=OPEN,
        operation_id="getSignInConfiguration",
        summary="Whether people can sign in with a password",
    )
    async def sign_in_configuration() -> SignInConfiguration:
        return SignInConfiguration(is_basic_auth_initialized=_is_set_up(service.state))

    @get(
        "/setup",
        opt=OPEN,
        operation_id="getSetup",
        summary="Whether the installation has its first owner, who is never made by this route",
    )
    async def setup() -> Setup:
        return Setup(done=_is_set_up(service.state))

    return [sign_in_configuration, setup]


def _is_set_up(state: State) -> bool:
    return bool(state.owners)


ROUTES: Final[list[Any]] = [create, show, change, remove, search, configuration]
