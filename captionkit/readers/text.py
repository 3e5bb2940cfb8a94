"""Reading a text file as UTF-8, or saying exactly why it is none."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import IO

from captionkit.errors import DataError

UTF8_BOM = b"\xef\xbb\xbf"
UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
LONGEST_LINE = 64 << 20
"""In bytes. Nothing that describes a picture is longer; a packed file of a few megabytes may hold a line that
fills all memory."""


def read_text(path: Path) -> str:
    """The whole of a small text file, without a byte order mark.

    Raises `DataError` when the file cannot be read or is not UTF-8.
    """
    try:
        # A named pipe would keep us waiting for its writer for ever.
        if path.exists() and not path.is_file() and not path.is_dir():
            raise DataError("is no regular file", where=str(path), hint="move it away, or write a file")
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    return decode(data, path)


def next_line(opened: IO[bytes], path: Path, number: int) -> bytes:
    """Line `number` of a file with its end; empty at the end of the file.

    Raises `DataError` for a line of more than `LONGEST_LINE` bytes.
    """
    line = opened.readline(LONGEST_LINE + 1)
    if len(line) > LONGEST_LINE:
        raise DataError(
            f"the line is longer than {LONGEST_LINE >> 20} MiB",
            where=f"{path}:{number}",
            hint="write one record per line",
        )
    return line


def next_lines(opened: IO[bytes], path: Path, number: int, amount: int) -> tuple[bytes, ...]:
    """Lines from `number` on, until they are `amount` bytes or more; none at the end of the file.

    Raises `DataError` as `next_line` does.
    """
    lines: list[bytes] = []
    while amount > 0 and (line := next_line(opened, path, number + len(lines))):
        lines.append(line)
        amount -= len(line)
    return tuple(lines)


def decode(data: bytes, path: Path, *, line: int = 1, offset: int = 0) -> str:
    """`data` as text; it begins on `line` of the file, `offset` bytes after its beginning.

    A byte order mark at the beginning of the file is taken off.
    Raises `DataError` with the line and the offset of the first byte that is no UTF-8.
    """
    if offset == 0 and data.startswith(UTF8_BOM):
        offset, data = len(UTF8_BOM), data[len(UTF8_BOM) :]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if offset == 0 and data.startswith(UTF16_BOMS):
            raise _wrong_encoding(path, 1, "it begins with a UTF-16 byte order mark", "UTF-16") from error
        at, bad = error.start, data[error.start]
        raise _wrong_encoding(
            path, line + data.count(b"\n", 0, at), f"byte 0x{bad:02x} at offset {offset + at}", "CP1252"
        ) from error
    if "\0" in text:  # UTF-16 without a mark passes for UTF-8, with a NUL beside every letter.
        at = data.index(b"\0")
        raise _wrong_encoding(
            path, line + data.count(b"\n", 0, at), f"a NUL byte at offset {offset + at}", "UTF-16LE"
        )
    return text


def unreadable(path: Path, error: OSError | EOFError | zlib.error) -> DataError:
    """The error for a file or folder that the operating system does not let us read."""
    strerror = error.strerror if isinstance(error, OSError) else None
    hint = "it may be damaged, or cut short"
    if isinstance(error, FileNotFoundError):
        hint = (
            "a link that leads nowhere"
            if path.is_symlink()
            else f"looked from the folder {str(Path.cwd())!r}"
        )
    elif isinstance(error, IsADirectoryError):
        hint = "it is a folder; a file is asked for"
    elif strerror:
        hint = "check its permissions"
    return DataError(f"cannot be read: {strerror or error}", where=str(path), hint=hint)


def _wrong_encoding(path: Path, line: int, what: str, guess: str) -> DataError:
    return DataError(
        f"is not UTF-8: {what}",
        where=f"{path}:{line}",
        hint=f"convert it, for example: iconv -f {guess} -t UTF-8 OLD > NEW,"
        " with the encoding it was written in after -f",
    )
