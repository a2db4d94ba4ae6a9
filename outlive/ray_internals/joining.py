"""Joining a Ray cluster: `ray.init`, with a token if the cluster asks for one.

Source: ray/_private/services.py, `canonicalize_bootstrap_address` (2.49 to 2.60).
"""

from __future__ import annotations

import logging
import re
import time
from typing import Any

import ray

from outlive.errors import StoreUnavailable
from outlive.ray_internals import authentication

_SAY_AFTER, _LOOK = 2.0, 0.2  # seconds without a listener before that is logged, and seconds between two looks
_PLACE = re.compile(r"(?:ray://)?[^/]+:\d+")  # HOST:PORT
_log = logging.getLogger(__name__)


def join(address: str | None, *, patience: float = 0.0, **options: Any) -> None:
    """Connect this process to a cluster, as `ray.init(address, **options)` does.

    Parameters
    ----------
    patience
        Seconds to wait for a cluster that is starting. If a server in between accepts connections, at least 4.

    Raises
    ------
    StoreUnavailable
        The cluster asks for a token that this process does not have, or does not answer in time, or nothing listens at
        its address. Or it was named by an address of this machine alone, as `localhost`, and nothing listens at the
        address that Ray makes of that.
    Exception
        Other errors that `ray.init` raises.
    """
    found = address if address is not None and "://" in address else _found(address, options.get("logging_level"))
    if address is not None and address != "auto" and found not in (None, address):
        _say_if_another_listens(address, found)
    if found is not None:
        if _PLACE.fullmatch(found):  # else Ray says at once what is wrong with it, or knows what it means
            _wait_for(found, patience)
        authentication.agree(found, patience)
    ray.init(address=found or address, **options)


def _say_if_another_listens(address: str, found: str) -> None:
    """Raises StoreUnavailable if `address` is taken for `found`, and something listens at the former alone."""
    if authentication.listens(address) and not authentication.listens(found):  # else the cluster may be about to start
        raise StoreUnavailable(f"Ray takes {address} for {found}, and nothing listens there")


def _wait_for(address: str, patience: float) -> None:
    """Wait until something listens at `HOST:PORT` or `ray://HOST:PORT`. `ray.init` of 2.60 waits for over ten minutes.

    Raises
    ------
    StoreUnavailable
        Nothing listens there in time.
    """
    began, said = time.monotonic(), False
    while not authentication.listens(address):
        waited = time.monotonic() - began
        if waited >= patience:
            raise StoreUnavailable(
                f"no Ray cluster at {address}: nothing listens there; start one with `ray start --head`, or name "
                "another by address= or RAY_ADDRESS"
            )
        if waited >= _SAY_AFTER and not said:
            said = True
            _log.warning("no Ray cluster listens at %s yet: waiting up to %.0f s", address, patience)
        time.sleep(_LOOK)


def find(address: str, level: int) -> str | None:
    """`HOST:PORT` of the cluster, which this process may then ask: as it was named, or for "auto" as Ray finds it.

    Parameters
    ----------
    level
        The level of Ray's log meanwhile.

    Raises
    ------
    StoreUnavailable
        As `join`. It has 4 s to answer.
    ConnectionError
        No cluster was named, and there is none on this machine.
    """
    found = _found(address, level) if address == "auto" else address
    if found is not None:
        authentication.agree(found)
    return found


def _found(address: str | None, level: int | None) -> str | None:
    """`HOST:PORT` of the cluster that `ray.init(address)` would join; None if it would start one."""
    from ray._private import services

    getattr(services.find_gcs_addresses, "cache_clear", lambda: None)()  # as ray.init does
    logger = logging.getLogger(services.__name__)
    before = logger.level
    try:
        if level is not None:
            logger.setLevel(level)
        return services.canonicalize_bootstrap_address(address)  # type: ignore[arg-type]
    finally:
        logger.setLevel(before)
