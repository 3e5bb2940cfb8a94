"""``trainkit tagger``: networks that say which tags a picture has. Each sub-command has a module of its
own."""

from __future__ import annotations

import argparse

from trainkit.commands import tagger_apply, tagger_evaluate, tagger_review, tagger_train

_EXAMPLES = """examples:
  trainkit tagger review manifest --tag rain               a page on which a person labels pictures
  trainkit tagger train tagger.toml                        train one from a manifest; again, it goes on
  trainkit tagger evaluate taggers/light manifest          how good it is, tag by tag
  trainkit tagger review manifest --tagger taggers/light   a page to settle what it doubts
  trainkit tagger apply taggers/light manifest             write its tags into the manifest
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "tagger",
        help="train, judge and apply networks that tag pictures",
        description="Networks that say which tags a picture has.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    inner = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (tagger_train, tagger_evaluate, tagger_review, tagger_apply):
        module.add(inner)
