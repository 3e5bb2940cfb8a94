"""What all tests share: one thread per process, hypothesis profiles, the folder of real data."""

from __future__ import annotations

import gc
import os
from collections import Counter
from pathlib import Path

# Before torch is imported anywhere: on few cores, several thread pools only fight each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

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
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "fast")
settings.load_profile(PROFILE)

if PROFILE == "fast" and hasattr(providers, "_get_local_constants"):
    # Hypothesis 6.131 and later also try constants of all local modules that are loaded by then: the examples
    # of a test would depend on which ones ran before it in the same process.
    providers._get_local_constants = Constants


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests first: with several processes, none then works alone at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="module", autouse=True)
def _what_earlier_tests_left_costs_nothing() -> None:
    """Each full collection looks at all objects of the process, and every training run asks for one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; without it: a skip (CAPTIONKIT_NO_SKIP=1: a failure)."""
    if not SHARED.is_dir():
        reason = "no real data: there is no folder 'shared' beside the checkout"
        if os.environ.get("CAPTIONKIT_NO_SKIP") == "1":
            pytest.fail(f"{reason}, and CAPTIONKIT_NO_SKIP=1 forbids to skip", pytrace=False)
        pytest.skip(reason)
    return SHARED.resolve()
