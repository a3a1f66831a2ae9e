"""Which kinds of identifier are there, so that one is never passed for another?"""

from __future__ import annotations

from typing import NewType

TenantId = NewType("TenantId", str)
UserId = NewType("UserId", str)
ServiceAccountId = NewType("ServiceAccountId", str)
GroupId = NewType("GroupId", str)
RoleId = NewType("RoleId", str)
BindingId = NewType("BindingId", str)
TokenId = NewType("TokenId", str)
SinkId = NewType("SinkId", str)
CommandId = NewType("CommandId", str)

PrincipalId = UserId | ServiceAccountId
SubjectId = PrincipalId | GroupId

MAIN = TenantId("main")
