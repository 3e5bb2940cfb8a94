"""What is wrong when a store does not hand over a picture, and whether it may pass.

Every library below fsspec raises errors of its own. They are told apart by the HTTP status that they or
their causes carry, then by their kind.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

_PASSING_STATUS = frozenset({408, 425, 429})
"""Besides all from 500: too slow, too early, too many."""
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
_LASTING_NUMBERS = frozenset({errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ENAMETOOLONG})
_PASSING_NAMES = frozenset(
    {
        *("HTTPClientError", "ConnectionError", "ResponseStreamingError"),  # botocore
        *("ClientConnectionError", "ClientPayloadError", "ServerTimeoutError"),  # aiohttp
        *("TransportError", "RequestException", "HTTPError", "ProtocolError"),  # httpx, requests, urllib3
    }
)
"""Classes, or bases of them, of libraries that need not be installed."""
_WORDS = {
    403: "access was refused (403)",
    404: "is not there (404)",
    416: "ends before the picture (416)",
    429: "too many requests (429)",
}


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error or one of its causes carries; None for an answer that broke off: its
    cause can have a code that no server sent."""
    seen: BaseException | None = error
    while seen is not None and not (_broke_off(seen) and getattr(seen, "response", None) is None):
        for status in _stated(seen):
            if isinstance(status, int) and 300 <= status < 600:
                return status
        seen = seen.__cause__
    return None


def _stated(error: BaseException) -> Iterator[object]:
    """Where libraries put the status: botocore, requests and httpx; aiohttp; gcsfs."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        yield response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    yield getattr(response, "status_code", None)
    yield getattr(error, "status", None)
    yield getattr(error, "code", None)


def may_pass(error: BaseException) -> bool:
    """Whether asking again later may help."""
    status = status_of(error)
    if status is not None:
        return status >= 500 or status in _PASSING_STATUS
    if isinstance(error, _LASTING):
        return False
    if isinstance(error, OSError):
        return error.errno not in _LASTING_NUMBERS
    return _broke_off(error)


def _broke_off(error: BaseException) -> bool:
    return any(kind.__name__ in _PASSING_NAMES for kind in type(error).__mro__)


def in_words(error: BaseException) -> str:
    """What went wrong, short enough to be counted by."""
    status = status_of(error)
    if status is not None:
        return _WORDS.get(status, f"the store answered {status}")
    if isinstance(error, FileNotFoundError):
        return "is not there"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
