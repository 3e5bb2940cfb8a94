"""Requests to end points over HTTP/1.1: the answer's bytes, or how that failed.

Connections are kept open. Redirects are not followed, bodies are bounded, and the key stands in no message.
"""

from __future__ import annotations

import asyncio
import ssl
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from trainkit.captioning.server_failures import Failed, Refused, ServerError, judge_status, shown
from trainkit.captioning.server_reply import Reply, read_reply
from trainkit.captioning.server_retry import RetryConfig, retry_after

MOST_BYTES = 8 * 2**20
"""Of an answer. A caption has a few thousand."""
_KEPT_S = 4.0
"""Seconds for which an idle connection is kept: uvicorn, before vLLM and LMDeploy, closes it after 5."""


class Connections:
    """Open connections to each end point."""

    def __init__(self, urls: tuple[str, ...], *, key: str, concurrency: int, retry: RetryConfig) -> None:
        self._retry = retry
        self._key = key
        trusted = _trusted()
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "trainkit"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=concurrency, keepalive_expiry=_KEPT_S
        )
        try:
            self._clients = {
                url: httpx.AsyncClient(
                    headers=headers,
                    verify=trusted,
                    # A proxy of the environment is not asked for what is on this machine.
                    trust_env=not _is_here(url),
                    follow_redirects=False,
                    timeout=httpx.Timeout(None, connect=retry.connect_timeout),
                    limits=limits,
                )
                for url in urls
            }
        except (ValueError, ImportError):
            # Not said which: its URL may hold a password.
            raise ServerError(
                "the proxy that the environment names (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) cannot be used; "
                "mend it, leave this server out of it (NO_PROXY), or for socks5:// install httpx[socks]"
            ) from None

    async def ask(self, url: str, body: bytes) -> Reply:
        """What /chat/completions answers. Raises Refused, Failed or ServerError."""
        data = await self._send(url, "POST", "/chat/completions", body, self._retry.timeout)
        try:
            return read_reply(data)
        except (Refused, Failed):
            # Once more for the message: some servers put an error, and the key, into an answer.
            return read_reply(self._masked(data))

    async def models(self, url: str) -> bytes:
        """What /models answers. Raises Refused, Failed or ServerError."""
        return await self._send(url, "GET", "/models", None, min(self._retry.timeout, 30.0))

    async def _send(self, url: str, method: str, path: str, body: bytes | None, timeout: float) -> bytes:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        client = self._clients[url]
        try:
            async with (
                asyncio.timeout(timeout),
                client.stream(method, url + path, content=body, headers=headers) as response,
            ):
                data = await _bounded(response)
        except TimeoutError:
            raise Failed(f"did not answer in {timeout:g} s") from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            reason = f"cannot be reached ({self._said(error)}{_how_to_trust(str(error))})"
            raise Failed(reason, gone=True, counts=False) from None
        except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
            raise Failed(f"broke the connection ({self._said(error)})") from None
        except httpx.DecodingError as error:
            raise Failed(f"answered what cannot be unpacked ({self._said(error)})") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # No name of a host.
            raise ServerError(f"{url} cannot be asked: {self._said(error)}") from None
        after = retry_after(response.headers.get("retry-after"))
        location = self._masked(response.headers.get("location", "").encode()).decode()
        wrong = judge_status(
            response.status_code, self._masked(data), url=url, after=after, location=location
        )
        if wrong is not None:
            raise wrong
        return data

    def _said(self, error: Exception) -> str:
        return (
            shown(str(error).replace(self._key, "***") if self._key else str(error)) or type(error).__name__
        )

    def _masked(self, data: bytes) -> bytes:
        """An error's body; some servers repeat the key in it."""
        if not self._key:
            return data
        key = self._key.encode()
        return data.replace(key, b"***").replace(key.replace(b"/", b"\\/"), b"***")

    async def close(self) -> None:
        """Close what is open."""
        for client in self._clients.values():
            await client.aclose()


async def _bounded(response: httpx.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        parts.append(part)
        if (size := size + len(part)) > MOST_BYTES:
            raise Failed(f"answered more than {MOST_BYTES >> 20} MiB")
    return b"".join(parts)


def _trusted() -> ssl.SSLContext:
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        raise ServerError(
            f"the certificates of SSL_CERT_FILE or SSL_CERT_DIR in the environment cannot be read: {error}"
        ) from None


def _how_to_trust(error: str) -> str:
    """What to do where no connection came to be for want of trust."""
    if "CERTIFICATE_VERIFY_FAILED" in error:
        return "; to trust a certificate of your own, export SSL_CERT_FILE=certificate.pem"
    return "; does it speak http, without the s?" if "WRONG_VERSION_NUMBER" in error else ""


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
