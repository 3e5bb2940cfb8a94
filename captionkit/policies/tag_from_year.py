"""A tag for the year of a date."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import model_validator

from captionkit.policies.fact_tags import FactName, FactTags, Levels, level_of
from captionkit.record import Caption, Fact

# `2021`, `2021-05-01`, `2021-05-01T08:00:00.000-04:00`, `20210501`.
_DATE = re.compile(r"(\d{4})(?:-\d\d(?!\d)|\d{4}(?!\d)|$)", re.ASCII)


class TagFromYear(FactTags):
    """Add the year of a date as a tag, the name of the span of years it falls in, or both.

    A date is ISO 8601 text such as `2021-05-01T08:00:00Z`, or a year from 1 to 9999; anything else adds
    nothing.
    """

    kind: Literal["tag_from_year"] = "tag_from_year"
    fact: FactName = "created_at"
    """The fact that is the date."""
    template: str = "year {}"
    """The tag, with `{}` in the place of the year; empty means none."""
    levels: Levels = ()
    """Names for years from some year on, the latest first: `[{at_least = 2021, tag = "newest"}, ...]`."""

    @model_validator(mode="after")
    def _some_tag(self) -> TagFromYear:
        if self.template and self.template.count("{}") != 1:
            raise ValueError(f"the template needs one {{}} for the year, got {self.template!r}")
        if not self.template and not self.levels:
            raise ValueError("no tag; give a `template`, `levels` or both")
        return self

    def names(self, caption: Caption, fact: Fact) -> tuple[str, ...]:
        """The names of the year's tags."""
        year = year_of(fact)
        if year is None:
            return ()
        span = level_of(year, self.levels)
        names = (self.template.replace("{}", str(year)), span or "")
        return tuple(name for name in names if name)


def year_of(fact: Fact) -> int | None:
    """The year of a date, None for what is none.

    >>> [year_of(fact) for fact in ("2021-05-01T08:00:00Z", 2021, "20210501", "5/1/2021", True)]
    [2021, 2021, 2021, None, None]
    """
    if isinstance(fact, str):
        found = _DATE.match(fact.strip())
        return int(found[1]) if found is not None and int(found[1]) > 0 else None
    if isinstance(fact, bool) or not 1 <= fact <= 9999 or fact != int(fact):
        return None
    return int(fact)
