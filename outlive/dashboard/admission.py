"""Admission: who may see the page. A token opens it once, and a cookie from then on.

Other pages in the same browser must get nothing (cross-site requests, DNS rebinding), and neither must other people of
the machine or the network. docs/design.md has the threats one by one.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

BEARER = "Bearer "
_LOCAL = ("localhost",)


class Admission:
    """The token and the session of one server.

    Parameters
    ----------
    token
        A secret of the user's; None: a new one is made.
    port
        Part of the cookie's name: browsers share cookies among the ports of a host.
    names
        Host names under which the page may be asked for, besides addresses in figures and `localhost`.
    """

    def __init__(self, token: str | None, port: int, names: Iterable[str] = ()) -> None:
        self.token = token or secrets.token_urlsafe(32)
        self.is_own = token is None
        """Whether the token is of this server alone, and so may be part of an address."""
        self.cookie = f"outlive_{port}"
        self._session = secrets.token_urlsafe(32)
        own = (socket.gethostname(), socket.getfqdn())
        self._names = {name.lower().rstrip(".") for name in (*_LOCAL, *own, *names) if name}

    @property
    def session(self) -> str:
        """The value of the cookie. It is not the token, which may be that of the whole cluster."""
        return self._session

    def is_token(self, text: str) -> bool:
        """Whether this is the token. It takes the same time for each wrong one."""
        return _same(text.strip(), self.token)

    def admits(self, cookies: Mapping[str, str], authorization: str) -> bool:
        """Whether a request has the cookie, or the token in `Authorization: Bearer`."""
        if authorization.startswith(BEARER):
            return self.is_token(authorization.removeprefix(BEARER))
        return _same(cookies.get(self.cookie, ""), self._session)

    def knows_host(self, host: str) -> bool:
        """Whether `Host` is an address in figures, or a name of this machine.

        A page of another site that has its own name resolve to this machine (DNS rebinding) has that name here.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.rstrip(".") in self._names
        return True


def _same(given: str, secret: str) -> bool:
    """Whether two texts are the same; headers may hold bytes that are no UTF-8."""
    return hmac.compare_digest(given.encode(errors="surrogatepass"), secret.encode(errors="surrogatepass"))


def same_origin(origin: str | None, host: str) -> bool:
    """Whether a request's `Origin` is this server. Browsers send it with each POST; `null` is nobody."""
    if origin is None:
        return False
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.netloc.lower() == host.lower()
