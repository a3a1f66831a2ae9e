"""What if an idempotency key were anybody's? (reliability 1: `open_key`)."""

from __future__ import annotations

from domain.ids import CommandId
from ops.vault import Vault
from tests.campaigns.mutants.start import broken

_COMMAND_ID_FOR = Vault.command_id_for


def command_id_for_anybody(
    vault: Vault, caller: str, method: str, path: str, key: str
) -> CommandId:
    """The command's id, whoever gives it."""
    del caller
    return _COMMAND_ID_FOR(vault, "anybody", method, path, key)


if __name__ == "__main__":
    broken(Vault, "command_id_for", command_id_for_anybody)
