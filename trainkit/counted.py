"""data.json: what the data set holds, for the model card and the metadata of exported files."""

from __future__ import annotations

from pathlib import Path

from trainkit.export.statistics import data_statistics
from trainkit.pictures import DataSet
from trainkit.whole_file import read_object, write_whole

_COUNTED = 5000
"""Records of a manifest that are counted, in a second or two: a share of 5 % is then known to within 1 %."""


def write_statistics(data: DataSet, path: Path, *, name: str) -> None:
    """Count what the data set holds, once: a file that tells of the same pictures is left as it is.

    Of a large manifest, whose records are made when they are asked for, some are counted; "counted" says how
    many. ``name`` stands for the data folder.
    """
    about = {"fingerprint": data.fingerprint, "pictures": len(data.pictures)}
    if data.fingerprint and about.items() <= read_object(path).items():
        return
    seen = data.spread(max(_COUNTED, len(data.pictures) if isinstance(data.pictures, tuple) else 0))
    counted = data_statistics((p.record for p in seen), name=name, sizes=data.sizes)
    told = counted | about | {"counted": len(seen)}
    write_whole(path, told)
