"""What a run runs in: machine, packages, environment variables, the state of its sources in git.

Nothing secret: of the environment a list of names is kept, and what looks like a login in a value is masked.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import socket
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch

_KEPT = re.compile(
    r"(CUDA|NCCL|NVIDIA|OMP|MKL|KMP|TORCH|PYTORCH|ACCELERATE|FSDP|GLOO|MASTER|SLURM|TRACKIO|WANDB|HF|"
    r"BITSANDBYTES|TOKENIZERS|TRANSFORMERS|DIFFUSERS|TRITON|CUBLAS|AWS|FSSPEC)_\w+|"
    r"(LOCAL_|GROUP_|NODE_)?RANK|(LOCAL_)?WORLD_SIZE|LD_LIBRARY_PATH|LD_PRELOAD|VIRTUAL_ENV|CONDA_DEFAULT_ENV|"
    r"PYTHON\w+|MALLOC_\w+|TMPDIR|HOSTNAME"
)
_SECRET = re.compile(r"TOKEN|KEY|SECRET|PASS|CREDENTIAL|AUTH|COOKIE|SESSION|SIGNATURE", re.IGNORECASE)
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")
_MOST_DIFF = 1 << 20
"""Bytes of a diff that are kept."""


def environment() -> dict[str, Any]:
    """Everything about the machine and the process, as plain data."""
    packages = dict(sorted({d.name: d.version for d in distributions() if d.name}.items()))
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "python": sys.version,
        "torch": {
            "version": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version() if torch.cuda.is_available() else None,  # type: ignore[no-untyped-call]
            "threads": torch.get_num_threads(),
        },
        "cpu": {"model": _after_colon("/proc/cpuinfo", "model name"), "count": os.cpu_count()},
        "memory_gb": _memory_gb(),
        "gpus": [
            {
                "name": torch.cuda.get_device_name(i),
                "memory_gb": round(torch.cuda.get_device_properties(i).total_memory / 2**30, 1),
            }
            for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
        ],
        "driver": _first_line("/proc/driver/nvidia/version"),
        "captionkit": packages.get("captionkit"),
        "packages": packages,
        "variables": {
            name: _LOGIN.sub("***@", value)
            for name, value in sorted(os.environ.items())
            if _KEPT.fullmatch(name) and not _SECRET.search(name)
        },
    }


def git_state(folder: Path) -> tuple[dict[str, Any], bytes]:
    """(commit, branch, changed files; the diff) of the work tree that a folder lies in, of what lies in the
    folder; nothing where there is none or no git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {}, b""
    changed = (_git(folder, "status", "--porcelain", "--", ".") or b"").decode(errors="replace").splitlines()
    branch = (_git(folder, "rev-parse", "--abbrev-ref", "HEAD") or b"").decode(errors="replace").strip()
    diff = _git(folder, "diff", "--no-ext-diff", "--no-textconv", "HEAD", "--", ".") or b""
    told: dict[str, Any] = {
        "folder": str(folder.resolve()),
        "commit": commit.decode().strip(),
        "branch": branch,
        "dirty": bool(changed),
        "changed": changed[:1000],
    }
    if len(diff) > _MOST_DIFF:
        told["diff"] = f"the first {_MOST_DIFF} of {len(diff)} bytes are in git.diff"
    return told, diff[:_MOST_DIFF]


def _git(folder: Path, *words: str) -> bytes | None:
    """What git prints; None when it fails. No program that the repository's own configuration names is run,
    and no lock is taken."""
    safe = ["-c", "core.fsmonitor=false", "-c", "core.pager=cat", "--no-optional-locks"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["git", *safe, "-C", str(folder), *words],
            capture_output=True,
            timeout=20,
            stdin=subprocess.DEVNULL,
        )
        return done.stdout if done.returncode == 0 else None
    return None


def _memory_gb() -> float | None:
    """Of the machine, or what its container may use of it."""
    kilobytes = _after_colon("/proc/meminfo", "MemTotal")
    found = [int(kilobytes.split()[0]) / 2**20] if kilobytes else []
    limit = _first_line("/sys/fs/cgroup/memory.max")
    if limit is not None and limit.isdecimal():
        found.append(int(limit) / 2**30)
    return round(min(found), 1) if found else None


def _first_line(path: str) -> str | None:
    with contextlib.suppress(OSError, IndexError):
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()[0].strip()
    return None


def _after_colon(path: str, name: str) -> str | None:
    with contextlib.suppress(OSError):
        for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(name):
                return line.partition(":")[2].strip()
    return None
