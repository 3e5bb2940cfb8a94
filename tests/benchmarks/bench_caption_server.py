"""What asking a caption server costs on this side: pictures per second by requests in flight.

    PYTHONPATH=. python tests/benchmarks/bench_caption_server.py [--latency 0.05] [--side 512] [--openai]

A server of its own process answers each request after --latency seconds, as many at once as are asked, so
that in flight / latency would be reached if nothing else took time. It has to decode each picture, on the
same cores. Pictures have the grain of photographs and --side pixels. "right" says that each picture got
its own answer; "CPU ms" is what one picture costs this side, encoding it included. --openai asks the same
through openai's own client, where that is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import random
import time
from collections.abc import Iterator

from PIL import Image, ImageFilter

from tests.trainkit.captioning.caption_server import caption_server, seen
from trainkit.captioning.captioner import Request
from trainkit.captioning.sampling import Sampling
from trainkit.captioning.server import ServerConfig
from trainkit.captioning.server_picture import PictureForm


def drawn(side: int) -> list[Image.Image]:
    """Eight pictures with grain."""
    pictures = []
    for number in range(8):
        rng = random.Random(number)
        small = Image.frombytes("RGB", (32, 32), rng.randbytes(32 * 32 * 3)).resize((side, side))
        grain = Image.frombytes("RGB", (side, side), rng.randbytes(side * side * 3))
        pictures.append(Image.blend(small, grain.filter(ImageFilter.GaussianBlur(0.7)), 0.2))
    return pictures


def requests(pictures: list[Image.Image], count: int) -> Iterator[Request]:
    for key in range(count):
        yield Request(key, f"Number {key}: describe.", pictures[key % len(pictures)], key)


def ours(url: str, pictures: list[Image.Image], concurrency: int, count: int) -> tuple[float, int]:
    """(seconds, right answers)."""
    with ServerConfig(urls=(url,), concurrency=concurrency).open(Sampling()) as captioner:
        start = time.perf_counter()
        right = sum(
            f"Number {answer.key}:" in (answer.text or "")
            for answer in captioner.answers(requests(pictures, count))
        )
        return time.perf_counter() - start, right


def openais(url: str, pictures: list[Image.Image], concurrency: int, count: int) -> tuple[float, int]:
    """The same through openai's AsyncOpenAI, as its readme has it."""
    openai = importlib.import_module("openai")

    async def run() -> int:
        client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=5)
        room = asyncio.Semaphore(concurrency)

        async def one(request: Request) -> bool:
            async with room:
                image = await asyncio.to_thread(PictureForm().data_url, request.image)
                parts = [
                    {"type": "image_url", "image_url": {"url": image}},
                    {"type": "text", "text": request.prompt},
                ]
                reply = await client.chat.completions.create(
                    model="arithmetic-captioner",
                    messages=[{"role": "user", "content": parts}],
                    max_tokens=400,
                )
                return f"Number {request.key}:" in (reply.choices[0].message.content or "")

        return sum(await asyncio.gather(*(one(request) for request in requests(pictures, count))))

    start = time.perf_counter()
    right = asyncio.run(run())
    return time.perf_counter() - start, right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--openai", action="store_true")
    chosen = parser.parse_args()
    pictures = drawn(chosen.side)
    clients = {"ours": ours, "openai": openais} if chosen.openai else {"ours": ours}
    print("client   in flight most seen pictures/s possible CPU ms  right")
    for concurrency in (1, 8, 32):
        count = 40 * concurrency if concurrency < 32 else 600
        for name, ask in clients.items():
            with caption_server(latency=chosen.latency) as url:
                ask(url, pictures, concurrency, 8)
                before = time.process_time()
                seconds, right = ask(url, pictures, concurrency, count)
                spent = 1000 * (time.process_time() - before) / count
                print(
                    f"{name:8} {concurrency:9} {seen(url)['most_at_once']:9} {count / seconds:10.1f} "
                    f"{concurrency / chosen.latency:8.0f} {spent:6.1f}  {right == count}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
