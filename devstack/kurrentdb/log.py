"""The log: one append-only file of frames, each the records of one group commit, its length and its checksum in
front.

A frame is written with one `write` and one `fdatasync`, so after a crash at most the last frame can be torn; what was
acknowledged stands in frames before it. A torn last frame is cut off at the next start and reported. A damaged frame
with others behind it is not the work of a crash: then the log refuses to open. One process at a time holds the file's
lock.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)

FILE_HEADER = b"kurrent stand-in"
FRAME_HEADER = struct.Struct("<II")  # length and CRC-32 of what follows


class LogError(Exception):
    """The log cannot be opened; the message says why and what to do."""


class Log:
    """An open log file; `end` is the byte offset where the next frame will stand."""

    def __init__(self, directory: Path) -> None:
        """Open or create `directory`/events.log; raise LogError where another process has it or it is no such log."""
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "events.log"
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LogError(
                f"{self.path} is in use by another process; stop it, or choose another --data folder"
            ) from None
        size = os.fstat(self._file).st_size
        if size < len(FILE_HEADER):
            os.pwrite(self._file, FILE_HEADER, 0)
            self._shorten(len(FILE_HEADER))
            _sync_directory(directory)
        elif os.pread(self._file, len(FILE_HEADER), 0) != FILE_HEADER:
            raise LogError(f"{self.path} is no log of this stand-in; choose another --data folder")
        self.end = len(FILE_HEADER)

    def recover(self) -> Iterator[tuple[int, bytes]]:
        """Yield each frame's content and the offset where it begins; cut off a torn last frame. To be called first."""
        size = os.fstat(self._file).st_size
        while self.end < size:
            start = self.end + FRAME_HEADER.size
            content = self._read_frame(size)
            if content is None:
                logger.warning(
                    "stand-in: the last %d bytes of %s are a torn write that nobody was told of; cut off at %d",
                    size - self.end, self.path, self.end,
                )  # fmt: skip
                self._shorten(self.end)
                return
            self.end = start + len(content)
            yield start, content

    def _read_frame(self, size: int) -> bytes | None:
        """The frame at `end`, or None if it is a torn tail; raise LogError if it is damaged with others behind it."""
        header = os.pread(self._file, FRAME_HEADER.size, self.end)
        if len(header) < FRAME_HEADER.size:
            return None
        length, checksum = FRAME_HEADER.unpack(header)
        frame_end = self.end + FRAME_HEADER.size + length
        if frame_end > size or length == 0:
            return None
        content = os.pread(self._file, length, self.end + FRAME_HEADER.size)
        if zlib.crc32(content) == checksum:
            return content
        if frame_end == size:
            return None
        raise LogError(
            f"{self.path} is damaged at byte {self.end}, with data behind it: restore it, or remove the folder"
        )

    def write(self, records: Sequence[bytes]) -> None:
        """Write `records` as one frame at `end` and wait until it is on disk. Blocks; one caller at a time."""
        content = b"".join(records)
        frame = FRAME_HEADER.pack(len(content), zlib.crc32(content)) + content
        written = 0
        while written < len(frame):
            written += os.pwrite(self._file, frame[written:] if written else frame, self.end + written)
        os.fdatasync(self._file)
        self.end += len(frame)

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset` of what has been written."""
        return os.pread(self._file, length, offset)

    def close(self) -> None:
        """Close the file and release its lock."""
        os.close(self._file)

    def _shorten(self, size: int) -> None:
        os.ftruncate(self._file, size)
        os.fsync(self._file)


def _sync_directory(directory: Path) -> None:
    """Make the file's name durable too, not only its content."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
