"""Which model the end points serve."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from trainkit.captioning.server_connection import Connections
from trainkit.captioning.server_failures import Failed, Refused, ServerError, shown


async def served(connections: Connections, url: str) -> tuple[str, ...] | None:
    """Names of the models at an end point; None when it keeps no list of them.

    Raises Failed when it does not answer, ServerError when it never will.
    """
    try:
        body = await connections.models(url)
    except Refused:
        return None
    except ServerError as error:
        # Some gateways have only /chat/completions.
        if error.status in (404, 405):
            return None
        raise
    try:
        data: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise ServerError(
            f"{url}/models answers what is no JSON; is it the URL before /chat/completions of an "
            "OpenAI-compatible server, such as http://127.0.0.1:8000/v1?"
        ) from None
    models = data.get("data") if isinstance(data, dict) else data
    if not isinstance(models, list):
        return None
    names = [model.get("id") for model in models if isinstance(model, dict)]
    return tuple(name for name in names if isinstance(name, str) and name and name.isprintable())


async def survey(
    connections: Connections, urls: tuple[str, ...]
) -> tuple[dict[str, tuple[str, ...] | None], dict[str, Failed]]:
    """(what is served, what failed), by end point. Raises ServerError when none answers."""
    found = await asyncio.gather(*(served(connections, url) for url in urls), return_exceptions=True)
    names: dict[str, tuple[str, ...] | None] = {}
    failed: dict[str, Failed] = {}
    for url, outcome in zip(urls, found, strict=True):
        if isinstance(outcome, Failed):
            failed[url] = outcome
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            names[url] = outcome
    if not names:
        reasons = "; ".join(f"{url} {failure.reason}" for url, failure in failed.items())
        raise ServerError(f"no server answers ({reasons}). Start it, wait until it listens, then try again.")
    return names, failed


def agree(wanted: str, names: Mapping[str, tuple[str, ...] | None]) -> str:
    """The name of the one model that all end points serve: ``wanted``, or where that is empty the only one.

    Raises ServerError where there is none.
    """
    if not wanted:
        wanted = _only(names)
    for url, served_there in names.items():
        if served_there and wanted not in served_there:
            raise ServerError(
                f"{url} serves {_list(served_there)}, not {shown(wanted)!r}. All end points of a run serve "
                "one model under one name: --served-model-name of vLLM, --model-name of LMDeploy."
            )
    return wanted


def _only(names: Mapping[str, tuple[str, ...] | None]) -> str:
    for url, served_there in names.items():
        if served_there is None or len(served_there) != 1:
            what = _list(served_there) if served_there else "no list of models"
            raise ServerError(f"{url} has {what}: which one captions? Give its name as model.")
    return next(served_there[0] for served_there in names.values() if served_there)


def _list(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(repr(shown(name)) for name in names[:5]) + more
