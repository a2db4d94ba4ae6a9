"""The page opens to its token alone, and to no other page, name or form."""

from __future__ import annotations

import pytest

from outlive.dashboard.admission import Admission, same_origin
from outlive.dashboard.ray_token import ray_token
from tests.dashboard.conftest import Client
from tests.dashboard.serving import Served, served

HEADERS = {
    "Content-Security-Policy", "Cache-Control", "Referrer-Policy", "X-Content-Type-Options", "X-Frame-Options",
    "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy",
}  # fmt: skip
ADDRESSES = ("session", "workers", "arrays", "array", "picture", "nodes", "doctor", "history", "events")
CHANGES = ("look", "trim/preview", "trim", "drain/preview", "drain")


def test_the_first_visit_changes_the_token_for_a_cookie(one: Served, client: Client) -> None:
    answer = client.raw("GET", f"/?token={one.token}")
    assert (answer.status, answer.headers["Location"]) == (303, "./")
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert one.token not in cookie
    shown = client.raw("GET", "/", {"Cookie": cookie.partition(";")[0]})
    assert (shown.status, "main.js" in shown.text) == (200, True)


@pytest.mark.parametrize("path", [f"/api/{one}" for one in ADDRESSES] + ["/static/main.js"])
def test_nothing_is_told_without_it(client: Client, path: str) -> None:
    for headers in ({}, {"Cookie": f"{client.one.site.admission.cookie}=x"}, {"Authorization": "Bearer x"}):
        answer = client.raw("GET", path, headers)
        assert answer.status == 401
        assert "10.0.0.1" not in answer.text


@pytest.mark.parametrize("token", ["", "x", "é\u202e", "x" * 5000])
def test_a_wrong_token(client: Client, token: str) -> None:
    from urllib.parse import quote

    answer = client.raw("GET", f"/?token={quote(token)}")
    assert (answer.status, "Set-Cookie" in answer.headers) == (403, False)
    assert "not the token" in answer.text


def test_the_form(one: Served, client: Client) -> None:
    assert client.raw("GET", "/").status == 401
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = f"token={one.token}".encode()
    assert client.raw("POST", "/login", {**form, **client.origin}, body).status == 303
    assert client.raw("POST", "/login", {**form, **client.origin}, b"token=x").status == 403
    assert client.raw("POST", "/login", {**form, "Origin": "http://evil.example"}, body).status == 403
    assert client.raw("POST", "/login", form, body).status == 403


def test_a_form_of_many_parts_is_not_read(client: Client) -> None:
    """Before 3.13.3 aiohttp keeps all its fields, whatever their size: anybody could fill the memory."""
    part = b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\nx\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert client.raw("POST", "/login", {**kind, **client.origin}, 3 * part + b"--x--").status == 415


@pytest.mark.parametrize("path", ["/", "/api/workers", "/static/main.js", "/nothing", "/?token=x"])
def test_every_answer_has_the_headers(client: Client, path: str) -> None:
    for headers in ({}, client.cookie):
        answer = client.raw("GET", path, headers)
        assert set(answer.headers) >= HEADERS
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "", "[", "a b"])
def test_other_names_are_refused(client: Client, host: str) -> None:
    """DNS rebinding: another site has its own name lead here."""
    for path in ("/", "/api/workers", f"/?token={client.one.token}"):
        answer = client.raw("GET", path, {**client.cookie, "Host": host})
        assert answer.status in {400, 421}
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9000", "[::1]:8266", "10.1.2.3:8266", "LOCALHOST."])
def test_addresses_in_figures_are_none_of_others(client: Client, host: str) -> None:
    assert client.raw("GET", "/api/session", {**client.cookie, "Host": host}).status == 200


def test_a_name_that_is_allowed() -> None:
    assert Admission(None, 1, ["page.example"]).knows_host("page.example:443")
    assert not Admission(None, 1).knows_host("page.example:443")


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:1", "file://", ""])
def test_other_pages_change_nothing(one: Served, client: Client, path: str, origin: str | None) -> None:
    one.source.calls.clear()
    given = {**client.cookie, "Content-Type": "application/json"} | ({} if origin is None else {"Origin": origin})
    assert client.raw("POST", f"/api/{path}", given, b'{"node": "x"}').status == 403
    assert not {call for call, _ in one.source.calls} & {"trim", "preview_trim", "drain", "preview_drain"}


def test_a_form_of_another_kind(client: Client) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert client.post("/api/trim/preview", {"max_idle": 0}, **{"Content-Type": kind}).status == 415


@pytest.mark.parametrize("path", CHANGES)
def test_nothing_is_changed_by_get(client: Client, path: str) -> None:
    assert client.get(f"/api/{path}").status in {404, 405}


def test_a_script_with_the_token(one: Served, client: Client) -> None:
    bearer = {"Authorization": f"Bearer {one.token}", "Content-Type": "application/json"}
    assert client.raw("GET", "/api/session", bearer).json["ray"] == "2.60.0"
    assert client.raw("POST", "/api/trim/preview", bearer, b'{"max_idle": 0}').status == 200


def test_a_token_of_the_clusters_own_is_in_no_cookie() -> None:
    with served(token="the-cluster's") as one:
        assert not one.site.admission.is_own
        answer = Client(one).raw("GET", "/?token=the-cluster%27s")
        assert answer.status == 303
        assert "the-cluster" not in str(answer.headers)


def test_two_dashboards_at_once(one: Served, client: Client) -> None:
    """Browsers send the cookies of a host to all its ports."""
    with served(port=0) as other:
        first, second = Admission(None, 8266), Admission(None, 8267)
        assert first.cookie != second.cookie
        assert Client(other).raw("GET", "/api/session", client.cookie).status == 401
        assert client.get("/api/session").status == 200


def test_rays_token(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert ray_token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("from-home\n")
    assert ray_token() == "from-home"
    (tmp_path / "file").write_text(" from-file \n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "file"))
    assert ray_token() == "from-file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "from-variable")
    assert ray_token() == "from-variable"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert ray_token() is None


def test_origins() -> None:
    assert same_origin("http://127.0.0.1:8266", "127.0.0.1:8266")
    assert same_origin("https://Page.example", "page.example")
    assert not same_origin("http://127.0.0.1:8266", "127.0.0.1:8267")
    assert not same_origin("http://[", "[")
    assert not same_origin("null", "null")


def test_bytes_that_are_no_text(client: Client) -> None:
    for headers in ({"Authorization": "Bearer \xff"}, {"Cookie": f"{client.one.site.admission.cookie}=\xff"}):
        assert client.raw("GET", "/api/session", headers).status == 401
    admission = Admission(None, 1)
    assert not admission.is_token("\udcff")
    assert not admission.is_token("\ud800")
