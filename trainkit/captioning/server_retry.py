"""When a server that failed is asked again, and after how long that ends.

Nothing is drawn from a global generator: the share by which a wait is shortened is a function of what is
asked again and of how often it failed.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pydantic import BaseModel, ConfigDict, Field


class RetryConfig(BaseModel):
    """How long an answer is waited for, and what happens when none comes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    timeout: float = Field(default=300.0, gt=0, le=86_400)
    """Seconds that one answer may take, time in the server's own queue included."""
    connect_timeout: float = Field(default=10.0, gt=0, le=600)
    """Seconds in which a connection must stand."""
    tries: int = Field(default=5, ge=1, le=100)
    """Failures of one request (a time-out, 500 and up, an answer that makes no sense) after which its picture
    is given up, if others were answered meanwhile. Waiting for a server that is gone or busy does not
    count."""
    first_wait: float = Field(default=1.0, gt=0, le=600)
    """Seconds before the same is asked again; they double each time."""
    longest_wait: float = Field(default=30.0, gt=0, le=3600)
    """The most seconds between two times, where the server names none itself (Retry-After)."""
    give_up_s: float = Field(default=300.0, ge=0, le=604_800)
    """The run ends when no server has answered anything for so many seconds."""

    def wait(self, failures: int, what: str) -> float:
        """Seconds after the ``failures``-th failure (from 1) in a row of ``what``.

        They double from ``first_wait`` to ``longest_wait`` and are shortened by up to half, so that what
        failed together does not come back together.
        """
        seconds = min(self.first_wait * 2.0 ** min(failures - 1, 60), self.longest_wait)
        return seconds * (1 - _share(f"{failures}:{what}") / 2)


def _share(text: str) -> float:
    """A number in [0, 1) that looks random."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") / 2**32


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for: a number or a date (RFC 9110, 10.2.3); None when it makes
    no sense."""
    if not value or len(value) > 100:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):
            return None
        aware = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
        seconds = max((aware - (now or datetime.now(UTC))).total_seconds(), 0.0)
    return seconds if 0 <= seconds < float("inf") else None
