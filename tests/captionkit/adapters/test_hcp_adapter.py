"""HCP-Diffusion 2.6 on rainbowneko 1.10.0, both from PyPI: their own source, chain and handlers.

The files run as they are. Their packages' `__init__` are passed over, since these import all of the trainer
(albumentations, cv2, sklearn, torchvision, hydra). For what the files themselves import and the tests have
not, four things stand: `OmegaConf.is_dict` and `is_list` (False: no config objects are used), a `logger`,
`torchvision.transforms` (asked for default transforms, which are not used) and `ComposeTokenizer` (no text is
tokenized). `addict` comes from PyPI.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captionkit import DataError, Rendered
from captionkit.adapters.captioner import Captioner
from captionkit.adapters.hcp import CaptionHandler
from captionkit.adapters.lookup import record_of_text
from tests.captionkit.adapters.peers import (
    RECIPE,
    never_mirrored,
    pictures,
    pipeline,
    run_apart,
    unpacked,
)

REAL = """
import importlib, json, sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

def stand(name, **members):
    module = sys.modules[name] = ModuleType(name)
    vars(module).update(members)
    return module

def package(name):  # The package with its files, and without its __init__.
    folders = [Path(path, *name.split(".")) for path in sys.path]
    return stand(name, __path__=[str(folder) for folder in folders if folder.is_dir()])

for name in ("rainbowneko", "rainbowneko.utils", "rainbowneko.data", "rainbowneko.data.source",
             "rainbowneko.data.handler", "hcpdiff", "hcpdiff.data", "hcpdiff.data.handler",
             "hcpdiff.data.source", "hcpdiff.models"):
    package(name)
stand("omegaconf", OmegaConf=SimpleNamespace(is_dict=lambda value: False, is_list=lambda value: False))
stand("loguru", logger=SimpleNamespace(info=lambda text: None))
transforms = SimpleNamespace(Compose=list, ToTensor=object, Normalize=lambda *values: None)
stand("torchvision")
stand("torchvision.transforms", transforms=transforms)
stand("hcpdiff.models.compose", ComposeTokenizer=None)

real = importlib.import_module
utils, data = sys.modules["rainbowneko.utils"], sys.modules["rainbowneko.data"]
utils.KeyMapper = real("rainbowneko.utils.key_mapper").KeyMapper
utils.RandomContext = real("rainbowneko.utils.random").RandomContext
utils.is_image_file = real("rainbowneko.utils.utils").is_image_file
utils.Path_Like = real("rainbowneko.utils.constant").Path_Like
base = real("rainbowneko.data.handler.base")
data.DataHandler = base.DataHandler
data.ImageLabelSource = real("rainbowneko.data.source.img_label").ImageLabelSource
text = real("hcpdiff.data.handler.text")
Text2ImageSource = real("hcpdiff.data.source.text2img").Text2ImageSource

from captionkit.adapters.hcp import CaptionHandler
source = Text2ImageSource("pictures", "labels.json", "templates.txt", repeat=2)
fill = lambda: text.TemplateFillHandler(word_names={"pt1": "sks"})
chain = base.HandlerChain(
    captions=CaptionHandler("recipe.toml", "data.jsonl", repeats=2), fill=fill())
behind = base.HandlerChain(
    fill=text.TemplateFillHandler(word_names={}), captions=CaptionHandler("recipe.toml", "data.jsonl"))
seen = [[source[index]["id"], chain(source[index])["prompt"]] for index in range(len(source))] * 1
again = [[source[index]["id"], chain(source[index])["prompt"]] for index in range(len(source))]
whole = [behind(source[index])["prompt"] for index in range(2)]
print(json.dumps([seen, again, whole, source.label_dict]))
"""


@pytest.fixture(scope="module")
def hcp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.getbasetemp(), "hcpdiff==2.6", "rainbowneko==1.10.0", "addict==2.4.0")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A recipe and records, and a handler's other files."""
    lines = [json.dumps({"file": one.image, "tags": [tag.name for tag in one.tags]}) for one in pictures()]
    (tmp_path / "data.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    labels = {str(one.image): "what the label file says" for one in pictures()}
    (tmp_path / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    (tmp_path / "templates.txt").write_text("photo of {pt1}, {caption}\n", encoding="utf-8")
    return tmp_path


def test_the_real_source_and_chain_train_on_the_pipeline_s_texts(hcp: Path, files: Path) -> None:
    printed = run_apart(REAL, [hcp], files)
    seen, again, whole, labels = json.loads(printed.splitlines()[-1])
    assert set(labels.values()) == {"what the label file says"}  # Nothing of HCP's own is changed.
    by_image = {str(one.image): one for one in pictures()}
    for epoch, items in enumerate((seen, again)):
        assert len(items) == 2 * len(pictures())
        for place, (name, prompt) in enumerate(items):
            draw = place // len(pictures())
            text = never_mirrored().render(by_image[name], epoch=epoch, draw=draw).text
            assert prompt == f"photo of sks, {text}"
    assert whole == [never_mirrored().render(one).text for one in pictures()[:2]]


def sample(number: int, **other: Any) -> dict[str, Any]:
    """A sample of HCP 2.6 for a picture."""
    prompt = {"template": "{caption}", "caption": "label"}
    return {
        "id": f"set/{number}.png",
        "image": Path(f"/pictures/set/{number}.png"),
        "prompt": prompt,
        **other,
    }


def test_a_loaded_picture_is_mirrored_when_its_text_says_so(files: Path) -> None:
    handler = CaptionHandler(str(files / "recipe.toml"), str(files / "data.jsonl"), mirror=True)
    flips: list[bool] = []
    for number, record in enumerate(pictures()):
        image = Image.new("L", (2, 1))
        image.putpixel((1, 0), 255)
        changed = handler(sample(number, image=image))
        expected: Rendered = pipeline().render(record)
        assert changed["prompt"] == {"template": "{caption}", "caption": expected.text}
        seen = changed.get("image", image)
        assert (seen.getpixel((0, 0)) == 255) == expected.flip
        flips.append(expected.flip)
    assert len(set(flips)) == 2


def test_a_picture_that_is_not_loaded_cannot_be_mirrored(files: Path) -> None:
    handler = CaptionHandler(str(files / "recipe.toml"), mirror=True)
    with pytest.raises(DataError, match=r"cannot mirror a picture that is PosixPath \(put it behind Load"):
        handler(sample(1))


def test_the_older_form_is_known_by_its_text(files: Path) -> None:
    handler = CaptionHandler(str(files / "recipe.toml"))
    data = {"prompt": "{caption}", "caption": "fox, snow, day"}
    expected = never_mirrored().render(record_of_text("fox, snow, day"))
    assert handler(data) == {"caption": expected.text}
    assert data == {"prompt": "{caption}", "caption": "fox, snow, day"}


def test_no_caption_is_an_empty_text(files: Path) -> None:
    handler = CaptionHandler(str(files / "recipe.toml"))
    assert handler(sample(1, prompt={"template": "{caption}", "caption": None}))["prompt"]["caption"] == ""


def test_a_copy_says_the_same(files: Path) -> None:
    handler = CaptionHandler(str(files / "recipe.toml"), str(files / "data.jsonl"), first_epoch=4)
    copy = pickle.loads(pickle.dumps(handler))
    for _ in range(3):
        assert copy(sample(1)) == handler(sample(1))
    assert repr(copy) == "CaptionHandler(12 records, mirror=False)"


def test_the_picture_s_path_comes_before_its_id(files: Path) -> None:
    captioner = Captioner(pipeline(), files / "data.jsonl", mirror=False)
    handler = CaptionHandler(str(files / "recipe.toml"), str(files / "data.jsonl"))
    changed = handler(sample(1, image=files / "set" / "2.png"))
    assert changed["prompt"]["caption"] == captioner.render("", "set/2.png").text
