"""What does the whole service answer over HTTP, in this process and without a network?

`with served(tmp_path) as http: response = http.get("me", by=http.root)`. Everything is real but
the log, which is in memory, the clock and the randomness, which are fixed, and the cost of
passwords. Every answer is held against what the contract promises of all answers.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, TypedDict, TypeVar, Unpack, cast

import httpx
import msgspec
from litestar.types import Receive, Scope, Send
from msgspec import UNSET, UnsetType, structs

from api.app import create_app
from api.checks import Checks
from api.front import Front
from api.people import People
from api.request_log import RequestLog
from api.service import Health, Parts, Service, Settings
from domain import commands, names
from domain.access import Narrowing
from domain.bindings import Assignment, AssignRole
from domain.events import Event, Fact, decode
from domain.groups import CreateGroup
from domain.ids import (
    MAIN,
    BindingId,
    GroupId,
    PrincipalId,
    RoleId,
    ServiceAccountId,
    SinkId,
    TenantId,
    TokenId,
    UserId,
)
from domain.permissions import MANAGED_ROLES, from_lists
from domain.roles import CreateRole
from domain.scopes import WHOLE_TENANT
from domain.scopes import Scope as Place
from domain.sealed import Sealed, Secret
from domain.service_accounts import CreateServiceAccount
from domain.sinks import CreateSink
from domain.state import State
from domain.tenants import CreateTenant, OpenLog
from domain.token_text import TokenKind, digest
from domain.tokens import IssueToken
from ops import metrics, sessions, sink_ledger
from ops.evidence import StoredEvidence
from ops.journal import StoredJournal
from ops.lags import Lags
from ops.passwords import Argon2Profile, PasswordHasher
from ops.self_check import SelfCheck
from ops.sessions import StoredFailures, StoredSessions
from ops.settings import JournalMode
from ops.settings import Settings as StoreSettings
from ops.setup import NewUser, sealed_user, system_context
from ops.sink_ledger import SinkLedgers
from ops.vault import Vault, sqlite_engine
from ops.writer import Publication, Writer, settle
from projections import journal
from projections.access_graph import AccessGraph
from projections.history import History
from projections.runner import ViewRunner
from projections.trail import Records
from projections.views import Views, open_sqlite
from tests.answers import ERROR, keep_contract
from tests.fixed_inputs import FixedInputs
from tests.memory_log import MemoryLog
from tests.signing import new_sealer

T = TypeVar("T")
Headers = dict[str, str]

BASE: Final = "/api/v1/"
ADDRESS: Final = "192.0.2.1"
LOG_ID: Final = "log-1"
PUBLIC_URL: Final = "https://iam.example"
ROOT_EMAIL: Final = "root@example.com"
PASSWORD: Final = "correct horse battery staple"
NOBODY: Final[Headers] = {}
POOL_THREADS: Final = 4
CHEAPEST: Final = Argon2Profile(memory_kib=8, passes=1)
MASTER_KEY: Final = bytes(range(32))


def bearer(token: str) -> Headers:
    """Answer the header of a token."""
    return {"Authorization": f"Bearer {token}"}


def basic(email: str, password: str = PASSWORD) -> Headers:
    """Answer the header of an e-mail and a password."""
    credential = base64.b64encode(f"{email}:{password}".encode()).decode()
    return {"Authorization": f"Basic {credential}"}


class _Present:
    """Stands for the service of the installation that is asked.

    So the routes are made once for all tests: that takes longer than most tests do.
    """

    service: Service

    def __getattr__(self, name: str) -> object:
        return getattr(self.service, name)


PRESENT: Final = _Present()


def _new_id() -> str:
    return PRESENT.service.inputs.id()


@cache
def front() -> Front:
    """Answer the whole application, over whichever service is present."""
    service = cast("Service", PRESENT)
    return Front(
        Checks(service, RequestLog(service, create_app(service))),
        hosts=("iam.example",),
        public_https=True,
        new_id=_new_id,
        on_leak=lambda *_: None,
    )


class Options(TypedDict, total=False):
    """How a request is sent: by whom, with more headers, with a raw body, from which address."""

    by: Headers
    headers: Headers
    content: bytes
    address: str


class Served:
    """One installation with an instance owner, asked by `get`, `post` and so on.

    Paths are below `/api/v1/` unless they begin with a slash. `by` are the headers of a
    credential, by default the instance owner's token.
    """

    def __init__(self, directory: Path, journal_mode: JournalMode = "denials") -> None:
        self.inputs = FixedInputs()
        self.log = MemoryLog(LOG_ID)
        self._loop = asyncio.new_event_loop()
        self._pool = ThreadPoolExecutor(POOL_THREADS)
        self._loop.set_default_executor(self._pool)
        self._engines = [
            sqlite_engine(directory / "vault.db"),
            sqlite_engine(directory / "sessions.db"),
            open_sqlite(directory / "views.db"),
            journal.open_sqlite(directory / "journal.db"),
        ]
        self.vault_engine = self._engines[0]
        self.vault = Vault.create(self.vault_engine, MASTER_KEY, LOG_ID, self.inputs)
        self._email_index = lambda text: self.vault.email_index(names.canonical_email(text))
        self.sign_ins = self._engines[1]
        sessions.create(self.sign_ins)
        sink_ledger.create(self.sign_ins)
        self.passwords = PasswordHasher(self.inputs, CHEAPEST)
        self.sessions = StoredSessions(self.sign_ins, self.inputs)
        self.failures = StoredFailures(self.sign_ins, self.inputs)
        self.journal_engine = self._engines[3]
        self.journal = StoredJournal(
            self.journal_engine, self.inputs, self._email_index, mode=journal_mode
        )
        self._lags = Lags(0, 0.0)
        self.writer = Writer(self.log, self.inputs, self._publish)
        self._runner = ViewRunner(self.log, self._engines[2])
        self._history = History(self.log)
        self.sealer = new_sealer(
            (self.vault_engine, self._engines[2]), self.vault, self.log, self.inputs, self._runner
        )
        self.self_check = SelfCheck(StoreSettings(), self.inputs)
        self.health = Health(reason="", head_position=0, staleness_seconds=0.0)
        self.service = Service(self._parts())
        self.journal.start()
        self._runner.start()
        self.writer.start()
        self.sealer.start()
        self.root_id = self._set_up()
        self.root = bearer(self.token(self.root_id))

    def _parts(self) -> Parts:
        return Parts(
            graph=AccessGraph(State(), self._email_index, self.vault.alias_index),
            submit=self.writer.submit,
            inputs=self.inputs,
            vault=self.vault,
            people=People(self.vault),
            passwords=self.passwords,
            sessions=self.sessions,
            failures=self.failures,
            journal=self.journal,
            past=self._history,
            records=Records(self.log),
            views=Views(self._engines[2]),
            views_reached=self._runner.wait_for,
            ledgers=SinkLedgers(self.sign_ins, self.inputs),
            health=lambda: self.health,
            evidence=StoredEvidence(self.sealer.checkpoints, self.sealer),
            metrics=lambda: metrics.page(self.watched()),
            settings=Settings(public_url=PUBLIC_URL, version="0", at_least_bound_seconds=0.05),
        )

    def watched(self) -> metrics.Watched:
        """Answer the parts whose metrics are shown."""
        return metrics.Watched(
            service=self.service,
            writer=self.writer,
            runner=self._runner,
            sealer=self.sealer,
            passwords=self.passwords,
            lags=self._lags,
            inputs=self.inputs,
            sink_failures=dict,
            self_check=self.self_check,
        )

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        # As the server does; the test transport gives none.
        scope["state"] = {}
        PRESENT.service = self.service
        await front()(scope, receive, send)

    def _set_up(self) -> UserId:
        roles = tuple(RoleId(self.inputs.id()) for _ in MANAGED_ROLES)
        self.give(OpenLog(log_id=LOG_ID, managed_roles=roles))
        return self.user(ROOT_EMAIL, owner=True, tenants=())

    def _publish(self, publication: Publication) -> None:
        self._history.keep(publication.state)
        position, now = publication.state.position, self.inputs.monotonic()
        self._lags.published(position, min(position, self._runner.position), now)
        self._loop.call_soon_threadsafe(self._deliver, publication)

    def _deliver(self, publication: Publication) -> None:
        self.service.publish(publication.state, publication.facts)
        self._runner.notify(publication.state.position)
        settle(publication)

    def close(self) -> None:
        """Stop every thread and let go of every file."""
        self.writer.stop()
        self.sealer.stop()
        self._runner.stop()
        self.journal.stop()
        self._pool.shutdown()
        self.run(asyncio.sleep(0))
        self._loop.close()
        self.passwords.close()
        self.sessions.close()
        self.failures.close()
        for engine in self._engines:
            engine.dispose()

    # Asking

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the installation's event loop."""
        return self._loop.run_until_complete(work)

    def get(self, path: str, **options: Unpack[Options]) -> httpx.Response:
        """GET."""
        return self.request("GET", path, **options)

    def post(self, path: str, body: object = UNSET, **options: Unpack[Options]) -> httpx.Response:
        """POST, with a JSON body if one is given."""
        return self.request("POST", path, body, **options)

    def put(self, path: str, body: object = UNSET, **options: Unpack[Options]) -> httpx.Response:
        """PUT, with a JSON body if one is given."""
        return self.request("PUT", path, body, **options)

    def patch(self, path: str, body: object = UNSET, **options: Unpack[Options]) -> httpx.Response:
        """PATCH, with a JSON body if one is given."""
        return self.request("PATCH", path, body, **options)

    def delete(self, path: str, **options: Unpack[Options]) -> httpx.Response:
        """DELETE."""
        return self.request("DELETE", path, **options)

    def request(
        self, method: str, path: str, body: object = UNSET, **options: Unpack[Options]
    ) -> httpx.Response:
        """Send one request; a refusal leaves the log as it was."""
        head = self.log.head()
        response = self.run(self.send(method, path, body, **options))
        if response.status_code >= ERROR:
            assert head == self.log.head(), "a refused request left events"
        return response

    def together(self, *requests: Coroutine[Any, Any, httpx.Response]) -> list[httpx.Response]:
        """Send several at once: `together(http.send(...), http.send(...))`."""

        async def all_of() -> list[httpx.Response]:
            return await asyncio.gather(*requests)

        return self.run(all_of())

    async def send(
        self, method: str, path: str, body: object = UNSET, **options: Unpack[Options]
    ) -> httpx.Response:
        """Send one request, beside others if need be."""
        headers = {**options.get("by", self.root), **options.get("headers", {})}
        content = options.get("content", b"")
        if body is not UNSET:
            content = msgspec.json.encode(body)
            headers.setdefault("Content-Type", "application/json")
        address = options.get("address", ADDRESS)
        transport = httpx.ASGITransport(app=cast("Any", self._answer), client=(address, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url=PUBLIC_URL) as client:
            url = path if path.startswith("/") else BASE + path
            response = await client.request(method, url, content=content, headers=headers)
        keep_contract(response)
        return response

    # What there is

    @property
    def state(self) -> State:
        """The published state."""
        return self.service.state

    def facts(self, after: int = 0) -> list[Fact]:
        """Answer the facts that follow a position."""
        return [decode(record) for record in self.log.read(after, 10_000)]

    def events(self, after: int = 0) -> list[Event]:
        """Answer the events that follow a position."""
        return [fact.envelope.event for fact in self.facts(after)]

    def keys(self) -> int:
        """Count the vault's keys, after what goes on in the background."""
        self._rest()
        with self.vault_engine.connect() as connection:
            return len(connection.exec_driver_sql("SELECT id FROM vault_keys").all())

    def opens(self, sealed: Sealed, subject: str, field: str) -> bool:
        """Tell whether a sealed value can still be read."""
        self._rest()
        return isinstance(self.vault.open(sealed, subject=subject, field=field), str)

    def _rest(self) -> None:
        self._pool.shutdown()
        self._pool = ThreadPoolExecutor(POOL_THREADS)
        self._loop.set_default_executor(self._pool)

    def give(
        self, command: commands.Command, context: commands.Context | UnsetType = UNSET
    ) -> tuple[Event, ...]:
        """Give a command, by default as the installation itself; answer its events."""
        given = system_context(self.inputs) if context is UNSET else context
        return self.run(self.service.execute(command, given)).events

    def user(
        self,
        email: str = "ada@example.com",
        *,
        tenants: tuple[TenantId, ...] = (MAIN,),
        owner: bool = False,
        password: str | None = PASSWORD,
        first_name: str = "",
        last_name: str = "",
    ) -> UserId:
        """Make a user, by default with a password and access to `main`."""
        context = system_context(self.inputs)
        hashed = None if password is None else self.run(self.passwords.hash(Secret(password)))
        person = NewUser(
            email=email, first_name=first_name, last_name=last_name, password_hash=hashed
        )
        command = sealed_user(
            self.vault, self.inputs, context, person, tenants=tenants, instance_owner=owner
        )
        self.give(command, context)
        return command.id

    def sink(self, name: str = "SIEM") -> SinkId:
        """Make a sink to which nobody delivers."""
        id_ = SinkId(self.inputs.id())
        self.give(CreateSink(id=id_, name=name, kind="webhook", url="https://siem.example/in"))
        return id_

    def account(self, name: str = "ci-bot", *tenants: TenantId) -> ServiceAccountId:
        """Make a service account, by default with access to `main`."""
        id_ = ServiceAccountId(self.inputs.id())
        self.give(CreateServiceAccount(id=id_, name=name, tenants=tenants or (MAIN,)))
        return id_

    def tenant(self, id_: str = "beta") -> TenantId:
        """Make a tenant."""
        roles = tuple(RoleId(self.inputs.id()) for _ in MANAGED_ROLES)
        self.give(CreateTenant(id=TenantId(id_), name=id_.title(), managed_roles=roles))
        return TenantId(id_)

    def group(self, name: str = "Bots", *, tenant: TenantId = MAIN) -> GroupId:
        """Make a group without members."""
        id_ = GroupId(self.inputs.id())
        self.give(CreateGroup(tenant=tenant, id=id_, name=name))
        return id_

    def role(
        self, permissions: dict[str, list[str]], *, name: str = "a role", tenant: TenantId = MAIN
    ) -> RoleId:
        """Make a role."""
        id_ = RoleId(self.inputs.id())
        self.give(CreateRole(tenant=tenant, id=id_, name=name, permissions=from_lists(permissions)))
        return id_

    def allow(
        self,
        principal: PrincipalId,
        permissions: dict[str, list[str]],
        *,
        tenant: TenantId = MAIN,
        place: Place = WHOLE_TENANT,
    ) -> BindingId:
        """Give a principal permissions, by a role of its own."""
        id_ = BindingId(self.inputs.id())
        given = Assignment(
            id=id_,
            default_binding=BindingId(self.inputs.id()),
            subject_type="PRINCIPAL",
            subject=principal,
            role=self.role(permissions, tenant=tenant),
            scope=place,
        )
        self.give(AssignRole(tenant=tenant, assignment=given))
        return id_

    def token(
        self,
        owner: PrincipalId,
        *,
        narrowing: Narrowing | UnsetType = UNSET,
        allowed_addresses: tuple[str, ...] = (),
        max_age_seconds: int | UnsetType = UNSET,
        extended: bool = False,
    ) -> str:
        """Issue a token and answer its text."""
        text, command = self.new_token(owner)
        self.give(
            structs.replace(
                command,
                narrowing=narrowing,
                allowed_addresses=allowed_addresses,
                max_age_seconds=max_age_seconds,
                extended=extended,
            )
        )
        return text

    def new_token(self, owner: PrincipalId) -> tuple[str, IssueToken]:
        """Answer the text of a token, and the command that is to issue it."""
        is_user = owner in self.state.users
        secret = self.inputs.token(TokenKind.USER if is_user else TokenKind.SERVICE_ACCOUNT)
        return secret.reveal(), IssueToken(
            owner=owner,
            id=TokenId(self.inputs.id()),
            name="deploy",
            digest=digest(secret.reveal()),
            prefix=self.inputs.token_prefix(),
        )

    def token_id(self, text: str) -> TokenId:
        """Answer the id of the token with this text."""
        return self.state.digests[digest(text)]

    def bearer(self, owner: PrincipalId, narrowing: Narrowing | UnsetType = UNSET) -> Headers:
        """Answer the header of a new token of this owner."""
        return bearer(self.token(owner, narrowing=narrowing))


@contextmanager
def served(directory: Path, journal_mode: JournalMode = "denials") -> Iterator[Served]:
    """Serve a new installation from a directory."""
    installation = Served(directory, journal_mode)
    try:
        yield installation
    finally:
        installation.close()
