"""The processes of a run that torchrun started: who they are, and how they wait for each other.

Each captions or tags its own share of the pictures and needs the others only at the end, so that no model is
wrapped and no gradients are exchanged: gloo does, on GPUs too.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from trainkit.errors import LaunchError

_PATIENCE = timedelta(days=7)
"""Shares of a run end hours apart where one GPU is slower."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among the others."""

    rank: int = 0
    world: int = 1

    @property
    def speaks(self) -> bool:
        """Whether this process prints, writes reports, and merges."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all have come here."""
        if self.world > 1:
            import torch.distributed

            torch.distributed.barrier()

    def gathered(self, lines: Sequence[str]) -> list[str]:
        """The lines of all processes, in the order of their ranks; every process must ask, and gets them.

        They travel as JSON: torch's own way for objects would be pickle.
        """
        if self.world == 1:
            return list(lines)
        import torch
        import torch.distributed

        data = torch.frombuffer(bytearray(json.dumps(list(lines)).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world)]
        torch.distributed.all_gather(lengths, torch.tensor([len(data)]))
        longest = max(int(length) for length in lengths)
        parts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.world)]
        torch.distributed.all_gather(parts, torch.nn.functional.pad(data, (0, longest - len(data))))
        return [
            line
            for part, length in zip(parts, lengths, strict=True)
            for line in json.loads(part[: int(length)].numpy().tobytes())
        ]


@contextlib.contextmanager
def joined(environment: Mapping[str, str] | None = None) -> Iterator[Ranks]:
    """Find the other processes, if there are any; afterwards leave them.

    Raises LaunchError for a launch in which every process would do the whole work.
    """
    told = os.environ if environment is None else environment
    world = int(told.get("WORLD_SIZE", "1"))
    if world < 2:
        yield Ranks()
        return
    if "RANK" not in told:
        raise LaunchError(
            f"WORLD_SIZE is {world} and there is no RANK: start several processes with torchrun "
            f"--nproc_per_node {world} -m trainkit COMMAND"
        )
    import torch.distributed

    torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield Ranks(int(told["RANK"]), world)
    finally:
        torch.distributed.destroy_process_group()
