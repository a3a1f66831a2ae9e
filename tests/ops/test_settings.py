"""Is every setting read from its place, and every unsafe one refused?"""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.sealed import Secret
from ops.settings import Settings, SettingsError, read_settings, require_servable


def test_an_option_wins_over_the_environment_and_that_over_the_default() -> None:
    """Each setting comes from the nearest place that names it."""
    environment = {"MUNIMENT_PORT": "9000", "MUNIMENT_HOST": "::1"}

    settings = read_settings(environment, port=9001)

    assert (settings.port, settings.host) == (9001, "::1")
    assert read_settings({}).port == 8080


def test_a_secret_can_stand_in_a_file(tmp_path: Path) -> None:
    """MUNIMENT_…_FILE names a file, whose content is the value without the final line end."""
    file = tmp_path / "url"
    file.write_text("postgresql://somebody:hunter2@db/muniment\n")

    settings = read_settings({"MUNIMENT_DATABASE_URL_FILE": str(file)})

    assert settings.database_url == Secret("postgresql://somebody:hunter2@db/muniment")
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"MUNIMENT_PROT": "1"}, "MUNIMENT_PROT"),
        ({"MUNIMENT_PORT_FILE": "x"}, "MUNIMENT_PORT_FILE"),
        ({"MUNIMENT_PORT": "many"}, "PORT"),
        ({"MUNIMENT_STALENESS_BOUND_SECONDS": "nan"}, "STALENESS_BOUND_SECONDS"),
        ({"MUNIMENT_STALENESS_BOUND_SECONDS": "inf"}, "STALENESS_BOUND_SECONDS"),
        ({"MUNIMENT_STALENESS_BOUND_SECONDS": "-1"}, "STALENESS_BOUND_SECONDS"),
        ({"MUNIMENT_AT_LEAST_BOUND_SECONDS": "inf"}, "AT_LEAST_BOUND_SECONDS"),
        ({"MUNIMENT_LOG_LEVEL": "loud"}, "LOG_LEVEL"),
        ({"MUNIMENT_PUBLIC_CHECKPOINTS": "yes"}, "PUBLIC_CHECKPOINTS"),
        ({"MUNIMENT_PASSWORD_CHARACTERS_MIN": "65"}, "PASSWORD_CHARACTERS_MIN"),
        ({"MUNIMENT_PUBLIC_URL": "https://["}, "PUBLIC_URL"),
        ({"MUNIMENT_PUBLIC_URL": "https://access.example.com:99999"}, "PUBLIC_URL"),
        ({"MUNIMENT_PORT": "65536"}, "PORT"),
        ({"MUNIMENT_PORT": "-1"}, "PORT"),
        ({"MUNIMENT_PASSWORD_CHARACTERS_MIN": "7"}, "PASSWORD_CHARACTERS_MIN"),
        ({"MUNIMENT_TRUSTED_PROXIES": "10.0.0.0/8, everyone"}, "everyone"),
        ({"MUNIMENT_PUBLIC_URL": "http://access.example.com"}, "PUBLIC_URL"),
        ({"MUNIMENT_PUBLIC_URL": "https://access.example.com?x=1"}, "PUBLIC_URL"),
        ({"MUNIMENT_PUBLIC_URL": "ftp://127.0.0.1"}, "PUBLIC_URL"),
        ({"MUNIMENT_MASTER_KEY_FILE": "/nowhere/at/all"}, "MUNIMENT_MASTER_KEY_FILE"),
    ],
)
def test_what_is_unknown_malformed_or_unsafe_is_refused(
    environment: dict[str, str], named: str
) -> None:
    """Security 7.4: a setting that would leave a guard off is refused by name."""
    with pytest.raises(SettingsError, match=named):
        read_settings(environment)


def test_checkpoints_are_private_and_stay_in_the_house_unless_told_otherwise() -> None:
    """Transparency-log 4: who may read them, and where each new one is written, are settings."""
    told = read_settings({"MUNIMENT_PUBLIC_CHECKPOINTS": "True", "MUNIMENT_CHECKPOINT_SINK": "-"})

    assert (told.public_checkpoints, told.checkpoint_sink) == (True, "-")
    assert (read_settings({}).public_checkpoints, read_settings({}).checkpoint_sink) == (False, "")


def test_where_sinks_may_write_and_what_they_may_reach_is_set(tmp_path: Path) -> None:
    """Security 5.8: a directory that is there, and networks that are allowed singly."""
    environment = {
        "MUNIMENT_SINK_DIR": str(tmp_path),
        "MUNIMENT_SINK_NETWORKS": "10.0.0.9, 192.168.0.0/16",
    }

    settings = read_settings(environment)

    assert settings.sink_dir == tmp_path
    assert settings.sink_networks == ("10.0.0.9", "192.168.0.0/16")
    assert read_settings({}).sink_dir is None
    for name, value in (("SINK_DIR", str(tmp_path / "none")), ("SINK_NETWORKS", "everything")):
        with pytest.raises(SettingsError, match=name):
            read_settings({f"MUNIMENT_{name}": value})


def test_what_the_client_reads_is_nothing_to_the_server() -> None:
    """The variables of the command line client may stand beside the server's."""
    assert read_settings({"MUNIMENT_API_TOKEN": "x", "MUNIMENT_SERVER": "y", "HOME": "z"})


@pytest.mark.parametrize(
    ("host", "public_url", "servable"),
    [
        ("127.0.0.1", "", True),
        ("::1", "", True),
        ("localhost", "http://localhost:8080", True),
        ("0.0.0.0", "https://access.example.com", True),  # noqa: S104 - what is to be judged
        ("0.0.0.0", "", False),  # noqa: S104 - what is to be judged
        ("10.0.0.5", "http://127.0.0.1", False),
    ],
)
def test_others_are_served_behind_https_only(host: str, public_url: str, *, servable: bool) -> None:
    """Security 7.4: a public bind without https is refused."""
    settings = Settings(host=host, public_url=public_url)

    if servable:
        require_servable(settings)
    else:
        with pytest.raises(SettingsError, match="PUBLIC_URL"):
            require_servable(settings)


def test_the_public_name_is_served_besides_loopback() -> None:
    """The host of the public URL is the one other name that requests may carry."""
    named = read_settings({"MUNIMENT_PUBLIC_URL": "https://access.example.com/"})

    assert named.served_hosts == ("access.example.com",)
    assert named.public_url == "https://access.example.com"
    assert read_settings({}).served_hosts == ()
