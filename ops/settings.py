"""How is this process configured?

Every setting is an option of the command line and a variable `MUNIMENT_…`; a secret can stand in
a file named by `MUNIMENT_…_FILE` instead. Unknown variables are refused, because a misspelled one
would silently leave a guard off.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct

from domain.sealed import Secret

# Which decisions are kept in full: denials, all, or all with no answer before its record.
JournalMode = Literal["denials", "all", "required"]

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
LOG_LEVELS: Final = frozenset({"debug", "info", "warning", "error", "critical"})
# Nobody is kept from a good password, and nobody gets by with a short one (security 3.2).
PASSWORD_CHARACTERS_MIN_RANGE: Final = (8, 64)
# Followers look once a second, so a closer bound would never be kept; none at all is no bound.
STALENESS_SECONDS_RANGE: Final = (1.0, 3_600.0)
AT_LEAST_SECONDS_RANGE: Final = (0.0, 60.0)

# 0 turns it off.
SELF_CHECK_SECONDS_RANGE: Final = (0, 604_800)
JOURNAL_DAYS_RANGE: Final = (1, 36_500)
JOURNAL_MODES: Final[dict[str, JournalMode]] = {
    "denials": "denials",
    "all": "all",
    "required": "required",
}

_KNOWN: Final = frozenset(
    """
    DATA_DIR DATABASE_URL OWNER_DATABASE_URL HOST PORT PUBLIC_URL TRUSTED_PROXIES MASTER_KEY
    PASSWORD_CHARACTERS_MIN STALENESS_BOUND_SECONDS AT_LEAST_BOUND_SECONDS LOG_LEVEL
    CHECKPOINT_SINK PUBLIC_CHECKPOINTS
    JOURNAL JOURNAL_DAYS
    SINK_DIR SINK_NETWORKS
    SELF_CHECK_SECONDS
    """.split()
)
_SECRETS: Final = frozenset({"DATABASE_URL", "OWNER_DATABASE_URL", "MASTER_KEY"})
# What the client and the tests read.
_OTHERS: Final = frozenset(
    """
    SERVER API_TOKEN API_TOKEN_FILE USER PASSWORD TENANT PROFILE OUTPUT TIMEOUT CA_FILE
    TEST_DATABASE_URL
    """.split()
)
_PREFIX: Final = "MUNIMENT_"

N = TypeVar("N", int, float)


class SettingsError(Exception):
    """A setting is missing, unknown, malformed or unsafe; the message names it."""


class Settings(Struct, frozen=True, kw_only=True):
    """Times in seconds; `data_dir` for the embedded store, or `database_url` for PostgreSQL.

    `checkpoint_sink` is a directory, or `-` for standard output; `public_checkpoints` lets
    everybody read checkpoints and proofs of hashes. `self_check_seconds` lie between two looks at
    whether the views are what the log amounts to, 0 for none.
    """

    data_dir: Path = Path("data")
    database_url: Secret | None = None
    owner_database_url: Secret | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str = ""
    trusted_proxies: tuple[str, ...] = ()
    master_key: Secret | None = None
    password_characters_min: int = 15
    staleness_bound_seconds: float = 5.0
    at_least_bound_seconds: float = 1.0
    log_level: str = "info"
    checkpoint_sink: str = ""
    public_checkpoints: bool = False
    journal: JournalMode = "denials"
    journal_days: int = 90
    sink_dir: Path | None = None
    sink_networks: tuple[str, ...] = ()
    self_check_seconds: int = 3_600

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address that is bound."""
        return self.host in LOOPBACK_NAMES

    @property
    def served_hosts(self) -> tuple[str, ...]:
        """The names under which the service is reached besides loopback."""
        host = urlsplit(self.public_url).hostname if self.public_url else None
        return (host,) if host else ()


def read_settings(
    environment: Mapping[str, str] | None = None, **options: str | int | Path | None
) -> Settings:
    """Read the settings; a given option wins over the environment. Raises SettingsError."""
    environment = os.environ if environment is None else environment
    found = _environment(environment)
    found.update({name: str(value) for name, value in options.items() if value is not None})
    settings = Settings(
        data_dir=Path(found.get("data_dir", "data")).absolute(),
        database_url=_secret(found, "database_url"),
        owner_database_url=_secret(found, "owner_database_url"),
        host=found.get("host", "127.0.0.1"),
        port=_number(found, "port", int, 8080, (0, 65_535)),
        public_url=found.get("public_url", "").rstrip("/"),
        trusted_proxies=tuple(found.get("trusted_proxies", "").replace(",", " ").split()),
        master_key=_secret(found, "master_key"),
        password_characters_min=_number(
            found, "password_characters_min", int, 15, PASSWORD_CHARACTERS_MIN_RANGE
        ),
        staleness_bound_seconds=_number(
            found, "staleness_bound_seconds", float, 5.0, STALENESS_SECONDS_RANGE
        ),
        at_least_bound_seconds=_number(
            found, "at_least_bound_seconds", float, 1.0, AT_LEAST_SECONDS_RANGE
        ),
        log_level=found.get("log_level", "info").lower(),
        checkpoint_sink=found.get("checkpoint_sink", ""),
        public_checkpoints=_flag(found, "public_checkpoints"),
        journal=_journal_mode(found.get("journal", "denials").lower()),
        journal_days=_number(found, "journal_days", int, 90, JOURNAL_DAYS_RANGE),
        sink_dir=Path(found["sink_dir"]).absolute() if found.get("sink_dir") else None,
        sink_networks=tuple(found.get("sink_networks", "").replace(",", " ").split()),
        self_check_seconds=_number(
            found, "self_check_seconds", int, 3_600, SELF_CHECK_SECONDS_RANGE
        ),
    )
    _judge(settings)
    return settings


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for variable, value in environment.items():
        if not variable.startswith(_PREFIX):
            continue
        name = variable.removeprefix(_PREFIX)
        from_file = name.removesuffix("_FILE")
        if name in _KNOWN:
            found[name.lower()] = value
        elif from_file in _SECRETS:
            found[from_file.lower()] = _file(variable, value)
        elif name not in _OTHERS:
            raise SettingsError(f"{variable} is not a setting")
    return found


def _file(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{variable} cannot be read: {type(error).__name__}") from None


def _secret(found: Mapping[str, str], name: str) -> Secret | None:
    value = found.get(name)
    return Secret(value) if value else None


def _number(
    found: Mapping[str, str], name: str, kind: Callable[[str], N], default: N, within: tuple[N, N]
) -> N:
    try:
        number = kind(found[name]) if name in found else default
    except ValueError:
        raise SettingsError(f"{name.upper()} is no number") from None
    lowest, highest = within
    # Said so that what is not a number, which is neither below nor above, is refused as well.
    if not lowest <= number <= highest:
        raise SettingsError(f"{name.upper()} must be from {lowest} to {highest}")
    return number


def _flag(found: Mapping[str, str], name: str) -> bool:
    value = found.get(name, "false").lower()
    if value not in {"true", "false"}:
        raise SettingsError(f"{name.upper()} must be true or false")
    return value == "true"


def _journal_mode(name: str) -> JournalMode:
    if name not in JOURNAL_MODES:
        raise SettingsError(f"JOURNAL must be one of {', '.join(JOURNAL_MODES)}")
    return JOURNAL_MODES[name]


def _judge(settings: Settings) -> None:
    """Refuse what would be unsafe to serve with (security 7.4)."""
    if settings.log_level not in LOG_LEVELS:
        raise SettingsError(f"LOG_LEVEL must be one of {', '.join(sorted(LOG_LEVELS))}")
    for proxy in settings.trusted_proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError:
            raise SettingsError(f"TRUSTED_PROXIES: {proxy} is no address or network") from None
    for network in settings.sink_networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise SettingsError(f"SINK_NETWORKS: {network} is no address or network") from None
    if settings.sink_dir is not None and not settings.sink_dir.is_dir():
        raise SettingsError(f"SINK_DIR: {settings.sink_dir} is no directory")
    if settings.public_url and not _is_safe(settings.public_url):
        raise SettingsError("PUBLIC_URL must be https, or http on loopback, without a query")


def _is_safe(public_url: str) -> bool:
    try:
        url = urlsplit(public_url)
        port = url.port
    except ValueError:
        return False
    safe = url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK_NAMES)
    return safe and bool(url.hostname) and port != 0 and not (url.query or url.fragment)


def require_servable(settings: Settings) -> None:
    """Refuse to serve others than this machine without a public https address (security 7.4)."""
    if not settings.is_loopback and not settings.public_url.startswith("https://"):
        raise SettingsError(
            f"to listen on {settings.host}, set PUBLIC_URL to the https address of the service"
        )
