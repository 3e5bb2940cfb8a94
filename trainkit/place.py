"""Where the bytes of a picture lie: a file, a member of a tar, an object in a store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from trainkit.errors import PictureError

STORES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs"), "adlfs"),
    **dict.fromkeys(("http", "https"), "aiohttp"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    **dict.fromkeys(("ftp", "memory"), ""),
    "hf": "huggingface_hub",
    "oci": "ocifs",
    "oss": "ossfs",
    "webdav": "webdav4",
    "smb": "smbprotocol",
    "hdfs": "pyarrow",
    "webhdfs": "requests",
}
"""What a URL may begin with, and the package that fsspec reads it by. Of fsspec's other protocols some read
local files, some run what they find (``reference``, chains with "::"), and a table of pictures may come from
anybody."""


MOST_BYTES = 2**30
"""A larger file is no picture: uncompressed, 178 million pixels in colour take half of it."""


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

    @property
    def remote(self) -> bool:
        """Whether it lies in a store, and not on a disk."""
        return is_url(self.path)


def is_url(path: str) -> bool:
    """Whether a path is a URL, and not a local path."""
    return "://" in path


def place_of(
    where: str,
    root: str,
    image: str,
    container: str | None = None,
    offset: int = 0,
    length: int | None = None,
    digest: bytes | None = None,
    *,
    absolute: bool = False,
) -> Place:
    """The place of a picture that a table names, below ``root``, a folder or a URL.

    ``image`` is a path relative to the root, or where ``absolute`` allows it a local absolute one; in a tar
    ``container``, which is relative to the root or a URL, it is ``tar/name in the tar``. Links on a disk are
    followed: they were put there by its owner, and not by whoever wrote the table. Raises PictureError, which
    says ``where`` that stands, for a path that leads out of the root.
    """
    if container is None:
        return Place(_below(where, root, image, absolute), offset, length, digest)
    path = _below(where, root, container, False)
    return Place(path, offset, length, digest, image.removeprefix(f"{container}/"))


def _below(where: str, root: str, path: str, absolute: bool) -> str:
    """``path`` below ``root``; a URL, or an absolute path where it is allowed, stands for itself."""
    if not path or "\0" in path or ".." in path.replace("\\", "/").split("/"):
        raise PictureError(where, f"the path {path!r} leads out of {root}")
    if not is_url(path) and os.path.isabs(path):
        if absolute and not is_url(root):
            return str(Path(path))
        raise PictureError(where, f"the path {path!r} is absolute; it must be relative to {root}")
    if is_url(path) or is_url(root):
        url = path if is_url(path) else f"{root.rstrip('/')}/{path}"
        if wrong := wrong_with_url(url):
            raise PictureError(where, wrong)
        return url
    return str(Path(root, path))


def wrong_with_url(url: str) -> str | None:
    """What forbids to read from a URL; None when nothing does."""
    protocol, _, rest = url.partition("://")
    if "::" in url:
        return f"{url!r} is a chain of file systems, which is not followed"
    if protocol not in STORES:
        return f"{url!r}: {protocol}:// is no store; these are: {', '.join(sorted(STORES))}"
    try:
        named = "@" in urlsplit(url).netloc and protocol not in {"abfs", "az"}
    except ValueError:
        return f"{url!r} is no URL"
    if named:
        # It would stand in every report.
        return f"the URL of {rest.rpartition('@')[2]!r} holds a name or password; put it in the environment"
    return None
