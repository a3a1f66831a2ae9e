"""What is promised of every answer over HTTP, and what does a refusal say?"""

from __future__ import annotations

from typing import Any

import httpx
import msgspec

ERROR = 400


def keep_contract(response: httpx.Response) -> None:
    """Hold an answer against what is promised of every answer (kestra-iam 1, http-api 2)."""
    status, body = response.status_code, response.content
    assert "x-request-id" in response.headers
    assert status < 500 or "retry-after" in response.headers, body
    if status in {204, 304}:
        assert body == b""
    if status == 200:
        # A file of lines may have none.
        is_file = "content-disposition" in response.headers
        assert body or is_file, "a 200 has a body, be it {}"
    if "json" in (kind := response.headers.get("content-type", "")) and body:
        for text in body.splitlines() if "ndjson" in kind else (body,):
            assert not has_null(msgspec.json.decode(text)), text
    if status < ERROR or response.request.method == "HEAD":
        return
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert status == problem["status"]
    assert {"type", "title", "instance", "code", "requestId", "message", "_links"} <= set(problem)
    assert problem["_embedded"]["errors"]


def problem(response: httpx.Response, status: int, code: str, *paths: str) -> dict[str, Any]:
    """Hold an answer to be this refusal, with faults at exactly these paths; answer its body."""
    body: dict[str, Any] = response.json()
    assert (status, code) == (response.status_code, body["code"]), body
    faulty = [fault["path"] for fault in body["_embedded"]["errors"] if "path" in fault]
    assert list(paths) == faulty
    return body


def has_null(value: object) -> bool:
    """Tell whether a JSON value holds null at any depth."""
    if isinstance(value, dict):
        return any(has_null(member) for member in value.values())
    if isinstance(value, list):
        return any(has_null(member) for member in value)
    return value is None
