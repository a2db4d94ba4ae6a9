"""Headers of every answer: nothing from elsewhere is loaded or run, and nobody else frames or keeps the page."""

from __future__ import annotations

_RULES = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob:",  # pictures that the page has fetched
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",  # no text becomes HTML: the page has no policy that would make it
)
HEADERS = {
    "Content-Security-Policy": "; ".join(_RULES),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with `no-referrer` browsers send `Origin: null` with the form of the token
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
