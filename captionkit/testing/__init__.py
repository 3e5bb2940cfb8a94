"""Strategies and laws for testing policies, ours and yours.

Needs hypothesis: `pip install 'captionkit[test]'`.

```python
from captionkit.testing import check_policy

def test_my_policy():
    check_policy(MyPolicy(rate=0.3))
```
"""

# ruff: noqa: E402 - what follows imports hypothesis, so that it is asked for first.
from captionkit.needs import needed

needed("hypothesis", "test", "testing policies (captionkit.testing)")

from captionkit.testing.check import check_policy, check_records, check_round_trips
from captionkit.testing.laws import check_closures, check_laws, check_repeats
from captionkit.testing.policies import combinators, leaves, pipelines, policies
from captionkit.testing.processes import check_processes
from captionkit.testing.samples import sample_records
from captionkit.testing.strategies import (
    CATEGORIES,
    FACTS,
    SENTENCES,
    WORDS,
    amounts,
    captions,
    counts,
    curves,
    facts,
    implication_graphs,
    names,
    pattern_lists,
    probabilities,
    prose,
    ranges,
    rates,
    records,
    tags,
)

__all__ = [
    "CATEGORIES",
    "FACTS",
    "SENTENCES",
    "WORDS",
    "amounts",
    "captions",
    "check_closures",
    "check_laws",
    "check_policy",
    "check_processes",
    "check_records",
    "check_repeats",
    "check_round_trips",
    "combinators",
    "counts",
    "curves",
    "facts",
    "implication_graphs",
    "leaves",
    "names",
    "pattern_lists",
    "pipelines",
    "policies",
    "probabilities",
    "prose",
    "ranges",
    "rates",
    "records",
    "sample_records",
    "tags",
]
