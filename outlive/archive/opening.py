"""Opening: a path or a URL becomes the place that it names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from outlive.archive.bucket import Bucket
from outlive.archive.folder import Folder

if TYPE_CHECKING:
    from outlive.archive.place import Place


def place_of(url: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> Place:
    """The place that a path or URL names. Nothing is read yet.

    Parameters
    ----------
    options
        For object storage: see `store.Store.save`.

    Raises
    ------
    ValueError
        It is no URL that can be.
    MissingPackage
        It is object storage, and `outlive[save]` is not installed.
    """
    text = os.fspath(url)
    if not isinstance(text, str) or not text:
        raise ValueError(f"an archive is named by a path or a URL, not {url!r:.100}")
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme in ("", "file"):
        if scheme:
            parts = urlsplit(text)
            if parts.netloc not in ("", "localhost"):
                raise ValueError(f"{text!r:.200}: file:// URLs have three slashes, as file:///path")
            text = unquote(parts.path)
        if "\0" in text:
            raise ValueError(f"{text!r:.200} is no path")
        return Folder(os.path.abspath(text))
    return Bucket(text, dict(options or {}))
