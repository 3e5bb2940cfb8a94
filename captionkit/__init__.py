"""captionkit: from what is known about a picture to the text one training step sees.

Composable policies (`captionkit.policies`), configured as data, reproducible to the byte, explainable draw by
draw:

>>> from captionkit import Record, parse_tags, preset
>>> pipeline = preset("hyperfusion", important=["solo"], implications={"red fox": ["fox"]})
>>> record = Record("picture 1", parse_tags("solo, red_fox, fox, forest, running, day"))
>>> pipeline.render(record, epoch=0, draw=0).text
'...'
"""

from captionkit.clean_text import clean
from captionkit.curves import Curve, Rate
from captionkit.draws import Draws
from captionkit.errors import CaptionkitError, DataError, ImplicationsError, RecipeError
from captionkit.flip import FlipRule
from captionkit.implications import ImplicationGraph, ImplicationSource, read_implications
from captionkit.load import dump_pipeline, dump_toml, load_pipeline, preset
from captionkit.patterns import PatternList
from captionkit.pipeline import CaptionPipeline
from captionkit.policy import Claim, Policy, Probability, Rule
from captionkit.readers import read_folder, read_jsonl, read_records, record_of
from captionkit.record import Caption, Drawn, Prose, Record, Rendered, Source, Step, Tag, parse_tags
from captionkit.render import Renderer, estimate_tokens
from captionkit.tokens import COMMA_BACKTRACK, WordMemory, chunked_length, split_chunks

__all__ = [
    "COMMA_BACKTRACK",
    "Caption",
    "CaptionPipeline",
    "CaptionkitError",
    "Claim",
    "Curve",
    "DataError",
    "Drawn",
    "Draws",
    "FlipRule",
    "ImplicationGraph",
    "ImplicationSource",
    "ImplicationsError",
    "PatternList",
    "Policy",
    "Probability",
    "Prose",
    "Rate",
    "RecipeError",
    "Record",
    "Rendered",
    "Renderer",
    "Rule",
    "Source",
    "Step",
    "Tag",
    "WordMemory",
    "chunked_length",
    "clean",
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
    "record_of",
    "split_chunks",
]
