"""Ray's own token, where the cluster has one. It opens the page in place of a token of the server's own."""

from __future__ import annotations

import os
from contextlib import suppress


def ray_token() -> str | None:
    """The token of this process if RAY_AUTH_MODE is `token`, looked for where Ray does; None if there is none.

    Source: src/ray/rpc/authentication/authentication_token_loader.cc. A token of Kubernetes is not looked for: that is
    checked by Kubernetes, and not by comparing it.
    """
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return None
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or os.path.expanduser("~/.ray/auth_token")
    with suppress(OSError), open(path, errors="replace") as file:
        return file.readline().strip() or None
    return None
