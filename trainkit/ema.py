"""The averages of a run's weights while it trains: taken in, lent to the model, saved, written out.

What the averages are stands in ema_tracks.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trainkit.ema_tracks import EmaConfig, PowerTrack
from trainkit.errors import CheckpointError
from trainkit.sharding import local, part_of, put_together
from trainkit.weights_file import write_weights

_CHUNK = 32 * 2**20
"""Weights that are on their way from the device to main memory at once, twice: 256 MB of page-locked
memory."""


class Ema:
    """The tracks of a run: float32 copies of the trained weights.

    ``denoiser`` is always the plain module, out of DistributedDataParallel and torch.compile; weights are
    named as in its state dictionary. Parameters must be float32. Where they are sharded, every process keeps
    the averages of its parts, and all must call every method.
    """

    def __init__(
        self,
        config: EmaConfig,
        denoiser: nn.Module,
        device: torch.device,
        trained: Collection[str] | None = None,
        *,
        writes: bool = True,
    ) -> None:
        """Every track starts as the present weights.

        ``trained`` names the parameters that any phase of the run trains. None takes all: never wrong, but
        parameters that stay frozen throughout (a text encoder, the base under an adapter) cost memory. Of
        several processes one ``writes`` the files; the others at most lend their parts of the weights.
        """
        self.config = config
        self.tracks = {track.name: track for track in config.tracks}
        self._lent: str | None = None
        where = torch.device("cpu") if config.device == "cpu" else device
        start = {
            name: parameter
            for name, parameter in denoiser.named_parameters()
            if trained is None or name in trained
        }
        assert all(parameter.dtype == torch.float32 for parameter in start.values())
        self._weights = {
            track: {name: local(p.detach()).to(where, copy=True) for name, p in start.items()}
            for track in self.tracks
        }
        self._trained = start
        self._writes = writes

    @property
    def num_bytes(self) -> int:
        """What all tracks take, in memory and in a checkpoint."""
        return sum(weight.nbytes for track in self._weights.values() for weight in track.values())

    @torch.no_grad()
    def update(self, denoiser: nn.Module, samples_seen: int, group: int) -> None:
        """Take in the weights after the optimizer step of ``group`` samples that ends at ``samples_seen``."""
        assert self._lent is None, "the weights lie in the model"
        if not self._weights:
            return
        betas = {name: track.beta(samples_seen, group) for name, track in self.tracks.items()}
        parameters = _parts(denoiser)
        names = list(next(iter(self._weights.values())))
        where = self._weights[next(iter(betas))][names[0]].device
        for part, present in _at(where, names, parameters):
            for name, beta in betas.items():
                weights = self._weights[name]
                torch._foreach_lerp_([weights[key] for key in part], present, 1 - beta)

    @contextlib.contextmanager
    def applied(self, denoiser: nn.Module, track: str) -> Iterator[None]:
        """The model with a track's weights; afterwards, also after an exception, with exactly its own.

        The two are exchanged tensor by tensor, so nothing is needed beside them. No update, save or write of
        this object inside.
        """
        assert self._lent is None, "the weights lie in the model already"
        parameters = _parts(denoiser)
        done: list[tuple[Tensor, Tensor]] = []
        self._lent = track
        try:
            for name, weight in self._weights[track].items():
                _exchange(parameters[name], weight)
                done.append((parameters[name], weight))
            yield
        finally:
            for pair in done:
                _exchange(*pair)
            self._lent = None

    def save(self, folder: Path) -> None:
        """Write ``ema-<track>.safetensors`` for every track into a checkpoint that is being made.

        Raises OSError or SafetensorError, as whoever makes the checkpoint expects.
        """
        assert self._lent is None, "the weights lie in the model"
        for name, track in self.tracks.items():
            tensors = {key: weight.cpu().contiguous() for key, weight in self.whole(name).items()}
            if self._writes:
                save_file(tensors, folder / f"ema-{name}.safetensors", track.describe())

    def load(self, folder: Path) -> None:
        """Put a checkpoint's tracks into this object; averaging goes on to the bit.

        Raises CheckpointError when a track is missing, was made with other settings, or holds other weights;
        then nothing has been changed.
        """
        paths = {name: folder / f"ema-{name}.safetensors" for name in self.tracks}
        for name, path in paths.items():
            _require_same(path, self.tracks[name].describe(), self._trained)
        for name, path in paths.items():
            with safe_open(path, "pt") as file:
                for key, weight in self._weights[name].items():
                    weight.copy_(local(part_of(file.get_tensor(key), self._trained[key])))

    def write_weights(self, path: Path, track: str, metadata: Mapping[str, str]) -> None:
        """Write a track as a weights file, float32, all or nothing. Raises TrainkitError where that fails."""
        assert self._lent is None, "the weights lie in the model"
        told = {"format": "pt", "kind": "ema", **self.tracks[track].describe(), **metadata}
        tensors = self.whole(track)
        if self._writes:
            write_weights(path, tensors, told)

    def snapshot(self, folder: Path, samples_seen: int) -> list[Path]:
        """Write ``<sigma_rel>-<samples>.safetensors`` for every power-function track, each all or nothing.

        Raises TrainkitError when one cannot be written.
        """
        assert self._lent is None, "the weights lie in the model"
        dtype = torch.float16 if self.config.snapshot_dtype == "float16" else torch.float32
        written = []
        for name, track in self.tracks.items():
            if isinstance(track, PowerTrack):
                path = folder / f"{name}-{samples_seen:012d}.safetensors"
                told = {"format": "pt", "kind": "ema-snapshot", "samples_seen": str(samples_seen)}
                tensors = {key: weight.to("cpu", dtype) for key, weight in self.whole(name).items()}
                if self._writes:
                    write_weights(path, tensors, told | track.describe())
                    written.append(path)
        return written

    def whole(self, track: str) -> dict[str, Tensor]:
        """A track's weights; put together in main memory where they are sharded, and none on processes that
        do not write."""
        found: dict[str, Tensor] = {}
        for key, weight in self._weights[track].items():
            tensor = put_together(weight, self._trained[key])
            if self._writes:
                found[key] = tensor if tensor is weight else tensor.cpu()
        return found


def _parts(denoiser: nn.Module) -> dict[str, Tensor]:
    """The parameters, or this process's parts of them; not copies."""
    return {name: local(parameter.detach()) for name, parameter in denoiser.named_parameters()}


def _at(
    where: torch.device, names: list[str], parameters: Mapping[str, Tensor]
) -> Iterator[tuple[list[str], list[Tensor]]]:
    """The parameters, a chunk at a time, on the device where the tracks lie.

    From a GPU to main memory, the next chunk is on its way (through page-locked memory) while one is used.
    """
    before: tuple[list[str], list[Tensor], torch.cuda.Event | None] | None = None
    for part in _chunks(names, parameters):
        present = [parameters[name].detach().to(where, non_blocking=True) for name in part]
        arrived = None
        if where.type == "cpu" and parameters[part[0]].is_cuda:
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(torch.cuda.current_stream(parameters[part[0]].device))
        if before is not None:
            yield _waited(*before)
        before = (part, present, arrived)
    if before is not None:
        yield _waited(*before)


def _waited(
    part: list[str], present: list[Tensor], arrived: torch.cuda.Event | None
) -> tuple[list[str], list[Tensor]]:
    if arrived is not None:
        arrived.synchronize()
    return part, present


def _chunks(names: list[str], parameters: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """The names in order, in groups of about _CHUNK weights."""
    part: list[str] = []
    size = 0
    for name in names:
        part.append(name)
        size += parameters[name].numel()
        if size >= _CHUNK:
            yield part
            part, size = [], 0
    if part:
        yield part


@torch.no_grad()
def _exchange(parameter: Tensor, weight: Tensor) -> None:
    kept = parameter.detach().to(weight.device, copy=True)
    parameter.copy_(weight)
    weight.copy_(kept)


def _require_same(path: Path, settings: dict[str, str], weights: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless the file holds a track of these settings over these weights."""
    try:
        with safe_open(path, "pt") as file:
            keys = file.keys()
            found = {key: tuple(file.get_slice(key).get_shape()) for key in keys}
            told = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        there = ", ".join(sorted(p.stem.removeprefix("ema-") for p in path.parent.glob("ema-*"))) or "none"
        raise CheckpointError(
            f"{path} cannot be read: {error}; EMA tracks of this checkpoint: {there}. Set ema.sigma_rel and "
            "ema.decay to these, or start with another `out` folder."
        ) from error
    problems = [
        f"{key} is {value}, the checkpoint has {told.get(key)}"
        for key, value in settings.items()
        if told.get(key) != value
    ]
    wanted = {key: tuple(weight.shape) for key, weight in weights.items()}
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            ours, theirs = wanted.get(key, "not trained"), found.get(key, "missing")
            problems.append(f"{key} is {ours} here and {theirs} in the checkpoint")
    if problems:
        more = f"\n  and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(
            f"{path} does not fit this run:\n  " + "\n  ".join(problems[:5]) + more + "\nStart with another "
            "`out` folder, or with the model, text and ema settings the checkpoint was made with."
        )
