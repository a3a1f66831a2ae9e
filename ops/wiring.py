"""Which parts make up a running installation, and how do they know one another?

The composition root: everything is put together here and nowhere else.
"""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import itertools
import logging
import os
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import psycopg
from msgspec import UNSET, structs

from api import audit_export, credentials
from api.app import create_app
from api.checks import Checks
from api.front import Front, Proxies
from api.journal import leaked
from api.measures import CONNECTION
from api.people import People
from api.request_log import RequestLog
from api.service import DRAINING, Health, Parts, Service
from api.service import Settings as PublicSettings
from domain import names
from domain.events import decode
from domain.ids import ServiceAccountId, TokenId, UserId
from domain.state import Draft, State, apply
from ops import metrics, serving
from ops.collection import Freezer, collection_off, collection_paused
from ops.deliveries import Deliveries
from ops.event_log import PostgresLog
from ops.evidence import StoredEvidence
from ops.journal import StoredJournal
from ops.lags import Lags
from ops.passwords import PasswordHasher
from ops.release import VERSION
from ops.sealing import Sealer
from ops.self_check import SelfCheck
from ops.sessions import StoredFailures, StoredSessions
from ops.sink_ledger import SinkLedgers
from ops.sink_targets import Files, NoFiles, Webhook
from ops.sinks import open_sink
from ops.snapshots import Snapshots
from ops.store_errors import StoreBrokenError, StoreSlowError, StoreUnreachableError
from ops.stores import Stores, open_stores, read_all
from ops.writer import POLL_SECONDS, Publication, Writer, settle
from projections.access_graph import AccessGraph
from projections.history import History
from projections.runner import ViewRunner
from projections.trail import Records
from projections.views import Views

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.types import ASGIApp

    from domain.events import LogReader
    from domain.sinks import Sink
    from ops.inputs import Inputs
    from ops.settings import Settings
    from ops.sink_targets import Target

REQUEST_LABEL_CHARACTERS: Final = 12
LAST_WORDS_SECONDS: Final = 0.5
LAST_VIEWS_SECONDS: Final = 2.0
BROKEN_STORE_STATUS: Final = 10

_log = logging.getLogger("muniment")


def replay(log: LogReader, state: State, on_progress: Callable[[int], None]) -> State:
    """Answer the state at the head, folded from `state` on, with the collector out of the way.

    Raises UnknownTopicError and UnreadableEventError: a log that cannot be read whole is not
    served from.
    """
    with collection_off():
        draft = Draft(state)
        for record in read_all(log, state.position):
            apply(draft, decode(record))
            if draft.position % 100_000 == 0:
                on_progress(draft.position)
        return draft.finish()


class Installation:
    """One process of an installation: store, writer, views and the application over them."""

    def __init__(self, settings: Settings, stores: Stores, inputs: Inputs) -> None:
        self._settings = settings
        self._stores = stores
        self._inputs = inputs
        self._loop: asyncio.AbstractEventLoop | None = None
        self._published = Freezer()
        self._draining = False
        self._process_label = inputs.id()[:REQUEST_LABEL_CHARACTERS]
        self._requests = itertools.count(1)
        self._stopping = threading.Event()
        self._listening = threading.Thread(target=self._listen, name="listening", daemon=True)
        vault, reader = stores.vault, stores.log.reader()
        snapshots = Snapshots(stores.snapshots, reader)
        with collection_off():
            begun = snapshots.last() or State()
            state = replay(stores.log, begun, lambda position: _log.info("at %d", position))
            graph = AccessGraph(state, self._email_index, vault.alias_index)
        self._history = History(
            reader,
            snapshots,
            on_folded=Freezer(collects=True).note,
            undisturbed=collection_paused,
        )
        self._history.keep(state)
        self._lags = Lags(state.position, inputs.monotonic())
        self._writer = Writer(stores.log, inputs, self._publish, state=state, on_halt=self._halt)
        if isinstance(stores.log, PostgresLog):
            stores.log.on_doubt = self._writer.turn_away
        self._runner = ViewRunner(
            stores.log.reader(),
            stores.views,
            state=state,
            state_at=self._history.at,
            retry_on=(StoreUnreachableError, StoreSlowError, psycopg.OperationalError),
            on_halt=self._halt_views,
            on_applied=Freezer(collects=True).note,
        )
        self._sealer = Sealer(
            stores.checkpoints,
            vault,
            stores.views,
            stores.log.reader(),
            inputs,
            reached=lambda: self._runner.position,
            sink=open_sink(settings.checkpoint_sink, stores.checkpoints),
        )
        self._self_check = SelfCheck(settings, inputs)
        self._passwords = PasswordHasher(inputs, minimum_length=settings.password_characters_min)
        self._sessions = StoredSessions(stores.sessions, inputs)
        self._failures = StoredFailures(stores.sessions, inputs)
        self.journal = StoredJournal(
            stores.journal,
            inputs,
            self._email_index,
            mode=settings.journal,
            days=settings.journal_days,
            exists=self._exists,
        )
        records, ledgers = Records(stores.log.reader()), SinkLedgers(stores.sessions, inputs)
        self.service = Service(self._parts(graph, records, ledgers))
        self._deliveries = self._new_deliveries(ledgers, records)
        if not stores.shared:
            # Whoever held a sink of an embedded store has been killed: its lock was free.
            ledgers.release(all_=True)

    def _parts(self, graph: AccessGraph, records: Records, ledgers: SinkLedgers) -> Parts:
        settings, stores = self._settings, self._stores
        return Parts(
            graph=graph,
            submit=self._writer.submit,
            inputs=self._inputs,
            vault=stores.vault,
            people=People(stores.vault),
            passwords=self._passwords,
            sessions=self._sessions,
            failures=self._failures,
            journal=self.journal,
            past=self._history,
            records=records,
            ledgers=ledgers,
            views=Views(stores.views),
            views_reached=self._runner.wait_for,
            health=self._health,
            evidence=StoredEvidence(stores.checkpoints, self._sealer),
            metrics=self._metrics,
            settings=PublicSettings(
                public_url=settings.public_url,
                version=VERSION,
                at_least_bound_seconds=settings.at_least_bound_seconds,
                staleness_bound_seconds=settings.staleness_bound_seconds,
                public_checkpoints=settings.public_checkpoints,
                takes_files=settings.sink_dir is not None,
            ),
        )

    def _email_index(self, email: str) -> bytes:
        return self._stores.vault.email_index(names.canonical_email(email))

    def _new_deliveries(self, ledgers: SinkLedgers, records: Records) -> Deliveries:
        return Deliveries(
            ledgers=ledgers,
            records=records,
            views=self._stores.views,
            reached=lambda: self._runner.position,
            telling=lambda state: audit_export.telling(self.service, state, personal=False),
            target=self._target,
            inputs=self._inputs,
        )

    def _metrics(self) -> bytes:
        return metrics.page(
            metrics.Watched(
                service=self.service,
                writer=self._writer,
                runner=self._runner,
                sealer=self._sealer,
                passwords=self._passwords,
                lags=self._lags,
                inputs=self._inputs,
                sink_failures=lambda: self._deliveries.failures,
                self_check=self._self_check,
            )
        )

    def _target(self, sink: Sink) -> Target:
        """Answer the receiver of a sink."""
        settings = self._settings
        if sink.url is not UNSET:
            return Webhook(
                sink.id,
                sink.url,
                self._stores.vault.sink_secret(sink.id),
                allowed=map(ipaddress.ip_network, settings.sink_networks),
                now=self._inputs.now,
            )
        return NoFiles() if settings.sink_dir is None else Files(settings.sink_dir / sink.id)

    def application(self) -> ASGIApp:
        """Answer the whole ASGI application, from the front to the last route."""
        settings = self._settings
        routes = create_app(self.service, on_startup=self._start, on_shutdown=self._stop)
        return Front(
            Checks(self.service, RequestLog(self.service, routes)),
            hosts=settings.served_hosts,
            public_https=settings.public_url.startswith("https://"),
            new_id=self.new_request_id,
            on_leak=self._note_leak,
            proxies=self.proxies(),
        )

    def proxies(self) -> Proxies:
        """Answer the proxies whose forwarded addresses count."""
        return Proxies(ipaddress.ip_network(proxy) for proxy in self._settings.trusted_proxies)

    def new_request_id(self) -> str:
        """Answer an id for a request that brought none: unique, and no secret.

        Counted rather than drawn, because a tenth of a check went into drawing it.
        """
        return f"{self._process_label}-{next(self._requests):x}"

    def take_address(self, url: str) -> None:
        """Take note of where this process is reached: its public address, unless one is set.

        That is on loopback only: elsewhere nothing is served without a public address.
        """
        if not self.service.settings.public_url:
            self.service.settings = structs.replace(self.service.settings, public_url=url)

    def note_crowd(self) -> None:
        """Count a connection that was one too many."""
        self.service.measures.throttled[CONNECTION] += 1

    def drain(self) -> None:
        """Say that the process is not ready any more, while it still answers."""
        self._draining = True
        self.service.tails.wake()

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        # Before the writer starts, so that nobody else reads the log's own connection.
        await asyncio.to_thread(self._save_snapshot)
        await asyncio.to_thread(credentials.end_leftovers, self.service)
        await asyncio.to_thread(self.journal.start)
        self._runner.start()
        self._writer.start()
        self._sealer.start()
        self._self_check.start()
        self._deliveries.publish(self.service.state)
        if self._stores.shared:
            self._listening.start()
        # Routes and documents were built since the state was frozen.
        gc.collect()
        gc.freeze()

    async def _stop(self) -> None:
        self._stopping.set()
        self._stores.log.wake()
        await asyncio.to_thread(self._self_check.stop)
        await asyncio.to_thread(self._writer.stop)
        await asyncio.to_thread(self._deliveries.stop)
        await asyncio.to_thread(self._save_snapshot)
        # What the views have by then is signed; the rest at the next start.
        await self._runner.wait_for(self.service.state.position, LAST_VIEWS_SECONDS)
        await asyncio.to_thread(self._sealer.stop)
        await asyncio.to_thread(self._runner.stop)
        await asyncio.to_thread(self.journal.stop)
        self._passwords.close()
        self._sessions.close()
        self._failures.close()

    def _save_snapshot(self) -> None:
        """Spare the next start the replay, when that has become long; at a pause, not at work."""
        self._history.save(self.service.state)

    def _listen(self) -> None:
        """Let the writer follow at each hint that other processes appended.

        Without it they would be heard of a second later, when the writer looks by itself.
        """
        while not self._stopping.is_set():
            self._stores.log.wait(POLL_SECONDS)
            self._writer.wake()

    def _publish(self, publication: Publication) -> None:
        """Hand a new head to the event loop: one call for a whole batch of answers."""
        self._history.keep(publication.state)
        position, now = publication.state.position, self._inputs.monotonic()
        self._lags.published(position, min(position, self._runner.position), now)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._deliver, publication)

    def _deliver(self, publication: Publication) -> None:
        self.service.publish(publication.state, publication.facts)
        self._runner.notify(publication.state.position)
        self._deliveries.publish(publication.state)
        settle(publication)
        self._published.note(len(publication.facts))

    def _halt(self, reason: str) -> None:
        """Leave when the disk failed: a sync after a failed one may report what is not so."""
        if reason == StoreBrokenError.code and self._loop is not None:
            # Not by an ordinary exit, which would let the store sync once more; after a moment
            # in which the callers are told.
            self._loop.call_soon_threadsafe(
                self._loop.call_later, LAST_WORDS_SECONDS, os._exit, BROKEN_STORE_STATUS
            )

    def _halt_views(self, reason: str) -> None:
        """Let the writer look at once at what the views could not read (reliability B7)."""
        _log.critical("the views halted: %s", reason)
        self._writer.wake()

    def _health(self) -> Health:
        staleness = self._writer.staleness_seconds() if self._stores.shared else 0.0
        if self._draining:
            reason = DRAINING
        elif self._writer.halted is not None:
            reason = "halted"
        elif staleness > self._settings.staleness_bound_seconds:
            reason = "stale"
        else:
            reason = ""
        return Health(
            reason=reason,
            head_position=self.service.state.position,
            staleness_seconds=staleness,
            views_halted=self._runner.halted is not None,
        )

    def _exists(self, id_: str) -> bool:
        """Tell whether an id is still a token's or a principal's."""
        state = self.service.state
        return (
            TokenId(id_) in state.tokens
            or ServiceAccountId(id_) in state.service_accounts
            or UserId(id_) in state.users
        )

    def _note_leak(self, token: str, address: str, request_id: str) -> None:
        leaked(self.service, token, address, request_id)
        _log.warning(
            "a token stood in a request target",
            extra={"address": address, "request_id": request_id},
        )


def serve(
    settings: Settings, inputs: Inputs, on_listening: Callable[[str], None] | None = None
) -> None:
    """Serve an initialised installation in the foreground until SIGTERM (design 7)."""
    with ExitStack() as stack:
        stores = stack.enter_context(open_stores(settings, inputs))
        installation = Installation(settings, stores, inputs)
        serving.serve(
            installation.application(),
            host=settings.host,
            port=settings.port,
            on_draining=installation.drain,
            new_id=installation.new_request_id,
            on_crowded=installation.note_crowd,
            on_bound=installation.take_address,
            on_listening=on_listening,
            proxies=installation.proxies(),
        )
