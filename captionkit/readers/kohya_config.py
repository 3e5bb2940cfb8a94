"""The dataset configuration of kohya sd-scripts (`--dataset_config`): its subsets with all they inherit."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

from captionkit.errors import DataError
from captionkit.readers.fields import parse_object
from captionkit.readers.kohya_arguments import require_no_arguments
from captionkit.readers.kohya_options import OPTIONS, Option, facts_of
from captionkit.readers.text import read_text
from captionkit.record import Fact

Table: TypeAlias = Mapping[str, Any]

_HEADER = re.compile(r"\s*\[\[?\s*([\w.\"' -]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*["']?([\w-]+)["']?\s*=""")


@dataclass(frozen=True, slots=True)
class KohyaSubset:
    """One subset: what it says itself, and what it inherits from its dataset and from [general]."""

    number: str
    """Which one it is, such as "1.2": the second subset of the first dataset."""
    values: dict[str, Any]
    """Every option that anybody gave, by name."""
    places: dict[str, str]
    """Where each of them stands: file and line."""

    def get(self, option: str) -> Any:
        """The option's value, or its default."""
        return self.values.get(option, OPTIONS[option].default)

    @property
    def name(self) -> str:
        """Its folder, or its metadata file, as it is written there; sd-scripts takes each once a dataset."""
        return str(self.values.get("metadata_file") or self.values.get("image_dir"))

    def facts(self) -> dict[str, Fact]:
        """What it says about each of its pictures."""
        return facts_of(self.values, self.name)


@dataclass(frozen=True, slots=True)
class KohyaConfig:
    """A whole file."""

    path: Path
    subsets: tuple[KohyaSubset, ...]
    """In the order of the file; those that sd-scripts passes over are left out, with a fault for each."""
    faults: tuple[DataError, ...]
    """What sd-scripts would refuse or pass over: unknown options, values of another kind ..."""


def read_kohya_config(path: str | Path) -> KohyaConfig:
    """The subsets of a `.toml` or `.json` file for `--dataset_config`.

    Raises `DataError` when it cannot be read, is no valid TOML or JSON, or has no subset
    (`TrainerArgumentsError` when it holds the trainer's arguments instead). What is wrong with
    single options is in `faults`; such an option counts as not given.
    """
    file = Path(path)
    text = read_text(file)
    data = _parsed(file, text)
    require_no_arguments(file, data)
    reader = _Reader(file, _lines(text) if file.suffix.lower() != ".json" else {})
    general = reader.options(_table(data, "general", file), "general", "general", "")
    subsets: list[KohyaSubset] = []
    for number, dataset in enumerate(_tables(data, "datasets", file), start=1):
        inherited = _over(general, reader.options(dataset, "datasets", f"datasets.{number}", "subsets"))
        seen: set[str] = set()
        for place, table in enumerate(_tables(dataset, "subsets", file), start=1):
            own = reader.options(table, "subsets", f"datasets.{number}.subsets.{place}", "")
            values, places = _over(inherited, own)
            subset = KohyaSubset(f"{number}.{place}", values, places)
            where = reader.where(f"datasets.{number}.subsets.{place}", "")
            if (fault := _passed_over(subset, seen, where)) is not None:
                reader.faults.append(fault)
                continue
            seen.add(subset.name)
            subsets.append(subset)
    reader.unknown_tables(data)
    if not subsets:
        raise DataError(
            "has no subset" + "".join(f"; {fault}" for fault in reader.faults[:3]),
            where=str(file),
            hint='write [[datasets]], and below it [[datasets.subsets]] with image_dir = "..."',
        )
    return KohyaConfig(file, tuple(subsets), tuple(reader.faults))


Given: TypeAlias = tuple[dict[str, Any], dict[str, str]]
"""The options that a table gives: their values, and their places."""


class _Reader:
    """Goes through the tables of one file, and notes what is wrong."""

    def __init__(self, file: Path, lines: dict[tuple[str, str], int]) -> None:
        self.file = file
        self.lines = lines
        self.faults: list[DataError] = []

    def where(self, table: str, key: str) -> str:
        """The file with the line at which a key of a table stands; without one, with the table's name."""
        line = self.lines.get((table, key)) or self.lines.get((table, ""))
        if line is not None:
            return f"{self.file}:{line}"
        return f"{self.file}: {table}" if table else str(self.file)

    def options(self, table: Table, level: str, address: str, inner: str) -> Given:
        """The options of one table; `inner` is the key of the tables inside it."""
        values: dict[str, Any] = {}
        places: dict[str, str] = {}
        for key, value in table.items():
            if key == inner:
                continue
            where = self.where(address, key)
            if (fault := wrong_option(key, value, level)) is not None:
                self.faults.append(DataError(fault[0], where=where, hint=fault[1]))
                continue
            values[key], places[key] = value, where
        return values, places

    def unknown_tables(self, data: Table) -> None:
        """Note the tables of the file that have no meaning."""
        for key in data:
            if key not in ("general", "datasets"):
                hint = "options stand in [general], [[datasets]] or [[datasets.subsets]]"
                where = self.where(str(key), "") if (key, "") in self.lines else self.where("", key)
                self.faults.append(DataError(f"unknown table or option {key!r}", where=where, hint=hint))


def wrong_option(key: str, value: Any, level: str) -> tuple[str, str | None] | None:
    """What is wrong with an option, and what to do; None when it is right."""
    option = OPTIONS.get(key)
    if option is None:
        near = get_close_matches(key, OPTIONS, 1, 0.5)
        return f"unknown option {key!r}", f"did you mean {near[0]!r}?" if near else "take it out"
    if option.only is not None and option.only != level:
        return f"{key} may stand in a subset only, and stands in [{level}]", "move it into the subsets"
    if option.only is not None and value == "":
        return f"{key} is empty", "write the path of a folder or file"
    if not _is_of(value, option):
        kinds = " or ".join(dict.fromkeys(_KINDS[kind] for kind in option.kinds))
        return f"{key} is {_short(value)}, must be {kinds}", None
    if key.endswith(("_rate", "_split")) and not 0.0 <= value <= 1.0:
        return f"{key} is {_short(value)}, must be between 0 and 1", "15 % is 0.15"
    if isinstance(value, int | float) and not isinstance(value, bool) and not 0 <= value <= _LARGEST:
        return f"{key} is {_short(value)}, must be from 0 to {_LARGEST:,}", None
    return None


_LARGEST = 10**12
"""No count of steps, epochs, pixels or repeats is larger."""


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # A whole number of thousands of digits.
        return "a number of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list"} | {
    dict: "a table"
}


def _is_of(value: Any, option: Option) -> bool:
    if isinstance(value, bool):
        return bool in option.kinds
    return isinstance(value, option.kinds)


def _passed_over(subset: KohyaSubset, seen: set[str], where: str) -> DataError | None:
    """Why sd-scripts takes no picture from this subset; None when it does."""
    if "image_dir" not in subset.values and "metadata_file" not in subset.values:
        return DataError("a subset without image_dir and without metadata_file", where=where)
    if subset.name in seen:
        return DataError(
            f"{subset.name!r} stands twice in one dataset, of which the first counts",
            where=where,
            hint="put the second into a dataset of its own",
        )
    if subset.get("num_repeats") < 1:
        place = subset.places["num_repeats"]
        return DataError(f"num_repeats is 0, so no picture of {subset.name!r} is trained", where=place)
    return None


def _over(below: Given, above: Given) -> Given:
    """The options of two tables, of which the upper one goes first."""
    return below[0] | above[0], below[1] | above[1]


def _parsed(file: Path, text: str) -> Table:
    if file.suffix.lower() == ".json":
        return parse_object(text, file)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # Some dates raise a bare ValueError.
        hint = "in double quotes a backslash is doubled: write 'C:\\pictures' in single quotes"
        raise DataError(
            f"is not valid TOML: {error}", where=str(file), hint=hint if "\\" in text else None
        ) from error


def _table(data: Table, key: str, file: Path) -> Table:
    value = data.get(key, {})
    if not isinstance(value, Mapping):
        raise DataError(f"{key} must be a table, got {value!r}", where=str(file), hint=f"write [{key}]")
    return value


def _tables(data: Table, key: str, file: Path) -> list[Table]:
    value = data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        name = "datasets" if key == "datasets" else "datasets.subsets"
        raise DataError(f"{key} must be a list of tables", where=str(file), hint=f"write [[{name}]]")
    return value


def _lines(text: str) -> dict[tuple[str, str], int]:
    """On which line a key of a table stands, and with "" the table itself; the first of each.

    A TOML parser does not tell. Tables written inline are not found.
    """
    found: dict[tuple[str, str], int] = {}
    for number, table, key in _headers(text):
        found.setdefault((table, key), number)
    return found


def _headers(text: str) -> Iterator[tuple[int, str, str]]:
    table, datasets, subsets = "", 0, 0
    for number, line in enumerate(text.splitlines(), start=1):
        if (header := _HEADER.match(line)) is not None:
            table = header[1].replace(" ", "")
            if table == "datasets":
                datasets, subsets = datasets + 1, 0
                table = f"datasets.{datasets}"
            elif table == "datasets.subsets":
                subsets += 1
                table = f"datasets.{datasets}.subsets.{subsets}"
            yield number, table, ""
        elif (key := _KEY.match(line)) is not None:
            yield number, table, key[1]
