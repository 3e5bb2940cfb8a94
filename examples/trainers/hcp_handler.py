"""HCP-Diffusion with captions by a recipe: the handler in front of its own.

Usage, with HCP-Diffusion's Python:
    pip install PATH/TO/this/project
    python hcp_handler.py recipe.toml data.jsonl

which prints captions and trains nothing. In a config, the handler of the dataset becomes

    handler=HandlerChain(
        load=LoadImageHandler(),
        captions=CaptionHandler(recipe="recipe.toml", data="data.jsonl", mirror=True),
        diffusion=StableDiffusionHandler(bucket=RatioBucket, word_names=word_names),
    )

and, where latents are cached, the same without `load` and without `mirror`.
"""

import sys

from captionkit import CaptionkitError
from captionkit.adapters.hcp import CaptionHandler
from captionkit.adapters.lookup import Records


def main() -> None:
    """Print the first visits of the first pictures."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    recipe, data = sys.argv[1:]
    try:
        captions = CaptionHandler(recipe, data)
        records = Records.read(data)
    except CaptionkitError as error:
        sys.exit(str(error))
    for record in records[:3]:
        for visit in (1, 2):
            sample = {"id": record.image, "prompt": {"template": "{caption}", "caption": None}}
            print(f"{record.id}, visit {visit}: {captions(sample)['prompt']['caption']}")


if __name__ == "__main__":
    main()
