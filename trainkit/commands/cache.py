"""``trainkit cache``: what a cache of latents and texts holds, whether it is whole, what nobody needs."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

_EXAMPLES = """examples:
  trainkit cache info runs/mine/cache               what it holds
  trainkit cache check /data/cache                  read every byte and compare it with its hash
  trainkit cache prune a.toml b.toml                what none of these runs asks for
  trainkit cache prune a.toml b.toml --remove       take it away
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    does = "look after cached latents and texts"
    parser = commands.add_parser(
        "cache",
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    info = actions.add_parser("info", help="what a cache holds")
    info.add_argument("folder", type=Path, metavar="FOLDER")
    info.set_defaults(run=_info)
    check = actions.add_parser("check", help="read every byte of a cache and compare it with its hash")
    check.add_argument("folder", type=Path, metavar="FOLDER")
    check.add_argument("--remove", action="store_true", help="remove what is damaged, to be made anew")
    check.set_defaults(run=_check)
    prune = actions.add_parser("prune", help="what no run asks for any more")
    prune.add_argument(
        "run_files",
        type=Path,
        nargs="+",
        metavar="run.toml",
        help="all runs that use the cache; what none of them asks for goes",
    )
    prune.add_argument("--remove", action="store_true", help="remove it; without this it is only counted")
    prune.set_defaults(run=_prune)
    for action in (info, check, prune):
        action.add_argument("--json", action="store_true", help="print one JSON object")


def _info(options: argparse.Namespace) -> int:
    from trainkit.amounts import gigabytes
    from trainkit.cache.tidy import about, old_files, stores_of

    stores = [about(folder) for folder in stores_of(options.folder)]
    old = [path.stat().st_size for path in old_files(options.folder)]
    if options.json:
        told = {"stores": [asdict(s) for s in stores], "old_files": len(old), "old_bytes": sum(old)}
        print(json.dumps(told, indent=2))
        return 0
    for s in stores:
        failed = f", {s.failed:,} failed" if s.failed else ""
        print(f"{s.name}  {s.entries:,} entries in {s.shards:,} shards, {gigabytes(s.bytes)}{failed}")
        for line in s.damaged:
            print(f"  damaged  {line}")
    if old:
        print(
            f"{len(old):,} files of an earlier version, {gigabytes(sum(old))}, which nothing reads any more; "
            f"remove them with: rm -r {options.folder}/[0-9a-f][0-9a-f]"
        )
    return 0


def _check(options: argparse.Namespace) -> int:
    from trainkit.cache.tidy import damaged_shards, stores_of

    damaged: dict[Path, str] = {}
    for folder in stores_of(options.folder):
        damaged |= damaged_shards(folder, progress=sys.stderr.isatty() and not options.json)
    if options.remove:
        for path in damaged:
            path.unlink(missing_ok=True)
    if options.json:
        print(json.dumps({"damaged": {str(path): why for path, why in damaged.items()}}, indent=2))
    else:
        for path, why in damaged.items():
            print(f"{path}: {why}{': removed' if options.remove else ''}")
        if not damaged:
            print("every byte is as it was written")
        else:
            removed = "they are made anew" if options.remove else "add --remove, and they are made anew"
            print(f"{len(damaged)} damaged shards; {removed} when a run that needs them starts")
    return 2 if damaged and not options.remove else 0


def _prune(options: argparse.Namespace) -> int:
    from trainkit.amounts import gigabytes
    from trainkit.cache.tidy import prune, stores_of
    from trainkit.cache.wanted import Wanted, add_wanted, cache_folder
    from trainkit.errors import CacheError
    from trainkit.run_file import load_run

    runs = [load_run(path, []) for path in options.run_files]
    folders = {cache_folder(run).absolute() for run in runs}
    if len(folders) > 1:
        raise CacheError(f"these runs use {len(folders)} caches; prune those of one cache at a time")
    (folder,) = folders
    stores, wanted = stores_of(folder), Wanted()
    for run in runs:
        add_wanted(wanted, run, progress=sys.stderr.isatty() and not options.json)
    pruned = [prune(store, wanted, remove=options.remove) for store in stores]
    if options.json:
        print(json.dumps({"removed": options.remove, "stores": [asdict(p) for p in pruned]}, indent=2))
        return 0
    for p in pruned:
        size = gigabytes(p.unwanted_bytes)
        print(f"{p.name}  {p.unwanted:,} of {p.entries:,} entries are not asked for, {size}")
    freed, shards = gigabytes(sum(p.freed for p in pruned)), sum(p.shards for p in pruned)
    if options.remove:
        print(f"{freed} in {shards:,} shards were freed")
    elif shards:
        runs_named = " ".join(map(str, options.run_files))
        print(
            f"{freed} in {shards:,} shards can be freed with: trainkit cache prune {runs_named} --remove\n"
            "Name every run that uses this cache: what only others ask for would go too."
        )
    return 0
