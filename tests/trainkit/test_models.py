"""Model folders: what is missing, what is broken, and what others load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from trainkit.draws import generator
from trainkit.errors import ModelError
from trainkit.loss import ObjectiveConfig
from trainkit.model_folder import check_model_folder
from trainkit.models import Model, ModelConfig, export_model, load_model, make_pipeline
from trainkit.sample import PreviewConfig, Request, sample_pictures
from trainkit.schedule import ScheduleConfig
from trainkit.text import TextConfig, Tokens
from trainkit.trained_as import read_objective

TEXT = TextConfig(max_tokens=150)
WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}


def load(folder: Path, **settings: bool) -> Model:
    return load_model(ModelConfig.model_validate({"base": folder} | settings), TEXT)


@pytest.fixture(scope="module")
def exported(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    """A model whose weights have moved, and the folder it was written to."""
    model = load(tiny_model)
    with torch.no_grad():
        for parameter in model.denoiser.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator(1, "test")))
    folder = tmp_path_factory.mktemp("exported") / "model"
    export_model(model, ScheduleConfig(), ObjectiveConfig(), TEXT, folder)
    return model, folder


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_part_that_is_missing_is_named(own_model: Path, part: str) -> None:
    assert check_model_folder(own_model) == []
    shutil.rmtree(own_model / part)
    assert check_model_folder(own_model) == [f"{own_model} lacks its {part}/ folder"]
    with pytest.raises(ModelError, match=rf"the base model cannot be used:\n  .* lacks its {part}/ folder"):
        load(own_model)


def test_every_missing_part_is_named_at_once(own_model: Path) -> None:
    (own_model / "unet" / "config.json").unlink()
    (own_model / "tokenizer" / "tokenizer.json").unlink()
    (own_model / "vae" / WEIGHTS["vae"]).unlink()
    assert check_model_folder(own_model) == [
        f"{own_model / 'unet'} lacks config.json",
        f"{own_model / 'vae'} holds no *.safetensors weights",
        f"{own_model / 'tokenizer'} lacks tokenizer.json or vocab.json",
    ]


def test_pickled_weights_are_never_loaded(own_model: Path) -> None:
    (own_model / "unet" / WEIGHTS["unet"]).rename(own_model / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelError, match=r"only pickled \.bin weights are there, which are never loaded"):
        load(own_model)


def test_variants_are_no_weights_and_are_not_looked_at(own_model: Path) -> None:
    # A clone without large files has pointers in place of the variants; the model is whole nevertheless.
    pointer = own_model / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1")
    assert check_model_folder(own_model) == []
    (own_model / "unet" / WEIGHTS["unet"]).unlink()
    (problem,) = check_model_folder(own_model)
    assert problem.endswith(
        f"weights; {pointer.name} is a variant: save or rename it without the name of the variant"
    )


def test_what_is_no_folder_is_told(tmp_path: Path, own_model: Path) -> None:
    with pytest.raises(ModelError, match=r"no model folder at .*nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="this is a single file"):
        load(own_model / "unet" / WEIGHTS["unet"])


@pytest.mark.parametrize("part", WEIGHTS)
def test_a_weights_file_that_is_cut_off_is_named(own_model: Path, part: str) -> None:
    path = own_model / part / WEIGHTS[part]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=rf"{path.name} cannot be read .* fetch it again"):
        load(own_model)


@pytest.mark.parametrize("part", WEIGHTS)
def test_a_weight_that_is_not_there_is_never_made_up(own_model: Path, part: str) -> None:
    path = own_model / part / WEIGHTS[part]
    weights = load_file(path)
    gone = sorted(name for name in weights if name.endswith("weight"))[0]
    save_file(
        {name: value for name, value in weights.items() if name != gone}, path, metadata={"format": "pt"}
    )
    with pytest.raises(ModelError, match=rf"{part} lacks 1 weights, the first is .*; the file is not whole"):
        load(own_model)


def change_config(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_parts_of_different_models_are_told_before_loading(own_model: Path) -> None:
    change_config(own_model / "unet" / "config.json", cross_attention_dim=32, in_channels=9)
    problems = check_model_folder(own_model)
    assert len(problems) == 2
    assert "the text encoder's width is 16, but the UNet attends to 32" in problems[0]
    assert "the UNet takes 9 channels, but latents have 4" in problems[1]
    with pytest.raises(ModelError, match="the parts belong to different models"):
        load(own_model)


def test_broken_configurations_are_named(own_model: Path) -> None:
    (own_model / "unet" / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"a config\.json of .* cannot be used"):
        load(own_model)
    shutil.copy(own_model / "vae" / "config.json", own_model / "unet" / "config.json")
    (own_model / "tokenizer" / "tokenizer.json").write_text("[]")
    with pytest.raises(ModelError):
        load(own_model)


def test_a_broken_tokenizer_is_named(own_model: Path) -> None:
    (own_model / "tokenizer" / "tokenizer.json").write_text("[]")
    with pytest.raises(ModelError, match=r"tokenizer cannot be read"):
        load(own_model)


def test_more_skipped_layers_than_there_are(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="clip_skip is 5, but the text encoder has only 3 layers"):
        load_model(ModelConfig(base=tiny_model), TextConfig(clip_skip=5))


def test_text_encoders_saved_by_older_versions_load_the_same(tiny_model: Path, own_model: Path) -> None:
    path = own_model / "text_encoder" / WEIGHTS["text_encoder"]
    old = {f"text_model.{name}": value for name, value in load_file(path).items()}
    save_file(old, path, metadata={"format": "pt"})
    new, theirs = load(tiny_model).denoiser, load(own_model).denoiser
    weights, found = new.state_dict(), theirs.state_dict()
    assert weights.keys() == found.keys()
    assert all(torch.equal(weights[name], found[name]) for name in weights)
    # Where the weights lie in memory differs, and with it how some processors add up.
    ids = torch.randint(0, 500, (1, 1, 77), generator=generator(0, "test"))
    torch.testing.assert_close(
        new(torch.ones(1, 4, 8, 8), torch.tensor([5]), ids),
        theirs(torch.ones(1, 4, 8, 8), torch.tensor([5]), ids),
    )


def test_an_old_text_encoder_is_exported_whole(own_model: Path, tmp_path: Path) -> None:
    path = own_model / "text_encoder" / WEIGHTS["text_encoder"]
    original = load_file(path)
    save_file({f"text_model.{k}": v for k, v in original.items()}, path, metadata={"format": "pt"})
    export_model(load(own_model), ScheduleConfig(), ObjectiveConfig(), TEXT, tmp_path / "out")
    back = CLIPTextModel.from_pretrained(tmp_path / "out" / "text_encoder").state_dict()
    assert set(back) == set(original)
    assert all(torch.equal(back[name], original[name]) for name in original)


def test_what_is_not_trained_is_frozen(tiny_model: Path) -> None:
    model = load(tiny_model, train_text_encoder=False)
    assert not any(p.requires_grad for p in model.denoiser.text_encoder.parameters())
    assert all(p.requires_grad for p in model.denoiser.unet.parameters())
    assert not any(p.requires_grad for p in model.vae.parameters())
    assert all(p.dtype == torch.float32 for p in model.denoiser.parameters())
    # With the skipped layers gone, every weight that is left gets a gradient, which DDP insists on.
    model = load(tiny_model)
    out = model.denoiser(torch.ones(1, 4, 8, 8), torch.tensor([5]), torch.full((1, 1, 77), 7))
    out.square().sum().backward()
    assert [n for n, p in model.denoiser.named_parameters() if p.grad is None] == []


def test_gradient_checkpointing_changes_no_gradient(tiny_model: Path) -> None:
    gradients = []
    for on in (False, True):
        denoiser = load(tiny_model, gradient_checkpointing=on).denoiser.train()
        x_t = torch.randn(2, 4, 8, 8, generator=generator(0, "test"))
        denoiser(x_t, torch.tensor([5, 900]), torch.full((2, 2, 77), 7)).square().mean().backward()
        gradients.append([p.grad for p in denoiser.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-6)


def test_others_load_the_export(exported: tuple[Model, Path], tiny_model: Path) -> None:
    model, folder = exported
    pipe = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    ours, theirs = model.denoiser.unet.state_dict(), pipe.unet.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    # All layers of the text encoder are back: the trained ones as trained, the skipped one as it was.
    assert pipe.text_encoder.config.num_hidden_layers == 3
    before = CLIPTextModel.from_pretrained(tiny_model / "text_encoder").state_dict()
    after, trained = pipe.text_encoder.state_dict(), model.denoiser.text_encoder.state_dict()
    assert after.keys() == before.keys()
    for name in after:
        assert torch.equal(after[name], trained[name] if name in trained else before[name])
    assert len(trained) < len(after)
    config = pipe.scheduler.config
    assert (config.prediction_type, config.rescale_betas_zero_snr) == ("v_prediction", True)
    assert config.timestep_spacing == "trailing"
    picture = pipe("red circle", num_inference_steps=2, width=64, height=64, output_type="np").images[0]
    assert picture.shape == (64, 64, 3)
    assert (picture == picture).all()


def test_the_export_leaves_the_model_as_it_was(exported: tuple[Model, Path], tmp_path: Path) -> None:
    model, folder = exported
    text_encoder: Any = model.denoiser.text_encoder
    assert len(text_encoder.encoder.layers) == 2
    assert [p.name for p in folder.parent.iterdir()] == ["model"]
    # Written again over itself, after somebody was killed doing so: the same, and nothing beside it.
    (folder.parent / ".model.partial-123" / "unet").mkdir(parents=True)
    (folder.parent / ".model.old-123").mkdir()
    export_model(model, ScheduleConfig(), ObjectiveConfig(), TEXT, folder)
    assert [p.name for p in folder.parent.iterdir()] == ["model"]
    assert read_objective(folder) == (ScheduleConfig(), ObjectiveConfig(), TEXT)


def apart(one: Image.Image, other: Image.Image) -> int:
    """Largest difference of two pictures in levels of 0 to 255: rounding can be off by one."""
    return int(np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max())


def test_a_reloaded_model_paints_the_same_pictures(exported: tuple[Model, Path]) -> None:
    model, folder = exported
    again = load(folder)
    requests = [Request("red circle", 0), Request("blue star " * 20, 1), Request("", 2)]
    painted = []
    for which in (model, again):
        which.denoiser.train()
        tokens = Tokens(which.tokenizer, 300)
        config = PreviewConfig(steps=2)
        found = sample_pictures(
            which, tokens, config, ScheduleConfig(), ObjectiveConfig(), requests, (64, 40), batch=3
        )
        assert [p.size for p in found] == [(64, 40)] * 3
        assert which.denoiser.training
        painted.append(found)
    assert max(apart(one, other) for one, other in zip(*painted, strict=True)) <= 1
    assert len({p.tobytes() for p in painted[0]}) == 3


def test_noise_goes_with_the_number_of_a_picture_not_with_its_batch(exported: tuple[Model, Path]) -> None:
    model, _ = exported
    requests = [Request("red circle", number) for number in (0, 1, 1)]

    def painted(batch: int) -> list[Image.Image]:
        tokens, config = Tokens(model.tokenizer, 300), PreviewConfig(steps=1, guidance=1)
        schedule, objective, size = ScheduleConfig(), ObjectiveConfig(), (64, 64)
        return sample_pictures(model, tokens, config, schedule, objective, requests, size, batch=batch)

    together, alone = painted(3), painted(1)
    assert apart(together[0], together[1]) > 1
    assert apart(together[1], together[2]) <= 1
    assert apart(alone[0], alone[1]) > 1


def test_a_plain_epsilon_folder_says_so(tiny_model: Path) -> None:
    schedule, objective, text = read_objective(tiny_model)
    assert objective.prediction == "epsilon"
    assert schedule == ScheduleConfig(zero_terminal_snr=False)
    assert text.clip_skip == 1
    assert make_pipeline(load(tiny_model), schedule, objective).scheduler.config.prediction_type == "epsilon"
