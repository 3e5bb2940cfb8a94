"""Captions in Hugging Face `datasets`: drawn anew each epoch, streamed, or written out as a list column.

Usage:
    pip install '.[datasets]'
    python examples/trainers/hf_datasets.py
"""

import datasets

from captionkit import CaptionPipeline, FlipRule
from captionkit.adapters.epoch import SharedEpoch
from captionkit.adapters.table import RenderBatch
from captionkit.policies import DropTags, ShuffleTags

ROWS = {
    "id": ["a", "b", "c"],
    "tags": ["fox, snow, running, solo", "owl, night, tree, sign", "cat, sleeping, sofa, day"],
}


def main() -> None:
    """The same texts by all three ways; then four variants of each."""
    datasets.disable_progress_bars()
    flip = FlipRule(no_flip=("sign",))
    pipeline = CaptionPipeline(seed=2, steps=(DropTags(rate=0.2), ShuffleTags()), flip=flip)
    data = datasets.Dataset.from_dict(ROWS)
    epoch = SharedEpoch()  # Shared with the workers of a DataLoader.
    render = RenderBatch(pipeline, epoch=epoch)

    lazily = data.with_transform(render)
    streamed = data.to_iterable_dataset().map(render, batched=True)
    for number in (0, 1):
        epoch.set(number)
        print(f"epoch {number}")
        for row in lazily:
            print(f"  {row['id']}: {row['text']} (mirrored: {row['flip']})")
        same = [row["text"] for row in streamed] == list(lazily[:]["text"])
        print(f"  streamed: {'the same' if same else 'DIFFERENT'}")

    # Written out, kept in the cache of `datasets` under a hash of the recipe: a list of four texts per row.
    written = data.map(RenderBatch(pipeline, k=4), batched=True, num_proc=2)
    print("four variants of a")
    for text in written[0]["text"]:
        print(f"  {text}")
    again = data.map(RenderBatch(pipeline, k=4), batched=True, num_proc=2)
    other = data.map(RenderBatch(pipeline.with_seed(3), k=4), batched=True, num_proc=2)
    print(f"the same recipe: {'same' if again._fingerprint == written._fingerprint else 'OTHER'} fingerprint")
    print(f"another seed: {'SAME' if other._fingerprint == written._fingerprint else 'other'} fingerprint")


if __name__ == "__main__":
    main()
