"""Single files in: what was exported comes back to the bit, and what is something else is told apart."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from tests.trainkit.tiny import byte_tokenizer, write_tiny_model
from trainkit.cli import main
from trainkit.draws import generator
from trainkit.errors import ModelError
from trainkit.export.folder import write_model_folder
from trainkit.export.importing import SingleFile, read_single_file
from trainkit.export.metadata import About, make_metadata
from trainkit.export.single_file import find_weights, write_single_file
from trainkit.export.source import find_source
from trainkit.export.vocabulary import clip_tokenizer
from trainkit.loss import ObjectiveConfig
from trainkit.model_folder import check_model_folder
from trainkit.models import ModelConfig, export_model, load_model
from trainkit.schedule import ScheduleConfig
from trainkit.text import TextConfig

TEXT = TextConfig(max_tokens=150)
FILES = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name.removeprefix('text_model.')}": tensor
        for part, file in FILES.items()
        for name, tensor in load_file(folder / part / f"{file}.safetensors").items()
    }


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def export(folder: Path, path: Path, *, dtype: str = "fp32", own: bool = True, **more: Any) -> Path:
    """The model as a single file; without ``own`` metadata as files of others are."""
    metadata = make_metadata(find_source(folder), About(), path.stem, dtype) if own else {"format": "pt"}
    write_single_file(path, find_weights(folder), metadata, dtype=dtype, **more)
    return path


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A v-prediction model with zero terminal SNR, as a run writes it."""
    model = load_model(ModelConfig(base=tiny_model), TEXT)
    folder = tmp_path_factory.mktemp("trained") / "model"
    export_model(model, ScheduleConfig(), ObjectiveConfig(), TEXT, folder)
    return folder


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model whose heads and groups are Stable Diffusion 1's, so that shapes alone tell all."""
    torch.manual_seed(0)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=1,
            projection_dim=64,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64, 64),
        layers_per_block=1,
        attention_head_dim=8,
        cross_attention_dim=64,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    pipeline: Any = StableDiffusionPipeline(
        vae, text_encoder, clip_tokenizer(), unet, scheduler, None, None, requires_safety_checker=False
    )
    folder = tmp_path_factory.mktemp("standard") / "model"
    pipeline.save_pretrained(folder)
    return folder


def test_what_is_exported_comes_back_to_the_bit(trained: Path, tmp_path: Path) -> None:
    path, back = export(trained, tmp_path / "x.safetensors"), tmp_path / "back"
    assert main(["import", str(path), "-o", str(back), "--tokenizer", str(trained)]) == 0
    assert_same(weights_of(back), weights_of(trained))
    for file in ("scheduler/scheduler_config.json", "trainkit.json", "model_index.json"):
        assert json.loads((back / file).read_text()) == json.loads((trained / file).read_text())
    for part in ("unet", "vae"):
        ours, theirs = (json.loads((f / part / "config.json").read_text()) for f in (back, trained))
        assert ours == theirs
    # Once more, to the byte.
    again = export(back, tmp_path / "again" / "x.safetensors")
    assert load_file(again).keys() == load_file(path).keys()
    assert path.read_bytes()[-1_000:] == again.read_bytes()[-1_000:]
    assert_same(load_file(again), load_file(path))


@settings(max_examples=6, deadline=None)
@given(
    st.lists(st.sampled_from([4, 8]), min_size=1, max_size=3),
    st.integers(1, 2),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.integers(1, 3),
)
def test_any_small_model_comes_back(widths: list[int], layers: int, attended: list[bool], depth: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = write_tiny_model(Path(place) / "model", layers=depth)
        attended = attended[: len(widths)]
        unet: Any = UNet2DConditionModel(
            block_out_channels=tuple(widths),
            layers_per_block=layers,
            norm_num_groups=2,
            attention_head_dim=2,
            cross_attention_dim=16,
            down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attended),
            up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attended)),
        )
        unet.save_pretrained(folder / "unet")
        path = export(folder, Path(place) / "x.safetensors")
        back = Path(place) / "back"
        write_model_folder(read_single_file(path, tokenizer=folder), back)
        assert_same(weights_of(back), weights_of(folder))
        assert check_model_folder(back) == []


def test_a_file_of_others_is_known_by_its_shapes(standard: Path, tmp_path: Path) -> None:
    path = export(standard, tmp_path / "x.safetensors", own=False, dtype="fp16")
    back = tmp_path / "back"
    write_model_folder(read_single_file(path, prediction="epsilon"), back)
    found = weights_of(back)
    assert_same(found, {name: t.half().float() for name, t in weights_of(standard).items()})
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    for part in ("unet", "vae"):
        ours, theirs = (json.loads((f / part / "config.json").read_text()) for f in (back, standard))
        assert {key for key in theirs if ours.get(key) != theirs[key]} <= {"sample_size"}
    # Plain diffusers paints the same picture with both; trainkit loads it.
    ours = StableDiffusionPipeline.from_pretrained(back, local_files_only=True)
    theirs = StableDiffusionPipeline.from_pretrained(standard, local_files_only=True)
    for part in FILES:
        network = getattr(theirs, part)
        network.load_state_dict({name: t.half().float() for name, t in network.state_dict().items()})
    theirs.scheduler = ours.scheduler
    torch.testing.assert_close(picture(ours), picture(theirs), rtol=0, atol=1e-4)
    model = load_model(ModelConfig(base=back), TextConfig(clip_skip=2))
    assert len(model.dropped_layers) == 1


def picture(pipeline: Any) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn((1, 4, 8, 8), generator=generator(0, "test"))
    return torch.from_numpy(
        pipeline(
            "a red fox", latents=noise, num_inference_steps=2, width=64, height=64, output_type="np"
        ).images
    )


def test_the_tokenizer_is_clips_own() -> None:
    tokenizer = clip_tokenizer()
    assert len(tokenizer) == 49408
    assert tokenizer.model_max_length == 77
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (49406, 49407, 49407)


def test_both_generations_of_the_text_encoder_and_old_extras_are_read(trained: Path, tmp_path: Path) -> None:
    path = export(trained, tmp_path / "x.safetensors")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = {
        name.replace("transformer.text_model.", "transformer."): tensor
        for name, tensor in load_file(path).items()
    }
    tensors |= {
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        "model_ema.diffusion_modelinput_blocks00weight": torch.ones(1),
        "model_ema.decay": torch.ones(()),
        "alphas_cumprod": torch.zeros(1000),
        "betas": torch.ones(1000),
        "sqrt_recip_alphas_cumprod": torch.ones(1000),
        "somebody.else": torch.ones(1),
    }
    old = tmp_path / "old.safetensors"
    save_file(tensors, old, metadata=metadata)
    single = read_single_file(old, tokenizer=trained)
    assert single.notes[-2] == "left out, no part of the model has them: somebody.else"
    write_model_folder(single, tmp_path / "back")
    assert_same(weights_of(tmp_path / "back"), weights_of(trained))


def said(path: Path, **options: Any) -> tuple[str, bool, tuple[str, ...]]:
    objective = read_single_file(path, **options).objective
    return objective.prediction, objective.zero_terminal_snr, objective.notes


def test_who_says_what_the_model_predicts(standard: Path, tmp_path: Path) -> None:
    path = export(standard, tmp_path / "x.safetensors", own=False)
    tensors = load_file(path)
    with pytest.raises(ModelError, match=r"does not say whether its model predicts v or noise.*--prediction"):
        said(path)
    assert said(path, prediction="epsilon")[:2] == ("epsilon", False)
    assert said(path, prediction="v", zero_terminal_snr=True)[:2] == ("v_prediction", True)
    with pytest.raises(ModelError, match="--zero-terminal-snr cannot be used with"):
        said(path, prediction="epsilon", zero_terminal_snr=True)

    yaml = path.with_suffix(".yaml")
    yaml.write_text('model:\n  params:\n    parameterization: "v"\n')
    kind, zero, notes = said(path)
    assert (kind, zero) == ("v_prediction", False)
    assert notes[0] == "predicts v: says x.yaml"
    assert notes[1].startswith("zero terminal SNR: nothing in the file says; taken as not trained with it.")
    yaml.unlink()

    save_file(tensors | {"v_pred": torch.empty(0), "ztsnr": torch.empty(0)}, path)
    assert said(path)[:2] == ("v_prediction", True)
    save_file(tensors | {"v_pred": torch.empty(0), "alphas_cumprod": torch.linspace(1, 4.9e-8, 1000)}, path)
    assert said(path)[:2] == ("v_prediction", True)
    save_file(tensors | {"v_pred": torch.empty(0), "alphas_cumprod": torch.linspace(1, 0.0047, 1000)}, path)
    assert said(path)[:2] == ("v_prediction", False)

    save_file(tensors, path, {"modelspec.prediction_type": "v", "ss_zero_terminal_snr": "True"})
    assert said(path)[:2] == ("v_prediction", True)
    save_file(tensors, path, {"modelspec.prediction_type": "v", "ss_v_parameterization": "False"})
    with pytest.raises(ModelError, match="contradicts itself about its prediction"):
        said(path)
    assert said(path, prediction="v")[0] == "v_prediction"
    save_file(
        tensors, path, {"modelspec.prediction_type": "v", "trainkit.model": '{"schedule": 3, "unet": []}'}
    )
    assert said(path)[0] == "v_prediction"


OTHERS = {
    "a model of the SDXL family": {"conditioner.embedders.0.transformer.x": torch.ones(1)},
    "a Stable Diffusion 2 model": {"cond_stage_model.model.transformer.resblocks.0.ln_1.bias": torch.ones(1)},
    "an adapter": {"lora_unet_x.lora_down.weight": torch.ones(1)},
    "a single network in diffusers' format": {"down_blocks.0.resnets.0.conv1.bias": torch.ones(1)},
    "it holds no weights of the unet": {"something": torch.ones(1)},
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_files_are_told_apart(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file(OTHERS[what], path)
    with pytest.raises(ModelError, match=re.escape(what)):
        read_single_file(path)


def changed(standard: Path, path: Path, **changes: torch.Tensor | None) -> Path:
    export(standard, path, own=False)
    tensors: dict[str, torch.Tensor | None] = {**load_file(path), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)
    return path


@pytest.mark.parametrize(
    ("name", "tensor", "problem"),
    [
        ("input_blocks.0.0.weight", torch.ones(32, 9, 3, 3), "takes 9 channels, not 4: an inpainting model"),
        ("input_blocks.1.1.proj_in.weight", torch.ones(32, 32), "a Stable Diffusion 2 model"),
        (
            "middle_block.0.in_layers.2.bias",
            None,
            r"lacks 1 weights of the unet, the first is 'mid_block",
        ),
        ("out.2.bias", None, r"lacks 1 weights of the unet, the first is 'conv_out.bias'"),
        ("out.2.bias", torch.ones(5), r"'conv_out.bias' of the unet has shape \[5\].*says \[4\]"),
        (
            "input_blocks.1.0.skip_connection.bias",
            torch.ones(5),
            "the unet has no place for 'down_blocks.0.res",
        ),
        ("input_blocks.1.7.weight", torch.ones(5), r"has a weight 'input_blocks.1.7.weight', for which"),
    ],
)
def test_a_file_that_is_not_whole_or_not_ours_is_told(
    standard: Path, tmp_path: Path, name: str, tensor: torch.Tensor | None, problem: str
) -> None:
    path = changed(standard, tmp_path / "x.safetensors", **{f"model.diffusion_model.{name}": tensor})
    with pytest.raises(ModelError, match=problem):
        read_single_file(path, prediction="epsilon")


def test_a_model_of_unusual_heads_is_read_with_another_ones_configurations(
    tiny_model: Path, tmp_path: Path
) -> None:
    path = export(tiny_model, tmp_path / "x.safetensors", own=False)
    with pytest.raises(ModelError, match=r"there is no unet with its shapes .*: --like FOLDER"):
        read_single_file(path, prediction="epsilon")
    single = read_single_file(path, prediction="epsilon", like=tiny_model)
    write_model_folder(single, tmp_path / "back")
    assert_same(weights_of(tmp_path / "back"), weights_of(tiny_model))
    with pytest.raises(ModelError, match=r"--like: .*config.json cannot be read"):
        read_single_file(path, prediction="epsilon", like=tmp_path)


def test_a_tokenizer_of_another_size_is_told(trained: Path, tmp_path: Path) -> None:
    path = export(trained, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=r"knows 514 tokens, the tokenizer 49408; .*--tokenizer"):
        read_single_file(path)
    byte_tokenizer().save_pretrained(tmp_path / "words" / "tokenizer")
    for folder in (tmp_path / "words", tmp_path / "words" / "tokenizer"):
        assert len(read_single_file(path, tokenizer=folder).tokenizer) == 514


def test_pickles_and_broken_files_are_never_opened(trained: Path, tmp_path: Path) -> None:
    for name in ("x.ckpt", "x.pt"):
        (tmp_path / name).write_bytes(b"\x80\x04")
        with pytest.raises(ModelError, match="is a pickle, which runs whatever code it holds"):
            read_single_file(tmp_path / name)
    path = export(trained, tmp_path / "x.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        read_single_file(path)
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        read_single_file(tmp_path / "nowhere.safetensors")


def test_nothing_is_replaced_unasked_and_nothing_is_left_of_a_failure(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = export(trained, tmp_path / "x.safetensors")
    words = ["import", str(path), "-o", str(tmp_path / "back"), "--tokenizer", str(trained)]
    (tmp_path / "back").mkdir()
    assert main(words) == 2
    assert "is there already; choose another folder, or give --overwrite" in capsys.readouterr().err
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors["first_stage_model.quant_conv.bias"][0] = float("inf")
    save_file(tensors, path, metadata)
    assert main([*words, "--overwrite"]) == 2
    assert "'first_stage_model.quant_conv.bias' holds values that are not finite" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back", "x.safetensors"]
    assert list((tmp_path / "back").iterdir()) == []
    assert main(["import", str(tmp_path / "back"), "-o", str(tmp_path / "new")]) == 2
    assert "is a folder already" in capsys.readouterr().err


def test_a_single_file_as_base_is_met_with_the_command(trained: Path, tmp_path: Path) -> None:
    path = export(trained, tmp_path / "x.safetensors")
    (problem,) = check_model_folder(path)
    assert problem.endswith(
        "this is a single file; make a folder of it first: trainkit import x.safetensors -o FOLDER"
    )


def test_what_is_read_is_a_value(trained: Path, tmp_path: Path) -> None:
    single = read_single_file(export(trained, tmp_path / "x.safetensors"), tokenizer=trained)
    assert isinstance(single, SingleFile)
    assert single.text == TEXT
    assert single.schedule == ScheduleConfig()
    assert os.path.samefile(single.path, tmp_path / "x.safetensors")
