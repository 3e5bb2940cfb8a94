"""The end of a run: the model, its averages and its adapters, as others load them."""

from __future__ import annotations

from pathlib import Path

from trainkit.adapter_file import write_adapter
from trainkit.adapters import merged, trainable_state
from trainkit.models import export_model
from trainkit.setup import Setup


def write_results(setup: Setup, samples_seen: int) -> Path:
    """Write ``model/``, ``ema/<track>.safetensors`` and, of a run with adapters, ``adapter.safetensors``.

    Returns the model's folder; an adapter is added to its weights. Raises ModelError or TrainkitError when
    something cannot be written.
    """
    run, denoiser = setup.run, setup.model.denoiser
    steps = str(setup.phases[-1].first_step + setup.phases[-1].steps)
    folder = run.out / "model"
    if setup.accelerator.is_main_process:
        with merged(denoiser):
            export_model(setup.model, run.schedule, run.objective, run.text, folder)
        told = {"samples_seen": str(samples_seen)}
        for track in setup.ema.tracks:
            setup.ema.write_weights(run.out / "ema" / f"{track}.safetensors", track, told)
        if run.adapter is not None:
            state = trainable_state(denoiser)
            path = run.out / "adapter.safetensors"
            write_adapter(path, state, run.adapter, run.objective.prediction, metadata={"ss_steps": steps})
    setup.accelerator.wait_for_everyone()
    return folder
