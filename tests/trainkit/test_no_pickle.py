"""No pickle is opened anywhere: the code calls nothing that would, and a harmful one does no harm in any
place."""

from __future__ import annotations

import ast
import io
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from captionkit import CaptionkitError
from tests.trainkit.test_checkpoint import fresh, progress
from tests.trainkit.tiny import ROOT, run_data
from trainkit.adapters import AdapterConfig
from trainkit.checkpoint import load_checkpoint, read_progress, save_checkpoint
from trainkit.data_config import DataConfig
from trainkit.errors import TrainkitError
from trainkit.export.importing import read_single_file
from trainkit.models import ModelConfig, load_model
from trainkit.pictures import read_data
from trainkit.posthoc import read_snapshots
from trainkit.run_file import load_run, make_run
from trainkit.sealed import seal
from trainkit.text import TextConfig
from trainkit.train import train
from trainkit.weights_file import overlay_weights

ALLOWED = {
    ("captionkit/testing/check.py", "import pickle"): "that policies survive it, in memory, is a promise",
    ("captionkit/testing/check.py", "pickle.loads"): "of what it has just pickled itself",
    ("captionkit/testing/laws.py", "import pickle"): "compares a value before and after, in memory",
    ("captionkit/adapters/epoch.py", "import pickle"): "what goes to another trainer's own workers",
    ("captionkit/adapters/visits.py", "import pickle"): "what goes to another trainer's own workers",
    (
        "captionkit/adapters/visits.py",
        "pickle.loads",
    ): "of what the process that started this one handed over",
    ("captionkit/adapters/epoch.py", "pickle.loads"): "of what the process that started this one handed over",
    (
        "trainkit/captioning/loading.py",
        "trust_remote_code",
    ): "the user's own flag; off, it is refused by name",
}
"""(file, what it does): why that opens no file that anybody could have written."""

_MODULES = {
    *("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve"),
    *("yaml", "pandas", "h5py"),
}
_CALLS = {
    *(
        "torch.load",
        "numpy.load",
        "np.load",
        "torch.hub.load",
        "torch.jit.load",
        "read_pickle",
        "runpy.run_path",
    ),
    *("pickle.load", "pickle.loads", "Unpickler", "load_state", "broadcast_object_list", "gather_object"),
    *(
        "all_gather_object",
        "scatter_object_list",
        "from_single_file",
        "load_lora_weights",
        "load_textual_inversion",
    ),
    *("os.system", "os.popen"),
}
_BUILTINS = {"eval", "exec", "compile", "__import__"}


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of an attribute of an attribute of a name; the end of it where it hangs on something else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def suspicious(tree: ast.AST) -> Iterator[str]:
    """Everything in a module that might open a pickle or run code from a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            )
            yield from (f"import {name}" for name in names if name.partition(".")[0] in _MODULES)
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        if name in _BUILTINS and isinstance(node.func, ast.Name):
            yield name
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        plain = getattr(given.get("allow_pickle"), "value", None) is False  # Arrays alone.
        if not (plain and name.endswith("load")):
            yield from (name for call in _CALLS if name == call or name.endswith(f".{call}"))
        for word, harmless in (("trust_remote_code", False), ("allow_pickle", False), ("weights_only", True)):
            if word in given and getattr(given[word], "value", None) is not harmless:
                yield word
        if (
            name.endswith("kind.from_pretrained")
            and getattr(given.get("use_safetensors"), "value", None) is not True
        ):
            yield name


def test_the_code_opens_no_pickle_and_runs_no_text() -> None:
    found = {
        (str(path.relative_to(ROOT)), what)
        for package in ("trainkit", "captionkit")
        for path in sorted((ROOT / package).rglob("*.py"))
        for what in suspicious(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found <= ALLOWED.keys(), sorted(found - ALLOWED.keys())
    # What is no longer there is no longer allowed.
    assert found == ALLOWED.keys(), sorted(ALLOWED.keys() - found)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=True)",
        "numpy.load(path)",
        "numpy.load(path, allow_pickle=True)",
        "eval(text)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
        "AutoModel.from_pretrained(path, trust_remote_code=flag)",
        "kind.from_pretrained(path, local_files_only=True)",
        "dist.broadcast_object_list(x)",
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert list(suspicious(ast.parse(source)))
    assert not list(suspicious(ast.parse("denoiser.eval(); re.compile(x); json.loads(y); file.load(z)")))


class Harm:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.marker,)


@pytest.fixture(scope="module")
def marker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("harm") / "was opened"


def pickles(marker: Path) -> list[bytes]:
    """A harmful one as pickle writes it, and as torch does."""
    zipped = io.BytesIO()
    torch.save({"weight": Harm(marker)}, zipped)
    return [pickle.dumps(Harm(marker)), zipped.getvalue()]


@pytest.fixture(params=[0, 1], ids=["pickle", "torch"])
def harmful(request: pytest.FixtureRequest, marker: Path) -> Iterator[bytes]:
    """The bytes of one, which must still not have been opened when the test is over."""
    assert not marker.exists()
    yield pickles(marker)[request.param]
    assert not marker.exists(), "a pickle was opened"


def test_they_would_do_harm(tmp_path: Path) -> None:
    for number in (0, 1):
        marker = tmp_path / str(number)
        data = pickles(marker)[number]
        pickle.loads(data) if number == 0 else torch.load(io.BytesIO(data), weights_only=False)
        assert marker.exists()


def test_in_a_checkpoint(tmp_path: Path, tiny_model: Path, harmful: bytes) -> None:
    whole = save_checkpoint(tmp_path / "whole", *fresh(tiny_model), progress(8), keep=1)
    trained = fresh(tiny_model)
    for name in sorted(path.name for path in whole.iterdir()):
        spoilt = Path(shutil.copytree(whole, tmp_path / "spoilt" / "000000000008"))
        (spoilt / name).write_bytes(harmful)
        if name != "whole.json":
            seal(spoilt)  # Whoever planted it has also mended the hashes.
            with pytest.raises(TrainkitError):
                read_progress(spoilt) if name == "state.json" else load_checkpoint(spoilt, *trained)
        shutil.rmtree(tmp_path / "spoilt")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_in_a_model_folder(own_model: Path, harmful: bytes, part: str) -> None:
    (weights,) = (own_model / part).glob("*.safetensors")
    weights.write_bytes(harmful)
    with pytest.raises(TrainkitError, match=part):
        load_model(ModelConfig(base=own_model), TextConfig())
    # Under the names that libraries take when there is nothing else.
    weights.unlink()
    for name in (
        "pytorch_model.bin",
        "diffusion_pytorch_model.bin",
        "model.ckpt",
        "model.pt",
        "flax_model.msgpack",
    ):
        (own_model / part / name).write_bytes(harmful)
    with pytest.raises(TrainkitError, match=rf"{part} holds no \*\.safetensors weights"):
        load_model(ModelConfig(base=own_model), TextConfig())


@pytest.mark.parametrize("name", ["unet/config.json", "tokenizer/vocab.json", "tokenizer/tokenizer.json"])
def test_in_a_model_folders_other_files(own_model: Path, harmful: bytes, name: str) -> None:
    if not (own_model / name).exists():
        name = "tokenizer/tokenizer_config.json"
    (own_model / name).write_bytes(harmful)
    with pytest.raises(TrainkitError):
        load_model(ModelConfig(base=own_model), TextConfig())


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin", ".CKPT", ".safetensors", ""])
def test_in_place_of_a_single_file(tmp_path: Path, harmful: bytes, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(harmful)
    with pytest.raises(TrainkitError, match=r"is a pickle, which runs|cannot be read as safetensors"):
        read_single_file(path)


def test_in_place_of_other_weights(tmp_path: Path, tiny_model: Path, harmful: bytes) -> None:
    denoiser = load_model(ModelConfig(base=tiny_model), TextConfig()).denoiser
    for name in ("0.100.safetensors", "adapter.safetensors", "weights.pt", "weights.bin"):
        (tmp_path / name).write_bytes(harmful)
        with pytest.raises(TrainkitError, match="cannot be read as a weights file"):
            overlay_weights(denoiser, tmp_path / name)
    with pytest.raises(TrainkitError, match="is no snapshot of an EMA track"):
        read_snapshots(tmp_path)
    assert AdapterConfig()


@pytest.mark.parametrize(
    "name", ["table.parquet", "table.arrow", "table.jsonl", "shard.tar", "folder/0.parquet"]
)
def test_in_place_of_a_table(tmp_path: Path, harmful: bytes, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(harmful)
    with pytest.raises(TrainkitError, match="data"):
        read_data(DataConfig(path=path if path.parent == tmp_path else path.parent), ())


def test_in_a_prepared_manifest(tmp_path: Path, harmful: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(harmful)
    (tmp_path / "part-00000.arrow").write_bytes(harmful)
    with pytest.raises(TrainkitError):
        read_data(DataConfig(path=tmp_path), ())


def test_among_the_pictures(own_pictures: Path, harmful: bytes) -> None:
    (own_pictures / "003.png").write_bytes(harmful)
    (own_pictures / "004.json").write_bytes(harmful)
    data = read_data(DataConfig(path=own_pictures, max_bad_share=0.2), ())
    assert {Path(skipped.name).stem for skipped in data.skipped} == {"003", "004"}


def test_in_place_of_a_run_file_or_a_recipe(
    tmp_path: Path, tiny_model: Path, pictures: Path, harmful: bytes
) -> None:
    (tmp_path / "run.toml").write_bytes(harmful)
    with pytest.raises(TrainkitError, match=r"cannot be read|is not valid TOML"):
        load_run(tmp_path / "run.toml")
    for name in ("recipe.json", "recipe.toml"):
        (tmp_path / name).write_bytes(harmful)
        data = run_data(tiny_model, pictures, tmp_path / "out", samples=8)
        data["data"]["recipe"] = str(tmp_path / name)
        AcceleratorState._reset_state(True)
        with pytest.raises((TrainkitError, CaptionkitError)):
            train(make_run(data, tmp_path, "test"))


def test_in_what_a_run_has_left(tmp_path: Path, tiny_model: Path, pictures: Path, harmful: bytes) -> None:
    out, ended = tmp_path / "out", []
    for samples in (8, 16):
        AcceleratorState._reset_state(True)
        ended.append(train(make_run(run_data(tiny_model, pictures, out, samples=samples), tmp_path, "test")))
        if samples == 8:
            # The cache, the logs and the notes of the first start; all but the checkpoints.
            for path in out.rglob("*"):
                if path.is_file() and "checkpoints" not in path.parts and "model" not in path.parts:
                    path.write_bytes(harmful)
    assert ended[1].resumed_from == 8
