"""The public face: sorted names that exist, and an import that stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import captionkit
from captionkit import policies
from captionkit.policies import BUILT_IN
from captionkit.schema import setting_docs

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "numpy", "PIL", "hypothesis", "transformers", "diffusers", "datasets", "tomlkit")
CHECK = """
import sys
{statement}
found = sorted(set(sys.modules) & {heavy!r})
sys.exit(f"loaded: {{', '.join(found)}}" if found else 0)
"""


def _fresh(statement: str) -> subprocess.CompletedProcess[str]:
    code = CHECK.format(statement=statement, heavy=set(HEAVY))
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_import_is_light() -> None:
    done = _fresh("import captionkit; captionkit.preset('hyperfusion')")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_check_itself_can_fail() -> None:
    done = _fresh("import captionkit.testing")
    assert (done.returncode, done.stderr.strip()) == (1, "loaded: hypothesis")


def test_names_are_sorted_and_there() -> None:
    assert captionkit.__all__ == sorted(captionkit.__all__)
    assert [name for name in captionkit.__all__ if not hasattr(captionkit, name)] == []
    assert 25 <= len(captionkit.__all__) <= 45
    assert policies.__all__ == sorted(policies.__all__, key=str.lower) or policies.__all__[0] == "BUILT_IN"
    assert {policy.__name__ for policy in BUILT_IN} <= set(policies.__all__)


TYPES = ("Claim", "PatternList", "Probability")  # Aliases hold no docstring of their own.


@pytest.mark.parametrize("name", sorted(set(captionkit.__all__) - set(TYPES)))
def test_every_public_name_says_what_it_is(name: str) -> None:
    value = getattr(captionkit, name)
    assert value.__doc__
    assert not value.__doc__.startswith(f"{name}(")  # The docstring that a dataclass writes by itself.


@pytest.mark.parametrize("policy", BUILT_IN, ids=lambda policy: policy.__name__)
def test_every_setting_says_what_it_means(policy: type[captionkit.Policy]) -> None:
    assert [name for name in policy.model_fields if name not in setting_docs(policy)] == []
