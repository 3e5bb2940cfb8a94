"""The end of a run: the model, its averages and its adapters, as others load them."""

from __future__ import annotations

from pathlib import Path

from trainkit.adapter_file import write_adapter
from trainkit.adapters import AdapterConfig, merged, trainable_state
from trainkit.models import export_model
from trainkit.setup import Setup
from trainkit.sharding import whole


def write_results(setup: Setup, samples_seen: int) -> Path:
    """Write ``model/`` and ``ema/<track>.safetensors``; of a run with adapters ``adapter.safetensors`` and
    ``adapter-ema-<track>.safetensors``.

    Returns the model's folder; an adapter is added to its weights. Raises ModelError or TrainkitError when
    something cannot be written.
    """
    run, denoiser = setup.run, setup.model.denoiser
    folder = run.out / "model"
    setup.watchdog.doing("writing the model", samples_seen, patient=True)
    with setup.whole_model(everywhere=False) as model:
        if setup.accelerator.is_main_process:
            with merged(model.denoiser):
                export_model(model, run.schedule, run.objective, run.text, folder)
    told = {"samples_seen": str(samples_seen)}
    if run.adapter is None:
        for track in setup.ema.tracks:
            setup.ema.write_weights(run.out / "ema" / f"{track}.safetensors", track, told)
    else:
        _write_adapter(setup, run.adapter, "adapter.safetensors")
        for track in setup.ema.tracks:
            with setup.ema.applied(denoiser, track):
                _write_adapter(setup, run.adapter, f"adapter-ema-{track}.safetensors")
    setup.watchdog.doing("waiting for the model to be written", waits=True)
    setup.accelerator.wait_for_everyone()
    return folder


def _write_adapter(setup: Setup, config: AdapterConfig, name: str) -> None:
    """The adapter as it is now, in the form that front ends read; every process helps to put it together."""
    run, last = setup.run, setup.phases[-1]
    told = {"ss_steps": str(last.first_step + last.steps)}
    state = {name: whole(tensor) for name, tensor in trainable_state(setup.model.denoiser).items()}
    if setup.accelerator.is_main_process:
        write_adapter(run.out / name, state, config, run.objective.prediction, metadata=told)
