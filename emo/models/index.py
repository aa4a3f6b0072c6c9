"""model_index.json, which says what a pipeline is made of."""

import json
from pathlib import Path

from emo.errors import InputError

PIPELINE = "EMOPipeline"


def read_index(folder: Path) -> dict:
    """Raises InputError when it is no EMO pipeline's."""
    path = folder / "model_index.json"
    try:
        index = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}): get the model again") from error
    if not isinstance(index, dict) or index.get("_class_name") != PIPELINE:
        raise InputError(f"{path} names no {PIPELINE}: get the model again")
    return index


def trained_parts(folder: Path) -> list[str]:
    """Names of the components with weights. Raises InputError when model_index.json is no EMO pipeline's."""
    return [name for name, value in read_index(folder).items() if isinstance(value, list) and name != "scheduler"]
