"""How many pictures a second `trainkit tagger apply` tags, and where the time goes.

Usage: PYTHONPATH=. python tests/benchmarks/bench_tagger.py [--count 200] [--threads 2] [--only wd]

Two taggers with random weights: one as the WD taggers are (ONNX, 448 pixels, 10,861 tags, a convolutional
network of the given width), and one of ours (a ConvNeXt as `tagger train` makes them, 224 pixels, 200 tags).
Pictures are those of bench_prepare.py, JPEGs of 0.8 to 1 megapixels. Prints one JSON object a line: pictures
per second of reading and decoding alone, of making pictures ready alone, of the network alone, and of all of
it together.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tests.benchmarks.bench_prepare import draw_pictures
from trainkit.manifest_pictures import ManifestPictures
from trainkit.prepare import PrepareConfig, prepare
from trainkit.tagging.apply import Effort, apply
from trainkit.tagging.backbone import BackboneConfig, make_backbone
from trainkit.tagging.folder import About, write_tagger
from trainkit.tagging.label import Label
from trainkit.tagging.load import load_tagger
from trainkit.tagging.mark import exact_mark_of
from trainkit.tagging.network import Head, TaggerNetwork
from trainkit.tagging.outputs import Outputs, Temperatures
from trainkit.tagging.plan import ApplyConfig, make_plan
from trainkit.tagging.split import SplitConfig
from trainkit.tagging.thresholds import ThresholdConfig

_TAGS = 10_861
_SIZE = 448
_SAID = 40
"""Tags that the WD-like one says of every picture, a usual number."""

_FEW = 10
"""Tags that ours says of every picture."""


def write_wd_like(folder: Path, width: int) -> Path:
    """A network of strided convolutions from 448 to 14 pixels and 10,861 tags; some 10 MB a width of 64."""
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("Transpose", ["input"], ["x0"], perm=[0, 3, 1, 2])]
    weights, channels = [], 3
    for n, out in enumerate((width, 2 * width, 4 * width, 8 * width, 16 * width)):
        kernel = rng.normal(0, (channels * 9) ** -0.5, (out, channels, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"k{n}"))
        nodes += [
            helper.make_node("Conv", [f"x{n}", f"k{n}"], [f"c{n}"], strides=[2, 2], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{n}"], [f"x{n + 1}"]),
        ]
        channels = out
    head = rng.normal(0, 1e-4, (channels, _TAGS)).astype(np.float32)
    bias = np.full(_TAGS, -6, np.float32)
    bias[10 : 10 + _SAID] = 6
    weights += [numpy_helper.from_array(head, "head"), numpy_helper.from_array(bias, "bias")]
    nodes += [
        helper.make_node("GlobalAveragePool", ["x5"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["output"]),
    ]
    pictures = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", _SIZE, _SIZE, 3])
    scores = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", _TAGS])
    graph = helper.make_graph(nodes, "wd", [pictures], [scores], weights)
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))
    with (folder / "selected_tags.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["tag_id", "name", "category", "count"])
        rows.writerows([n, f"tag_{n}", 9 if n < 4 else 0, 1] for n in range(_TAGS))
    return folder


def write_ours(folder: Path) -> Path:
    """A tagger as `tagger train` writes it, of a ConvNeXt with 4 million weights."""
    settings = {"depths": [2, 2, 6, 2], "hidden_sizes": [32, 64, 128, 256]}
    made = make_backbone(BackboneConfig(kind="convnext", settings=settings, size=224), 0)
    outputs = Outputs(tuple(Label(f"tag {n}") for n in range(200)))
    network = TaggerNetwork(made.backbone, Head(made.backbone.num_features, outputs.count, 0.0))
    torch.nn.init.zeros_(network.head.linear.weight)
    torch.nn.init.constant_(network.head.linear.bias, -6)
    torch.nn.init.constant_(network.head.linear.bias[:_FEW], 6)
    about = About(
        "ours",
        outputs,
        made.preprocessing,
        made.backbone.pool,
        SplitConfig(),
        False,
        (),
        Temperatures(),
        "convnext",
        (),
        {},
        {},
    )
    write_tagger(folder, about, made.backbone, network.state_dict())
    return folder


def measure(what: str, folder: Path, manifest: Path, effort: Effort) -> None:
    """Print pictures per second of every part by itself, and of the whole."""
    tagger = load_tagger(folder)
    pictures = ManifestPictures.open(manifest)
    count = len(pictures)

    def rate(work: Callable[[], object], amount: int) -> float:
        began = time.perf_counter()
        work()
        return round(amount / (time.perf_counter() - began), 1)

    images: list[Image.Image] = []
    read = rate(lambda: images.extend(_images(pictures, min(count, 64), effort.threads)), min(count, 64))
    prepared = [tagger.prepare(image) for image in images[: effort.batch]]
    made = rate(lambda: [tagger.prepare(image) for image in images], len(images))
    tagger.scores(prepared)
    network = rate(lambda: [tagger.scores(prepared) for _ in range(4)], 4 * len(prepared))
    config = ApplyConfig(thresholds=ThresholdConfig(threshold=0.35))
    plan = make_plan(tagger, config, mark=exact_mark_of(folder))
    began = time.perf_counter()
    applied = apply(manifest, tagger, plan, effort=effort, show=False)
    whole = round(count / (time.perf_counter() - began), 1)
    added = sum(applied.counts.added.values()) / count
    told = {
        "tagger": what,
        "pictures": count,
        "batch": effort.batch,
        "threads": effort.threads,
        "cores": len(os.sched_getaffinity(0)),
        "torch_threads": torch.get_num_threads(),
        "read": read,
        "prepare": made,
        "network": network,
        "apply": whole,
        "tags_a_picture": round(added, 1),
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(told), flush=True)


def _images(pictures: ManifestPictures, count: int, threads: int) -> list[Image.Image]:
    return [seen.image for seen in pictures.images(range(count), threads=threads) if seen.image is not None]


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--width", type=int, default=32, help="of the WD-like network; 64 is four times the work"
    )
    parser.add_argument("--only", choices=["wd", "ours"])
    options = parser.parse_args()
    effort = Effort(options.batch, options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        draw_pictures(folder / "pictures", options.count)
        prepare(str(folder / "pictures"), folder / "manifest", PrepareConfig(), show=False)
        if options.only != "ours":
            wd = write_wd_like(folder / "wd", options.width)
            measure(f"WD-like ONNX, width {options.width}", wd, folder / "manifest", effort)
        if options.only != "wd":
            measure("ConvNeXt of ours", write_ours(folder / "ours"), folder / "manifest", effort)


if __name__ == "__main__":
    main()
