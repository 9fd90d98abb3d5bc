"""The folder of a ranker: weights as safetensors, `ranker.json`, and its vocabulary or tokenizer."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from tutelage import files
from tutelage.data.ranking import HashedVocabulary
from tutelage.deploy.ranking.cascade import Cascade
from tutelage.deploy.ranking.ranker import Ranker, Tokens, Windows
from tutelage.errors import CheckpointError, OptionError, TutelageError, optional
from tutelage.models.ranking import ConvKernels, CrossEncoder, PassageScorer, PretrainedTokens, TopScores, TransformersCrossEncoder
from tutelage.teachers import Frozen
from tutelage.train.checkpoint import save_tensors

_FORMAT = 1


def save(ranker: Ranker, directory: str | Path) -> None:
    """Write a ranker into a folder, whole or not at all; an earlier one there is replaced.

    Args:
        ranker: its teacher a `CrossEncoder` or `TransformersCrossEncoder`, frozen or not, its student `ConvKernels` on its table.
        directory: the folder.

    Raises:
        OptionError: if it is made of other models, which cannot be built again from a folder.
    """
    cascade = ranker.cascade
    teacher = cascade.teacher.model if isinstance(cascade.teacher, Frozen) else cascade.teacher
    student = cascade.student
    if not isinstance(teacher, CrossEncoder | TransformersCrossEncoder) or not isinstance(student, ConvKernels):
        names = f"{type(teacher).__name__} and {type(student).__name__}"
        raise OptionError(f"A ranker of {names} cannot be saved; expected a CrossEncoder or TransformersCrossEncoder, and ConvKernels.")
    if student.table is not teacher.table:
        raise OptionError("The student's embeddings are not its teacher's, so the folder would not hold them: build it on teacher.table.")
    parts: dict[str, nn.Module] = {"teacher": teacher, "student": student, "aggregation": cascade.aggregation}
    with files.replacing(directory) as folder:
        folder.mkdir()
        weights = folder / "weights.safetensors"
        save_tensors(weights, {f"{part}.{name}": value for part, model in parts.items() for name, value in model.state_dict().items()})
        about: dict[str, Any] = {
            "format": _FORMAT,
            "k": ranker.k,
            "windows": asdict(ranker.cut),
            "passage_scores": len(cascade.aggregation.weight),
            "student": student.options,
            "weights": files.sha256(weights),
        }
        if isinstance(teacher, CrossEncoder):
            about["teacher"] = teacher.options
        else:
            about["batch"] = teacher.batch
            teacher.save_configuration(folder / "encoder")
        ranker.tokens.save(folder / "tokens")
        files.write_json(folder / "ranker.json", about)


def load(directory: str | Path) -> Ranker:
    """Read a ranker that `save` wrote.

    Args:
        directory: its folder.

    Raises:
        CheckpointError: if it is missing or damaged.
        MissingExtra: if it needs transformers, and they are not installed.
    """
    folder = Path(directory)
    try:
        about = json.loads((folder / "ranker.json").read_text(encoding="utf-8"))
        if about["format"] != _FORMAT:
            raise CheckpointError(f"'{folder}' holds a ranker of format {about['format']}; expected {_FORMAT}. Save it with this version.")
        weights = folder / "weights.safetensors"
        if files.sha256(weights) != about["weights"]:
            raise CheckpointError(f"{weights} is truncated or altered. Save the ranker again.")
        teacher, tokens = _teacher(folder, about)
        options = about["student"]
        student = ConvKernels(teacher.table, **(options | {"means": tuple(options["means"])}))
        cascade = Cascade(student, teacher, TopScores(int(about["passage_scores"])))
        found = load_file(weights)
        for part in ("teacher", "student", "aggregation"):
            own = {name.removeprefix(f"{part}."): value for name, value in found.items() if name.startswith(f"{part}.")}
            cascade.get_submodule(part).load_state_dict(own)
        return Ranker(cascade, tokens, k=int(about["k"]), cut=Windows(**about["windows"]))
    except TutelageError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"'{folder}' holds no whole ranker ({type(error).__name__}: {error}). Save it again.") from error


def _teacher(folder: Path, about: dict[str, Any]) -> tuple[PassageScorer, Tokens]:
    if "teacher" in about:
        return CrossEncoder(**about["teacher"]), HashedVocabulary.load(folder / "tokens")
    transformers = optional("transformers", "language")
    tokens = PretrainedTokens.load(folder / "tokens")
    encoder = transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(folder / "encoder", trust_remote_code=False))
    return TransformersCrossEncoder(encoder, tokens, batch=int(about["batch"])), tokens
