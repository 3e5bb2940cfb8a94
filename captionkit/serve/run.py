"""Serve the page on this machine until somebody ends it."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable
from typing import Any

from captionkit.errors import CaptionkitError
from captionkit.serve.html import STYLE
from captionkit.serve.page import offline_gradio

POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'self'; base-uri 'self'; object-src 'none'"
)
"""What a browser may load for the page: what this server gives, and nothing from elsewhere."""

_TRIES = 5
MAX_UPLOAD = 1024
"""The page asks for no files; gradio's own way to send some is left this many bytes."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server at this host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(page: Any, *, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until Ctrl-C. `ready` is told the address as soon as it answers. Port 0 takes any free one.

    Raises `CaptionkitError` when the port is taken or the host is none of this machine's.
    """

    def launch(free: int) -> None:
        gr = offline_gradio()
        sans, mono = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
        theme = gr.themes.Default(primary_hue="teal", neutral_hue="stone", font=sans, font_mono=mono)
        page.launch(
            server_name=host,
            server_port=free,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            inbrowser=False,
            ssr_mode=False,
            show_error=False,
            allowed_paths=[],
            max_file_size=MAX_UPLOAD,
            enable_monitoring=False,
            footer_links=[],
            theme=theme,
            css=STYLE,
            app_kwargs={"middleware": _middleware(host)},
        )

    port = launched(launch, host, port)
    try:
        ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        pass
    finally:
        page.close(verbose=False)


def launched(launch: Callable[[int], None], host: str, port: int) -> int:
    """The port at which `launch` began. What was free may be taken a moment later, and gradio gives a server
    five seconds to begin, which on a busy machine are few: any free port is therefore tried several times."""
    for left in reversed(range(_TRIES if port == 0 else 1)):
        free = _free(host, port)
        try:
            launch(free)
            return free
        except OSError as error:
            if not left:
                raise _no_port(host, free, "the server did not begin") from error
    raise AssertionError


def _free(host: str, port: int) -> int:
    """The port, or any free one for 0."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise _no_port(host, port, why.lower()) from error


def _no_port(host: str, port: int, why: str) -> CaptionkitError:
    return CaptionkitError(f"cannot listen on {host}, port {port}: {why}", hint="choose another with --port")


def _middleware(host: str) -> list[Any]:
    """What stands before gradio: answers only to the names of this machine, so that no other page can reach
    the server by a name of its own; and tells browsers to load nothing from elsewhere."""
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    layers = [Middleware(_Policy)]
    if is_loopback(host):
        # Of `[::1]:7860` starlette takes what stands before the first colon.
        names = ["127.0.0.1", "localhost", "[" if ":" in host else host]
        layers.insert(0, Middleware(TrustedHostMiddleware, allowed_hosts=names))
    return layers


class _Policy:
    """Adds the policy to every answer."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY.encode())
                message["headers"] = [*message["headers"], policy, (b"referrer-policy", b"no-referrer")]
            await send(message)

        await self._app(scope, receive, sent)
