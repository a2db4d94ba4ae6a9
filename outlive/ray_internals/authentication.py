"""Token authentication: whether a cluster asks for a token, and which one this process has.

`ray.init` uses a token only if it finds the cluster by itself. With an explicit address or RAY_ADDRESS it asks without
a token, and gives up after 20 s. Here the cluster is asked first, and the process is put into the mode that the cluster
needs.

Source: ray/_private/authentication/, `GcsClient` and `AuthenticationTokenLoader` of `ray._raylet` (2.60; Ray 2.49 knows
no tokens), and src/ray/rpc/authentication/authentication_token_loader.cc for where a token is looked for.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from typing import Any

from outlive.errors import StoreUnavailable
from outlive.ray_internals import rpc

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
CLIENT = "ray://"
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_PATIENCE = 4.0  # seconds for an answer; after 5, Ray itself writes to stderr
_turned_on = False  # whether this module changed the mode of the process


def agree(address: str, patience: float = 0.0) -> None:
    """Have this process use its token if the cluster at `HOST:PORT` or `ray://HOST:PORT` asks for one.

    Parameters
    ----------
    patience
        Seconds for an answer, if a server in between may accept connections before the cluster has started; at least 4.

    Raises
    ------
    StoreUnavailable
        The cluster asks for a token, and this process has none, or a wrong one, or RAY_AUTH_MODE forbids its use. Or
        the cluster did not answer in time.
    """
    raylet = _raylet()
    if not hasattr(raylet, "get_authentication_mode"):
        return
    _turn_off()  # the mode that the last cluster needed
    mode = os.environ.get(MODE, "").lower()
    source = _source(raylet, address) if mode == "token" else None  # without one, Ray ends the process
    if _admits(address, patience):
        return
    if mode not in {"", "token"}:
        raise StoreUnavailable(
            f"the Ray cluster at {address} asks for a token, and {MODE}={mode} forbids it: unset that"
        )
    source = source or _source(raylet, address)
    _turn_on(raylet)
    if not _admits(address, patience):
        _turn_off()
        raise StoreUnavailable(
            f"the Ray cluster at {address} does not accept the token of {source}: take the one that "
            "`ray get-auth-token` prints on its head"
        )


def keep() -> None:
    """Stay in the mode that the cluster needed, whatever is asked next: for a process that looks at one cluster alone.

    Else `agree` leaves that mode and comes back to it, each time. A channel that another thread makes in between would
    send no token, and it is kept.
    """
    global _turned_on
    _turned_on = False


def _turn_on(raylet: Any) -> None:
    global _turned_on
    raylet.AuthenticationTokenLoader.instance().reset_cache()  # the token may have changed since
    if not os.environ.get(MODE):
        os.environ[MODE] = "token"
        _turned_on = True
        raylet.Config.initialize("")
    if raylet.get_authentication_mode() != raylet.AuthenticationMode.TOKEN:
        raise StoreUnavailable(f"the Ray cluster asks for a token: set {MODE}=token before Ray is imported")


def _turn_off() -> None:
    global _turned_on
    if _turned_on:
        os.environ.pop(MODE, None)
        _turned_on = False
        _raylet().Config.initialize("")


def _source(raylet: Any, address: str) -> str:
    """The place of this process's token, in the order in which Ray looks.

    Raises
    ------
    StoreUnavailable
        There is none. The message says where it was looked for.
    """
    if os.environ.get(TOKEN, "").strip():
        return TOKEN
    home = f"{os.environ.get('HOME', '.')}/.ray/auth_token"
    named = os.environ.get(TOKEN_PATH)
    files = [named] if named else [home]
    if not named and getattr(raylet, "is_k8s_token_auth_enabled", bool)():
        files.insert(0, _SERVICE_ACCOUNT)
    for path in files:
        with suppress(OSError), open(path, errors="replace") as file:
            if file.readline().strip():
                return path
    missing = [f"{TOKEN} is not set", *(f"{path} holds none" for path in files)]
    missing.insert(1, f"{TOKEN_PATH} names a file" if named else f"{TOKEN_PATH} is not set")
    raise StoreUnavailable(
        f"for the Ray cluster at {address} a token is needed, and none was found: {', '.join(missing)}; put the "
        "cluster's own there (on its head: `ray get-auth-token`)"
    )


def listens(address: str) -> bool:
    """Whether anything accepts connections at `HOST:PORT` or `ray://HOST:PORT`."""
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _admits(address: str, patience: float) -> bool:
    """Whether the cluster answers this process as it is now. True if nothing listens there: it may be about to start.

    Raises
    ------
    StoreUnavailable
        A process listens there and does not answer, or is none of Ray's.
    """
    patience = max(patience, _PATIENCE)
    deadline = time.monotonic() + patience
    while listens(address):
        answer = _asked(address, patience)
        if answer is not None:
            return answer
        if time.monotonic() >= deadline:
            raise StoreUnavailable(
                f"the Ray cluster at {address} did not answer within {patience:.0f} s; see its head: `ray status` there"
            )
    return True  # `ray.init` says what is wrong


def _asked(address: str, patience: float) -> bool | None:
    """The same as `_admits`; None without an answer. It may be asked again: each time it makes a new connection."""
    try:
        import grpc
    except ModuleNotFoundError:  # then it is not Ray Client's server
        return _asked_by_ray(address, patience)
    try:
        if address.startswith(CLIENT):
            ray_client = rpc.messages("ray_client")
            ping = ray_client.ClusterInfoRequest(type=ray_client.ClusterInfoType.PING)
            with rpc.server_of_client(address.removeprefix(CLIENT)) as server:
                server.ClusterInfo(ping, timeout=_PATIENCE, wait_for_ready=True)
        else:
            with rpc.gcs_at(address) as gcs:
                wanted = rpc.messages("gcs_service").GetClusterIdRequest()
                gcs.GetClusterId(wanted, timeout=_PATIENCE, wait_for_ready=True)
    except grpc.RpcError as error:
        code: Any = getattr(error, "code", lambda: None)()
        if code is grpc.StatusCode.UNIMPLEMENTED:  # `ray.init` would wait for more than a minute
            what = "Ray Client's server" if address.startswith(CLIENT) else "the GCS of a Ray cluster"
            raise StoreUnavailable(
                f"what listens at {address} is not {what}; see `ray status` for the address"
            ) from None
        return None if code is grpc.StatusCode.DEADLINE_EXCEEDED else code is not grpc.StatusCode.UNAUTHENTICATED
    return True


def _asked_by_ray(address: str, patience: float) -> bool | None:
    """Silences Ray's warnings on stderr if it is refused, and shortens its deadline of 40 s."""
    from ray.exceptions import AuthenticationError, RayError

    answers: list[bool] = []

    def ask() -> None:
        try:
            _raylet().GcsClient(address=address)
            answers.append(True)
        except AuthenticationError:
            answers.append(False)
        except RayError:
            answers.append(True)  # `ray.init` says what is wrong

    thread = threading.Thread(target=ask, name="outlive-token", daemon=True)
    thread.start()
    thread.join(patience)
    return answers[0] if answers else None


def _raylet() -> Any:
    import ray._raylet

    return ray._raylet
