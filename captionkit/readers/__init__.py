"""From files to records: folders, tables, tars, and the files of other programs."""

from captionkit.readers.folder import read_folder
from captionkit.readers.jsonl import read_jsonl, record_of
from captionkit.readers.mixed import parse_caption
from captionkit.readers.open import open_source
from captionkit.readers.parallel import map_blocks
from captionkit.readers.records import read_records

__all__ = [
    "map_blocks",
    "open_source",
    "parse_caption",
    "read_folder",
    "read_jsonl",
    "read_records",
    "record_of",
]
