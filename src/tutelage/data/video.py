"""Clips on disk: videos and folders of frames, of which exactly the frames asked for are decoded."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.data import pictures
from tutelage.errors import DataError, OptionError, TutelageError, optional

_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass(frozen=True)
class _Times:
    """When frames are shown: `shown` of every frame, `keys` of those from which decoding can start; both in order."""

    shown: list[int]
    keys: list[int]
    seekable: bool


class Video:
    """A video file whose frames are numbered from 0 in the order in which they are shown.

    The file is indexed on first use, without decoding; reading seeks to the key frame before each frame that is wanted and decodes from
    there. Where a file's time stamps cannot be relied on, it is decoded from its start. Threads may share one instance.

    Args:
        path: the file, anything that FFmpeg decodes.
        short: length in pixels that frames' shorter sides are scaled to on reading; `None` for their own size.

    Raises:
        OptionError: if `short` is below 1.
    """

    def __init__(self, path: str | Path, *, short: int | None = None) -> None:
        if short is not None and short < 1:
            raise OptionError(f"Video(short={short}): expected a length of at least 1 pixel, or None.")
        self.path, self.short = Path(path), short
        self._times: _Times | None = None

    def __repr__(self) -> str:
        return f"Video({str(self.path)!r}, short={self.short})"

    def __len__(self) -> int:
        """Return the number of frames.

        Raises:
            DataError: if the file is missing, damaged, or holds no video.
        """
        return len(self._index().shown)

    def read(self, index: Sequence[int]) -> Tensor:
        """Return some frames.

        Args:
            index: numbers of frames, in any order, repetitions allowed.

        Returns:
            uint8 `[F, 3, H, W]`, in the order of `index`.

        Raises:
            DataError: if the file cannot be decoded so far.
            OptionError: if there is no such frame.
        """
        times = self._index()
        for number in index:
            if not 0 <= number < len(times.shown):
                raise OptionError(f"'{self.path}' has no frame {number}: it has {len(times.shown)}, counted from 0.")
        if not len(index):
            raise OptionError(f"No frame of '{self.path}' was asked for.")
        wanted = sorted(set(index))
        found = self._seek(times, wanted) if times.seekable else {}
        if len(found) < len(wanted):
            found = self._from_start(wanted)
        if len(found) < len(wanted):
            missing = min(set(wanted) - set(found))
            raise DataError(f"Frame {missing} of '{self.path}' cannot be decoded: the file is damaged or cut off. Leave it out.")
        return torch.from_numpy(np.stack([found[number] for number in index])).permute(0, 3, 1, 2).contiguous()

    def _index(self) -> _Times:
        if self._times is None:
            self._times = self._guarded(self._indexed)
            if not self._times.shown:
                raise DataError(f"'{self.path}' has no frame: the file is damaged or empty. Leave it out.")
        return self._times

    def _indexed(self, container: Any, stream: Any) -> _Times:
        packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
        shown = [p.pts for p in packets]
        if None in shown or len(set(shown)) < len(shown):
            container.seek(0, stream=stream)
            return _Times(list(range(sum(1 for _ in container.decode(stream)))), [], False)
        return _Times(sorted(shown), sorted(p.pts for p in packets if p.is_keyframe), True)

    def _seek(self, times: _Times, wanted: list[int]) -> dict[int, np.ndarray]:
        """Decode the wanted frames, jumping where a key frame lies between one and the next."""

        def decode(container: Any, stream: Any) -> dict[int, np.ndarray]:
            numbers = {times.shown[n]: n for n in wanted}
            ahead = [times.shown[n] for n in wanted]
            found: dict[int, np.ndarray] = {}
            for _, stretch in itertools.groupby(ahead, lambda pts: bisect_right(times.keys, pts)):
                goal = list(stretch)
                container.seek(goal[0], stream=stream, backward=True, any_frame=False)
                for frame in container.decode(stream):
                    if frame.pts in numbers and frame.pts in goal:
                        found[numbers[frame.pts]] = self._pixels(frame)
                    if frame.pts is None or frame.pts >= goal[-1]:
                        break
            return found

        found: dict[int, np.ndarray] = self._guarded(decode)
        return found

    def _from_start(self, wanted: list[int]) -> dict[int, np.ndarray]:
        def decode(container: Any, stream: Any) -> dict[int, np.ndarray]:
            chosen = set(wanted)
            frames = itertools.islice(container.decode(stream), wanted[-1] + 1)
            return {number: self._pixels(frame) for number, frame in enumerate(frames) if number in chosen}

        found: dict[int, np.ndarray] = self._guarded(decode)
        return found

    def _pixels(self, frame: Any) -> np.ndarray:
        size = _scaled(frame.height, frame.width, self.short)
        array: np.ndarray = frame.to_ndarray(format="rgb24", width=size[1], height=size[0])
        return array

    def _guarded(self, work: Any) -> Any:
        """Open the file, do some work on it, and say what is wrong with it if it fails."""
        av = optional("av", "video")
        if not self.path.is_file():
            raise DataError(f"There is no video '{self.path}'.")
        try:
            with av.open(str(self.path)) as container:
                if not container.streams.video:
                    raise DataError(f"'{self.path}' holds no video stream.")
                return work(container, container.streams.video[0])
        except TutelageError:
            raise
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise DataError(f"'{self.path}' cannot be decoded ({error}): it is damaged or no video. Leave it out.") from error


class FrameFolder:
    """A clip that is stored as a folder with one picture per frame, in the order of their names.

    Args:
        path: the folder.
        short: length in pixels that frames' shorter sides are scaled to on reading; `None` for their own size.
    """

    def __init__(self, path: str | Path, *, short: int | None = None) -> None:
        self.path, self.short = Path(path), short
        self._files: list[Path] | None = None

    def __repr__(self) -> str:
        return f"FrameFolder({str(self.path)!r}, short={self.short})"

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._listed())

    def read(self, index: Sequence[int]) -> Tensor:
        """Return some frames, uint8 `[F, 3, H, W]`.

        Args:
            index: numbers of frames from 0, in any order.

        Raises:
            DataError: if a picture cannot be read, or pictures differ in size.
            OptionError: if there is no such frame.
        """
        files = self._listed()
        for number in index:
            if not 0 <= number < len(files):
                raise OptionError(f"'{self.path}' has no frame {number}: it has {len(files)}, counted from 0.")
        frames = [self._read(files[number]) for number in index]
        if len({f.shape for f in frames}) > 1:
            raise DataError(f"The pictures of '{self.path}' differ in size: expected the frames of one clip.")
        return torch.from_numpy(np.stack(frames))

    def _listed(self) -> list[Path]:
        if self._files is None:
            if not self.path.is_dir():
                raise DataError(f"There is no folder of frames '{self.path}'.")
            self._files = sorted(f for f in self.path.iterdir() if f.suffix.lower() in _PICTURES)
            if not self._files:
                raise DataError(f"'{self.path}' holds no picture: expected one per frame ({', '.join(sorted(_PICTURES))}).")
        return self._files

    def _read(self, file: Path) -> np.ndarray:
        pil = optional("PIL.Image", "vision")
        try:
            with pil.open(file) as image:
                size = _scaled(image.height, image.width, self.short)
                return pictures.to_array(image, grey=False, size=None if self.short is None else size)
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"'{file}' is not a readable picture ({error}).") from error


def clip(path: str | Path, *, short: int | None = None) -> Video | FrameFolder:
    """Return a clip on disk: a folder is one of frames, anything else a video.

    Args:
        path: where it is.
        short: length in pixels that frames' shorter sides are scaled to on reading; `None` for their own size.
    """
    return FrameFolder(path, short=short) if Path(path).is_dir() else Video(path, short=short)


def _scaled(height: int, width: int, short: int | None) -> tuple[int, int]:
    if short is None:
        return height, width
    zoom = short / min(height, width)
    return max(1, round(height * zoom)), max(1, round(width * zoom))
