"""What trainkit's tests share: one tiny base model and one folder of drawn pictures for the whole session."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from tests.trainkit.tiny import write_pictures, write_tiny_model


@pytest.fixture(scope="module", autouse=True)
def _no_accelerator_of_another_file() -> None:
    """accelerate keeps one state per process and refuses to change its precision; which files share a process
    is chance."""
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base model; tests must not change it."""
    return write_tiny_model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-one drawn pictures in several buckets; tests must not change them."""
    return write_pictures(tmp_path_factory.mktemp("data") / "pictures", 21)


@pytest.fixture
def own_pictures(pictures: Path, tmp_path: Path) -> Path:
    """A copy of the pictures that a test may spoil."""
    return Path(shutil.copytree(pictures, tmp_path / "pictures"))


@pytest.fixture
def own_model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the base model that a test may spoil."""
    return Path(shutil.copytree(tiny_model, tmp_path / "base"))
