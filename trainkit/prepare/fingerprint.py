"""What is trained of a prepared manifest, as a hash: ids, records, bytes and sizes of pictures, in order."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from captionkit import Record
from captionkit.writers.fields import fields_of


class Fingerprint:
    """Takes rows in their order."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def update(
        self,
        contents: NDArray[np.void],
        digests: NDArray[np.void],
        widths: NDArray[np.int32],
        heights: NDArray[np.int32],
    ) -> None:
        """[R] each: the records' `content_of`, the pictures' digests (16 bytes) and sizes in pixels."""
        kinds = [("content", "V16"), ("digest", "V16"), ("width", "<i4"), ("height", "<i4")]
        every = np.empty(len(contents), kinds)
        every["content"], every["digest"] = contents, digests
        every["width"], every["height"] = widths, heights
        self._hash.update(every.tobytes())

    def hexdigest(self) -> str:
        """Of all rows until now."""
        return self._hash.hexdigest()


def content_of(record: Record) -> bytes:
    """A digest of what is trained of a record: all of it but where its picture lies."""
    fields = fields_of(replace(record, image=None))
    text = json.dumps(fields, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).digest()
