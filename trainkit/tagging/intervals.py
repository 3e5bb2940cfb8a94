"""How sure a share is that was counted on few pictures."""

from __future__ import annotations

import math

_Z = 1.959963984540054
"""Standard deviations to each side that hold 95 % of a normal distribution."""


def wilson(right: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share that was counted as ``right`` out of ``of``; (0, 1) when nothing was.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference" (1927). Unlike the
    usual interval it never leaves 0 to 1, and stays honest for 0 or all out of a few.
    """
    if of < 1:
        return 0.0, 1.0
    share, z2 = right / of, _Z * _Z
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))
