"""From files to pixels: what cameras and tools write, and what is broken."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import random
import resource
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.trainkit.processes import PATIENCE
from trainkit.buckets import fit
from trainkit.errors import PictureError
from trainkit.images import MAX_PIXELS, PROBABLE_BOMB, decode, to_bucket, to_image, to_tensor


def read_layers(path: Path, ground: str = "white") -> tuple[Image.Image, Image.Image | None]:
    return decode(path.read_bytes(), str(path), ground)


def read_picture(path: Path, ground: str = "white") -> Image.Image:
    return read_layers(path, ground)[0]


def speckled(width: int = 48, height: int = 32, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
def test_pixels_survive_the_way_to_a_tensor_and_back(width: int, height: int, seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels = to_tensor(Image.fromarray(array))
    assert pixels.shape == (3, height, width)
    assert pixels.dtype == torch.float32
    assert pixels.min() >= -1
    assert pixels.max() <= 1
    assert np.array_equal(np.asarray(to_image(pixels)), array)


@given(st.integers(3, 90), st.integers(3, 90))
def test_a_mirrored_bucket_is_the_bucket_mirrored(width: int, height: int) -> None:
    image, placed = speckled(width, height), fit((width, height), (32, 24))
    plain, mirrored = to_bucket(image, placed), to_bucket(image, placed, mirrored=True)
    assert plain.shape == (3, 24, 32)
    assert torch.equal(mirrored, plain.flip(-1))
    assert torch.equal(to_bucket(image, placed), plain)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    # A picture whose left half is black, stored turned as the camera was held.
    upright = Image.new("RGB", (40, 20), "white")
    upright.paste("black", (0, 0, 20, 20))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(stored, tmp_path / "held.png", exif=exif)
    assert np.array_equal(np.asarray(read_picture(path)), np.asarray(upright))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb_of_the_same_look(tmp_path: Path, mode: str) -> None:
    gray = Image.fromarray(np.tile(np.linspace(0, 255, 48).astype(np.uint8), (32, 1)))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    else:
        image = gray.convert(mode)
    path = saved(image, tmp_path / ("x.tif" if mode == "CMYK" else "x.png"))
    found = read_picture(path)
    assert found.mode == "RGB"
    assert found.size == (48, 32)
    # A 16-bit picture once came out white: Pillow's own conversion cuts at 255.
    assert np.abs(np.asarray(found, dtype=float).mean() - np.asarray(gray).mean()) < 2


@pytest.mark.parametrize(("ground", "expected"), [("white", (255, 255, 255)), ("#102030", (16, 32, 48))])
def test_transparency_shows_the_chosen_ground(
    tmp_path: Path, ground: str, expected: tuple[int, int, int]
) -> None:
    clear = saved(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), tmp_path / "clear.png")
    assert read_picture(clear, ground).getpixel((3, 3)) == expected
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    assert (
        read_picture(saved(palette, tmp_path / "p.png", transparency=1), ground).getpixel((3, 3)) == expected
    )
    half = saved(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), tmp_path / "half.png")
    pixel = read_picture(half, "white").getpixel((3, 3))
    assert isinstance(pixel, tuple)
    assert pixel[0] == 255
    assert 120 < pixel[1] < 135


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA", "P"])
def test_the_alpha_channel_is_kept_apart(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("x.tif" if mode == "PA" else "x.png")
    alpha = Image.new("L", (8, 6), 255)
    alpha.paste(0, (0, 0, 4, 6))
    if mode == "P":
        image = Image.new("P", (8, 6), 0)
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.paste(1, (0, 0, 4, 6))
        image.save(path, transparency=1)
    else:
        image = speckled(8, 6).convert("L" if mode == "LA" else "RGB")
        image.putalpha(alpha)
        image.convert(mode).save(path)
    shown, found = read_layers(path, "white")
    assert found is not None
    assert found.mode == "L"
    assert np.array_equal(np.asarray(found), np.asarray(alpha))
    assert np.array_equal(np.asarray(shown), np.asarray(read_picture(path, "white")))
    assert shown.getpixel((1, 1)) == (255, 255, 255)


def test_the_alpha_channel_turns_with_its_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Held upright: a quarter turn to the right brings it back.
    image = Image.new("RGBA", (8, 4), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 2, 4))
    _, alpha = read_layers(saved(image, tmp_path / "held.png", exif=exif))
    assert alpha is not None
    assert alpha.size == (4, 8)
    assert (np.asarray(alpha)[:2] == 0).all()
    assert (np.asarray(alpha)[2:] == 255).all()


def test_a_picture_without_transparency_has_no_alpha(tmp_path: Path) -> None:
    assert read_layers(saved(speckled(), tmp_path / "x.png"))[1] is None


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif"])
def test_a_file_that_is_cut_off_is_named(tmp_path: Path, suffix: str) -> None:
    path = saved(speckled(200, 200), tmp_path / f"whole.{suffix}")
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PictureError, match=r"cannot be decoded|not a picture") as caught:
        read_picture(cut)
    assert caught.value.picture == str(cut)


def test_what_is_no_picture_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "words.png").write_text("no picture at all")
    with pytest.raises(PictureError, match="the file is empty"):
        read_picture(tmp_path / "empty.png")
    with pytest.raises(PictureError, match="is not a picture that Pillow can read"):
        read_picture(tmp_path / "words.png")
    floats = saved(Image.fromarray(np.ones((4, 4), np.float32)), tmp_path / "float.tif")
    with pytest.raises(PictureError, match="floating-point"):
        read_picture(floats)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_damaged_files_raise_nothing_else(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    speckled().save(buffer, kind)
    rng, path = random.Random(kind), tmp_path / "damaged"
    refused = 0
    for _ in range(150):
        data = bytearray(buffer.getvalue())
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(min(len(data), rng.choice([40, len(data)])))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice([len(data), rng.randrange(1, len(data))])])
        try:
            read_picture(path)
        except PictureError:
            refused += 1
    assert refused > 0


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A PNG that says it is so large; its pixels are zeros, 1 bit each."""
    rows = zlib.compressobj(9)
    packed = b"".join(rows.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)) + rows.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def peak_of(work: Callable[[], object]) -> int:
    """The most memory in MiB that a forked process takes for something."""
    ours, theirs = multiprocessing.get_context("fork").Pipe()

    def measured() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with contextlib.suppress(PictureError):
            work()
        theirs.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)

    process = multiprocessing.get_context("fork").Process(target=measured)
    process.start()
    assert ours.poll(PATIENCE)
    found: int = ours.recv()
    process.join()
    return found


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    # 1.2 MB on the way to 40 GB: Pillow refuses what is over its own limit, and we what is over ours.
    for width, height, limit in ((100_000, 100_000, PROBABLE_BOMB), (9_000, 9_000, 10_000_000)):
        bomb = png(width, 8)
        bomb = bomb.replace(
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, 8, 1, 0, 0, 0, 0)),
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)),
        )
        with pytest.raises(PictureError) as caught:
            decode(bomb, "bomb.png", max_pixels=limit)
        assert f"more than data.max_pixels allows ({limit:,}); make it smaller" in caught.value.reason
        assert caught.value.picture == "bomb.png"
        assert peak_of(lambda bomb=bomb, limit=limit: decode(bomb, "", max_pixels=limit)) < 40  # type: ignore[misc]


def test_a_picture_at_the_limit_is_decoded_and_one_over_it_is_not() -> None:
    buffer = io.BytesIO()
    speckled(40, 30).save(buffer, "PNG")
    assert decode(buffer.getvalue(), "a.png", max_pixels=1200)[0].size == (40, 30)
    with pytest.raises(
        PictureError, match=r"40x30 are 1,200 pixels, more than data.max_pixels allows \(1,199\)"
    ):
        decode(buffer.getvalue(), "a.png", max_pixels=1199)


def test_a_large_picture_is_no_warning() -> None:
    # 100 million pixels are over what Pillow warns of; with warnings as errors that was once a crash.
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", Image.DecompressionBombWarning
        )  # As the module says; pytest forgot it.
        assert decode(png(10_000, 10_000), "a.png", max_pixels=MAX_PIXELS)[0].size == (10_000, 10_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PictureError, match="bomb"):
            decode(png(10_000, 10_000), "a.png", max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
def test_bombs_beside_the_pixels_of_a_png_are_refused(kind: bytes) -> None:
    packed = zlib.compress(bytes(300_000_000), 9)
    start = {b"iCCP": b"name\0\0", b"zTXt": b"key\0\0", b"iTXt": b"key\0\1\0\0\0"}[kind]
    bomb = png(8, 8, chunk(kind, start + packed))
    assert len(bomb) < 400_000
    with pytest.raises(PictureError, match=r"too large|cannot be decoded"):
        decode(bomb, "bomb.png")
    assert peak_of(lambda: decode(bomb, "")) < 40


def test_huge_exif_is_bounded_by_its_file() -> None:
    # An IFD that claims 65,535 entries of 4 GB each.
    entries = b"".join(struct.pack(">HHII", 0x9000 + i % 4000, 7, 0xFFFFFFFF, 26) for i in range(65_535))
    exif = b"MM\0*\0\0\0\x08" + struct.pack(">H", 65_535) + entries + bytes(4)
    bomb = png(8, 8, chunk(b"eXIf", exif))
    began = time.monotonic()
    assert peak_of(lambda: decode(bomb, "a.png")) < 100
    assert time.monotonic() - began < 20


def test_of_an_animation_the_first_picture_is_taken_however_many_there_are() -> None:
    first, other = Image.new("P", (16, 16), 1), Image.new("P", (16, 16), 2)
    for image in (first, other):
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=[other], loop=0)
    data = buffer.getvalue()
    frame = data[data.rindex(b"\x21\xf9") : -1]
    many = data[:-1] + frame * 200_000 + b";"
    began = time.monotonic()
    assert decode(many, "many.gif")[0].getpixel((3, 3)) == (255, 0, 0)
    assert time.monotonic() - began < 5


def test_formats_that_start_programs_are_no_pictures() -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    with pytest.raises(PictureError, match="is not a picture that Pillow can read"):
        decode(postscript, "a.jpg")
