"""Which pictures a tagger never learns from, so that it can be judged by them.

The side of a picture is a function of its own key and the seed: it does not change when pictures are added or
taken away, and `tagger train`, `evaluate` and `review` agree on it without a list.
"""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict, Field


def held_out(id: str, *, share: float, seed: int) -> bool:
    """Whether a picture is held out: BLAKE2b of the seed and its key, as a number in [0, 1), is under
    ``share``.

    Give `split_key`, not the record's id, where the picture's bytes have a digest.
    """
    digest = hashlib.blake2b(f"{seed}/held out/{id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2.0**64


def split_key(id: str, digest: str = "") -> str:
    """What decides a picture's side: the digest of its bytes, so that two records of the same picture are on
    the same side; the record's id where there is no digest."""
    return digest or id


class SplitConfig(BaseModel):
    """The part of the pictures that is held out."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    share: float = Field(default=0.1, ge=0.0, le=0.9)
    """Share of the pictures that is held out. With 0 nothing is, and training cannot stop early."""
    seed: int = 0
    """Another seed holds out others."""

    def held_out(self, id: str, digest: str = "") -> bool:
        """Whether the picture of a record is held out; ``digest`` is that of its bytes, "" when unknown."""
        return held_out(split_key(id, digest), share=self.share, seed=self.seed)
