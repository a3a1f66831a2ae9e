"""What if a batch counted as delivered as soon as it was sent? (audit-export 2)."""

from __future__ import annotations

import threading

from ops.sink_targets import Webhook
from tests.campaigns.mutants.start import broken

_TAKE = Webhook.take


def send_and_forget(self: Webhook, lines: bytes) -> None:
    """Send a batch without waiting for what becomes of it."""
    threading.Thread(target=_TAKE, args=(self, lines), daemon=True).start()


if __name__ == "__main__":
    broken(Webhook, "take", send_and_forget)
