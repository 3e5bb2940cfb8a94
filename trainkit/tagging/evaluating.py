"""From scores and truth to an `Evaluation`, and into the tagger."""

from __future__ import annotations

from pathlib import Path

from trainkit.errors import TrainkitError
from trainkit.tagging.curves import EVALUATION
from trainkit.tagging.evaluate import calibrations_of, confusions_of, curves_of, means_of
from trainkit.tagging.evaluation import Evaluation, write_evaluation
from trainkit.tagging.judging import Judged
from trainkit.tagging.outputs import Temperatures
from trainkit.tagging.trained import write_temperatures

REPORT = "report.html"


def evaluate(judged: Judged, manifest: Path, *, calibrate: bool) -> Evaluation:
    """Everything that is known of a tagger; ``calibrate``: with the scores that it has at the temperatures
    found here, otherwise with those that it has now."""
    outputs, truth = judged.outputs, judged.truth
    calibrations = calibrations_of(outputs, judged.scores(Temperatures()), truth, judged.fitted)
    found = {calibration.group: calibration.temperature for calibration in calibrations}
    scores = judged.scores(Temperatures(found.pop("", 1.0), found) if calibrate else None)
    curves = curves_of(outputs.labels, scores, truth)
    return Evaluation(
        judged.tagger.name,
        manifest.name or str(manifest),
        judged.held_out,
        len(judged.rows),
        judged.without_tags,
        len(outputs.labels),
        curves,
        confusions_of(outputs, scores, truth),
        calibrations,
        calibrate,
        means_of(outputs.labels, curves, scores, truth),
        judged.problems,
    )


def keep_evaluation(folder: Path, evaluation: Evaluation, tagger: Path | None) -> None:
    """Write ``evaluation.json`` into a folder, and the temperatures into the folder of a ``tagger`` of ours.

    Raises TrainkitError when one cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if tagger is not None:
            # Whoever is killed between the two leaves no thresholds of other temperatures behind.
            (folder / EVALUATION).unlink(missing_ok=True)
            write_temperatures(tagger, evaluation.temperatures)
        write_evaluation(folder, evaluation)
    except OSError as error:
        raise TrainkitError(
            f"{folder} cannot be written: {error.strerror or error}; -o FOLDER says where else"
        ) from error
