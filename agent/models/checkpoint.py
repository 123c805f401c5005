"""A trained ensemble on the disk: weights as safetensors, the rest as JSON, named by the hash of both. No pickle."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from glassmap import __version__
from glassmap.agent.atomic_file import write_whole
from glassmap.agent.content_hash import harm_of
from glassmap.agent.data.context import Encoding
from glassmap.agent.errors import ModelError
from glassmap.agent.models.base_model import Known, Saved
from glassmap.agent.models.base_models import BASE_MODELS, Setup
from glassmap.agent.models.config import LATER, TrainingConfig
from glassmap.agent.models.expected_error import ExpectedError
from glassmap.agent.models.figure_forecast import FigureForecast
from glassmap.agent.models.format_3 import upgrade
from glassmap.agent.models.stacking import Stack
from glassmap.agent.shapes import Axis

FORMAT = 4
_UNREADABLE = (ValueError, KeyError, TypeError, RuntimeError, SafetensorError, ValidationError)


class Checkpoint(NamedTuple):
    """Everything that makes an ensemble what it is."""

    config: TrainingConfig
    seed: int
    stack: Stack
    axis: Axis
    record: dict[str, Any]
    context: Encoding | None = None


def write_checkpoint(checkpoint: Checkpoint, folder: Path) -> Path:
    """Write a checkpoint into a folder, made where it doesn't exist; return the path of its JSON half."""
    stack = checkpoint.stack
    saved = {name: model.save() for name, model in stack.models.items()}
    tensors = {f"{name}.{part}": tensor for name, model in saved.items() for part, tensor in model.tensors.items()}
    tensors |= {
        "axis": torch.tensor(checkpoint.axis, dtype=torch.float64),
        "oof_rmse": torch.tensor(stack.oof_rmse),
        "known.compositions": stack.known.compositions,
        "known.spectra": stack.known.spectra,
    }
    if stack.left_out is not None:
        tensors["left_out"] = torch.tensor(stack.left_out, dtype=torch.float32)  # as it was computed
    forecasts = None if stack.forecasts is None else {name: one.save() for name, one in stack.forecasts.items()}
    for name, one in (forecasts or {}).items():
        tensors |= {f"forecasts.{name}.{part}": tensor for part, tensor in one.tensors.items()}
    text = json.dumps(
        {
            "format": FORMAT,
            "config": checkpoint.config.model_dump(),
            "seed": checkpoint.seed,
            "floor": stack.floor,
            "scale": stack.scale,
            "weights": dict(stack.weights),
            "oof_mse": _or_none(stack.oof_mse),
            "conformal_quantile": _or_none(stack.conformal_quantile),
            "regional_quantile": _or_none(stack.regional_quantile),
            "expected_error": None if stack.expected_error is None else stack.expected_error._asdict(),
            **({} if forecasts is None else {"forecasts": {name: one.facts for name, one in forecasts.items()}}),
            **({} if checkpoint.context is None else {"context": checkpoint.context.to_json()}),
            "models": {name: model.facts for name, model in saved.items()},
            "device": stack.known.compositions.device.type,
            "code_version": __version__,
            "torch_version": torch.__version__,
            "record": checkpoint.record,
        },
        indent=1,
        sort_keys=True,
    )
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    digest = _digest(content, text)
    for suffix, part in (
        ("safetensors", content),
        ("json", text.encode()),
    ):  # the JSON half last: with it, all is there
        write_whole(folder / f"{digest}.{suffix}", part)
    return folder / f"{digest}.json"


def read_checkpoint(path: Path, *, device: torch.device) -> Checkpoint:
    """Read a checkpoint that `write_checkpoint` wrote, or version 0.1.

    Raises:
        ModelError: If either half is missing, cut off, changed, or of a later format.
    """
    if harm := harm_of(path):
        raise _refusal(path, f"it {harm}")
    try:
        return _read(path, device)
    except _UNREADABLE as error:
        raise _refusal(path, f"{type(error).__name__}: {error}") from error


def _refusal(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"{path} is no whole checkpoint that this version can read ({reason}). Restore the file and its .safetensors, "
        "or train again on the same spectra."
    )


def _read(path: Path, device: torch.device) -> Checkpoint:
    text = path.read_text()
    facts, weights = json.loads(text), path.with_suffix(".safetensors").read_bytes()
    digest = _digest(weights, text)
    if facts["format"] not in (3, FORMAT) or digest != path.stem:
        raise ValueError(f"format {facts['format']}, content {digest}")
    tensors = load(weights)
    if facts["format"] == 3:
        facts, tensors = upgrade(facts, tensors)
    config = TrainingConfig(**LATER | facts["config"])
    known = Known(tensors["known.compositions"].to(device), tensors["known.spectra"].to(device))
    _refuse_gone(facts)
    context = Encoding.from_json(facts["context"]) if "context" in facts else None  # came later
    setup = Setup(config, device, context=0 if context is None else context.width)
    models = {  # in the order in which they are stacked
        name: make(setup).restore(Saved(_part(tensors, name), facts["models"][name]), known)
        for name, make in BASE_MODELS.items()
        if name in facts["weights"]
    }
    stack = Stack(
        models,
        {name: facts["weights"][name] for name in models},
        known,
        facts["floor"],
        facts["scale"],
        oof_mse=_or_nan(facts["oof_mse"]),
        oof_rmse=tensors["oof_rmse"].numpy(),
        conformal_quantile=_or_nan(facts["conformal_quantile"]),
        expected_error=ExpectedError(**said) if (said := facts.get("expected_error")) else None,  # came later
        regional_quantile=_or_nan(facts.get("regional_quantile")),  # came later
        left_out=tensors["left_out"].double().numpy() if "left_out" in tensors else None,  # came later
        forecasts=_forecasts(facts, tensors, device) if "forecasts" in facts else None,  # came later
    )
    return Checkpoint(config, facts["seed"], stack, tensors["axis"].numpy(), facts["record"], context)


def _forecasts(facts: dict[str, Any], tensors: dict[str, Tensor], device: torch.device) -> dict[str, FigureForecast]:
    return {
        name: FigureForecast.restored(Saved(_part(tensors, f"forecasts.{name}"), kept), device)
        for name, kept in facts["forecasts"].items()
    }


def _refuse_gone(facts: dict[str, Any]) -> None:
    if gone := facts["weights"].keys() - BASE_MODELS.keys():
        raise ValueError(f"base models that are gone: {', '.join(gone)}")


def why_unreadable(path: Path) -> str | None:
    """Return why a checkpoint can't be read, in words; None where it can. Weights of today's format aren't loaded.

    Args:
        path: Of the JSON half.
    """
    if harm := harm_of(path):
        return f"it {harm}"
    try:
        facts = json.loads(path.read_text())
        if facts["format"] == FORMAT:
            _refuse_gone(facts)
        else:
            _read(path, torch.device("cpu"))
    except _UNREADABLE as error:
        return f"{type(error).__name__}: {error}"
    return None


def _digest(content: bytes, text: str) -> str:
    return hashlib.sha256(content + text.encode()).hexdigest()[:16]


def _part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the tensors of one base model, by their names within it."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def _or_none(figure: float) -> float | None:
    return None if math.isnan(figure) else figure


def _or_nan(figure: float | None) -> float:
    return math.nan if figure is None else figure
