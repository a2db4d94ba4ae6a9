"""Opening: a path or a URL becomes the place that it names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from outlive.archive.bucket import Bucket
from outlive.archive.folder import Folder
from outlive.archive.names import shown

if TYPE_CHECKING:
    from outlive.archive.place import Place


_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_BROKEN = re.compile(r"(?:s3a?|gs|az|azure|abfss?|file|https?):|[A-Za-z][A-Za-z0-9+.-]+:/|:/", re.IGNORECASE)


def place_of(url: str | os.PathLike[str], options: Mapping[str, Any] | None = None, *, here: bool = True) -> Place:
    """The place that a path or URL names. Nothing is read yet.

    Parameters
    ----------
    options
        For object storage: see `store.Store.save`.
    here
        Whether this machine is the one that reads and writes. A Ray Client's is not.

    Raises
    ------
    ValueError
        It is no URL that can be, or an option is none; or it is a relative path, and not `here`.
    MissingPackage
        It is object storage, and `outlive[save]` is not installed.
    """
    text = os.fspath(url)
    if not isinstance(text, str) or not text:
        raise ValueError(f"an archive is named by a path or a URL, not {url!r:.100}")
    found = _URL.match(text)
    if found is None and _BROKEN.match(text):  # as pathlib.Path makes it of a URL
        raise ValueError(f"{shown(text)} is no URL: write s3://bucket/name, or the whole path of a folder")
    if found is not None and found["scheme"].lower() != "file":
        return Bucket(text, dict(options or {}), here=here)
    if options:
        raise ValueError(f"{shown(text)} is a folder, and options are for object storage (s3://, gs://, az://)")
    if found is not None:
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise ValueError(f"{shown(text)}: file:// URLs have three slashes, as file:///path")
        text = unquote(parts.path)
    if "\0" in text or not text:
        raise ValueError(f"{shown(text)} is no path")
    if not here and not os.path.isabs(text):
        raise ValueError(
            f"{shown(text)} is a relative path, and a Ray Client's calls run in the cluster: give the whole path of a "
            "folder that the cluster's nodes see, or object storage (s3://bucket/name)"
        )
    return Folder(os.path.abspath(text))
