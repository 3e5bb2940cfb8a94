"""What accelerate's and torchrun's launchers ask for, and the files of examples/ that make them ask."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import AcceleratorState
from accelerate.utils.launch import prepare_multi_gpu_env
from torch import nn

from tests.trainkit.processes import PATIENCE, environment, steps_logged, write_run
from tests.trainkit.tiny import ROOT
from trainkit.devices import refuse_false_launch, synchronised, wrapped
from trainkit.errors import LaunchError
from trainkit.models import ModelConfig, load_model
from trainkit.sharding import (
    LAYERS,
    Sharding,
    copy_hollow,
    is_sharded,
    local,
    part_of,
    shard,
    take_sharding,
    whole,
)
from trainkit.text import TextConfig

EXAMPLES = ROOT / "examples" / "accelerate"


@pytest.fixture(autouse=True)
def _no_accelerator_left_over() -> Iterator[None]:
    """The first Accelerator of a process decides for all later ones."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


def asked_by(file: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment that ``accelerate launch --config_file file`` gives its processes."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # Whether somebody uses a port at this moment is no matter: nothing is started.
    monkeypatch.setattr("accelerate.utils.launch.is_port_in_use", lambda port: False)
    words = ["--config_file", str(file), "-m", "trainkit", "train", "run.toml"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    arguments.main_process_port = arguments.main_process_port or 0
    environment: dict[str, str] = prepare_multi_gpu_env(arguments)
    return environment


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("one_machine", None),
        ("several_machines", None),
        ("fsdp", Sharding()),
        ("fsdp_zero2", Sharding(free_early=False)),
        ("fsdp_several_machines", Sharding(copies=2)),
    ],
)
def test_the_example_files_ask_for_what_they_say(
    name: str, expected: Sharding | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = asked_by(EXAMPLES / f"{name}.yaml", monkeypatch)
    refuse_false_launch(environment)
    assert take_sharding(environment) == expected
    # accelerate must not shard once more, nor transformers leave weights out.
    assert "ACCELERATE_USE_FSDP" not in environment
    assert "ACCELERATE_USE_PARALLELISM_CONFIG" not in environment


def test_every_example_file_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == {
        "one_machine",
        "several_machines",
        "fsdp",
        "fsdp_zero2",
        "fsdp_several_machines",
    }


FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, "fsdp_version: 2"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "FSDP version 1"),
        (FSDP | {"FSDP_OFFLOAD_PARAMS": "true"}, "fsdp_offload_params"),
        (FSDP | {"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "model.gradient_checkpointing = true"),
    ],
)
def test_what_is_not_done_is_refused_with_what_to_do(variables: dict[str, str], told: str) -> None:
    with pytest.raises(LaunchError, match=told):
        take_sharding(dict(variables))


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true", "WORLD_SIZE": "2"}, "DeepSpeed.*examples/accelerate/fsdp.yaml"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true", "WORLD_SIZE": "2"}, "Megatron-LM"),
        (
            {
                "GROUP_WORLD_SIZE": "2",
                "TORCHELASTIC_MAX_RESTARTS": "3",
                "TORCHELASTIC_USE_AGENT_STORE": "True",
            },
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1",
        ),
    ],
)
def test_launches_that_would_go_wrong_are_refused(variables: dict[str, str], told: str) -> None:
    with pytest.raises(LaunchError, match=told):
        refuse_false_launch(variables)


@pytest.mark.parametrize("changed", [{"GROUP_WORLD_SIZE": "1"}, {"TORCHELASTIC_MAX_RESTARTS": "0"}])
def test_restarts_on_one_machine_and_several_without_restarts_are_fine(changed: dict[str, str]) -> None:
    variables = {
        "GROUP_WORLD_SIZE": "2",
        "TORCHELASTIC_MAX_RESTARTS": "3",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    refuse_false_launch(variables | changed)
    refuse_false_launch(variables | {"TORCHELASTIC_USE_AGENT_STORE": "False"})


def test_layers_of_the_file_are_used_or_refused(tiny_model: Path) -> None:
    asked = take_sharding(FSDP | {"FSDP_TRANSFORMER_CLS_TO_WRAP": "Attention, CLIPMLP"})
    assert asked == Sharding(layers=("Attention", "CLIPMLP"))
    assert take_sharding(FSDP | {"FSDP_TRANSFORMER_CLS_TO_WRAP": "None"}) == Sharding(layers=LAYERS)
    denoiser = load_model(ModelConfig(base=tiny_model), TextConfig()).denoiser
    with pytest.raises(LaunchError, match="LlamaDecoderLayer; this model has no such blocks"):
        shard(denoiser, Sharding(layers=("LlamaDecoderLayer",)), torch.device("cpu"), 2)
    with pytest.raises(LaunchError, match="dp_replicate_size is 3, must divide the number of processes"):
        shard(denoiser, Sharding(copies=3), torch.device("cpu"), 4)
    assert not is_sharded(denoiser)


def test_plain_tensors_are_their_own_parts() -> None:
    weight = torch.randn(3, 2)
    assert local(weight) is weight
    assert whole(weight) is weight
    assert part_of(weight, torch.zeros(3, 2)) is weight


def test_a_hollow_copy_takes_no_memory_and_is_filled_from_the_original(tiny_model: Path) -> None:
    denoiser = load_model(ModelConfig(base=tiny_model), TextConfig()).denoiser
    hollow = copy_hollow(denoiser)
    assert all(parameter.is_meta for parameter in hollow.parameters())
    assert not any(parameter.is_meta for parameter in denoiser.parameters())
    hollow.load_state_dict(denoiser.state_dict(), assign=True)
    x, t, ids = torch.randn(1, 4, 8, 8), torch.tensor([500]), torch.full((1, 1, 77), 3)
    with torch.no_grad():
        assert torch.equal(hollow(x, t, ids), denoiser(x, t, ids))


def test_bfloat16_stays_on_when_a_part_thaws() -> None:
    # accelerate marks a model as prepared and leaves the autocast out the second time: a run on one device
    # went on in float32 after a part had thawed or a phase had begun.
    seen: list[torch.dtype] = []

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.layer(x)
            seen.append(y.dtype)
            return y

    accelerator, net = Accelerator(cpu=True, mixed_precision="bf16"), Net()
    for _ in range(3):
        model, _ = wrapped(accelerator, net, torch.optim.SGD(net.parameters()))
        with synchronised(model, last=True):
            assert model(torch.ones(1, 4)).dtype == torch.float32
    assert seen == [torch.bfloat16] * 3


def launch(file: str, run_file: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    words = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(EXAMPLES / file),
        *flags,
    ]
    return subprocess.run(
        [*words, "-m", "trainkit", "train", str(run_file)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=2 * PATIENCE,
    )


@pytest.mark.slow
def test_accelerate_launch_starts_two_processes_with_sharded_weights(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    settings: dict[str, Any] = {"samples": 8, "batch": 2, "preview": {"prompts": []}}
    run_file = write_run(tmp_path, tiny_model, pictures, **settings)
    done = launch("fsdp.yaml", run_file, "--main_process_port", "0")
    assert done.returncode == 0, done.stderr[-4000:]
    assert steps_logged(tmp_path / "out") == 1  # 8 samples are one step of two processes.
    assert sorted(os.listdir(tmp_path / "out" / "ranks")) == ["0.json", "1.json"]
    # What cannot be sharded is said before anything is trained.
    eight_bits = write_run(
        tmp_path / "8bit", tiny_model, pictures, **settings, optim={"optimizer": "adamw8bit"}
    )
    refused = launch("fsdp.yaml", eight_bits, "--main_process_port", "0")
    assert refused.returncode != 0
    assert 'optim.optimizer = "adamw8bit" keeps its state in blocks' in refused.stderr
