"""Headers: the size is the one that training will see, and a file without its end is found."""

from __future__ import annotations

import io
import struct
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tests.trainkit.prepare.drawn import SUFFIXES, drawn, encoded
from trainkit import images
from trainkit.errors import PictureError
from trainkit.prepare.ends import cut_short
from trainkit.prepare.look import look_at, mislabelled
from trainkit.prepare.problems import Fault, UnusableError

FORMATS = sorted(SUFFIXES)
WITH_EXIF = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")
MAX = 10**8


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def upright_size(data: bytes) -> tuple[int, int]:
    """As the training reads it: decoded, then turned."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return ImageOps.exif_transpose(image).size


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FORMATS), st.integers(1, 90), st.integers(1, 90), st.integers(0, 9))
def test_the_size_is_that_of_the_decoded_picture(fmt: str, w: int, h: int, orientation: int) -> None:
    more = {"exif": turned(orientation)} if fmt in WITH_EXIF and orientation else {}
    data = encoded(drawn(w, h), fmt, **more)
    look = look_at(data, max_pixels=MAX, decode=False)
    assert (look.width, look.height) == upright_size(data)
    assert look == look_at(data, max_pixels=MAX, decode=True)
    assert not mislabelled("a" + SUFFIXES[fmt], look.format)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_png_may_say_behind_its_pixels_which_side_is_up(orientation: int) -> None:
    data = encoded(drawn(40, 20), "PNG")
    exif = turned(orientation).tobytes().removeprefix(b"Exif\0\0")
    chunk = b"eXIf" + exif
    late = struct.pack(">I", len(exif)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    end = data.rindex(b"IEND") - 4
    data = data[:end] + late + data[end:]
    look = look_at(data, max_pixels=MAX, decode=False)
    assert (look.width, look.height) == upright_size(data)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(FORMATS), st.floats(0, 1), st.booleans())
def test_a_file_cut_anywhere_is_left_out(fmt: str, share: float, animated: bool) -> None:
    frames = {"save_all": True, "append_images": [drawn(64, 48, 1)]}
    data = encoded(drawn(64, 48), fmt, **(frames if animated and fmt in ("GIF", "WEBP", "PNG") else {}))
    # Of a BMP and a PNG the last bytes are padding and a checksum, of a TIFF it may be the directory.
    end = len(data) - 1 if fmt != "PNG" else len(data) - 12
    with pytest.raises(UnusableError) as raised:
        look_at(data[: round(share * end)], max_pixels=MAX, decode=False)
    assert raised.value.fault in (Fault.BROKEN, Fault.TRUNCATED)


@pytest.mark.parametrize("fmt", [f for f in FORMATS if f != "AVIF"])
def test_what_follows_the_end_is_no_fault(fmt: str) -> None:
    data = encoded(drawn(64, 48), fmt)
    assert look_at(data + b"\0" * 100 + b"more", max_pixels=MAX, decode=True).width == 64


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture() -> None:
    """Cameras put a whole JPEG with its own end marker before the pixels."""
    exif = turned(1)
    exif.get_ifd(0x8769)[0x927C] = encoded(drawn(16, 16), "JPEG")
    data = encoded(drawn(300, 300), "JPEG", exif=exif)
    assert data.index(b"\xff\xd9") < len(data) // 2 + 2000
    assert look_at(data, max_pixels=MAX, decode=False).width == 300
    with pytest.raises(UnusableError, match="no end marker"):
        look_at(data[:-2], max_pixels=MAX, decode=False)


@pytest.mark.parametrize("fmt", ["GIF", "PNG", "WEBP", "AVIF"])
def test_several_frames(fmt: str) -> None:
    moving = encoded(drawn(32, 32), fmt, save_all=True, append_images=[drawn(32, 32, 1)])
    assert look_at(moving, max_pixels=MAX, decode=False).animated
    assert not look_at(encoded(drawn(32, 32), fmt), max_pixels=MAX, decode=False).animated


def test_damage_in_the_middle_is_found_by_decoding() -> None:
    data = bytearray(encoded(drawn(200, 200), "PNG"))
    data[len(data) // 2] ^= 0xFF
    look_at(bytes(data), max_pixels=MAX, decode=False)
    with pytest.raises(UnusableError, match="cannot be decoded"):
        look_at(bytes(data), max_pixels=MAX, decode=True)


@pytest.mark.parametrize(("side", "allowed"), [(500, 249_999), (14_000, 150_000_000)])
def test_more_pixels_than_allowed_are_not_decoded(side: int, allowed: int) -> None:
    data = encoded(Image.new("1", (side, side)), "PNG")
    assert len(data) < 40_000
    with pytest.raises(UnusableError) as raised:
        look_at(data, max_pixels=allowed, decode=True)
    assert raised.value.fault is Fault.BOMB


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FORMATS), st.data())
def test_mutated_files_raise_nothing_else(fmt: str, data: st.DataObject) -> None:
    file = bytearray(encoded(drawn(40, 30), fmt))
    for _ in range(data.draw(st.integers(1, 12))):
        file[data.draw(st.integers(0, min(len(file) - 1, 400)))] = data.draw(st.integers(0, 255))
    for decode in (False, True):
        try:
            look = look_at(bytes(file), max_pixels=10**6, decode=decode)
        except UnusableError:
            continue
        assert 0 < look.width * look.height <= 10**6


def test_suffixes() -> None:
    assert mislabelled("a/b.PNG", "JPEG")
    assert not mislabelled("a/b.jpeg", "MPO")
    assert not mislabelled("a/b", "JPEG")
    assert not mislabelled("a/b.jfif", "JPEG")


def test_comments_in_millions_of_pieces_are_refused_at_once() -> None:
    """Regression: Pillow joined them one by one, each time copying all before, and never came back."""
    begin = b"GIF89a" + struct.pack("<HHBBB", 64, 64, 0x80, 0, 0) + bytes(6)
    data = begin + b"\x21\xfe" + b"\x01a" * 3_000_000 + b"\0;"
    with pytest.raises(UnusableError, match="too many pieces"):
        look_at(data, max_pixels=MAX, decode=False)
    with pytest.raises(PictureError, match=r"x: its comments are in too many pieces; save it without them"):
        images.decode(data, "x")
    whole = io.BytesIO()
    drawn(64, 64).convert("P").save(whole, "GIF", comment=b"c" * 300_000)
    assert look_at(whole.getvalue(), max_pixels=MAX, decode=True).format == "GIF"


def test_padding_before_a_marker_of_a_jpeg_is_passed_over_at_once() -> None:
    """Regression: byte by byte, 20 MB of it took a quarter of a minute."""
    data = encoded(drawn(64, 48), "JPEG")
    for padding in (b"\xff" * (20 << 20), b"\xff\x00" * (10 << 20)):
        begun = time.process_time()
        assert cut_short(data[:2] + padding + data[2:], "JPEG") is None
        assert time.process_time() - begun < 5
    assert cut_short(b"\xff\xd8" + b"\xff" * 1000, "JPEG") == "has no end marker"
