"""What reading pictures from a store costs: pictures per second by threads, and the share of the hash.

    PYTHONPATH=. python tests/benchmarks/bench_store.py [PICTURES] [--latency 0.02]

PICTURES is a folder of real ones; without it JPEG files of 1024 x 768 pixels with grain are drawn. They are
put into a tar, which a server of its own process hands out by byte ranges, each answer after --latency
seconds. One process reads them as a worker does, over http:// and, where s3fs is installed, over s3://.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib.util
import io
import multiprocessing
import os
import random
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageFilter

from trainkit.images import decode
from trainkit.place import Place
from trainkit.store.settings import StoreConfig
from trainkit.store.store import Store, digest_of


def drawn(count: int) -> Iterator[bytes]:
    """JPEG files with the grain, and so the size, of photographs."""
    for number in range(count):
        rng = random.Random(number)
        small = Image.frombytes("RGB", (64, 48), rng.randbytes(64 * 48 * 3)).resize((1024, 768))
        grain = Image.frombytes("RGB", (1024, 768), rng.randbytes(1024 * 768 * 3))
        grain = grain.filter(ImageFilter.GaussianBlur(0.7))
        buffer = io.BytesIO()
        Image.blend(small, grain, 0.2).save(buffer, "JPEG", quality=90)
        yield buffer.getvalue()


def serve(folder: Path, latency: float, port: int) -> None:
    """Answer byte ranges of files, each after a while; knows nothing else of HTTP."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            path = folder / Path(head.split()[1].decode().partition("?")[0]).name
            first, last = 0, path.stat().st_size - 1
            while (line := await reader.readline()).strip():
                if line.lower().startswith(b"range:"):
                    start, _, end = line.split(b"=")[1].strip().partition(b"-")
                    first, last = int(start), min(last, int(end))
            await asyncio.sleep(latency)
            with path.open("rb") as file:
                data = os.pread(file.fileno(), last - first + 1, first)
            writer.write(
                f"HTTP/1.1 206 Partial Content\r\nContent-Length: {len(data)}\r\n"
                f"Content-Range: bytes {first}-{last}/{path.stat().st_size}\r\n\r\n".encode()
                + data
            )
            await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(main())


def per_second(store: Store, places: list[Place], *, decoded: bool) -> float:
    """Pictures that come in a second, decoded or not."""
    list(store.fetch(places[: store.config.threads]))  # Connections.
    began = time.perf_counter()
    for place, data in zip(places, store.fetch(places), strict=True):
        assert isinstance(data, bytes), data
        if decoded:
            decode(data, place.name)
    return len(places) / (time.perf_counter() - began)


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path)
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--count", type=int, default=256)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        found = (
            (path.read_bytes() for path in sorted(options.pictures.rglob("*")) if path.is_file())
            if options.pictures
            else drawn(options.count)
        )
        with tarfile.open(folder / "a.tar", "w") as tar:
            for number, data in zip(range(options.count), found, strict=False):
                member = tarfile.TarInfo(f"{number:06d}.jpg")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        with tarfile.open(folder / "a.tar") as tar:
            members = [(m.offset_data, m.size, m.name) for m in tar.getmembers()]
        measure_hash(folder / "a.tar", members)
        port = 18_765
        server = multiprocessing.Process(target=serve, args=(folder, options.latency, port), daemon=True)
        server.start()
        time.sleep(1)
        measure_threads(folder / "a.tar", members, port, options.latency)
        server.kill()


def measure_hash(tar: Path, members: list[tuple[int, int, str]]) -> None:
    """What BLAKE2b takes beside reading and decoding."""
    store = Store(StoreConfig(), verify=False)
    took = {"read": 0.0, "hash": 0.0, "decode": 0.0}
    total = 0
    for offset, length, name in members:
        at = time.perf_counter()
        data = store.read(Place(str(tar), offset, length, None, name))
        read = time.perf_counter()
        hashlib.blake2b(data, digest_size=16).digest()
        hashed = time.perf_counter()
        decode(data, name)
        done = time.perf_counter()
        took = {
            "read": took["read"] + read - at,
            "hash": took["hash"] + hashed - read,
            "decode": took["decode"] + done - hashed,
        }
        total += length
    n = len(members)
    print(f"{n} pictures of {total / n / 1000:.0f} kB; per picture:")
    for what, seconds in took.items():
        print(f"  {what:7} {1000 * seconds / n:7.3f} ms")
    print(f"  the hash is {took['hash'] / (took['hash'] + took['decode']):.1%} of hash and decoding")


def measure_threads(tar: Path, members: list[tuple[int, int, str]], port: int, latency: float) -> None:
    """Pictures per second from a disk and from stores."""
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "nobody")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "nothing")
    digests = [digest_of(tar.read_bytes()[offset : offset + length]) for offset, length, _ in members]
    url = f"http://127.0.0.1:{port}"
    roots = {"disk": str(tar)}
    if importlib.util.find_spec("aiohttp"):
        roots["http"] = f"{url}/bucket/a.tar"
    if importlib.util.find_spec("s3fs"):
        roots["s3"] = "s3://bucket/a.tar"
    print(f"pictures a second, {1000 * latency:.0f} ms before each answer:")
    print("  store  threads    bytes  decoded")
    for name, root in roots.items():
        options = {"endpoint_url": url} if name == "s3" else {}
        for threads in (1, 8, 32) if name != "disk" else (1,):
            places = [Place(root, o, n, d, m) for (o, n, m), d in zip(members, digests, strict=True)]
            found = [
                per_second(Store(StoreConfig(threads=threads, options=options)), places, decoded=decoded)
                for decoded in (False, True)
            ]
            print(f"  {name:6} {threads:7} {found[0]:8.0f} {found[1]:8.0f}")


if __name__ == "__main__":
    main()
