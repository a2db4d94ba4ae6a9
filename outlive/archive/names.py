"""The names of an archive's files: a key, the array's id, and what kind of file it is.

    arrays/ct/7.4c1f...01.npy        of the key "ct/7"

A key is written as in quoted-printable: what is not a letter, digit, `_` or `-` is `=` and the two hexadecimal digits
of each byte in UTF-8. So is a slash with no name before or behind it. So no key leads out of the folder, two keys never
have one name, and the name tells the key. A key whose name would be too long for a file system or for object storage is
named by its SHA-256: `arrays/=long/...`. Then only the manifest tells the key.
"""

from __future__ import annotations

import hashlib
import re

FOLDER = "arrays"
_LONGEST_PART, _LONGEST = 200, 600  # characters: file systems take 255 in a part, and S3 1024 in all
_LONG = "=long"
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-/")
_LONE_SLASH = re.compile(r"(?<![^/])/|/(?![^/])")  # which has no name before it, or none behind it
_SECRET = re.compile(r"(?<=[/:])[^/:@]*:.*(?=@)|(?<=[?#]).+", re.DOTALL)  # s3://KEY:SECRET@name, name?sig=...
_NAME = re.compile(r"[A-Za-z0-9_=.-]+(?:/[A-Za-z0-9_=.-]+)*")


def name_of(key: str, array_id: str, ending: str) -> str:
    """The name of the file of a key's array."""
    written = "".join(chr(byte) if byte in _PLAIN else f"={byte:02X}" for byte in key.encode())
    written = _LONE_SLASH.sub("=2F", written)
    if len(written) > _LONGEST or any(len(part) > _LONGEST_PART for part in written.split("/")):
        written = f"{_LONG}/{hashlib.sha256(key.encode()).hexdigest()}"
    return f"{FOLDER}/{written}.{array_id}.{ending}"


def shown(url: str) -> str:
    """A URL as an error message names it: without a password, and without what follows a question mark."""
    return f"{_SECRET.sub('...', url)!r:.200}"


def is_safe(name: object) -> bool:
    """Whether a name that a manifest has is that of a file in the archive's own folder, in plain characters."""
    return (
        isinstance(name, str)
        and name.startswith(f"{FOLDER}/")
        and len(name) <= 1024
        and _NAME.fullmatch(name) is not None
        and not any(part.startswith(".") for part in name.split("/"))
    )
