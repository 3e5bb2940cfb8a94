"""A process that merges and is killed in the middle: ``python merging.py MANIFEST WHERE NUMBER``.

It kills itself just before or just after the so-manieth file is moved, unlinked or flushed.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Merge, with a bomb in it."""
    from trainkit.additions.merge import merge_additions

    manifest, what, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    does, count = getattr(os, what), 0

    def deadly(*told: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return does(*told, **more)

    setattr(os, what, deadly)
    merge_additions(manifest, processes=1)
    print(count)


if __name__ == "__main__":
    main()
