"""The files of examples/launch: they parse, hold what they must, and the batch script does what it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from torch.distributed.run import get_args_parser

from tests.trainkit.processes import PATIENCE, environment, steps_logged, write_run
from tests.trainkit.tiny import ROOT

LAUNCH = ROOT / "examples" / "launch"


def pod_of(document: dict[str, Any]) -> dict[str, Any]:
    """The specification of the pods of a Job or PyTorchJob."""
    spec = document["spec"]
    template = (
        spec["template"] if document["kind"] == "Job" else spec["pytorchReplicaSpecs"]["Worker"]["template"]
    )
    found: dict[str, Any] = template["spec"]
    return found


def documents(name: str) -> dict[str, dict[str, Any]]:
    """A file's documents by their kind."""
    return {document["kind"]: document for document in yaml.safe_load_all((LAUNCH / name).read_text())}


@pytest.mark.parametrize(("name", "kind"), [("kubernetes.yaml", "Job"), ("pytorchjob.yaml", "PyTorchJob")])
def test_pods_have_time_to_write_a_checkpoint_and_memory_to_share(name: str, kind: str) -> None:
    pod = pod_of(documents(name)[kind])
    (container,) = pod["containers"]
    program, *words = container["command"]
    assert program == "torchrun"
    arguments = get_args_parser().parse_args(words)
    assert (arguments.module, arguments.training_script) == (True, "trainkit")
    assert arguments.training_script_args == ["train", "run.toml"]
    assert pod["terminationGracePeriodSeconds"] > arguments.shutdown_timeout > 60
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert variables["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes[mounted["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
    assert "persistentVolumeClaim" in volumes[mounted[container["workingDir"]]]


def test_the_pods_of_the_job_find_each_other() -> None:
    found = documents("kubernetes.yaml")
    service, job = found["Service"], found["Job"]
    pod = pod_of(job)
    (container,) = pod["containers"]
    arguments = get_args_parser().parse_args(container["command"][1:])
    name = job["metadata"]["name"]
    # An indexed job's pods are called <job>-<index>, and by the service's name <job>-<index>.<service>.
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == int(arguments.nnodes)
    assert arguments.rdzv_endpoint == f"{name}-0.{service['metadata']['name']}:29500"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": name}
    assert int(arguments.nproc_per_node) == container["resources"]["limits"]["nvidia.com/gpu"]
    assert pod["restartPolicy"] == "Never"  # Needed by podFailurePolicy.
    assert job["spec"]["podFailurePolicy"]["rules"][0]["onPodConditions"] == [{"type": "DisruptionTarget"}]


def install(folder: Path, **programs: str) -> None:
    """Small programs of Slurm's names, for a machine that has none."""
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


@pytest.mark.slow
def test_the_batch_script_saves_requeues_and_goes_on(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    script = LAUNCH / "slurm.sbatch"
    text = script.read_text()
    assert "#SBATCH --signal=B:USR1@" in text
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    out = tmp_path / "out"
    run_file = write_run(
        tmp_path, tiny_model, pictures, samples=480, batch=2, checkpoint_every=0, preview={"prompts": []}
    )
    install(
        tmp_path / "bin",
        srun='#!/bin/sh\nexec "$@"\n',
        torchrun=f'#!/bin/sh\nexec {sys.executable} -m torch.distributed.run "$@"\n',
        scontrol=(
            '#!/bin/sh\nif [ "$1" = show ]; then echo 127.0.0.1; else echo "$*" >> '
            f'"{tmp_path}/scontrol.txt"; fi\n'
        ),
    )
    slurm = {
        "SLURM_NNODES": "1",
        "SLURM_GPUS_ON_NODE": "2",
        "SLURM_JOB_NODELIST": "here",
        "SLURM_JOB_ID": str(os.getpid()),
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
    }
    with (
        (tmp_path / "said.txt").open("w") as said,
        subprocess.Popen(
            ["bash", str(script), str(run_file)], env=environment() | slurm, stdout=said, stderr=said
        ) as job,
    ):
        try:
            end = time.monotonic() + 2 * PATIENCE
            while steps_logged(out) < 3:
                assert job.poll() is None, (tmp_path / "said.txt").read_text()[-4000:]
                assert time.monotonic() < end
                time.sleep(0.02)
            job.send_signal(signal.SIGUSR1)
            assert job.wait(2 * PATIENCE) == 0
        finally:
            if job.poll() is None:
                job.send_signal(signal.SIGUSR1)
    told = (tmp_path / "said.txt").read_text()
    assert (tmp_path / "scontrol.txt").read_text() == f"requeue {slurm['SLURM_JOB_ID']}\n"
    assert "SIGUSR1: stopped after" in told
    assert "the time is over" in told
    (saved,) = (out / "checkpoints").glob("0*")
    assert int(saved.name) == 8 * steps_logged(out) < 480

    # The job comes back: with so little left that it ends by itself.
    run_file.write_text(run_file.read_text().replace("samples = 480", f"samples = {int(saved.name) + 8}"))
    back = subprocess.run(
        ["bash", str(script), str(run_file)],
        env=environment() | slurm | {"SLURM_RESTART_COUNT": "1"},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert back.returncode == 0, back.stderr[-4000:]
    assert f"going on from {saved}" in back.stdout
    assert (out / "model" / "unet").is_dir()
