"""Are secrets and personal data anywhere but where they belong? (security 4.5)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from tests.campaigns import canaries
from tests.campaigns.client import Answer, Client, basic, bearer
from tests.campaigns.report import say
from tests.e2e.node import OWNER_EMAIL, OWNER_PASSWORD, PROGRAM, Node

API = "/api/v1"
CHATTY = "tests.campaigns.mutants.chatty"
MASTER_KEY_FILE = "master.key"
AT_DEBUG = {"MUNIMENT_LOG_LEVEL": "debug"}

PASSWORDS = {
    "password": "canary password of eve 41",
    "next password": "canary password of eve 42",
    "wrong password": "canary password typed wrong",
    "weak password": "canarypw",
}
PEOPLE = {
    "e-mail": "canary.eve@example.com",
    "next e-mail": "canary.eva@example.com",
    "unknown e-mail": "canary.nobody@example.com",
    "first name": "Canaryfirst",
    "last name": "Canarylast",
    "alias": "canary-eve-4711",
    "alias in the query": "spiffe://canary.example/eve",
}


class Planted(Struct, frozen=True):
    """Every secret by its name, the bodies of errors, and the answers of the journey."""

    secrets: dict[str, bytes]
    people: dict[str, bytes]
    errors: list[tuple[str, bytes]]


class Planter:
    """Makes, uses and misuses secrets, and keeps what the server answered to misuse."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.errors: list[tuple[str, bytes]] = []
        self.secrets = {name: text.encode() for name, text in PASSWORDS.items()}
        self.secrets["owner's password"] = OWNER_PASSWORD.encode()

    def ask(
        self,
        who: str,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Ask with a credential; keep the body of an error."""
        with Client(self.url, who) as client:
            answer = client.ask(method, path, body, headers)
        if not answer.ok:
            told = b"\n".join(f"{k}: {v}".encode() for k, v in answer.headers.items())
            self.errors.append((f"{method} {path.partition('?')[0]}", told + b"\n" + answer.text))
        return answer

    def work(self) -> None:
        """Make a user and tokens, change them, sign in and out, and let a rotation happen."""
        owner = basic(OWNER_EMAIL, OWNER_PASSWORD)
        person = {
            "email": PEOPLE["e-mail"],
            "firstName": PEOPLE["first name"],
            "lastName": PEOPLE["last name"],
            "password": PASSWORDS["password"],
            "tenants": ["main"],
            "instanceOwner": True,
        }
        user = self.ask(owner, "POST", f"{API}/users", person).body["id"]
        eve = basic(PEOPLE["e-mail"], PASSWORDS["password"])
        issued = self.ask(eve, "POST", f"{API}/me/api-tokens", {"name": "laptop"}).body
        rotate = f"{API}/me/api-tokens/{issued['id']}/rotate"
        rotated = self.ask(eve, "POST", rotate, {"grace": "PT1H"}).body
        self.secrets["token"] = issued["fullToken"].encode()
        self.secrets["rotated token"] = rotated["fullToken"].encode()
        named = f"{API}/main/principals/{user}/aliases"
        queried = f"{named}/identity?alias={PEOPLE['alias in the query']}"
        assert self.ask(owner, "PUT", f"{named}/user/{PEOPLE['alias']}").ok
        assert self.ask(owner, "PUT", queried).ok
        assert self.ask(owner, "GET", named).ok
        self._sign_in(PEOPLE["e-mail"], PASSWORDS["password"])
        change = {"password": PASSWORDS["next password"]}
        assert self.ask(owner, "PATCH", f"{API}/users/{user}/password", change).ok
        assert self.ask(owner, "PATCH", f"{API}/users/{user}", {"email": PEOPLE["next e-mail"]}).ok
        token = bearer(rotated["fullToken"])
        assert self.ask(token, "GET", f"{API}/users?filters[q][EQUALS]=canary").ok
        assert self.ask(token, "GET", f"{API}/auditlogs/search?size=100").ok
        assert self.ask(token, "GET", f"{API}/main/auditlogs/export").ok

    def _sign_in(self, email: str, password: str) -> None:
        body = {"username": email, "password": password}
        signed_in = self.ask("", "POST", f"{API}/login", body)
        assert signed_in.ok, signed_in.text
        with Client(self.url) as client:
            client.ask("POST", f"{API}/login", body)
        cookie = signed_in.headers["set-cookie"]
        session = cookie.partition("JWT=")[2].partition(";")[0]
        assert session
        self.secrets["session"] = session.encode()
        assert self.ask("", "GET", f"{API}/me", headers={"Cookie": f"JWT={session}"}).ok

    def misuse(self) -> None:
        """Send secrets where they do not belong, and wrong ones where they do."""
        owner = basic(OWNER_EMAIL, OWNER_PASSWORD)
        token = self.secrets["token"].decode()
        wrong, weak = PASSWORDS["wrong password"], PASSWORDS["weak password"]
        email = PEOPLE["next e-mail"]
        self.ask(basic(email, wrong), "GET", f"{API}/me")
        self.ask(basic(PEOPLE["unknown e-mail"], wrong), "GET", f"{API}/me")
        self.ask("", "POST", f"{API}/login", {"username": email, "password": wrong})
        self.ask("", "POST", f"{API}/login", {"username": email, "password": [wrong]})
        self.ask("", "POST", f"{API}/login", f'{{"password": "{wrong}'.encode())
        self.ask(owner, "POST", f"{API}/users", {"email": email, "password": wrong})
        self.ask(owner, "POST", f"{API}/users", {"email": "new@example.com", "password": weak})
        self.ask(owner, "POST", f"{API}/users", {"email": f"{email}@", "password": wrong})
        self.ask(owner, "POST", f"{API}/users", {"email": 5, "password": {"is": wrong}})
        own = {"oldPassword": wrong, "newPassword": wrong}
        self.ask(basic(email, PASSWORDS["next password"]), "PUT", f"{API}/me/password", own)
        taken = f"{API}/main/principals/{{}}/aliases/identity?alias={PEOPLE['alias in the query']}"
        self.ask(owner, "PUT", taken.format("nobody"))
        self.ask(owner, "DELETE", taken.format("nobody"))
        self.ask("", "GET", f"{API}/me?token={token}")
        self.ask("", "GET", f"{API}/{token}/groups/search")
        misplaced = self.ask(bearer(token), "POST", f"{API}/main/groups", {"name": token})
        assert (misplaced.status, misplaced.code) == (400, "token.misplaced")
        self.ask(bearer(token[:-1]), "GET", f"{API}/me")
        self.ask(bearer(token), "GET", f"{API}/main/groups/{token}")
        self.ask(bearer(token), "GET", f"{API}/main/groups/search?filters[{token}][EQUALS]=x")
        self.ask(f"Digest {token}", "GET", f"{API}/me")
        self.ask(bearer(token), "GET", f"{API}/me", headers={"X-Request-Id": token})


def plant(node: Node) -> Planted:
    """Let a server work with secrets of every kind."""
    planter = Planter(node.url)
    planter.work()
    planter.misuse()
    key = (node.data_dir / MASTER_KEY_FILE).read_bytes()
    planter.secrets["master key"] = key.strip()
    people = {name: text.encode() for name, text in PEOPLE.items()}
    return Planted(planter.secrets, people, planter.errors)


def serve(directory: Path, program: str = PROGRAM) -> Node:
    """Start a server that tells all it ever tells."""
    node = Node(directory / "data", program=program, settings=AT_DEBUG)
    node.init()
    node.start()
    return node


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A server at log level DEBUG."""
    node = serve(tmp_path_factory.mktemp("secrets"))
    yield node
    node.stop()


@pytest.fixture(scope="module")
def planted(served: Node) -> Planted:
    """The secrets that this server has met."""
    found = plant(served)
    time.sleep(2)  # what is written a moment later is to be found as well
    return found


def stored(node: Node) -> list[tuple[str, bytes]]:
    """Every file of the data directory but the one that is the master key."""
    return [file for file in canaries.files(node.data_dir) if file[0] != MASTER_KEY_FILE]


def output(node: Node) -> list[tuple[str, bytes]]:
    """What the server wrote to standard output and error."""
    return [("output", "".join(node.output).encode())]


def test_no_file_holds_a_secret(served: Node, planted: Planted) -> None:
    """Security 4.5: log, views, sessions, vault and their write-ahead files hold none."""
    places = stored(served)

    found = canaries.hits(planted.secrets, places)

    say("security 4.5, files", found, n=len(planted.secrets) * len(places))
    assert {"log.db", "views.db", "vault.db", "sessions.db", "journal.db"} <= {
        name for name, _ in places
    }
    assert found == []


def test_no_file_holds_what_is_sealed(served: Node, planted: Planted) -> None:
    """Security 4.7: e-mails and names of people are in no file in plain."""
    assert canaries.hits(planted.people, stored(served)) == []


def test_the_output_tells_no_secret_and_no_person(served: Node, planted: Planted) -> None:
    """Security 4.5: not even at DEBUG."""
    told = output(served)

    assert len(told[0][1]) > 1_000, "nothing was logged, so nothing was tested"
    assert canaries.hits({**planted.secrets, **planted.people}, told) == []


def test_no_error_repeats_a_secret(planted: Planted) -> None:
    """Security 4.5, 7.8: errors quote ids, never secrets or personal data."""
    assert len(planted.errors) >= 15
    assert canaries.hits({**planted.secrets, **planted.people}, planted.errors) == []


def test_no_error_tells_what_the_server_is_made_of(planted: Planted) -> None:
    """Security 7.8: no trace, statement, path, version or library name."""
    words = ("Traceback", "litestar", "msgspec", "uvicorn", "sqlite", "SELECT ", "python", ".py")
    made_of = [
        (place, word) for place, text in planted.errors for word in words if word.encode() in text
    ]

    assert made_of == []


def test_neither_document_nor_metrics_nor_the_process_shows_a_secret(
    served: Node, planted: Planted
) -> None:
    """Security 4.5: OpenAPI document, metrics, process arguments and environment hold none."""
    with Client(served.url) as anyone:
        document = anyone.ask("GET", "/openapi.json").text
    with served.owner() as owner:
        metrics = owner.get("/metrics").content
    process = Path("/proc") / str(served.pid)
    if not process.exists():
        pytest.skip("there is no /proc")
    places = [
        ("document", document),
        ("metrics", metrics),
        ("arguments", (process / "cmdline").read_bytes()),
        ("environment", (process / "environ").read_bytes()),
    ]

    assert len(document) > 10_000
    assert b"muniment_requests_total{" in metrics
    assert canaries.hits({**planted.secrets, **planted.people}, places) == []


def test_a_planted_leak_is_found(tmp_path: Path) -> None:
    """Control of security 4.5: a build that logs credentials is noticed, whatever the coding."""
    broken = serve(tmp_path, CHATTY)

    secrets = plant(broken).secrets

    broken.stop()
    found = canaries.hits(secrets, output(broken))
    say("security 4.5, chatty", found)
    assert any("token (raw)" in hit for hit in found)
    assert any("password (base64" in hit for hit in found)
