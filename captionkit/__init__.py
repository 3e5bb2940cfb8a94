"""captionkit: from what is known about a picture to the text one training step sees.

Composable policies, configured as data, reproducible to the byte, explainable draw by draw:

>>> from captionkit import Record, parse_tags, preset
>>> pipeline = preset("hyperfusion", important=["solo"], implications={"red fox": ["fox"]})
>>> record = Record("picture 1", parse_tags("solo, red_fox, fox, forest, running, day"))
>>> pipeline.render(record, epoch=0, draw=0).text
'...'
"""

from captionkit.draws import Draws
from captionkit.errors import CaptionkitError, DataError, ImplicationsError, RecipeError
from captionkit.flip import FlipRule
from captionkit.implications import ImplicationGraph, read_implications
from captionkit.load import dump_pipeline, dump_toml, load_pipeline, preset
from captionkit.patterns import PatternList
from captionkit.pipeline import CaptionPipeline
from captionkit.policies import (
    ChooseSource,
    CleanCaptions,
    DropImplied,
    DropTags,
    EmptyCaption,
    ImportantFirst,
    MarkImportant,
    Maybe,
    OneOf,
    RenameTags,
    Sequence,
    ShuffleTags,
    When,
)
from captionkit.policy import Claim, Policy, Probability, Rule
from captionkit.readers import read_folder, read_jsonl, read_records
from captionkit.record import Caption, Prose, Record, Rendered, Source, Step, Tag, parse_tags
from captionkit.render import Renderer, estimate_tokens

__all__ = [
    "Caption",
    "CaptionPipeline",
    "CaptionkitError",
    "ChooseSource",
    "Claim",
    "CleanCaptions",
    "DataError",
    "Draws",
    "DropImplied",
    "DropTags",
    "EmptyCaption",
    "FlipRule",
    "ImplicationGraph",
    "ImplicationsError",
    "ImportantFirst",
    "MarkImportant",
    "Maybe",
    "OneOf",
    "PatternList",
    "Policy",
    "Probability",
    "Prose",
    "RecipeError",
    "Record",
    "RenameTags",
    "Rendered",
    "Renderer",
    "Rule",
    "Sequence",
    "ShuffleTags",
    "Source",
    "Step",
    "Tag",
    "When",
    "dump_pipeline",
    "dump_toml",
    "estimate_tokens",
    "load_pipeline",
    "parse_tags",
    "preset",
    "read_folder",
    "read_implications",
    "read_jsonl",
    "read_records",
]
