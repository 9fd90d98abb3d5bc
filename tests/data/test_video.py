"""Reading frames by number from real clips: handwritten digits, encoded here with PyAV."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from tutelage.data import Batches
from tutelage.data.video import FrameFolder, Video, clip
from tutelage.errors import DataError, OptionError
from tutelage.views.temporal import Elements

av = pytest.importorskip("av")
digits = pytest.importorskip("sklearn.datasets").load_digits()
FRAMES = 53


def pictures(count=FRAMES, height=32, width=48):
    """A different digit in each frame, on a ground whose brightness tells its number."""
    made = np.zeros((count, height, width, 3), np.uint8)
    for number in range(count):
        made[number] = 4 * number
        ink = np.kron(digits.images[number] * 15, np.ones((3, 3))).astype(np.uint8)
        made[number, 4:28, 4:28, number % 3] = np.maximum(made[number, 4:28, 4:28, number % 3], ink)
    return made


OUT_OF_ORDER = {"crf": "4", "x264-params": "bframes=3:keyint=12:scenecut=0:b-adapt=0"}


def encode(path, frames, codec="libx264", options=OUT_OF_ORDER, pixels="yuv444p"):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def number_of(read):
    """Which frames these are, by the brightness of the ground at the right, where no digit is."""
    return (read[..., 34:].float().mean((1, 2, 3)) / 4).round().int().tolist()


@pytest.fixture(scope="module")
def h264(tmp_path_factory):
    """H.264 with frames stored out of order (B-frames), a key frame every twelve."""
    return encode(tmp_path_factory.mktemp("clips") / "digits.mp4", pictures())


@pytest.fixture(scope="module")
def frames(h264):
    """What FFmpeg shows one after the other, uint8 `[F, 3, H, W]`: the reference."""
    with av.open(str(h264)) as container:
        shown = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    return torch.from_numpy(shown).permute(0, 3, 1, 2)


def test_the_clip_has_frames_stored_out_of_order_and_several_key_frames(h264):
    with av.open(str(h264)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    assert [p.pts for p in packets] != sorted(p.pts for p in packets)
    assert sum(p.is_keyframe for p in packets) > 3


def test_every_frame_is_the_one_of_its_number(h264, frames):
    video = Video(h264)
    assert len(video) == FRAMES
    read = video.read(range(FRAMES))
    assert read.shape == (FRAMES, 3, 32, 48)
    assert read.dtype == torch.uint8
    assert torch.equal(read, frames)
    assert number_of(read) == list(range(FRAMES))
    original = torch.from_numpy(pictures()).permute(0, 3, 1, 2)
    assert (read.float() - original.float()).abs().mean() < 2


def test_frames_come_in_the_order_asked_for_and_as_often(h264, frames):
    for index in ([52], [0], [30, 3, 30, 51], [11, 12, 13], [50, 49, 48, 1]):
        assert torch.equal(Video(h264).read(index), frames[index])


def test_only_stretches_with_a_wanted_frame_are_decoded(h264, monkeypatch):
    made = []
    monkeypatch.setattr(Video, "_pixels", lambda self, frame: made.append(frame.pts) or np.zeros((2, 2, 3), np.uint8))
    Video(h264).read([2, 50])
    assert len(made) == 2


@pytest.mark.parametrize(("codec", "pixels", "ending"), [("mpeg4", "yuv420p", "avi"), ("mpeg4", "yuv420p", "mp4"), ("ffv1", "bgr0", "mkv")])
def test_other_formats_name_the_same_frames(tmp_path, codec, pixels, ending):
    path = encode(tmp_path / f"clip.{ending}", pictures(), codec, {"b": "8M"} if codec == "mpeg4" else {}, pixels)
    video = Video(path)
    assert len(video) == FRAMES
    assert number_of(video.read([40, 7, 23])) == [40, 7, 23]
    if codec == "ffv1":  # without loss
        assert np.array_equal(video.read([31])[0].permute(1, 2, 0), pictures()[31])


def test_frames_are_scaled_on_reading(h264):
    assert Video(h264, short=16).read([5]).shape == (1, 3, 16, 24)
    with pytest.raises(OptionError, match="at least 1 pixel"):
        Video(h264, short=0)


def test_wrong_numbers_and_files_are_named(tmp_path, h264):
    with pytest.raises(OptionError, match="no frame 53: it has 53"):
        Video(h264).read([53])
    with pytest.raises(OptionError, match="No frame"):
        Video(h264).read([])
    with pytest.raises(DataError, match="There is no video"):
        len(Video(tmp_path / "absent.mp4"))
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(b"no video at all" * 50)
    with pytest.raises(DataError, match="cannot be decoded"):
        len(Video(noise))


def test_a_file_that_was_cut_off_has_the_frames_that_are_left(tmp_path):
    whole = encode(tmp_path / "whole.mkv", pictures(), "ffv1", {}, "bgr0")
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: int(0.6 * whole.stat().st_size)])
    video = Video(cut)
    assert 20 < len(video) < 45
    assert video.read([3]).shape == (1, 3, 32, 48)


def test_threads_share_a_video(h264, frames):
    video, wrong = Video(h264), []

    def work(start):
        index = [(start + 7 * k) % FRAMES for k in range(6)]
        if not torch.equal(video.read(index), frames[index]):
            wrong.append(start)

    threads = [threading.Thread(target=work, args=(s,)) for s in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_folders_of_frames(tmp_path):
    shown = pictures(6)
    pil = pytest.importorskip("PIL.Image")
    for number in range(6):
        pil.fromarray(shown[number]).save(tmp_path / f"{number:05d}.png")
    folder = clip(tmp_path)
    assert isinstance(folder, FrameFolder)
    assert len(folder) == 6
    assert np.array_equal(folder.read([4, 1]).permute(0, 2, 3, 1), shown[[4, 1]])
    with pytest.raises(OptionError, match="no frame 6"):
        folder.read([6])
    with pytest.raises(DataError, match="holds no picture"):
        len(FrameFolder(tmp_path / "..", short=4))


def test_clips_on_disk_go_through_batches_and_elements(tmp_path, h264, frames):
    from tutelage.data.video_lists import video_list

    (tmp_path / "train.csv").write_text(f"{h264} 0\n{h264} 1\n")
    arrays = video_list(tmp_path / "train.csv")
    batch = Batches(arrays, 2, shuffle=False).batch(0, 0)
    sampler = Elements()
    found = sampler(batch["input"], torch.Generator().manual_seed(0))
    index = sampler.draw(torch.tensor([FRAMES, FRAMES]), torch.Generator().manual_seed(0))
    expected = frames[index[2]].float() / 255
    torch.testing.assert_close(found[2], expected)
    assert arrays.fingerprint() == video_list(tmp_path / "train.csv").fingerprint()
