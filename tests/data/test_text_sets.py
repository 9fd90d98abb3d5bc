from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.data import load, text_sets
from tutelage.errors import DataError

RCT = """###24293578
OBJECTIVE\tTo investigate the efficacy of a low dose .
METHODS\tA total of 125 patients were randomized .
METHODS\tOutcome measures included pain reduction .
RESULTS\tThere was a difference between the arms .

###24854809
BACKGROUND\tEmotional eating is associated with overeating .
CONCLUSIONS\tThe treatment works .

"""


def test_pubmed_rct(tmp_path):
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.txt").write_text(RCT)
    source = text_sets.pubmed_rct(tmp_path)
    train = source.parts["train"]
    assert set(source.parts) == {"train", "validation", "test"}
    assert [train.classes[i] for i in train.labels] == ["OBJECTIVE", "METHODS", "METHODS", "RESULTS", "BACKGROUND", "CONCLUSIONS"]
    assert train.column("input")[1] == "A total of 125 patients were randomized ."
    data = load(f"pubmed-rct:{tmp_path}")
    assert data.num_classes == 5
    (tmp_path / "dev.txt").write_text("###1\nMETHODS without a tab\n")
    with pytest.raises(DataError, match=r"Line 2 of .*dev.txt"):
        text_sets.pubmed_rct(tmp_path)
    (tmp_path / "dev.txt").write_text("###1\nMOTIVE\tA sentence .\n")
    with pytest.raises(DataError, match="'MOTIVE'"):
        text_sets.pubmed_rct(tmp_path)


def test_yahoo_answers(tmp_path):
    rows = (
        '"5","why doesn\'t an optical mouse work on a glass table?","or even on some ""surfaces""?","Optical mice use\\na camera"\n'
        '"10","a title","","an answer, with a comma"\n"1","faith","",""\n'
    )
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text(rows)
    train = text_sets.yahoo_answers(tmp_path).parts["train"]
    assert train.labels.tolist() == [4, 9, 0]
    assert train.classes[4] == "Computers & Internet"
    assert train.column("input")[0].endswith('some "surfaces"? Optical mice use a camera')
    assert train.column("input")[1:] == ["a title an answer, with a comma", "faith"]
    (tmp_path / "classes.txt").write_text("\n".join(f"topic {i}" for i in range(10)) + "\n")
    assert text_sets.yahoo_answers(tmp_path).parts["test"].classes[9] == "topic 9"
    (tmp_path / "test.csv").write_text('"11","a","b","c"\n')
    with pytest.raises(DataError, match="class 10"):
        text_sets.yahoo_answers(tmp_path)
    (tmp_path / "test.csv").write_text('"1","a","b"\n')
    with pytest.raises(DataError, match=r"Row 1 .* 3 columns"):
        text_sets.yahoo_answers(tmp_path)


def test_emotions_in_both_formats(tmp_path):
    lines = "i didnt feel humiliated;sadness\ni am ever feeling nostalgic; about it;love\n"
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.txt").write_text(lines)
    parts = text_sets.emotions(tmp_path).parts
    assert parts["validation"].column("input") == ["i didnt feel humiliated", "i am ever feeling nostalgic; about it"]
    assert parts["train"].labels.tolist() == [0, 2]

    folder = tmp_path / "hub" / "split"
    folder.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        table = pa.table({"text": ["so happy", "so afraid"], "label": [1, 4]})
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    assert text_sets.emotions(tmp_path / "hub").parts["test"].labels.tolist() == [1, 4]
    (tmp_path / "val.txt").write_text("no feeling\n")
    with pytest.raises(DataError, match="Line 1"):
        text_sets.emotions(tmp_path)


def test_arxiv10(tmp_path):
    file = tmp_path / "arxiv100.csv"
    file.write_text('title,abstract,label\nOn stars,"They shine,\nand burn.",astro-ph\nGraphs,We count.,math\n')
    train = text_sets.arxiv10(file).parts["train"]
    assert train.column("input") == ["On stars They shine,\nand burn.", "Graphs We count."]
    assert [train.classes[i] for i in train.labels] == ["astro-ph", "math"]
    assert len(text_sets.arxiv10(tmp_path).parts["train"]) == 2
    file.write_text("title,text,label\na,b,math\n")
    with pytest.raises(DataError, match="expected title, abstract and label"):
        text_sets.arxiv10(file)


def test_bias_in_bios(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "dev", "test"):
        table = pa.table({"hard_text": ["He draws houses.", "She teaches yoga."], "profession": [1, 27], "gender": [0, 1]})
        pq.write_table(table, folder / f"{split}-00000-of-00001-0ab65b32c47407e8.parquet")
    data = text_sets.bias_in_bios(tmp_path)
    assert [data.parts["validation"].classes[i] for i in data.parts["validation"].labels] == ["architect", "yoga_teacher"]
    assert len(text_sets.PROFESSIONS) == 28
    pq.write_table(pa.table({"text": ["x"]}), folder / "dev-00000-of-00001-0ab65b32c47407e8.parquet")
    with pytest.raises(DataError, match="hard_text"):
        text_sets.bias_in_bios(tmp_path)


def test_missing_and_damaged_files_are_named(tmp_path):
    for loader in text_sets.LOADERS.values():
        with pytest.raises(DataError, match=str(tmp_path)):
            loader(tmp_path)
    (tmp_path / "train.csv").write_text('"1","never closed')
    with pytest.raises(DataError, match=r"train\.csv"):
        text_sets.yahoo_answers(tmp_path)
