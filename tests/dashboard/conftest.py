"""A dashboard of a played cluster for each test module, and a client as simple as curl."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest

if TYPE_CHECKING:
    from tests.dashboard.serving import Served


class Answer(NamedTuple):
    status: int
    headers: Any
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Sends what it is told to, and nothing more."""

    def __init__(self, one: Served) -> None:
        self.one, self.host = one, urlsplit(one.url).netloc
        self.cookie = {"Cookie": f"{one.site.admission.cookie}={one.site.admission.session}"}
        self.origin = {"Origin": one.url.rstrip("/")}

    def raw(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> Answer:
        connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **parameters: Any) -> Answer:
        query = f"?{urlencode(parameters)}" if parameters else ""
        return self.raw("GET", path + query, self.cookie)

    def post(self, path: str, document: Any, **headers: str) -> Answer:
        given = {**self.cookie, **self.origin, "Content-Type": "application/json", **headers}
        return self.raw("POST", path, given, json.dumps(document).encode())


@pytest.fixture(scope="module")
def one() -> Iterator[Served]:
    from tests.dashboard.serving import served  # which skips the test without aiohttp

    with served() as found:
        yield found


@pytest.fixture
def client(one: Served) -> Client:
    one.source.error = None
    return Client(one)
