"""How does this process fare, in the text format of Prometheus? (operations 1).

Every part counts in plain numbers of its own thread, and knows nothing of this; they are read when
someone asks. The labels are sets that are written down here, in the code's own lists or, for sinks,
ids of ours: never what a caller sent.
"""

from __future__ import annotations

import platform
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from prometheus_client import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from api.request_errors import UnavailableError
from api.sinks import delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from api.measures import Histogram
    from api.service import Service
    from domain.ids import SinkId
    from ops.inputs import Inputs
    from ops.lags import Lags
    from ops.passwords import PasswordHasher
    from ops.sealing import Sealer
    from ops.self_check import SelfCheck
    from ops.writer import Writer
    from projections.runner import ViewRunner

    # Values of the labels, and the number.
    Rows = Iterable[tuple[tuple[str, ...], float]]

# These are written together, in one transaction.
_STORED_VIEWS: Final = ("directory", "audit", "transparency")


class Watched(Struct, frozen=True, kw_only=True):
    """The parts that count; `sink_failures` answers how often each sink refused a batch."""

    service: Service
    writer: Writer
    runner: ViewRunner
    sealer: Sealer
    passwords: PasswordHasher
    lags: Lags
    inputs: Inputs
    sink_failures: Callable[[], Mapping[SinkId, int]]
    self_check: SelfCheck


def page(watched: Watched) -> bytes:
    """Answer the page that a Prometheus server reads; blocks, as it reads the sinks' ledgers."""
    return generate_latest(_Metrics(watched))


class _Metrics:
    """The metrics of one process, as the library collects them."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._service = watched.service

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, as the library asks for them."""
        yield _gauge(
            "build_info",
            "What runs here; always 1",
            _row(1, self._service.settings.version, platform.python_version()),
            "version",
            "python",
        )
        yield from self._answers()
        yield from self._refusals()
        yield from self._appends()
        yield from self._views()
        yield from self._self_check()
        yield from self._checkpoints()
        yield from self._journal()
        yield from self._sinks()

    def _answers(self) -> Iterator[Metric]:
        measures = self._service.measures
        denied, allowed = measures.decisions
        yield _histogram(
            "check_duration_seconds",
            "Answering a check or a search, from the request's head to the answer",
            [((endpoint,), one) for endpoint, one in measures.checks.items()],
            "endpoint",
        )
        yield _counter(
            "decisions",
            "Decisions given, those of a batch one by one",
            [(("allow",), allowed), (("deny",), denied)],
            "decision",
        )
        yield _counter(
            "requests",
            "Requests that a route answered, besides checks and searches",
            [
                ((method, route, str(status)), number)
                for (method, route, status), number in [*measures.requests.items()]
            ],
            *("method", "route", "status"),
        )
        yield _histogram(
            "request_duration_seconds",
            "Answering a request, besides checks and searches",
            [*measures.request_seconds.items()],
            *("method", "route"),
        )

    def _refusals(self) -> Iterator[Metric]:
        measures = self._service.measures
        yield _counter(
            "commands_refused",
            "Requests to change something that were refused to one who is known",
            _by_name(measures.commands_refused.items()),
            "code",
        )
        yield _counter(
            "token_auth_failures",
            "Tokens that were not accepted",
            _by_name(measures.token_faults.items()),
            "reason",
        )
        yield _counter(
            "sign_ins",
            "Sign-ins by password, and every password that was not accepted",
            _by_name(measures.sign_ins.items()),
            "outcome",
        )
        yield _counter(
            "throttled",
            "Refusals of what came too often or too much at once",
            _by_name(measures.throttled.items()),
            "kind",
        )
        yield _gauge(
            "password_hash_waiting",
            "Passwords that wait to be hashed or judged",
            _row(self._watched.passwords.waiting),
        )

    def _appends(self) -> Iterator[Metric]:
        appends = self._watched.writer.appends
        yield _counter(
            "events_appended",
            "Events that this process appended to the log",
            _by_name(appends.events.items()),
            "topic",
        )
        yield _histogram(
            "append_duration_seconds",
            "One durable append, of all the commands in it",
            [((), appends.seconds)],
        )
        yield _histogram(
            "append_commands", "Commands decided in one append", [((), appends.commands)]
        )
        yield _counter(
            "append_conflicts",
            "Appends that lost the race and were decided again",
            _row(appends.conflicts),
        )

    def _self_check(self) -> Iterator[Metric]:
        check = self._watched.self_check
        yield _counter(
            "self_checks",
            "Comparisons of the views with what the log amounts to",
            _by_name(check.outcomes.items()),
            "outcome",
        )
        yield _counter(
            "self_check_differing_rows",
            "Rows of a view that were not what the log amounts to, and were put right",
            _by_name(check.differing.items()),
            "view",
        )
        yield _gauge(
            "self_check_position", "As of which the views were last compared", _row(check.position)
        )
        at = check.checked_at
        yield _gauge(
            "self_check_timestamp_seconds",
            "When the views were last compared, 0 for not yet",
            _row(0 if at is None else at.timestamp()),
        )

    def _views(self) -> Iterator[Metric]:
        watched, health = self._watched, self._service.health()
        now, graph, stored = watched.inputs.monotonic(), self._service.state, watched.runner
        shown = {"access_graph": graph.position, **dict.fromkeys(_STORED_VIEWS, stored.position)}
        head = max(watched.lags.head, graph.position)
        yield _gauge("log_position", "The head of the log, as this process knows it", _row(head))
        yield _gauge(
            "applied_position", "The last event that a view shows", _by_name(shown.items()), "view"
        )
        yield _gauge(
            "projection_lag_events",
            "Events that a view does not show yet",
            [((view,), max(0, head - position)) for view, position in shown.items()],
            "view",
        )
        yield _gauge(
            "projection_lag_seconds",
            "Since the first event was published that a view does not show yet",
            [((view,), watched.lags.seconds(at, now)) for view, at in shown.items()],
            "view",
        )
        yield _gauge(
            "staleness_seconds",
            "Since the process last knew that it was at the head",
            _row(health.staleness_seconds),
        )
        halted = watched.writer.halted is not None or stored.halted is not None
        yield _gauge("halted", "1: stopped at an event that it does not know", _row(halted))

    def _checkpoints(self) -> Iterator[Metric]:
        sealer = self._watched.sealer
        signed = sealer.sealed_at
        yield _gauge(
            "log_sealed_size", "Events in the newest checkpoint", _row(sealer.sealed_through)
        )
        if signed is not None:
            age = (self._watched.inputs.now() - signed).total_seconds()
            yield _gauge(
                "checkpoint_age_seconds",
                "Since the newest checkpoint was signed; it grows while nothing is appended",
                _row(max(0.0, age)),
            )
        yield _gauge(
            "checkpoint_conflict",
            "1: refused to sign what contradicts an earlier checkpoint",
            _row(sealer.conflict is not None),
        )

    def _journal(self) -> Iterator[Metric]:
        tally = self._service.journal.tally()
        # The loop and the journal's thread go on while this one reads both.
        queued = max(0, tally.queued)
        yield _gauge("journal_queued", "Acts that wait for the journal's thread", _row(queued))
        yield _gauge("journal_unwritten", "Entries that are not on disk yet", _row(tally.unwritten))
        yield _counter("journal_written", "Entries written to the journal", _row(tally.written))
        yield _counter("journal_counted", "Acts told by counts only", _row(tally.counted))
        yield _counter(
            "journal_dropped", "Acts that the journal does not tell of", _row(tally.dropped)
        )
        yield _counter(
            "journal_write_failures",
            "Times that the journal could not be written",
            _row(tally.write_failures),
        )

    def _sinks(self) -> Iterator[Metric]:
        state, failures = self._service.state, self._watched.sink_failures()
        yield _counter(
            "sink_failures",
            "Batches that a sink did not take from this process",
            [((id_,), failures.get(id_, 0)) for id_ in state.sinks],
            "sink",
        )
        try:
            ledgers = self._service.ledgers.all() if state.sinks else {}
        except UnavailableError:
            # The rest of the page is needed all the more.
            return
        told = [
            (id_, delivery(sink, state.position, ledgers.get(id_)))
            for id_, sink in state.sinks.items()
        ]
        yield _gauge(
            "sink_position",
            "The last event that a sink has taken",
            _by_name((id_, one.position) for id_, one in told),
            "sink",
        )
        yield _gauge(
            "sink_lag_events",
            "Events that a sink has not taken yet",
            _by_name((id_, one.lag) for id_, one in told),
            "sink",
        )
        yield _gauge(
            "sink_halted",
            "1: gave up, until it is resumed",
            _by_name((id_, one.halted) for id_, one in told),
            "sink",
        )


def _row(value: float, *labels: str) -> Rows:
    return [(labels, value)]


def _by_name(numbers: Iterable[tuple[str, float]]) -> Rows:
    # Copied at once, since its own thread goes on.
    return [((name,), number) for name, number in [*numbers]]


def _gauge(name: str, told: str, rows: Rows, *labels: str) -> Metric:
    family = GaugeMetricFamily(f"muniment_{name}", told, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def _counter(name: str, told: str, rows: Rows, *labels: str) -> Metric:
    family = CounterMetricFamily(f"muniment_{name}", told, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def _histogram(
    name: str, told: str, rows: Iterable[tuple[tuple[str, ...], Histogram]], *labels: str
) -> Metric:
    family = HistogramMetricFamily(f"muniment_{name}", told, labels=labels)
    for values, histogram in rows:
        total, bounds = histogram.total, [*map(str, histogram.bounds), "+Inf"]
        counts = accumulate([*histogram.counts])
        family.add_metric(values, [*zip(bounds, counts, strict=True)], total)
    return family
