"""Does a client that knows only the public address find the check API?"""

from __future__ import annotations

from typing import Any

import httpx
from msgspec import structs

from api.app import create_app
from api.checks import PATHS, Checks
from api.documents import WELL_KNOWN
from api.front import Front
from tests.service import ADDRESS, NOBODY, PUBLIC_URL, Served

ENDPOINTS = {
    "access_evaluation_endpoint": "/access/v1/evaluation",
    "access_evaluations_endpoint": "/access/v1/evaluations",
    "search_subject_endpoint": "/access/v1/search/subject",
    "search_resource_endpoint": "/access/v1/search/resource",
    "search_action_endpoint": "/access/v1/search/action",
}


def told(public_url: str) -> dict[str, str]:
    """Answer the document of an installation with this public address."""
    endpoints = {name: public_url + path for name, path in ENDPOINTS.items()}
    return {"policy_decision_point": public_url} | endpoints


def test_the_configuration_tells_every_endpoint(http: Served) -> None:
    """To everybody, as JSON, and there is no endpoint besides (authzen 8)."""
    response = http.get(WELL_KNOWN, by=NOBODY)

    assert 200 == response.status_code
    assert "application/json" == response.headers["content-type"]
    assert "no-store" == response.headers["cache-control"]
    assert told(PUBLIC_URL) == response.json()
    assert PATHS == {*ENDPOINTS.values()}


def test_the_configuration_is_not_made_from_the_host(http: Served) -> None:
    """Whatever name the request came to, the addresses are the public ones (authzen 8)."""
    for host in ("localhost:9999", "127.0.0.1", "iam.example:8443"):
        response = http.get(WELL_KNOWN, by=NOBODY, headers={"Host": host})
        assert told(PUBLIC_URL) == response.json()


def ask(http: Served, public_url: str, path: str) -> httpx.Response:
    """Ask an installation with another public address; it has its own again afterwards."""
    service = http.service
    settings = service.settings
    service.settings = structs.replace(settings, public_url=public_url)
    app = Front(
        Checks(service, create_app(service)),
        hosts=("x.example",),
        public_https=True,
        new_id=http.inputs.id,
        on_leak=lambda *_: None,
    )

    async def answer(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - what ASGI passes
        scope["state"] = {}
        await app(scope, receive, send)

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=answer, client=(ADDRESS, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="https://x.example") as client:
            return await client.get(path)

    try:
        return http.run(send())
    finally:
        service.settings = settings


def test_with_a_path_the_well_known_part_stands_before_it(http: Served) -> None:
    """Between the host and the path, and nowhere else (authzen 8)."""
    public_url = "https://x.example/authz/v2"

    assert told(public_url) == ask(http, public_url, WELL_KNOWN + "/authz/v2").json()
    for path in (WELL_KNOWN, WELL_KNOWN + "/authz", "/authz/v2" + WELL_KNOWN):
        assert 404 == ask(http, public_url, path).status_code
    assert 404 == http.get(WELL_KNOWN + "/authz/v2", by=NOBODY).status_code
    assert WELL_KNOWN + "/authz/v2" in ask(http, public_url, "/openapi.json").json()["paths"]


def test_a_path_is_found_as_it_is_spelled(http: Served) -> None:
    """Percent-encoded or not, the path of the public address is one path (RFC 3986)."""
    for spelled in ("/caf%C3%A9", "/a%20b", "/~x"):
        public_url = f"https://x.example{spelled}"
        assert told(public_url) == ask(http, public_url, WELL_KNOWN + spelled).json()
