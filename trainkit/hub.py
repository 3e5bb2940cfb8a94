"""Where a model that the user names lies: a folder, or a repository of the Hugging Face hub, fetched once.

This process stays offline whatever happens. A folder never asks a hub; a repository is fetched by a process
of its own (this file, run as ``python -m trainkit.hub``), only because the user named it. Everything is then
loaded from a folder. No pickled weights are ever fetched, and code only if it may run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from trainkit.errors import ModelError

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.tiktoken")
_UNWANTED = ("original/*", "onnx/*", "openvino/*", "*.fp16.safetensors", "consolidated*.safetensors")
"""Second copies of the weights, in the forms of other programs."""
_KNOWN = {
    "GatedRepoError": "its owner wants you to accept the terms first, on its page",
    "RepositoryNotFoundError": "the hub has no such repository, or it is private",
    "RevisionNotFoundError": "it has no revision {revision!r}",
}
"""What the hub can have answered -> what we say."""
_DEFAULT = "TRAINKIT_HUB_OFFLINE_IS_DEFAULT"


@dataclass(frozen=True, slots=True)
class Found:
    """A model's folder, and what to call the model."""

    folder: Path
    name: str
    """Of a folder its last part; of a repository its name and, behind an @, twelve digits of the commit."""


def offline_by_default() -> None:
    """Keep this process and those it starts from asking a hub. What the user has set stands."""
    if "HF_HUB_OFFLINE" not in os.environ:
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ[_DEFAULT] = "1"


def find_model(model: str, *, revision: str | None = None, code: bool = False) -> Found:
    """The folder of a model. ``code``: also fetch the code in its repository, because it may run.

    ``model`` is a path or owner/name; a path that exists wins. ``revision`` is a branch, tag or commit of a
    repository. Raises ModelError when there is neither folder nor repository.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        if revision is not None:
            raise ModelError(
                f"{model} is a folder, which has no revisions; take out revision = {revision!r}, or give the "
                "name of a repository"
            )
        return Found(path, path.resolve().name)
    if path.is_file():
        raise ModelError(f"{model} is a file, must be the folder of a model, with its config.json")
    if not _REPOSITORY.fullmatch(model):
        raise ModelError(
            f"no such folder: {model}; a model is the path of a folder, or the name of a repository of the "
            "Hugging Face hub, such as HuggingFaceTB/SmolVLM-256M-Instruct"
        )
    return _from_hub(model, revision or "main", code=code)


def _from_hub(model: str, revision: str, *, code: bool) -> Found:
    offline = _offline(os.environ)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1" if offline else "0"}
    environment["HF_HUB_DISABLE_TELEMETRY"] = "1"
    environment.pop("HF_HUB_DISABLE_PROGRESS_BARS", None)  # Gigabytes: its bars are wanted here.
    answer = subprocess.run(
        [sys.executable, "-m", "trainkit.hub", model, revision, "code" if code else "no code"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        found = json.loads(answer.stdout.strip().rpartition("\n")[2])
    except ValueError:
        raise ModelError(
            f"{model} could not be downloaded: the process that does it ended with status {answer.returncode}"
        ) from None
    if "folder" not in found:
        raise ModelError(_explained(model, revision, str(found["problem"]), str(found["kind"]), offline))
    folder = Path(found["folder"])
    if not any(folder.rglob("*.safetensors")):
        raise ModelError(
            f"{model} (revision {revision}) has no *.safetensors weights; pickled ones (.bin, .pt) are never "
            "loaded. Look for a revision with safetensors (often refs/pr/N), or save it as such yourself"
        )
    return Found(folder, f"{model}@{folder.name[:12]}")


def _offline(environment: os._Environ[str]) -> bool:
    """Whether the user, and not we, forbade to ask a hub."""
    forbidden = (environment.get("HF_HUB_OFFLINE") or "").upper() in {"1", "ON", "YES", "TRUE"}
    return forbidden and _DEFAULT not in environment


def _explained(model: str, revision: str, problem: str, kind: str, offline: bool) -> str:
    if kind in _KNOWN:
        what = _KNOWN[kind].format(revision=revision)
        return (
            f"{model}: there is no such folder, and {what}. If it wants you to be known, set HF_TOKEN to a "
            "token of yours that may read it"
        )
    why = "HF_HUB_OFFLINE forbids to ask the hub" if offline else f"the hub cannot be reached ({problem})"
    return (
        f"{model}: no such folder, no whole copy of revision {revision} in the hub's cache, and {why}. "
        "Download it where there is a connection and give its folder: hf download "
        f"{model} --revision {revision} --local-dir FOLDER"
    )


def _download(model: str, revision: str, code: bool) -> dict[str, str]:
    """Runs in the process of its own: fetch what is missing; say where the copy lies, or what is wrong."""
    from huggingface_hub import snapshot_download

    wanted = [*_WANTED, *(["*.py"] if code else [])]
    kept = bool(_COMMIT.fullmatch(revision))
    # A commit never changes: a whole copy of it needs no question.
    for local in (True, False) if kept else (False,):
        try:
            return {
                "folder": snapshot_download(
                    model,
                    revision=revision,
                    allow_patterns=wanted,
                    ignore_patterns=list(_UNWANTED),
                    local_files_only=local,
                )
            }
        except Exception as error:
            # Every kind of trouble is told by the process that asked, in our words.
            cause: BaseException = error
            while type(cause).__name__ not in _KNOWN and (cause.__cause__ or cause.__context__):
                cause = cause.__cause__ or cause.__context__ or cause
            text = (str(cause).strip() or repr(cause)).splitlines()[0]
            problem = {"problem": text[:300], "kind": type(cause).__name__}
    return problem


if __name__ == "__main__":
    print(json.dumps(_download(sys.argv[1], sys.argv[2], sys.argv[3] == "code")), flush=True)
