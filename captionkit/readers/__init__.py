"""From files to records: picture folders with sidecars, and JSON Lines."""

from captionkit.readers.folder import read_folder
from captionkit.readers.jsonl import read_jsonl, record_of
from captionkit.readers.mixed import parse_caption
from captionkit.readers.records import read_records

__all__ = ["parse_caption", "read_folder", "read_jsonl", "read_records", "record_of"]
