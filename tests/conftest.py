"""What all tests share: one thread per process, hypothesis profiles, the folder of real data."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is imported anywhere: on few cores, several thread pools only fight each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared"

# `fast` gives everybody the same examples, so that a red test is red for all; `ci` goes looking for new ones.
# Times are not judged (deadline): on a busy machine they say nothing about the code.
settings.register_profile(
    "fast", max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "ci",
    max_examples=300,
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; without it: a skip (CAPTIONKIT_NO_SKIP=1: a failure)."""
    if not SHARED.is_dir():
        reason = "no real data: there is no folder 'shared' beside the checkout"
        if os.environ.get("CAPTIONKIT_NO_SKIP") == "1":
            pytest.fail(f"{reason}, and CAPTIONKIT_NO_SKIP=1 forbids to skip", pytrace=False)
        pytest.skip(reason)
    return SHARED.resolve()
