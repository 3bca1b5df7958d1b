"""Sources that watch or vary what is read."""

from __future__ import annotations

from concertina.save import BytesSource


class WatchedSource(BytesSource):
    """Keeps a list of the ranges that were asked for."""

    def __init__(self, data: bytes | bytearray) -> None:
        super().__init__(data)
        self.ranges: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.ranges.append((offset, offset + length))
        return super().read(offset, length)

    @property
    def touched(self) -> set[int]:
        return {at for start, end in self.ranges for at in range(start, end)}


class CutSource(BytesSource):
    """A file that is cut short, or still arriving: only the first `limit` bytes are there."""

    def __init__(self, data: bytes, limit: int) -> None:
        super().__init__(data)
        self._whole, self.limit = data, limit

    @property
    def size(self) -> int:
        return self.limit

    def read(self, offset: int, length: int) -> bytes:
        return BytesSource(self._whole[: self.limit]).read(offset, length)
