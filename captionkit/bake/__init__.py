"""K captions of each picture as plain files, for trainers that cannot call us."""

from captionkit.bake.captions_json import CaptionsJson
from captionkit.bake.form import Form
from captionkit.bake.kohya import KohyaDataset
from captionkit.bake.lines import Lines
from captionkit.bake.run import Baking, bake
from captionkit.bake.tables import TextLists
from captionkit.bake.variants import Baked, Tally, Variants

__all__ = [
    "Baked",
    "Baking",
    "CaptionsJson",
    "Form",
    "KohyaDataset",
    "Lines",
    "Tally",
    "TextLists",
    "Variants",
    "bake",
]
