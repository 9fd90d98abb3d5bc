"""List files and annotations in the published layouts; the clips are empty files, for nothing is decoded."""

from __future__ import annotations

import json

import pytest

from tutelage.data.video_lists import finediving, finegym, hmdb51, ucf101, video_list, video_lists
from tutelage.errors import DataError, OptionError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def names(arrays):
    return [c.path.name for c in arrays.column("input")]


def test_a_list_of_paths_and_labels(tmp_path):
    touch(tmp_path, "a.mp4", "sub/with space.mp4")
    found = video_list(write(tmp_path / "train.csv", "a.mp4 2", "", "sub/with space.mp4 0"), short=256)
    assert names(found) == ["a.mp4", "with space.mp4"]
    assert found.labels.tolist() == [2, 0]
    assert found.classes == ("0", "1", "2")
    assert found.column("input")[0].short == 256
    named = video_list(tmp_path / "train.csv", classes=["x", "y", "z", "w"])
    assert named.classes == ("x", "y", "z", "w")


@pytest.mark.parametrize("line", ["a.mp4", "a.mp4 -1", "a.mp4 one", " 3"])
def test_a_bad_line_is_named(tmp_path, line):
    touch(tmp_path, "a.mp4")
    with pytest.raises(DataError, match=r"Line 2 of .*expected a path, a space and a class number"):
        video_list(write(tmp_path / "l.csv", "a.mp4 0", line))


def test_absent_clips_and_wrong_labels_are_named(tmp_path):
    touch(tmp_path, "a.mp4")
    path = write(tmp_path / "l.csv", "a.mp4 0", "b.mp4 1")
    with pytest.raises(DataError, match=r"1 of the clips of 'l.csv' are not in .*'b.mp4'"):
        video_list(path)
    assert names(video_list(path, skip_bad=True)) == ["a.mp4"]
    with pytest.raises(DataError, match="label 1: expected 0 to 0"):
        video_list(path, classes=["only"])
    with pytest.raises(DataError, match="None of the clips"):
        video_list(path, tmp_path / "elsewhere", skip_bad=True)
    with pytest.raises(DataError, match="cannot be read"):
        video_list(tmp_path / "absent.csv")


def test_the_four_lists_of_a_split(tmp_path):
    touch(tmp_path / "v", *(f"{i}.mp4" for i in range(8)))
    for name, rows in {"train": ["0.mp4 0", "1.mp4 1"], "unlabel": ["2.mp4 0", "3.mp4 1"], "val": ["4.mp4 3"], "test": ["5.mp4 2"]}.items():
        write(tmp_path / "lists" / f"{name}.csv", *rows)
    parts = video_lists(tmp_path / "lists", tmp_path / "v")
    assert [names(p) for p in (parts.labelled, parts.unlabelled, parts.validation, parts.test)] == [
        ["0.mp4", "1.mp4"],
        ["2.mp4", "3.mp4"],
        ["4.mp4"],
        ["5.mp4"],
    ]
    assert parts.labelled.classes == parts.test.classes == ("0", "1", "2", "3")
    (tmp_path / "lists" / "test.csv").unlink()
    assert names(video_lists(tmp_path / "lists", tmp_path / "v").test) == ["4.mp4"]
    write(tmp_path / "lists" / "val.csv", "3.mp4 1")
    with pytest.raises(DataError, match=r"1 clips of .*val.csv' are also learned from"):
        video_lists(tmp_path / "lists", tmp_path / "v")
    (tmp_path / "lists" / "val.csv").unlink()
    with pytest.raises(DataError, match=r"neither val.csv nor test.csv"):
        video_lists(tmp_path / "lists", tmp_path / "v")


def test_ucf101(tmp_path):
    touch(tmp_path / "UCF-101", "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", "YoYo/v_YoYo_g08_c01.avi", "YoYo/v_YoYo_g01_c01.avi")
    lists = tmp_path / "lists"
    write(lists / "classInd.txt", "1 ApplyEyeMakeup", "2 YoYo")
    write(lists / "trainlist01.txt", "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1", "YoYo/v_YoYo_g08_c01.avi 2")
    write(lists / "testlist01.txt", "YoYo/v_YoYo_g01_c01.avi")
    train, test = ucf101(lists, tmp_path / "UCF-101")
    assert train.classes == test.classes == ("ApplyEyeMakeup", "YoYo")
    assert train.labels.tolist() == [0, 1]
    assert test.labels.tolist() == [1]
    assert names(test) == ["v_YoYo_g01_c01.avi"]
    write(lists / "testlist01.txt", "Juggling/x.avi")
    with pytest.raises(DataError, match="no class of classInd"):
        ucf101(lists, tmp_path / "UCF-101")


def test_hmdb51(tmp_path):
    touch(tmp_path / "v", "brush_hair/a.avi", "brush_hair/b.avi", "cartwheel/c.avi", "cartwheel/d.avi")
    write(tmp_path / "l" / "brush_hair_test_split2.txt", "a.avi 1", "b.avi 2")
    write(tmp_path / "l" / "cartwheel_test_split2.txt", "c.avi 0", "d.avi 1")
    train, test = hmdb51(tmp_path / "l", tmp_path / "v", split=2)
    assert train.classes == ("brush_hair", "cartwheel")
    assert (names(train), train.labels.tolist()) == (["a.avi", "d.avi"], [0, 1])
    assert names(test) == ["b.avi"]
    with pytest.raises(DataError, match="_test_split1"):
        hmdb51(tmp_path / "l", tmp_path / "v")


@pytest.fixture
def gym(tmp_path):
    ids = [f"0LtLS9wROrk_E_00{i}147_00{i}152_A_0003_0005" for i in range(4)]
    touch(tmp_path / "clips", *(f"{i}.mp4" for i in ids))
    categories = write(
        tmp_path / "gym99_categories.txt",
        "Clabel: 0; set: 1; Glabel: 1; (VT) round-off, flic-flac with 0.5 turn on, stretched salto forward with 0.5 turn off",
        "Clabel: 1; set: 21; Glabel: 55; (FX) switch leap",
        "Clabel: 2; set: 22; Glabel: 70; (FX) salto forward tucked",
        "Clabel: 3; set: 41; Glabel: 201; (UB) giant circle backward",
    )
    elements = write(tmp_path / "gym99_train_element_v1.1.txt", *(f"{name} {label}" for label, name in enumerate(ids)))
    return elements, tmp_path / "clips", categories


def test_finegym_whole_and_within_an_event_or_a_set(gym):
    elements, clips, categories = gym
    whole = finegym(elements, clips, categories)
    assert whole.labels.tolist() == [0, 1, 2, 3]
    assert whole.classes[1] == "(FX) switch leap"
    floor = finegym(elements, clips, categories, event="FX")
    assert floor.classes == ("(FX) switch leap", "(FX) salto forward tucked")
    assert floor.labels.tolist() == [0, 1]
    assert finegym(elements, clips, categories, sets=[22]).classes == ("(FX) salto forward tucked",)
    assert finegym(elements, clips).classes == ("0", "1", "2", "3")


def test_finegym_names_what_is_wrong(gym, tmp_path):
    elements, clips, categories = gym
    with pytest.raises(OptionError, match="give categories"):
        finegym(elements, clips, event="FX")
    with pytest.raises(DataError, match="no element of event BB"):
        finegym(elements, clips, categories, event="BB")
    with pytest.raises(DataError, match=r"Line 1 of .*expected 'VIDEO_E_START"):
        finegym(write(tmp_path / "x.txt", "A_0001_0002 3"), clips)
    with pytest.raises(DataError, match="expected 'Clabel: 1"):
        finegym(elements, clips, write(tmp_path / "c.txt", "Clabel: 0; set: 1; Glabel: 1; (VT) a", "Clabel: 3; set: 1; Glabel: 1; (VT) b"))
    with pytest.raises(DataError, match="beyond the 1 classes"):
        finegym(elements, clips, write(tmp_path / "d.txt", "Clabel: 0; set: 1; Glabel: 1; (VT) a"))


def test_finediving(tmp_path):
    men, women = "FINADivingWorldCup2021_Men3m_final_r1", "FINADivingWorldCup2021_Women10m_final_r1"
    for video, dive in ((men, 0), (men, 1), (women, 5)):
        touch(tmp_path / "dives" / video / str(dive), "00489.jpg", "00490.jpg")
    annotations, split = tmp_path / "annotation.json", tmp_path / "train.json"
    annotations.write_text(json.dumps([[men, 0, "107B"], [men, 1, "5253B"], [women, 5, "107B"]]))
    split.write_text(json.dumps([[men, 1], [women, 5]]))
    found = finediving(annotations, split, tmp_path / "dives")
    assert found.classes == ("107B", "5253B")
    assert found.labels.tolist() == [1, 0]
    assert len(found.column("input")[0]) == 2
    tower = finediving(annotations, split, tmp_path / "dives", contains="10m")
    assert tower.labels.tolist() == [0]
    split.write_text(json.dumps([[men, 7]]))
    with pytest.raises(DataError, match=f"dive {men}/7, which"):
        finediving(annotations, split, tmp_path / "dives")
    with pytest.raises(DataError, match="is a pickle, which runs whatever code it holds"):
        finediving(tmp_path / "fine-grained_annotation.pkl", split, tmp_path / "dives")
    split.write_text("[]")
    with pytest.raises(DataError, match="list of lists of 2"):
        finediving(annotations, split, tmp_path / "dives")
