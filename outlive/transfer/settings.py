"""Settings: the port of a transfer server, and whether it speaks TLS. They come from the environment."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from outlive.errors import BadSetting

TRANSFER, PORT = "OUTLIVE_TRANSFER", "OUTLIVE_TRANSFER_PORT"
CALLS, CALLS_PORT = "OUTLIVE_CALLS", "OUTLIVE_CALLS_PORT"
_TLS, _CERT, _KEY, _CA = "RAY_USE_TLS", "RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"


class Tls(NamedTuple):
    """TLS for both sides, from the files that Ray uses. Each side shows a certificate of the cluster's authority."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def is_off(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether there is no transfer server: all bytes go through Ray.

    Raises
    ------
    BadSetting
        The setting has neither of its two values.
    """
    value = environment.get(TRANSFER, "").strip().lower() or "direct"
    if value not in {"direct", "ray"}:
        raise BadSetting(f"{TRANSFER}={value}: it is `direct`, the default, or `ray`")
    return value == "ray"


def calls_are_off(environment: Mapping[str, str] = os.environ) -> str | None:
    """Why calls of the catalog go through Ray; None if they do not.

    Raises
    ------
    BadSetting
        The setting has neither of its two values.
    """
    if is_off(environment):
        return f"{TRANSFER}=ray"
    value = environment.get(CALLS, "").strip().lower() or "port"
    if value not in {"port", "ray"}:
        raise BadSetting(f"{CALLS}={value}: it is `port`, the default, or `ray`")
    return None if value == "port" else f"{CALLS}=ray"


def ports(environment: Mapping[str, str] = os.environ) -> Sequence[int]:
    """The ports that a server tries, in this order. 0: any free port.

    Raises
    ------
    BadSetting
        The setting is neither a port nor a range of them.
    """
    return _range(PORT, environment) or (0,)


def call_ports(environment: Mapping[str, str] = os.environ) -> Sequence[int]:
    """As `ports`, of the catalog's server of calls.

    Raises
    ------
    BadSetting
        The setting is wrong, or calls are to go through Ray. Or a port is set for what is sent, as for a firewall, and
        none for calls.
    """
    why = calls_are_off(environment)
    if why is not None:
        raise BadSetting(why)
    found = _range(CALLS_PORT, environment)
    if found is None and _range(PORT, environment) is not None:
        raise BadSetting(f"{PORT} is set, and {CALLS_PORT} is not")
    return found or (0,)


def _range(name: str, environment: Mapping[str, str]) -> Sequence[int] | None:
    """None if it is not set. Raises BadSetting."""
    value = environment.get(name, "").strip()
    if not value:
        return None
    first, dash, last = value.partition("-")
    try:
        found = range(int(first), int(last if dash else first) + 1)
    except ValueError:
        found = range(0)
    if not found or found[0] < 0 or found[-1] > 65535:
        raise BadSetting(f"{name}={value}: it is a port, as 7070, or a range, as 7070-7079")
    return found


def tls(environment: Mapping[str, str] = os.environ) -> Tls | None:
    """The contexts of both sides; None where Ray runs without TLS.

    Raises
    ------
    BadSetting
        Ray runs with TLS, and a file that it names cannot be used.
    """
    if environment.get(_TLS, "").strip().lower() not in {"1", "true"}:
        return None
    try:
        certificate, key, authority = (environment[name] for name in (_CERT, _KEY, _CA))
        made = Tls(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        for context in made:
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.check_hostname = False  # nodes are reached by address, and the proof names the node
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_cert_chain(certificate, key)
            context.load_verify_locations(authority)
        made.server.num_tickets = 0  # no client resumes a session, and `is_quiet` would take a ticket for stray bytes
    except KeyError as error:
        raise BadSetting(f"{_TLS} is set, and {error.args[0]} is not") from None
    except OSError as error:  # ssl.SSLError is one
        raise BadSetting(f"{_TLS} is set, and its certificates cannot be read: {error}") from None
    return made
