"""What does a newer release do, which knows a topic more? (reliability B7; nothing is broken).

Its topic is another spelling of one that is known, as an upcast to it would be.
"""

from __future__ import annotations

from typing import Final

from domain import events
from ops.cli.main import main
from tests.campaigns.poison import KNOWN, TOPIC

if __name__ == "__main__":
    decoders: Final = events._DECODERS  # noqa: SLF001 - what a release knows
    decoders[TOPIC] = decoders[KNOWN]
    main()
