"""Where the bytes of a picture lie: a file, a member of a tar, an object in a store."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of bytes that is one picture, and what it must be."""

    path: str
    """A local path, or a URL that fsspec understands (``s3://bucket/pictures-000.tar``)."""
    offset: int = 0
    """Where the picture begins in it; not 0 for a member of a tar."""
    length: int | None = None
    """Its bytes; None means all that follow."""
    digest: bytes | None = None
    """BLAKE2b of 16 bytes over the picture's bytes, as `prepare` found it; None when nobody knows."""
    member: str = ""
    """Its name in the tar; empty for a file of its own."""

    @property
    def name(self) -> str:
        """What errors and reports call it: the path, or ``tar/member``."""
        return f"{self.path}/{self.member}" if self.member else self.path
