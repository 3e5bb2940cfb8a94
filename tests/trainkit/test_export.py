"""The single file: every weight to the bit, what it says of itself, and that there is never half of one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from tests.trainkit.processes import command
from tests.trainkit.processes import run as run_process
from tests.trainkit.tiny import run_data
from trainkit.cli import main
from trainkit.errors import ModelError
from trainkit.export.front_end_config import front_end_config
from trainkit.export.single_file import find_weights, write_single_file
from trainkit.export.source import Source, find_source
from trainkit.loss import ObjectiveConfig
from trainkit.model_folder import check_model_folder
from trainkit.models import ModelConfig, load_model
from trainkit.run_file import make_run
from trainkit.schedule import ScheduleConfig
from trainkit.text import TextConfig, Tokens, encode_chunks
from trainkit.train import train

NETWORKS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}


@pytest.fixture(scope="module")
def run_folder(tiny_model: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two optimizer steps, with a preview."""
    out = tmp_path_factory.mktemp("run") / "out"
    preview = {"prompts": ["red circle", "solid black background"], "steps": 2, "width": 64, "height": 64}
    train(make_run(run_data(tiny_model, pictures, out, samples=16, preview=preview), Path(), "test"))
    return out


@pytest.fixture(scope="module")
def single(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's model as one file, with markers."""
    path = tmp_path_factory.mktemp("single") / "fox.safetensors"
    words = ["export", run_folder, "-o", path, "--marker-keys", "--title", "Fox 1", "--author", "A. Maker"]
    words += ["--license", "creativeml-openrail-m", "--trigger", "foxy", "--tag", "foxes", "--tag", "snow"]
    assert main([str(word) for word in words]) == 0
    return path


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name.removeprefix('text_model.')}": tensor
        for part, file in NETWORKS.items()
        for name, tensor in load_file(folder / part / f"{file}.safetensors").items()
    }


def state_of(pipeline: Any) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name.removeprefix('text_model.')}": tensor
        for part in NETWORKS
        for name, tensor in getattr(pipeline, part).state_dict().items()
    }


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def from_single(path: Path, config: Path) -> Any:
    return StableDiffusionPipeline.from_single_file(str(path), config=str(config), local_files_only=True)


def picture(pipeline: Any) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(1))
    return torch.from_numpy(
        pipeline("red fox", latents=noise, num_inference_steps=3, output_type="np").images
    )


def test_diffusers_reads_back_the_same_weights_and_paints_the_same_picture(
    run_folder: Path, single: Path
) -> None:
    folder = run_folder / "model"
    back = from_single(single, folder)
    assert_same(state_of(back), weights_of(folder))
    expected = picture(StableDiffusionPipeline.from_pretrained(folder, local_files_only=True))
    # Where a weight lies in memory may decide the last bit of a product on some CPUs.
    torch.testing.assert_close(picture(back), expected, rtol=0, atol=1e-4)


def test_what_is_exported_says_v_zero_snr_and_trailing(run_folder: Path, single: Path) -> None:
    # The best-known trainer's diffusers export of such a run says epsilon, no zero SNR, leading.
    scheduler = json.loads((run_folder / "model/scheduler/scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == "v_prediction"
    assert scheduler["rescale_betas_zero_snr"] is True
    assert scheduler["timestep_spacing"] == "trailing"
    back = from_single(single, run_folder / "model").scheduler
    assert (back.config.prediction_type, back.config.timestep_spacing) == ("v_prediction", "trailing")
    assert back.alphas_cumprod[-1] == 0
    said = metadata_of(single)
    assert said["modelspec.prediction_type"] == "v"
    assert said["ss_v_parameterization"] == said["ss_zero_terminal_snr"] == "True"
    yaml = single.with_suffix(".yaml").read_text()
    assert re.search(r'^    parameterization: "v"$', yaml, re.MULTILINE)
    assert load_file(single)["v_pred"].shape == load_file(single)["ztsnr"].shape == (0,)


def test_the_front_ends_configuration_is_that_of_the_original_code() -> None:
    yaml = pytest.importorskip("yaml")  # Comes with the libraries that trainkit needs.
    unet = {"block_out_channels": [320, 640, 1280, 1280], "attention_head_dim": 8, "layers_per_block": 2}
    unet |= {"in_channels": 4, "out_channels": 4, "cross_attention_dim": 768}
    unet |= {"down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]}
    vae = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "scaling_factor": 0.18215}
    source = Source(
        folder=Path(),
        schedule=ScheduleConfig(),
        objective=ObjectiveConfig(),
        text=TextConfig(),
        configs={"unet": unet, "vae": vae, "text_encoder": {}},
    )
    params = yaml.safe_load(front_end_config(source))["model"]["params"]
    expected = {"linear_start": 0.00085, "linear_end": 0.012, "timesteps": 1000, "scale_factor": 0.18215}
    assert {key: params[key] for key in expected} == expected
    assert params["parameterization"] == "v"
    # As in v1-inference.yaml of the original code.
    assert params["unet_config"]["params"] == {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 320,
        "attention_resolutions": [4, 2, 1],
        "num_res_blocks": 2,
        "channel_mult": [1, 2, 4, 4],
        "num_heads": 8,
        "use_spatial_transformer": True,
        "transformer_depth": 1,
        "context_dim": 768,
        "use_checkpoint": False,
        "legacy": False,
    }
    parts = params["first_stage_config"]["params"]["ddconfig"]
    assert (parts["ch"], parts["ch_mult"], parts["num_res_blocks"], parts["z_channels"]) == (
        128,
        [1, 2, 4, 4],
        2,
        4,
    )
    assert params["cond_stage_config"]["params"] == {"layer": "hidden", "layer_idx": -2}


def test_leaving_out_the_last_layer_is_clip_skip_2_in_diffusers(run_folder: Path) -> None:
    """What the card and the documentation tell users of diffusers to do."""
    pipe: Any = StableDiffusionPipeline.from_pretrained(run_folder / "model", local_files_only=True)
    text = getattr(pipe.text_encoder, "text_model", pipe.text_encoder)
    text.encoder.layers = text.encoder.layers[:-1]
    theirs, _ = pipe.encode_prompt("a red fox", "cpu", 1, False)
    model = load_model(ModelConfig(base=run_folder / "model"), TextConfig(clip_skip=2))
    ids = Tokens(model.tokenizer).chunks(["a red fox"])
    with torch.no_grad():
        ours = encode_chunks(model.denoiser.text_encoder, ids, "concat77")
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)


def test_metadata_says_what_is_known_and_nothing_of_this_machine(
    run_folder: Path, single: Path, tiny_model: Path
) -> None:
    said = metadata_of(single)
    expected = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1",
        "modelspec.title": "Fox 1",
        "modelspec.author": "A. Maker",
        "modelspec.license": "creativeml-openrail-m",
        "modelspec.trigger_phrase": "foxy",
        "modelspec.tags": "foxes, snow",
        "modelspec.resolution": "64x64",
        "modelspec.encoder_layer": "2",
        "ss_clip_skip": "2",
        "ss_resolution": "(64, 64)",
        "ss_num_train_images": "21",
        "ss_steps": "2",
        "ss_optimizer": "adamw",
        "ss_unet_lr": "0.001",
        "ss_text_encoder_lr": "0.0001",
        "ss_sd_model_name": tiny_model.name,
        "ss_max_token_length": "150",
        "ss_caption_dropout_rate": "0.1",
    }
    assert {key: said.get(key) for key in expected} == expected
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", said["modelspec.date"])
    frequency = json.loads(said["ss_tag_frequency"])
    data = json.loads((run_folder / "data.json").read_text())
    assert list(frequency) == ["pictures"]
    assert frequency["pictures"] == dict(data["top_tags"])
    assert "ss_min_snr_gamma" not in said  # The run weights by soft min-SNR, which is another thing.
    for path in [run_folder.parent, tiny_model.parent]:
        assert str(path) not in json.dumps(said)
        assert str(path) not in single.with_suffix(".README.md").read_text()


def test_the_hash_is_that_of_everything_behind_the_header(single: Path) -> None:
    content = single.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    assert start % 8 == 0
    assert metadata_of(single)["modelspec.hash_sha256"] == "0x" + hashlib.sha256(content[start:]).hexdigest()


def test_the_same_model_gives_the_same_bytes(run_folder: Path, single: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "a" / "x.safetensors", tmp_path / "b" / "x.safetensors"
    assert main(["export", str(run_folder), "-o", str(one)]) == 0
    assert main(["export", str(run_folder), "-o", str(two)]) == 0
    assert one.read_bytes() == two.read_bytes()
    assert "v_pred" not in load_file(one)
    assert metadata_of(one)["modelspec.hash_sha256"] == metadata_of(single)["modelspec.hash_sha256"]


@pytest.mark.parametrize(("name", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_half_precision_is_plain_rounding(
    run_folder: Path, single: Path, tmp_path: Path, name: str, dtype: torch.dtype
) -> None:
    path = tmp_path / "half.safetensors"
    assert main(["export", str(run_folder), "-o", str(path), "--dtype", name, "--no-card"]) == 0
    full = {name: t for name, t in load_file(single).items() if t.numel()}
    assert_same(load_file(path), {name: tensor.to(dtype) for name, tensor in full.items()})
    assert not path.with_suffix(".README.md").exists()


def test_a_weight_too_large_for_half_precision_is_named(own_model: Path, tmp_path: Path) -> None:
    file = own_model / "unet" / f"{NETWORKS['unet']}.safetensors"
    weights = load_file(file)
    weights["conv_in.bias"][0] = 70_000.0
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(
        ModelError, match=r"'conv_in.bias' of .* reaches 70000, more than 65504.*--dtype bf16"
    ):
        write_single_file(tmp_path / "x.safetensors", find_weights(own_model), {}, dtype="fp16")
    assert list(tmp_path.glob("*x.safetensors*")) == []
    write_single_file(tmp_path / "x.safetensors", find_weights(own_model), {}, dtype="bf16")
    weights["conv_in.bias"][0] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"'conv_in.bias' of .* not finite"):
        write_single_file(tmp_path / "y.safetensors", find_weights(own_model), {})


def test_other_weights_are_laid_over_the_model(run_folder: Path, single: Path, tmp_path: Path) -> None:
    average = tmp_path / "average.safetensors"
    name = "encoder.layers.0.mlp.fc1.weight"
    ours = {
        "unet.conv_in.weight": torch.ones_like(weights_of(run_folder / "model")["unet.conv_in.weight"]),
        f"text_encoder.text_model.{name}": torch.full((32, 16), 0.5),
    }
    save_file(ours, average)
    path = tmp_path / "x.safetensors"
    assert main(["export", str(run_folder), "-o", str(path), "--weights", str(average), "--no-card"]) == 0
    expected = {name: t for name, t in load_file(single).items() if t.numel()}
    expected["model.diffusion_model.input_blocks.0.0.weight"] = ours["unet.conv_in.weight"]
    expected[f"cond_stage_model.transformer.text_model.{name}"] = torch.full((32, 16), 0.5)
    assert_same(load_file(path), expected)


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        ({"unet.conv_in.weigth": torch.ones(1)}, "the model has no 'unet.conv_in.weigth'"),
        ({"vae.quant_conv.bias": torch.ones(8)}, "the model has no 'vae.quant_conv.bias'"),
        ({"unet.conv_in.bias": torch.ones(7)}, r"'unet.conv_in.bias' has shape \[7\], the model's has \[8\]"),
        ({}, "holds no weights"),
    ],
)
def test_weights_of_another_model_are_refused(
    tiny_model: Path, tmp_path: Path, weights: dict[str, torch.Tensor], problem: str
) -> None:
    save_file(weights, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=rf"other.safetensors:? .*{problem}|{problem}"):
        find_weights(tiny_model, tmp_path / "other.safetensors")


def test_an_average_is_found_by_its_length(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(run_folder), "-o", str(tmp_path / "x.safetensors"), "--ema", "0.05", "--overwrite"]
    assert main(words) == 2
    assert "--ema is 0.05, but" in capsys.readouterr().err
    average = run_folder / "ema" / "0.050.safetensors"
    average.parent.mkdir()
    save_file({"unet.conv_out.bias": torch.full((4,), 2.0)}, average)
    assert main(words) == 0
    assert load_file(tmp_path / "x.safetensors")["model.diffusion_model.out.2.bias"].tolist() == [2.0] * 4
    average.unlink()
    average.parent.rmdir()


def test_a_bare_model_folder_is_exported_as_what_it_is(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    assert main(["export", str(tiny_model), "-o", str(path)]) == 0
    said = metadata_of(path)
    assert said["modelspec.prediction_type"] == "epsilon"
    assert not [key for key in said if key.startswith("ss_")]
    assert not path.with_suffix(".yaml").exists()
    assert_same(state_of(from_single(path, tiny_model)), weights_of(tiny_model))


def test_mistakes_are_told_before_anything_is_written(
    run_folder: Path, single: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*words: object) -> str:
        assert main(["export", *map(str, words)]) == 2
        return capsys.readouterr().err

    assert "must end in .safetensors" in told(run_folder, "-o", tmp_path / "model.ckpt")
    assert "there already; choose another name, or give --overwrite" in told(run_folder, "-o", single)
    new = tmp_path / "x.safetensors"
    assert "this one predicts noise" in told(tiny_model, "-o", new, "--marker-keys")
    assert "no model folder at" in told(tmp_path / "nowhere", "-o", new)
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "run.json").write_text("{}")
    assert "has no model/ yet" in told(tmp_path / "unfinished", "-o", new)
    assert [path.name for path in tmp_path.iterdir()] == ["unfinished"]


def test_a_full_disk_leaves_nothing_and_is_told(run_folder: Path, tmp_path: Path) -> None:
    new = tmp_path / "x.safetensors"
    done = run_process(command("export", run_folder, "-o", new), max_file_bytes=50_000)
    assert done.returncode == 2
    assert "could not be written: File too large; nothing was left behind. It needs 0.3 MB" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_told(run_folder: Path, tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    # Root may write everywhere but where the system itself keeps house.
    folder = Path("/proc") if os.geteuid() == 0 else tmp_path
    with pytest.raises(ModelError, match=r"could not be written: (Permission denied|No such file)"):
        write_single_file(folder / "x.safetensors", find_weights(run_folder / "model"), {})


def test_a_file_in_the_place_of_the_folder_is_told(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"could not be written: (File exists|Not a directory)"):
        write_single_file(tmp_path / "file" / "x.safetensors", find_weights(tiny_model), {})


@pytest.mark.parametrize("event", ["open", "os.rename"])
def test_a_killed_export_leaves_no_half_file(tiny_model: Path, tmp_path: Path, event: str) -> None:
    """Before the first byte is written, and when all are there but not yet under their name."""
    new = tmp_path / "out" / "x.safetensors"
    if (pid := os.fork()) == 0:
        with contextlib.suppress(BaseException):
            sys.addaudithook(lambda happens, words: _kill_myself(happens, words, event))
            write_single_file(new, find_weights(tiny_model), {})
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert not new.exists()
    assert len(list(new.parent.glob(".x.safetensors.*.partial"))) == (event == "os.rename")
    (new.parent / ".x.safetensors.host-1.partial").touch()
    write_single_file(new, find_weights(tiny_model), {})  # The next export clears up.
    assert [path.name for path in new.parent.iterdir()] == ["x.safetensors"]


def _kill_myself(happens: str, words: tuple[Any, ...], event: str) -> None:
    if happens == event and Path(str(words[0])).match(".x.safetensors.*.partial"):
        os.kill(os.getpid(), signal.SIGKILL)


def test_older_position_ids_are_no_weight(own_model: Path) -> None:
    file = own_model / "text_encoder" / "model.safetensors"
    weights = {f"text_model.{name}": tensor for name, tensor in load_file(file).items()}
    before = find_weights(own_model)
    weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(weights, file, metadata={"format": "pt"})
    assert check_model_folder(own_model) == []
    assert [weight.name for weight in find_weights(own_model)] == [weight.name for weight in before]
    assert find_source(own_model).text.clip_skip == 1


@pytest.mark.slow
def test_the_true_size_model_in_float16(tmp_path: Path) -> None:
    """2.1 GB: every one of the 1,130 names, its shape and its values, written one weight at a time."""
    with torch.device("meta"):
        networks: dict[str, Any] = {
            "unet": UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8),
            "vae": AutoencoderKL(
                block_out_channels=(128, 256, 512, 512),
                layers_per_block=2,
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
            ),
            "text_encoder": CLIPTextModel(
                CLIPTextConfig(
                    vocab_size=49408,
                    hidden_size=768,
                    intermediate_size=3072,
                    num_hidden_layers=12,
                    num_attention_heads=12,
                )
            ),
        }
    # Four gigabytes, of which pytest would keep three.
    with tempfile.TemporaryDirectory(dir=tmp_path) as place:
        _write_and_compare(Path(place), networks)


def _write_and_compare(folder: Path, networks: dict[str, Any]) -> None:
    for part, network in networks.items():
        generator = torch.Generator().manual_seed(0)
        random = {
            name: torch.rand(tensor.shape, generator=generator).to(torch.float16)
            for name, tensor in network.state_dict().items()
        }
        (folder / part).mkdir()
        save_file(random, folder / part / f"{NETWORKS[part]}.safetensors")
    path = folder / "full.safetensors"
    write_single_file(path, find_weights(folder), {}, dtype="fp16")
    assert path.stat().st_size == pytest.approx(2.13e9, rel=0.01)
    with safe_open(path, framework="pt") as file:
        assert len(file.keys()) == 1130
        for weight in find_weights(folder):
            with safe_open(weight.file, framework="pt") as source:
                ours = source.get_tensor(weight.key).reshape(weight.shape)
            assert torch.equal(file.get_tensor(weight.name), ours), weight.name
