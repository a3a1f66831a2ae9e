"""Does the service keep its own description, whatever is sent to it?

schemathesis makes requests from `/openapi.json`, well formed and not, and holds the answers against
it; they go through the whole application, from the front to the log, in this process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast

import httpx
import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.generation.case import Case
from schemathesis.openapi import from_dict
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from api.checks import PATHS
from api.openapi import operations
from tests.api.route_world import World
from tests.api.test_route_matrix import ROWS
from tests.service import NOBODY, PUBLIC_URL, Headers, served

# A stream that is not told when to end does not end.
ROUTES: Final = [
    *(row for row in ROWS if not row[1].endswith("/tail")),
    *(("POST", path) for path in sorted(PATHS)),
]
# Requests a route: three in the normal run, three hundred under a profile of 10,000 examples.
EXAMPLES: Final = max(3, settings().max_examples * 3 // 100)
MOMENTS_MAX: Final = 50
CHECKS: Final = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


class Fuzz:
    """An installation, its description, and which answers it gave."""

    def __init__(self, world: World) -> None:
        self.world = world
        document = world.http.get("/openapi.json", by=NOBODY).json()
        # Else nearly all requests would ask for a position that nothing ever reaches.
        for name in ("at_least", "position"):
            document["components"]["parameters"][name]["schema"]["maximum"] = MOMENTS_MAX
        self.schema: BaseSchema = from_dict(document)
        app = create_app(world.http.service)
        self._operations = {(one.method, one.path): one for one in operations(app)}

    def caller(self, kind: str, path: str) -> Headers:
        """Answer an identity; on a route about the caller itself one that is not used again."""
        return self.world.caller(kind, new="/me" in path)[1]

    def parameters(self, method: str, path: str) -> dict[str, str]:
        """Answer the path parameters of objects that exist."""
        operation = self._operations.get((method, path))
        if operation is None or "{" not in path:
            return {}
        caller, _ = self.world.caller("owner")
        filled = self.world.path(operation, caller).partition("?")[0]
        pairs = zip(path.split("/"), filled.split("/"), strict=True)
        return {name[1:-1]: value for name, value in pairs if name.startswith("{")}

    def send(self, case: Case[Any], by: Headers) -> httpx.Response:
        """Send a request that schemathesis made, as it would be sent over the network."""
        given_ = case.as_transport_kwargs(base_url=PUBLIC_URL)
        kept = {"method", "url", "headers", "params", "json", "data", "files", "cookies"}
        prepared = requests.Request(
            **{name: value for name, value in given_.items() if name in kept}
        ).prepare()
        body = prepared.body or b""
        assert isinstance(body, str | bytes)
        headers = {name.lower(): _raw(value) for name, value in prepared.headers.items()}
        # Made-up credentials are the matrix's; here the caller is one of those that exist.
        for name in ("authorization", "cookie"):
            headers.pop(name, None)
        return self.world.http.request(
            str(prepared.method),
            prepared.path_url,
            content=body.encode() if isinstance(body, str) else body,
            headers=cast("Headers", headers),
            by=by,
        )


def _raw(value: str | bytes) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else value


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzz]:
    """Yield one installation for all routes."""
    with served(tmp_path_factory.mktemp("fuzz")) as http:
        yield Fuzz(World(http))


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda part: part)
def test_every_answer_is_as_the_document_says(method: str, path: str, fuzz: Fuzz) -> None:
    """Security 6.6: no 5xx; status, media type, headers and body as declared, for two callers."""
    operation: APIOperation[Any, Any, Any, Any] = fuzz.schema[path][method]
    known = fuzz.parameters(method, path)

    def strategy(mode: GenerationMode, parameters: dict[str, str]) -> st.SearchStrategy[Case[Any]]:
        return operation.as_strategy(generation_mode=mode, path_parameters=parameters)

    cases = st.one_of(
        strategy(GenerationMode.POSITIVE, known),
        strategy(GenerationMode.POSITIVE, {}),
        strategy(GenerationMode.NEGATIVE, {}),
    )

    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate, Phase.shrink],
        database=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(case=cases, kind=st.sampled_from(["owner", "low"]))
    def ask(case: Case[Any], kind: str) -> None:
        answer = fuzz.send(case, fuzz.caller(kind, path))

        # A position that is asked for and not reached is told by 503; nothing else is ours to say.
        assert answer.status_code < 500 or answer.json()["code"] == "position.not_reached"
        case.validate_response(answer, checks=CHECKS)

    ask()


def test_answer_that_the_document_does_not_tell_of_is_found(fuzz: Fuzz) -> None:
    """Control: the same checks fail where an answer's status or body is another one."""
    document = fuzz.world.http.get("/openapi.json", by=NOBODY).json()
    operation = document["paths"]["/api/v1/setup"]["get"]
    operation["responses"]["200"]["content"]["application/json"]["schema"] = {"type": "string"}
    del document["paths"]["/livez"]["get"]["responses"]["200"]
    broken = from_dict(document)

    for path in ("/livez", "/api/v1/setup"):
        case = broken[path]["GET"].Case()
        with pytest.raises(FailureGroup):
            case.validate_response(fuzz.send(case, NOBODY), checks=CHECKS)
