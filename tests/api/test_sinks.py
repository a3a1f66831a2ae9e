"""Are sinks managed over HTTP by instance owners, with their secret shown once?"""

from __future__ import annotations

from datetime import timedelta

from msgspec import structs

from api.deliveries import Ledger
from domain.ids import SinkId
from ops.sink_ledger import SinkLedgers
from tests.answers import problem
from tests.service import Served

WEBHOOK = {"name": "SIEM", "kind": "webhook", "url": "https://siem.example/in"}
PATH = "audit/sinks"


def test_create_shows_the_secret_once(http: Served) -> None:
    """Audit-export 5: the secret signs what is sent; it stands in no later answer and no event."""
    made = http.post(PATH, WEBHOOK)

    id_, secret = made.json()["id"], made.json()["secret"]
    assert made.status_code == 201
    assert made.headers["location"] == f"/api/v1/audit/sinks/{id_}"
    assert secret == http.vault.sink_secret(id_).reveal()
    assert secret != http.vault.sink_secret("another").reveal()
    shown = http.get(f"{PATH}/{id_}")
    listed = http.get(PATH)
    assert "secret" not in shown.json()
    assert secret not in shown.text + listed.text
    assert secret.encode() not in b"".join(one.state for one in http.log.read(0, 1_000))
    assert [one["id"] for one in listed.json()["items"]] == [id_]
    assert shown.json()["after"] == http.state.position - 1


def test_a_repeated_create_makes_no_second_sink_and_shows_no_secret(http: Served) -> None:
    """Http-api 4: a secret shown once is not shown again."""
    key = {"Idempotency-Key": "k-1"}

    first = http.post(PATH, WEBHOOK, headers=key)
    second = http.post(PATH, WEBHOOK, headers=key)

    assert first.json()["id"] == second.json()["id"]
    assert (second.status_code, second.headers["idempotency-replayed"]) == (201, "true")
    assert "secret" in first.json()
    assert "secret" not in second.json()
    assert len(http.state.sinks) == 1


def test_what_does_not_fit_is_refused(http: Served) -> None:
    """Security 5.8 and http-api 1: unsafe addresses, unknown members, files without a directory."""
    problem(http.post(PATH, {**WEBHOOK, "url": "http://siem.example"}), 422, "sink.invalid", "url")
    problem(http.post(PATH, {**WEBHOOK, "secret": "x"}), 422, "body.invalid", "secret")
    problem(http.post(PATH, {"name": "a", "kind": "file"}), 422, "sink.files_off", "kind")
    problem(http.post(PATH, {**WEBHOOK, "after": 9_999}), 422, "sink.position")
    problem(http.get(f"{PATH}/none"), 404, "sink.unknown")


def test_files_are_taken_where_the_operator_set_a_directory(http: Served) -> None:
    """A path is the operator's to choose, never a caller's."""
    settings = structs.replace(http.service.settings, takes_files=True)
    http.service.settings = settings

    made = http.post(PATH, {"name": "archive", "kind": "file", "types": ["token.*"], "after": 0})

    assert made.status_code == 201
    assert {"secret", "url"}.isdisjoint(made.json())
    assert (made.json()["types"], made.json()["delivery"]["position"]) == (["token.*"], 0)


def test_pause_resume_replay_and_delete_are_commands(http: Served) -> None:
    """Audit-export 2.2: each is an act; deleting needs the version (http-api 3)."""
    id_ = http.sink()
    path = f"{PATH}/{id_}"

    assert http.post(f"{path}/pause").json()["paused"] is True
    assert http.post(f"{path}/resume").json()["paused"] is False
    assert http.post(f"{path}/replay", {"after": 3}).json()["after"] == 3
    tag = http.get(path).headers["etag"]
    assert tag == f'"{http.state.position}"'
    problem(http.delete(path), 428, "etag.required")
    problem(http.delete(path, headers={"If-Match": '"1"'}), 412, "etag.mismatch")
    assert http.delete(path, headers={"If-Match": tag}).status_code == 204
    problem(http.get(path), 404, "sink.unknown")
    topics = [type(event).__dict__["topic"] for event in http.events()[-5:]]
    assert [topic.split(".")[1] for topic in topics] == [
        *("created", "paused", "resumed", "replayed", "deleted"),
    ]


def test_the_ledger_of_a_sink_is_shown(http: Served) -> None:
    """Audit-export 2.2: how far it is, why it waits, and that it halted, until it is resumed."""
    id_ = http.sink()
    sink = http.state.sinks[SinkId(id_)]
    ledgers = SinkLedgers(http.sign_ins, http.inputs)
    ledgers.claim(sink)
    ledgers.delivered(sink, 3)

    delivered = http.get(f"{PATH}/{id_}").json()["delivery"]
    wait = Ledger(
        position=3,
        begun=sink.begun,
        failures=2,
        error="sink.refused",
        next_try=http.inputs.now() + timedelta(seconds=2),
    )
    ledgers.failed(sink, wait)
    waiting = http.get(PATH).json()["items"][0]["delivery"]
    ledgers.failed(sink, structs.replace(wait, next_try=None, halted=sink.changed))
    halted = http.get(f"{PATH}/{id_}").json()["delivery"]
    resumed = http.post(f"{PATH}/{id_}/resume").json()["delivery"]

    lag = sink.begun - 3
    at = "2026-01-01T00:00:00Z"
    assert delivered == {
        "position": 3,
        "lag": lag,
        "failures": 0,
        "halted": False,
        "deliveredAt": at,
    }
    assert (waiting["failures"], waiting["error"]) == (2, "sink.refused")
    assert waiting["nextTry"] == "2026-01-01T00:00:02Z"
    assert halted["halted"] is True
    assert resumed["halted"] is False


def test_sinks_are_the_owners_alone(http: Served) -> None:
    """Security 5.8: a tenant's administrator neither sees nor makes one."""
    admin = http.user("admin@example.com")
    http.allow(admin, {"*": ["*"]})
    by = http.bearer(admin)

    problem(http.get(PATH, by=by), 403, "privilege.required")
    problem(http.post(PATH, WEBHOOK, by=by), 403, "privilege.required")
