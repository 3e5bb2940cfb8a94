"""Where a server is, and with which key it is asked. No error shows what may be a secret."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from trainkit.captioning.server_failures import ServerError


def usable_url(url: str) -> str:
    """``url`` without a slash at its end, with /v1 where it has no path.

    Raises ValueError where it is none, or holds a password or query.
    """
    try:
        parts = urlsplit(url)
        host, secret = parts.hostname, "@" in url
        _ = parts.port  # Raises for a port that is none.
    except ValueError:
        raise ValueError("holds what is no URL") from None
    if secret:
        raise ValueError(
            f"of {host or 'a server'} holds a name or password, and this is written beside the results; put "
            "the key into an environment variable and its name into api_key_env"
        )
    if parts.scheme not in ("http", "https") or not host or " " in url or not url.isprintable():
        raise ValueError(f"holds {url!r}, must be such as http://127.0.0.1:8000/v1")
    if parts.query or parts.fragment:
        raise ValueError(f"of {host} holds a query or fragment (? or #), which end points do not have")
    path = parts.path.rstrip("/").removesuffix("/chat/completions").removesuffix("/models")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def key_from(name: str | None) -> str:
    """The key in the environment variable ``name``; empty without a name. Raises ServerError when there is
    none."""
    if name is None:
        return ""
    key = os.environ.get(name, "").strip()
    if not key:
        raise ServerError(
            f"the environment has no {name}; set it to the key (export {name}=...) and try again"
        )
    if not re.fullmatch(r"[!-~]+", key):
        raise ServerError(f"{name} in the environment holds what no key can: spaces, or letters beyond ASCII")
    return key
