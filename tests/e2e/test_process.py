"""Does the process keep its contract with operators and scripts? (design 7)."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.e2e.node import OWNER_EMAIL, OWNER_PASSWORD, Node, muniment


def _init(data_dir: Path, password: Path, email: str = OWNER_EMAIL) -> int:
    return muniment(
        "init", "--admin-email", email, "--password-file", str(password), data_dir=data_dir
    ).returncode


@pytest.fixture
def password(tmp_path: Path) -> Path:
    """A file with a password that is good enough."""
    file = tmp_path / "password"
    file.write_text(OWNER_PASSWORD + "\n")
    return file


def test_serve_on_an_empty_directory_names_both_ways_on(tmp_path: Path) -> None:
    """`serve` never makes an installation by itself: it names `init` and `dev`, exit code 8."""
    (tmp_path / "data").mkdir(mode=0o700)

    done = muniment("serve", data_dir=tmp_path / "data")

    assert done.returncode == 8
    assert "muniment init" in done.stderr
    assert "muniment dev" in done.stderr
    assert not (tmp_path / "data" / "log.db").exists()


def test_init_makes_one_installation_however_many_try(tmp_path: Path, password: Path) -> None:
    """Security 2.7: of many set-ups at once exactly one succeeds, the others are told so."""
    data_dir = tmp_path / "data"

    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(lambda _: _init(data_dir, password), range(6)))

    assert sorted(codes) == [0, 7, 7, 7, 7, 7]
    assert _init(data_dir, password) == 7


def test_init_takes_no_weak_and_no_default_password(tmp_path: Path) -> None:
    """Security 3.2: no password, a short one, a common one: refused, and nothing is made."""
    data_dir = tmp_path / "data"
    for number, text in enumerate(("short", "1qaz2wsx3edc4rfv", OWNER_EMAIL + "1234")):
        file = tmp_path / f"weak-{number}"
        file.write_text(text)
        assert _init(data_dir, file) == 8

    asked = muniment("init", "--admin-email", OWNER_EMAIL, data_dir=data_dir)

    assert asked.returncode == 2
    assert not (data_dir / "log.db").exists()


def test_init_takes_no_password_that_is_no_text(tmp_path: Path) -> None:
    """Security 3.2: bytes that are no UTF-8 are a fault of the password and told as one."""
    file = tmp_path / "binary"
    file.write_bytes(b"\xff\xfe correct horse battery staple")

    done = muniment(
        "init",
        "--admin-email",
        OWNER_EMAIL,
        "--password-file",
        str(file),
        data_dir=tmp_path / "data",
    )

    assert done.returncode == 8
    assert "Unicode" in done.stderr
    assert not (tmp_path / "data").exists()


def test_init_makes_no_directory_that_is_open_to_others(tmp_path: Path, password: Path) -> None:
    """Security 7.2: umask 077 holds whatever the operator's shell has, also for what is above."""
    place = tmp_path / "above" / "data"
    arguments = ("init", "--admin-email", OWNER_EMAIL, "--password-file", str(password))
    command = (sys.executable, "-m", "ops.cli.main", *arguments, "--data-dir", str(place))

    subprocess.run(("sh", "-c", 'umask 000; exec "$@"', "sh", *command), check=True, timeout=120)

    modes = {path.name: path.stat().st_mode for path in (place.parent, place, *place.iterdir())}
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


def test_what_the_system_refuses_is_said_without_a_trace(tmp_path: Path, password: Path) -> None:
    """Cli 4, security 7.8: a file in the way, an address that is taken: a line and exit code 8."""
    data_dir = tmp_path / "data"
    assert _init(data_dir, password) == 0

    in_the_way = muniment(
        "init",
        "--admin-email",
        OWNER_EMAIL,
        "--password-file",
        str(password),
        data_dir=password / "data",
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = muniment("serve", "--port", str(port), data_dir=data_dir)

    assert in_the_way.returncode == refused.returncode == 8
    assert f"127.0.0.1:{port}: Address already in use" in refused.stderr
    assert "Traceback" not in in_the_way.stderr + refused.stderr


def test_a_command_that_is_interrupted_says_so_by_its_exit_code(tmp_path: Path) -> None:
    """Cli 4: Ctrl-C is exit code 130."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    arguments = ("init", "--admin-email", OWNER_EMAIL, "--password-file", str(pipe))
    with subprocess.Popen(
        (sys.executable, "-m", "ops.cli.main", *arguments, "--data-dir", str(tmp_path / "data"))
    ) as process:
        writing = None
        while writing is None and process.poll() is None:
            # It can be opened for writing as soon as the command waits for its password.
            with suppress(OSError):
                writing = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)

    assert writing is not None
    os.close(writing)
    assert process.returncode == 130


def test_nothing_of_an_installation_is_open_to_others(node: Node) -> None:
    """Security 7.2: the directory is 0700 and every file in it 0600."""
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in node.data_dir.rglob("*")
        if path.is_file()
    }

    assert stat.S_IMODE(node.data_dir.stat().st_mode) == 0o700
    assert modes
    assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}


def test_a_directory_that_others_can_read_is_refused(tmp_path: Path, password: Path) -> None:
    """Security 7.4: world-readable data is not served."""
    data_dir = tmp_path / "data"
    assert _init(data_dir, password) == 0
    data_dir.chmod(0o755)

    done = muniment("serve", "--port", "0", data_dir=data_dir)

    assert done.returncode == 8
    assert "open to others" in done.stderr


def test_a_public_address_needs_a_public_https_url(tmp_path: Path, password: Path) -> None:
    """Security 7.4: without https or a declared proxy only loopback is served."""
    data_dir = tmp_path / "data"
    assert _init(data_dir, password) == 0

    done = muniment("serve", "--host", "0.0.0.0", "--port", "0", data_dir=data_dir)  # noqa: S104 - what is to be refused

    assert done.returncode == 8
    assert "PUBLIC_URL" in done.stderr


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    """A misspelled variable would silently leave a guard off."""
    done = subprocess.run(
        (sys.executable, "-m", "ops.cli.main", "digest", "--data-dir", str(tmp_path)),
        env={**os.environ, "MUNIMENT_PASWORD_CHARACTERS_MIN": "20"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 8
    assert "MUNIMENT_PASWORD_CHARACTERS_MIN" in done.stderr


def test_one_process_holds_the_data_directory(node: Node) -> None:
    """A second server on the same directory is refused with exit code 7."""
    done = muniment("serve", "--port", "0", data_dir=node.data_dir)

    assert done.returncode == 7


def test_digest_and_verify_work_beside_a_server(node: Node) -> None:
    """Both read the log of a running installation, agree on its digest, and can look back."""
    digest = muniment("digest", data_dir=node.data_dir)
    verify = muniment("verify", data_dir=node.data_dir)
    early = muniment("digest", "--position", "1", data_dir=node.data_dir)
    late = muniment("digest", "--position", "100000", data_dir=node.data_dir)
    before = muniment("digest", "--at", "2020-01-01", data_dir=node.data_dir)
    after = muniment("digest", "--at", "9999-12-31", data_dir=node.data_dir)
    never = muniment("digest", "--at", "soon", data_dir=node.data_dir)

    position, value = digest.stdout.split()
    assert verify.stdout.splitlines()[0] == f"{position} events, digest {value}"
    assert early.stdout.split()[0] == "1"
    assert early.stdout.split()[1] != value
    assert late.returncode == 8
    assert before.returncode == 8
    assert "before the first event" in before.stderr
    assert after.stdout == digest.stdout
    assert never.returncode == 2


def test_probes_tell_that_it_serves_and_is_ready(node: Node) -> None:
    """/livez and /readyz answer without credentials, and tell the position."""
    live = httpx.get(f"{node.url}/livez")
    ready = httpx.get(f"{node.url}/readyz")

    assert live.status_code == 200
    assert ready.status_code == 200
    assert ready.json()["ready"] is True
    assert ready.json()["applied_position"] == ready.json()["head_position"] > 0
    assert ready.headers["cache-control"] == "no-store"
    assert "server" not in ready.headers


def test_the_public_address_is_the_servers_own_unless_it_is_set(node: Node, tmp_path: Path) -> None:
    """On loopback without a setting, by the port that was free; else the setting (authzen 8)."""
    well_known = "/.well-known/authzen-configuration"

    own = httpx.get(node.url + well_known).json()

    assert own["policy_decision_point"] == node.url
    for name, address in own.items():
        if name.endswith("_endpoint"):
            assert address.startswith(node.url)
            assert httpx.post(address, json={}).status_code == 401
    node.stop()
    public = Node(tmp_path / "data", settings={"MUNIMENT_PUBLIC_URL": "https://x.example/authz"})
    public.start()
    told = httpx.get(f"{public.url}{well_known}/authz").json()
    missing = httpx.get(public.url + well_known)
    public.stop()

    assert told["policy_decision_point"] == "https://x.example/authz"
    assert told["search_action_endpoint"] == "https://x.example/authz/access/v1/search/action"
    assert missing.status_code == 404


def test_sigterm_drains_within_ten_seconds(node: Node) -> None:
    """The process ends cleanly, with exit code 0, and what it acknowledged is there."""
    with node.owner() as owner:
        made = owner.post("/api/v1/main/groups", json={"name": "Last words"})
        assert made.status_code == 200

        began = time.monotonic()
        code = node.stop()

    assert code == 0
    assert time.monotonic() - began < 10
    node.start()
    with node.owner() as owner:
        assert owner.get(f"/api/v1/main/groups/{made.json()['id']}").status_code == 200


def test_dev_is_for_this_machine_only() -> None:
    """`dev` refuses every host but loopback."""
    done = muniment("dev", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 - what is to be refused

    assert done.returncode == 8
    assert "loopback" in done.stderr


def test_dev_has_a_store_of_its_own_and_takes_it_away(tmp_path: Path) -> None:
    """Cli 7: a real installation's settings do not lead the demo there, nor out of this machine."""
    settings = {
        "MUNIMENT_DATABASE_URL": "postgresql://muniment_app@127.0.0.1:1/real",
        "MUNIMENT_OWNER_DATABASE_URL": "postgresql://owner@127.0.0.1:1/real",
        "MUNIMENT_MASTER_KEY": "no key at all",
        "MUNIMENT_PUBLIC_URL": "https://access.example.com",
        "MUNIMENT_TRUSTED_PROXIES": "127.0.0.1",
        "TMPDIR": str(tmp_path),
    }
    with subprocess.Popen(
        (sys.executable, "-m", "ops.cli.main", "dev", "--port", "0"),
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            told: list[str] = []
            while not (told and told[-1].startswith("listening on")):
                told.append(process.stdout.readline())
                assert told[-1], told
            (export,) = (line for line in told if line.startswith("export "))
            shown = dict(word.split("=", 1) for word in shlex.split(export)[1:])
            url = shown["MUNIMENT_SERVER"]
            headers = {"Authorization": f"Bearer {shown['MUNIMENT_API_TOKEN']}"}
            as_itself = httpx.get(f"{url}/api/v1/me", headers=headers)
            as_another = httpx.get(
                f"{url}/api/v1/me", headers={**headers, "Host": "access.example.com"}
            )
        finally:
            process.terminate()

    assert told[-1] == f"listening on {url}\n"
    assert (as_itself.status_code, as_another.status_code) == (200, 400)
    assert process.returncode == 0
    assert [*tmp_path.iterdir()] == []


def test_help_waits_for_none_of_the_servers_code() -> None:
    """After --help neither litestar, sqlalchemy, eventsourcing nor httpx has been imported."""
    program = (
        "import sys\n"
        "from ops.cli.main import muniment\n"
        "muniment.main(['--help'], standalone_mode=False)\n"
        "heavy = {'litestar', 'sqlalchemy', 'eventsourcing', 'httpx', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )

    done = subprocess.run(
        (sys.executable, "-c", program), capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout
