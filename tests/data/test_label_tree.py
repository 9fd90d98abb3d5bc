from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data.label_tree import LabelTree, Verticals
from tutelage.errors import DataError

BIRDS = [("robin", "perching bird"), ("wren", "perching bird"), ("perching bird", "bird"), ("duck", "bird"), ("van", "car"), ("bird", "")]


def test_labels_are_numbered_in_order_of_appearance() -> None:
    assert LabelTree.from_edges(BIRDS).labels == ("robin", "perching bird", "wren", "bird", "duck", "van", "car")


def test_a_leaf_switches_on_all_its_ancestors() -> None:
    tree = LabelTree.from_edges(BIRDS)
    targets = torch.zeros(3, 7)
    targets[0, tree.position["robin"]] = 1
    targets[1, tree.position["duck"]] = 1
    targets[1, tree.position["van"]] = 1
    closed = tree.close(targets)
    names = [{label for label, on in zip(tree.labels, row.tolist(), strict=True) if on} for row in closed]
    assert names == [{"robin", "perching bird", "bird"}, {"duck", "bird", "van", "car"}, set()]
    assert targets.sum() == 3, "the given targets are not changed"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([torch.bool, torch.float32, torch.int64]))
def test_closure_of_random_graphs_agrees_with_ancestors_and_is_idempotent(seed: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(seed)
    size = 9
    order = torch.randperm(size, generator=generator).tolist()
    links = torch.rand(size, size, generator=generator) < 0.3
    edges = [(str(order[i]), str(order[j])) for i in range(size) for j in range(i) if links[i, j]]
    tree = LabelTree.from_edges([(str(i), "") for i in range(size)] + edges)
    targets = (torch.rand(4, size, generator=generator) < 0.2).to(dtype)
    closed = tree.close(targets)
    assert closed.dtype == dtype
    assert torch.equal(tree.close(closed), closed)
    for before, after in zip(targets.tolist(), closed.tolist(), strict=True):
        on = {label for label, value in zip(tree.labels, before, strict=True) if value}
        expected = on.union(*(tree.ancestors(label) for label in on))
        assert {label for label, value in zip(tree.labels, after, strict=True) if value} == expected


def test_soft_targets_give_a_parent_its_largest_child() -> None:
    tree = LabelTree.from_edges([("a", "p"), ("b", "p")])
    assert tree.close(torch.tensor([[0.2, 0.0, 0.7], [0.2, 0.5, 0.1]])).tolist() == [
        pytest.approx([0.2, 0.7, 0.7]),
        pytest.approx([0.2, 0.5, 0.1]),
    ]


def test_depth_is_the_longest_way_up() -> None:
    tree = LabelTree.from_edges([("c", "b"), ("b", "a"), ("c", "a")])
    assert tree.depth == {"a": 0, "b": 1, "c": 2}


def test_roots_are_verticals_unless_a_map_says_otherwise() -> None:
    tree = LabelTree.from_edges(BIRDS)
    by_root = Verticals.by_root(tree)
    assert by_root.names == ("bird", "car")
    assert by_root.index.tolist() == [0, 0, 0, 0, 0, 1, 1]
    mapped = Verticals.from_map(tree, {"bird": "animals", "car": "things", "perching bird": "small"})
    assert mapped.names == ("small", "animals", "things")
    assert mapped.index.tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_verticals_of_images() -> None:
    verticals = Verticals(("x", "y"), torch.tensor([0, 1, 0]))
    targets = torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 0]])
    assert verticals.of_images(targets).tolist() == [[True, False], [True, True], [False, False]]


def test_files(tmp_path: Path) -> None:
    (tmp_path / "tree.csv").write_text("child,parent\nrobin,bird\nbird,\nvan,car\n")
    (tmp_path / "verticals.csv").write_text("label,vertical\nbird,Birds\ncar,Cars\n")
    tree = LabelTree.from_csv(tmp_path / "tree.csv")
    assert tree.labels == ("robin", "bird", "van", "car")
    assert tree.ancestors("robin") == {"bird"}
    assert Verticals.from_csv(tree, tmp_path / "verticals.csv").index.tolist() == [0, 0, 1, 1]


def test_open_images_hierarchy(tmp_path: Path) -> None:
    path = tmp_path / "hierarchy.json"
    path.write_text(
        '{"LabelName": "/m/0bl9f", "Subcategory": [{"LabelName": "/m/animal", "Subcategory": [{"LabelName": "/m/cat", '
        '"Part": [{"LabelName": "/m/paw"}]}, {"LabelName": "/m/dog"}]}, {"LabelName": "/m/car"}]}'
    )
    tree = LabelTree.from_open_images(path)
    assert tree.labels == ("/m/animal", "/m/cat", "/m/dog", "/m/car")
    assert Verticals.by_root(tree).names == ("/m/animal", "/m/car")
    path.write_text('{"LabelName": "/m/0bl9f"}')
    with pytest.raises(DataError, match="not a hierarchy"):
        LabelTree.from_open_images(path)


def test_refuses_what_is_no_tree(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cycle: a, b"):
        LabelTree.from_edges([("a", "b"), ("b", "a"), ("c", "")])
    with pytest.raises(DataError, match="'x' occurs twice"):
        LabelTree(("x", "y", "x"), {})
    with pytest.raises(DataError, match=r"'cat' is named as a child or parent.*Did you mean 'cats'"):
        LabelTree(("cats",), {"cats": ("cat",)})
    tree = LabelTree.from_edges(BIRDS)
    with pytest.raises(DataError, match="no label 'robbin'"):
        tree.ancestors("robbin")
    with pytest.raises(DataError, match="'car' has no vertical"):
        Verticals.from_map(tree, {"bird": "b"})
    with pytest.raises(DataError, match="names 'plane'"):
        Verticals.from_map(tree, {"plane": "p"})
    with pytest.raises(DataError, match="There is no file"):
        LabelTree.from_csv(tmp_path / "absent.csv")
    (tmp_path / "bad.csv").write_text("kid,parent\na,b\n")
    with pytest.raises(DataError, match=r"lacks the column\(s\) child"):
        LabelTree.from_csv(tmp_path / "bad.csv")
    (tmp_path / "short.csv").write_text("child,parent\na\n")
    with pytest.raises(DataError, match="line 2"):
        LabelTree.from_csv(tmp_path / "short.csv")
