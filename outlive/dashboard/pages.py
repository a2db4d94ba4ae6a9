"""The page and its files, and the form that asks for the token."""

from __future__ import annotations

from importlib import resources
from typing import Any

from aiohttp import web

from outlive.dashboard.admission import same_origin
from outlive.dashboard.answers import SITE
from outlive.dashboard.site import Site

_FILES = resources.files("outlive.dashboard") / "static"
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_WRONG = '<p class="problem" role="alert">That is not the token of this dashboard.</p>'
_FORM = "application/x-www-form-urlencoded"
OPEN = ("/", "/login", "/static/style.css", "/static/icon.svg")
"""The addresses that need no cookie. They say nothing of the cluster."""


def routes() -> list[Any]:
    """The addresses."""
    return [web.get("/", page), web.post("/login", login), web.get("/static/{name}", file)]


async def page(request: Any) -> Any:
    """The page; the form to those without a cookie. A token in the address is changed for a cookie at once."""
    site: Site = request.app[SITE]
    token = request.query.get("token")
    if token is not None:
        return _admitted(site, request) if site.admission.is_token(token) else _form(wrong=True)
    if not site.admission.admits(request.cookies, request.headers.get("Authorization", "")):
        return _form(wrong=False)
    return _file("index.html")


async def login(request: Any) -> Any:
    """The token, by the form."""
    site: Site = request.app[SITE]
    if not same_origin(request.headers.get("Origin"), request.host):
        raise web.HTTPForbidden(text="this form is sent by the dashboard's own page alone")
    if request.content_type != _FORM:  # aiohttp before 3.13.3 keeps the fields of a multipart form, however large
        raise web.HTTPUnsupportedMediaType(text=f"send {_FORM}")
    token = (await request.post()).get("token", "")
    if not isinstance(token, str) or not site.admission.is_token(token):
        return _form(wrong=True)
    return _admitted(site, request)


async def file(request: Any) -> Any:
    """A file of the page."""
    return _file(request.match_info["name"])


def _admitted(site: Site, request: Any) -> Any:
    response = web.Response(status=303, headers={"Location": "./"})  # the token is in no history and no Referer
    secure = request.headers.get("X-Forwarded-Proto") == "https"
    cookie = site.admission.cookie, site.admission.session
    response.set_cookie(*cookie, httponly=True, samesite="Strict", secure=secure, path="/")
    return response


def _form(*, wrong: bool) -> Any:
    text = (_FILES / "login.html").read_text("utf-8")
    if wrong:
        text = text.replace("<!-- wrong -->", _WRONG)
    return web.Response(status=403 if wrong else 401, text=text, content_type="text/html", charset="utf-8")


def _file(name: str) -> Any:
    found = {one.name: one for one in _FILES.iterdir()}.get(name)  # so a name is never a path
    kind = _TYPES.get(name.rpartition(".")[2])
    if found is None or kind is None:
        raise web.HTTPNotFound(text="no such file")
    return web.Response(text=found.read_text("utf-8"), content_type=kind, charset="utf-8")
