"""What do the options of every client command mean, and with which code does one end?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ops.cli.main import (
    CONFLICT,
    DENIED,
    FORBIDDEN,
    INVALID,
    NOT_FOUND,
    NOT_SIGNED_IN,
    UNREACHABLE,
)
from ops.cli.main import muniment as tree
from ops.cli.options import GLOBALS
from tests.e2e.desk import USAGE, Desk, leaves
from tests.e2e.node import OWNER_EMAIL, OWNER_PASSWORD

if TYPE_CHECKING:
    from pathlib import Path


def test_each_exit_code_is_reached(desk: Desk) -> None:
    """Cli 8.3 and 4: every code but 0 means that it is not allowed or not done."""
    desk.json("sa", "create", "nobody")
    low = desk.run("token", "create", "sa:nobody", "t").stdout.strip()
    server = {"MUNIMENT_SERVER": desk.node.url}
    as_low = {**server, "MUNIMENT_API_TOKEN": low}
    cases: list[tuple[int, list[str], dict[str, str] | None]] = [
        (USAGE, ["sa", "lsit"], None),
        (USAGE, ["sa", "list", "--no-such"], None),
        (USAGE, ["sa", "delete", "nobody"], None),
        (DENIED, ["check", "sa:nobody", "UPDATE", "FLOW", "prod"], None),
        (NOT_SIGNED_IN, ["whoami"], {**server, "MUNIMENT_API_TOKEN": "muns_wrong"}),
        (FORBIDDEN, ["sa", "list"], as_low),
        (NOT_FOUND, ["sa", "get", "missing"], None),
        (CONFLICT, ["group", "create", "taken"], None),
        (INVALID, ["group", "create", "x" * 101], None),
        (UNREACHABLE, ["whoami"], {**as_low, "MUNIMENT_SERVER": "http://127.0.0.1:9"}),
    ]
    desk.json("group", "create", "Taken")
    for code, arguments, settings in cases:
        done = desk.run(*arguments, settings=settings)
        assert done.returncode == code, (arguments, done.stderr)
        assert done.stdout == "" or code == DENIED
        as_data = desk.run("-o", "json", *arguments, settings=settings)
        assert as_data.returncode == code
        if code != DENIED:
            error = json.loads(as_data.stderr.splitlines()[-1])["error"]
            assert {"code", "title", "detail", "message", "_embedded"} <= error.keys(), arguments


def test_unreachable_names_the_address_and_ambiguous_the_ids(desk: Desk) -> None:
    """Cli 2.2 and 4: what was asked, and what to say instead."""
    far = desk.run(
        "whoami",
        settings={"MUNIMENT_SERVER": "http://127.0.0.1:9", "MUNIMENT_API_TOKEN": "t"},
    )
    assert "127.0.0.1:9" in far.stderr
    ids = {desk.json("sa", "create", "twin")["id"] for _ in range(2)}
    twins = desk.run("sa", "get", "twin", "-o", "json")
    assert twins.returncode == INVALID
    error = json.loads(twins.stderr)["error"]
    assert error["code"] == "name.ambiguous"
    assert all(id_ in error["message"] for id_ in ids)
    assert "did you mean twin?" in desk.run("sa", "get", "twim").stderr


def test_options_stand_before_and_after_and_the_innermost_wins(desk: Desk) -> None:
    """Cli 8.5: in both spellings, at every level."""
    id_ = desk.json("sa", "create", "level")["id"]
    for arguments in (
        ("--output", "name", "sa", "list", "--q=level"),
        ("--output=json", "sa", "--output", "name", "list", "--q", "level"),
        ("sa", "--output=csv", "list", "--q", "level", "-o", "name"),
    ):
        done = desk.run(*arguments)
        assert done.stdout.split() == [id_], (arguments, done.stderr)


def test_a_value_comes_from_flag_environment_profile_or_default(desk: Desk, tmp_path: Path) -> None:
    """Cli 8.5 and 2.1: in that order, and `config show` names the source and no secret."""
    file = tmp_path / "secret"
    file.write_text(desk.token)
    home = {"XDG_CONFIG_HOME": str(tmp_path)}

    def tenant(*arguments: str, **settings: str) -> tuple[str, str]:
        done = desk.run("config", "show", "-o", "json", *arguments, settings={**home, **settings})
        assert done.returncode == 0, done.stderr
        (row,) = (one for one in json.loads(done.stdout) if one["name"] == "tenant")
        return row["value"], row["source"]

    assert tenant() == ("main", "default")
    add = ("config", "add", "p", "--server", desk.node.url, "--tenant", "alpha", "--default")
    done = desk.run(*add, "--api-token-file", str(file), settings=home)
    assert done.returncode == 0, done.stderr
    assert tenant() == ("alpha", "profile p")
    assert tenant(MUNIMENT_TENANT="beta") == ("beta", "MUNIMENT_TENANT")
    assert tenant("--tenant", "gamma", MUNIMENT_TENANT="beta") == ("gamma", "flag")

    assert desk.run("whoami", settings=home).returncode == 0
    shown = desk.run("config", "show", settings={**home, "MUNIMENT_API_TOKEN": desk.token})
    assert desk.token not in shown.stdout + shown.stderr
    header = ("config", "show", "--header", "X-Key=planted")
    assert "planted" not in desk.run(*header, settings=home).stdout
    config = tmp_path / "muniment" / "config.toml"
    assert config.stat().st_mode & 0o777 == 0o600
    assert desk.run("config", "use", "p", settings=home).returncode == 0
    assert desk.run("config", "use", "q", settings=home).returncode == NOT_FOUND
    config.chmod(0o644)
    refused = desk.run("whoami", settings=home)
    assert (refused.returncode, "chmod 600" in refused.stderr) == (USAGE, True)
    config.chmod(0o600)
    assert desk.run("config", "remove", "p", settings=home).returncode == 0
    assert tenant() == ("main", "default")


def test_no_command_has_an_option_of_a_global_name() -> None:
    """Cli 2: so a global option means the same everywhere."""
    names = {flag for each in GLOBALS.values() for flag in each.flags}
    for name, command in leaves(tree):
        given = [flag for option in command.params for flag in option.opts if flag in names]
        assert len(given) == len({*given}), name
        words = [option.name for option in command.params]
        assert len(words) == len({*words}), name


def test_users_sign_in_by_password_and_never_beside_a_token(desk: Desk) -> None:
    """Cli 2: inline with a note, from input, or from the environment; two ways are wrong usage."""
    server = {"MUNIMENT_SERVER": desk.node.url}
    inline = desk.run("whoami", "--user", f"{OWNER_EMAIL}:{OWNER_PASSWORD}", settings=server)
    assert inline.returncode == 0, inline.stderr
    assert "note:" in inline.stderr
    assert OWNER_PASSWORD not in inline.stderr
    kept = {**server, "MUNIMENT_USER": OWNER_EMAIL, "MUNIMENT_PASSWORD": OWNER_PASSWORD}
    assert desk.run("whoami", settings=kept).returncode == 0
    both = desk.run("whoami", "--user", OWNER_EMAIL, "--api-token", "t", settings=server)
    assert both.returncode == USAGE
    hides = desk.run("whoami", "--user", f"{OWNER_EMAIL}:{OWNER_PASSWORD}")
    assert hides.returncode == 0
    assert desk.run("whoami", "--user", OWNER_EMAIL, settings=server).returncode == USAGE


def test_no_secret_is_in_debug_or_an_error(desk: Desk) -> None:
    """Cli 8.6: what is sent is shown without Authorization and without secret members."""
    body = '{"username": "a", "password": "planted"}'
    done = desk.run("api", "POST", "/api/v1/login", "-d", body, "--debug")
    assert "POST /api/v1/login" in done.stderr
    assert "planted" not in done.stderr
    assert desk.token not in done.stderr
    wrong = desk.run("whoami", "--debug", "--api-token", "muns_planted-token")
    assert wrong.returncode == NOT_SIGNED_IN
    assert "planted-token" not in wrong.stderr


def test_credentials_are_not_sent_over_plain_http(desk: Desk) -> None:
    """Cli 8.7: to anything but loopback; nothing is looked up before that."""
    done = desk.run("whoami", "--server", "http://access.example.com")
    assert done.returncode == USAGE
    assert "plain HTTP" in done.stderr
