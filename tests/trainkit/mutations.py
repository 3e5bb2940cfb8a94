"""A fuzzer of whole commands: files of a run are damaged, and the real command line is run on them.

    OMP_NUM_THREADS=1 python -W ignore -m tests.trainkit.mutations --count 1000 --seed 0

Every case is a copy of a small whole run (`mutated_run`) in which one file is changed; then a process of its
own runs a command on it. What must hold: it ends by itself; it says what it has to say without a
traceback; it ends with success or an exit code that is documented; nothing outside of the folders that the
command writes is changed; and damage that can be known is told. A case is a function of its seed, so that one
that failed can be run again alone (``--only SEED``).
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.trainkit.mutated_run import run_in_child, write_whole_run


@dataclass(frozen=True)
class Command:
    """A command that may meet a damaged file."""

    words: str
    writes: tuple[str, ...] = ()
    """What it may change, by the first part of the path."""
    tells: str = ""
    """What it must say where the file has other bytes than before; a regular expression."""


@dataclass(frozen=True)
class Kind:
    """Files that are damaged in one way, and the commands that meet them."""

    files: tuple[str, ...]
    commands: tuple[Command, ...]
    unsaid: tuple[str, ...] = ()
    """What is no damage here."""


_GO_ON = Command("train run.toml samples=24", ("out",))
_ANEW = Command("train run.toml samples=8 out=other", ("other",))
_FOLDER = Command("train run.toml samples=8 out=other data.path=data", ("other",))
_CHECK = Command("check run.toml")
_ADAPTED = Command("train adapted.toml samples=24", ("adapted",))
_STATUS = Command("status out")
_SAMPLE = "--steps 1 --size 64x64 -o pictures"
_EXPORTED = ("again.safetensors", "again.README.md", "again.yaml")
_HASHED = r"not as it was written|is missing|has [\d,]+ bytes|is damaged|has format|does not say"

KINDS: dict[str, Kind] = {
    "pictures": Kind(
        ("data/*.png", "data/*.jpg", "data/*.webp", "data/*.gif", "data/*.tiff", "data/*.bmp"),
        (
            Command("prepare data -o manifest --min-side 16", ("manifest",)),
            Command("prepare data -o new --decode --near", ("new",)),
            Command(_ANEW.words + " data.latents=live", ("other",)),
            _FOLDER,
            _GO_ON,
        ),
    ),
    "masks": Kind(("data/*-masklabel.png",), (_ADAPTED, Command("check adapted.toml"))),
    "sidecars": Kind(
        ("data/*.txt", "data/*.json"),
        (Command("prepare data -o manifest --min-side 16", ("manifest",)), _FOLDER, _ADAPTED),
    ),
    "tars": Kind(
        ("shards/*.tar",),
        (
            Command("prepare shards -o packed --min-side 16 --near", ("packed",)),
            Command("prepare shards -o new", ("new",)),
            Command("train run.toml samples=8 out=other data.path=packed", ("other",)),
        ),
    ),
    "manifest": Kind(
        ("manifest/*.arrow", "packed/*.arrow", "manifest/manifest.json"),
        (
            _GO_ON,
            _ANEW,
            _CHECK,
            Command("train run.toml samples=8 out=other data.path=packed", ("other",)),
            Command("bench startup manifest --workers 1 --runs 1 --micro-batches 2"),
        ),
    ),
    "journal": Kind(
        ("manifest/.prepare/*", "manifest/problems.jsonl"),
        (Command("prepare data -o manifest --min-side 16 --near", ("manifest",)),),
    ),
    "tables": Kind(
        ("table.jsonl", "table.parquet"),
        (
            Command("train run.toml samples=8 out=other data.path={name}", ("other",)),
            Command("check run.toml data.path={name}"),
            Command("prepare {name} -o new", ("new",)),
        ),
    ),
    "checkpoints": Kind(("out/checkpoints/*/*",), (_GO_ON, _STATUS)),
    "newest checkpoint": Kind(
        ("out/checkpoints/000000000016/*",),
        (Command("train run.toml samples=24", ("out",), _HASHED),),
    ),
    "run folder": Kind(("out/*.json", "out/*.jsonl", "out/ranks/*", "out/.lock"), (_GO_ON, _STATUS)),
    "cache": Kind(
        ("out/cache/**/*",),
        (_GO_ON, Command("cache info out/cache"), Command("cache prune run.toml --remove", ("out",))),
    ),
    "shards of the cache": Kind(
        ("out/cache/*/[0-9]*.safetensors",),
        (Command("cache check out/cache", (), r"1 damaged shard"),),
        unsaid=("deleted",),  # What is not there is encoded anew.
    ),
    "averages": Kind(
        ("out/ema/**/*", "out/run.json"),
        (
            Command("ema out --list"),
            Command("ema out --sigma-rel 0.08 -o 0.08.safetensors", ("0.08.safetensors",)),
            Command("sample out noise --weights out/ema/0.100.safetensors " + _SAMPLE, ("pictures",)),
            _GO_ON,
        ),
    ),
    "adapters": Kind(
        ("adapted/adapter*", "adapted/checkpoints/*/*", "adapted/*.json"),
        (_ADAPTED, Command("export adapted -o again.safetensors", _EXPORTED)),
    ),
    "run file": Kind(("run.toml", "recipe.toml"), (_GO_ON, _ANEW, _CHECK)),
    "model": Kind(
        ("model/**/*",),
        (
            _CHECK,
            _ANEW,
            Command("sample model noise " + _SAMPLE, ("pictures",)),
            Command("export model -o again.safetensors", _EXPORTED),
        ),
    ),
    "result": Kind(
        ("out/model/**/*",),
        (
            Command("sample out noise " + _SAMPLE, ("pictures",)),
            Command("export out -o again.safetensors", _EXPORTED),
        ),
    ),
    "single file": Kind(
        ("single.safetensors",), (Command("import {name} -o imported --like model", ("imported",)),)
    ),
}


@dataclass(frozen=True)
class Case:
    """What was damaged, how, and the command that met it."""

    seed: int
    file: str
    how: str
    command: Command
    words: tuple[str, ...]
    changed: bool
    """Whether the file has other bytes than before."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    case: Case
    code: int
    """Its exit code; minus the signal that ended it."""
    output: str
    touched: tuple[str, ...]
    """What it changed that it may not."""

    @property
    def faults(self) -> list[str]:
        """What must not be."""
        found, tells = [], self.case.command.tells
        if self.code not in (0, 2):
            found.append(f"ended with {self.code}")
        if "Traceback (most recent call last)" in self.output:
            found.append("a traceback")
        if self.code == 2 and not self.output.strip():
            found.append("ended with 2 and said nothing")
        if tells and self.case.changed and not re.search(tells, self.output):
            found.append("told nothing of the damage")
        if self.touched:
            found.append(f"touched {', '.join(self.touched)}")
        return found


def mutate(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Damaged bytes, and how."""
    how = rng.choice(
        ["bit", "bit", "bytes", "cut", "cut", "empty", "insert", "double", "zeros", "swap", "word"]
    )
    n = max(1, len(data))
    at = rng.randrange(n)
    match how:
        case "bit":
            damaged = bytearray(data or b"\0")
            damaged[at] ^= 1 << rng.randrange(8)
            return bytes(damaged), f"bit at {at}"
        case "bytes":
            some = rng.randbytes(rng.choice([1, 2, 4, 16, 64]))
            return data[:at] + some + data[at + len(some) :], f"{len(some)} random bytes at {at}"
        case "cut":
            return data[:at], f"cut at {at}"
        case "empty":
            return b"", "empty"
        case "insert":
            return data[:at] + rng.randbytes(rng.randrange(1, 40)) + data[at:], f"inserted at {at}"
        case "double":
            end = min(n, at + rng.randrange(1, 200))
            return data[:end] + data[at:], f"{at} to {end} twice"
        case "zeros":
            count = rng.randrange(1, 64)
            return data[:at] + bytes(count) + data[at + count :], f"{count} zeros at {at}"
        case "swap":
            middle = rng.randrange(n)
            return data[middle:] + data[:middle], f"halves swapped at {middle}"
        case _:
            return _other_word(data, rng)


_VALUES = (
    *(b"-1", b"0", b"1e999", b"99999999999999999999", b"-9223372036854775808", b"0.5", b"nan"),
    *(b"true", b"null", b"[]", b"{}", b'"x"', b'"../../x"', b'"/etc/passwd"', b'"\\u0000"', b'"\\ud800"'),
    b"[" * 20_000,
)
_WORD = re.compile(rb'"[^"\n]{0,60}"|\d+(\.\d+)?|true|false|null|\[\]|\{\}')


def _other_word(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    """One of a text's values or names replaced by another; a NUL behind what has none."""
    places = list(_WORD.finditer(data[: 1 << 16]))
    if not places:
        return data + b"\0", "a NUL at the end"
    place, new = rng.choice(places), rng.choice(_VALUES)
    return data[: place.start()] + new + data[place.end() :], f"{place.group()[:20]!r} became {new[:20]!r}"


def make_case(template: Path, folder: Path, seed: int) -> Case:
    """A copy of the run with one file damaged or gone, and the command to run on it."""
    rng = random.Random(seed)
    shutil.copytree(template, folder, symlinks=True)
    kind = KINDS[rng.choice(list(KINDS))]
    file = rng.choice(sorted({p for pattern in kind.files for p in folder.glob(pattern) if p.is_file()}))
    data, stat = file.read_bytes(), file.stat()
    damaged, how = mutate(data, rng)
    if rng.random() < 0.05:
        file.unlink()
        damaged, how = b"", "deleted"
    else:
        file.write_bytes(damaged)
        if rng.random() < 0.5:  # As if nothing had happened to it, for what looks at times.
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    command = rng.choice(kind.commands)
    words = tuple(command.words.format(name=file.name).split())
    return Case(
        seed, str(file.relative_to(folder)), how, command, words, damaged != data and how not in kind.unsaid
    )


def run_case(template: Path, scratch: Path, seed: int) -> Outcome:
    """Make a case and run it."""
    folder = scratch / f"case-{seed}"
    case = make_case(template, folder, seed)
    before = _seen(folder, case.command.writes)
    code, output = run_in_child(list(case.words), folder)
    after = _seen(folder, case.command.writes)
    touched = tuple(sorted(p for p in before.keys() | after.keys() if before.get(p) != after.get(p)))
    shutil.rmtree(folder)
    return Outcome(case, code, output, touched)


def _seen(folder: Path, but: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file, but those in some folders."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if name.parts[0] not in but and path.is_file():
            stat = path.stat()
            found[str(name)] = (stat.st_size, stat.st_mtime_ns)
    return found


def main() -> int:
    """Run cases and print those with faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the others follow")
    parser.add_argument("--only", type=int, help="one case, with all that it says")
    parser.add_argument("--seconds", type=float, default=3600, help="begin no case after so long")
    parser.add_argument("--each", action="store_true", help="print a line for each case")
    options = parser.parse_args()
    started, ends, bad, done = time.monotonic(), Counter[int](), 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        template = Path(scratch, "template")
        template.mkdir()
        write_whole_run(template)
        first = options.seed if options.only is None else options.only
        for seed in range(first, first + (options.count if options.only is None else 1)):
            if time.monotonic() - started > options.seconds:
                break
            outcome = run_case(template, Path(scratch), seed)
            ends[outcome.code] += 1
            done += 1
            if options.each:
                case, last = outcome.case, (outcome.output.strip().splitlines() or [""])[-1]
                print(f"{seed} {case.file}: {case.how}; {' '.join(case.words)}: {outcome.code} {last[:200]}")
            if outcome.faults or options.only is not None:
                bad += bool(outcome.faults)
                print(f"{outcome.case}: {'; '.join(outcome.faults)}\n{outcome.output[-3000:]}\n", flush=True)
    print(f"{done} damaged inputs, {bad} with faults; ended with {dict(sorted(ends.items()))}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
