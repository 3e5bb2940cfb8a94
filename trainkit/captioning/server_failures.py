"""How asking a server can go wrong, sorted by what follows."""

from __future__ import annotations

import json
import re
from typing import Any

from trainkit.errors import TrainkitError

MOST_WORDS = 300
"""Characters of a server's message that are shown."""


class ServerError(TrainkitError):
    """Servers of captions that do not answer, or refuse everything. ``status`` is what one answered, if it
    did, and ``said`` what it said with it."""

    def __init__(self, message: str, *, status: int | None = None, said: str = "") -> None:
        self.status = status
        self.said = said
        super().__init__(message)


class AllGoneError(ServerError):
    """No server has answered for as long as is waited."""


class Refused(Exception):
    """The server says no to this request; asking again gives the same. The text says why."""


class Failed(Exception):
    """The request may succeed when it is asked again.

    ``gone``: there is no connection to the server. ``busy``: it asks for time. ``counts``: the request itself
    may be the cause. ``after``: seconds that the server asks for.
    """

    def __init__(
        self,
        reason: str,
        *,
        gone: bool = False,
        busy: bool = False,
        counts: bool = True,
        after: float | None = None,
    ) -> None:
        self.reason = reason
        self.gone = gone
        self.busy = busy
        self.counts = counts
        self.after = after
        super().__init__(reason)


_AGAIN = frozenset({408, 409, 425, 429})
"""Besides 500 and up: what may succeed when it is asked again."""
_NEVER = frozenset({501, 505})
_ONE = frozenset({400, 413, 415, 422})


def judge_status(
    status: int, body: bytes, *, url: str, after: float | None = None, location: str = ""
) -> Exception | None:
    """What a status other than success means: Refused, Failed, or ServerError where no request can succeed.
    None for success."""
    if 200 <= status < 300:
        return None
    said = message_of(body)
    told = f"{status}: {said}" if said else str(status)
    if status == 429 and "insufficient_quota" in said:
        return ServerError(
            f"{url} answers {told}. Mend the account, then start again: it goes on.", status=429
        )
    if status in _AGAIN or (status >= 500 and status not in _NEVER):
        busy = status in (429, 503) and (status == 429 or after is not None)
        return Failed(f"answered {told}", busy=busy, counts=not busy, after=after)
    if status in _ONE:
        return Refused(f"the server answered {told}")
    return ServerError(f"{url} answers {told}. {_what_to_do(status, location)}", status=status, said=told)


def _what_to_do(status: int, location: str) -> str:
    match status:
        case 401 | 403:
            return "Give the name of the environment variable that holds the right key as api_key_env."
        case 402:
            return "Mend the account, then start again: it goes on."
        case 404 | 405:
            return (
                "Either it serves no such model, or the URL is not the one before /chat/completions, such as "
                "http://127.0.0.1:8000/v1."
            )
        case _ if 300 <= status < 400:
            where = f" to {shown(location)}" if location else ""
            return (
                f"It sends on{where}, which is not followed, as the key would go along; give the right URL."
            )
        case _:
            return "Is it an OpenAI-compatible server?"


def message_of(body: bytes) -> str:
    """What an error's body says, in one short line: OpenAI's {"error": {"message": ...}}, FastAPI's
    {"detail": ...}, LMDeploy's {"message": ...}, or the text."""
    try:
        data: Any = json.loads(body)
    except (ValueError, RecursionError):
        text = body[: 4 * MOST_WORDS].decode("utf-8", "replace")
        return "" if "<html" in text.lower() else shown(text)
    if not isinstance(data, dict):
        return shown(str(data))
    inner = next((data[name] for name in ("error", "detail", "message") if data.get(name)), data)
    if isinstance(inner, dict):
        said = inner.get("message") or inner.get("detail") or inner
        code = inner.get("code")
        return shown(f"{said} ({code})" if isinstance(code, str) else str(said))
    return shown(str(inner))


def shown(text: str) -> str:
    """Foreign text as it may stand in a message: one line, nothing that moves the cursor, not long."""
    line = " ".join(re.sub(r"[^\w\s!-~]|[\x00-\x1f\x7f-\x9f\ud800-\udfff]", " ", text).split())
    return line if len(line) <= MOST_WORDS else line[: MOST_WORDS - 3] + "..."
