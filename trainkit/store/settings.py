"""How pictures are fetched from object storage."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

_SECRET = re.compile(r"secret|passw|token|credential|authorization|cookie|(^|_|access)key($|_)|^auth$", re.I)
_NO_SECRETS = ("anon", "google_default", "cloud", "browser", "cache")
"""Values of gcsfs's ``token`` that give nothing away."""


class StoreConfig(BaseModel):
    """Object storage that pictures are fetched from, where a manifest's root or tars are URLs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    options: dict[str, Any] = {}
    """Settings of fsspec's file system, such as { endpoint_url = "https://minio.local:9000", anon = true }
    for s3fs. No keys and passwords, as this is written beside the results: those stand in the environment
    (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, HF_TOKEN ...)."""
    threads: int = Field(default=8, ge=1, le=256)
    """Pictures that each worker process fetches at the same time."""
    timeout: float = Field(default=60.0, gt=0, le=3600)
    """Seconds after which an answer is no longer waited for."""
    first_wait: float = Field(default=1.0, gt=0, le=600)
    """Seconds before a store that failed is asked again; they double each time."""
    longest_wait: float = Field(default=30.0, gt=0, le=3600)
    """The most seconds between two requests."""
    patience: float = Field(default=300.0, ge=0, le=86400)
    """Seconds for which a picture is asked for again, when the store fails in a way that may pass. If the
    store answered nothing at all in that time, the run stops."""

    @field_validator("options")
    @classmethod
    def _no_secrets(cls, options: dict[str, Any]) -> dict[str, Any]:
        for path, value in _leaves(options):
            if _SECRET.search(path.rpartition(".")[2]) and value not in (*_NO_SECRETS, None, True, False):
                raise ValueError(
                    f"options.{path} looks like a secret, which would be written beside the results; the "
                    "environment is the place for it (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                    "GOOGLE_APPLICATION_CREDENTIALS, HF_TOKEN ...)"
                )
            if isinstance(value, str) and re.search(r"://[^/]*@", value):
                raise ValueError(f"options.{path} holds a name or password in a URL; use the environment")
        return options


def _leaves(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of everything in nested tables that is no table itself."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
