"""Whether the methods of a sweep have what they need, found out before anything is loaded."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from modelfolder.errors import InputError
from rect import models
from rect.editors.easyeditor import environment
from rect.recipe import PER_DIMENSION
from sweeps.config.config import MethodSpec, ModelSpec
from sweeps.plan import memory
from sweeps.plan.grid import Cell
from sweeps.plan.identity import covariance_recipe

NULL_SPACE = ("null-space",)  # regularizers that take a share of the directions of a covariance

log = logging.getLogger(__name__)


def check(cells: Iterable[Cell]) -> None:
    """Raise InputError for the first thing that a method lacks.

    Methods of another environment do not stop the others: their cells fail, each with the reason, and the rest goes on.
    """
    cells = list(cells)
    reasons = lacking(cells)
    others = {cell.method.name for cell in cells if cell.method} - {name for name, _ in reasons}
    for name, reason in reasons:
        if not (others and name.startswith(environment.PREFIX)):
            raise InputError(reason)
        log.warning("%s; its cells will fail", reason)


def lacking(cells: Iterable[Cell]) -> list[tuple[str, str]]:
    """What the methods of some cells lack on their models: (method, a line)."""
    from rect import editors

    regularized: dict[tuple[ModelSpec, MethodSpec], bool] = {}  # by a null space
    for cell in cells:
        if cell.method is not None:
            key = cell.model, cell.method
            asked = cell.regularizer.partition("@")[0] in NULL_SPACE and cell.k != 100
            regularized[key] = regularized.get(key, False) or asked
    reasons = []
    for (model, method), projected in regularized.items():
        try:
            editors.check(method.name, model.name, method.hparams)
            _check_tokens(model, method, projected)
        except InputError as error:
            reasons.append((method.name, str(error)))
    return reasons


def _check_tokens(model: ModelSpec, method: MethodSpec, projected: bool) -> None:
    """Raise InputError where a null space is asked of a covariance that will rest on too few tokens, or of none.

    Where the model is not at hand its dimensions are not known, and where all of a corpus is taken its length is not:
    then a run finds out when the covariance is there.
    """
    from rect import editors

    if not (projected or "nullspace_share" in editors.get(method.name).hparams_class.model_fields):
        return
    if editors.declared(method.name, model.name, method.hparams, covariance={}).get("covariance") is None:
        raise InputError(
            f"{method.shown} under null-space: it has no covariance of keys; take one with mom2_adjustment"
        )
    folder = models.here(model.name, model.revision)
    if folder is None:
        return
    dimension = memory.shapes(folder).inner
    wanted = covariance_recipe(model, method).wanted(dimension)
    if wanted is not None and wanted < PER_DIMENSION * dimension:
        raise InputError(
            f"{method.shown} on {model.shown}: a null space of keys needs at least {PER_DIMENSION} tokens per "
            f"dimension, {PER_DIMENSION * dimension:,}, and the covariance is asked to rest on {wanted:,}: covariance: "
            f"{{tokens: {PER_DIMENSION * dimension}}}"
        )
