"""How far may a caller make anything grow?

The defaults of security 6.2.
"""

from __future__ import annotations

from typing import Final

TENANTS_MAX: Final = 10_000
GROUPS_A_PRINCIPAL_MAX: Final = 1_000
MEMBERS_A_GROUP_MAX: Final = 100_000
BINDINGS_A_SUBJECT_MAX: Final = 2_000
BINDINGS_A_REQUEST_MAX: Final = 1_000
PERMISSIONS_A_ROLE_MAX: Final = 2_000
PERMISSIONS_A_TENANT_MAX: Final = 10_000
TOKENS_AN_OWNER_MAX: Final = 100
ALIASES_A_PRINCIPAL_MAX: Final = 20
SINKS_MAX: Final = 50
ADDRESSES_A_TOKEN_MAX: Final = 50
PLACES_A_TOKEN_MAX: Final = 50
# A hundred years, so that no instant in reach of the calendar's end is ever computed.
TOKEN_AGE_SECONDS_MAX: Final = 36_500 * 86_400
TOKEN_GRACE_SECONDS_MAX: Final = 7 * 86_400
EVENTS_A_COMMAND_MAX: Final = 10_000
EVENT_BYTES_MAX: Final = 65_536
