"""Room on a disk: how much a checkpoint takes, whether there is enough, and what a full disk is called."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path

import torch

from trainkit.amounts import gigabytes
from trainkit.errors import TrainkitError
from trainkit.optim import OptimConfig, find_optimizer

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your quota on this disk is used up",
    errno.EFBIG: "a file may not grow that large here (a limit of the system, `ulimit -f`)",
    errno.EROFS: "the disk can only be read",
    errno.EACCES: "this folder may not be written to",
    errno.EPERM: "this folder may not be written to",
    errno.ENOTDIR: "a file stands where a folder should be",
    errno.EEXIST: "a file stands where a folder should be",
}
"""What the system's error numbers mean for a run."""

_PROBED = 65_536
"""Weights on which an optimizer's memory is measured; bitsandbytes keeps less than 4,096 in 32 bits."""


def is_full(error: OSError, folder: Path) -> bool:
    """Whether a write into a folder failed for want of room or of leave."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
        return True
    return error.errno in _FULL and folder in Path(str(error.filename)).parents


def explain_full(error: Exception, folder: Path, needed: int | None = None) -> str:
    """Why a write of about ``needed`` bytes into ``folder`` failed, what it needed and what there is."""
    # Rust's libraries raise errors of their own, with the system's number in the text.
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (said := re.search(r"os error (\d+)", str(error))):
        number = int(said[1])
    known = _FULL.get(number or 0)
    reason = f"{known} ({error})" if known else str(error)
    free = free_bytes(folder)
    told = [] if needed is None else [f"it takes {gigabytes(needed)}"]
    told += [] if free is None else [f"{gigabytes(free)} are free there"]
    return "; ".join([reason, ", ".join(told)]) if told else reason


def free_bytes(folder: Path) -> int | None:
    """Bytes that are free on the disk of a folder that may not be there yet; None where nobody knows.

    A quota is not seen: there may be less.
    """
    place = folder
    while not place.is_dir() and place != place.parent:
        place = place.parent
    try:
        return shutil.disk_usage(place).free
    except OSError:
        return None


def state_bytes_per_weight(config: OptimConfig, device: torch.device) -> float:
    """What an optimizer keeps of every weight: measured on some. 8 for AdamW, about 2 in 8 bits."""
    weight = torch.nn.Parameter(torch.ones(_PROBED, device=device))
    weight.grad = torch.ones_like(weight)
    try:
        optimizer = find_optimizer(config)([weight], lr=0.0, **config.arguments)
        optimizer.step()
    except TrainkitError:
        raise
    except (
        Exception
    ):  # Whatever an optimizer of any package says of a step on one weight; it is no matter here.
        return 8.0
    kept = sum(value.nbytes for value in optimizer.state[weight].values() if isinstance(value, torch.Tensor))
    return kept / _PROBED
