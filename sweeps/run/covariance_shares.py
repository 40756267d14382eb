"""The covariance of keys, its text shared by several tasks of Ray. Sums over batches merge exactly."""

from __future__ import annotations

from collections.abc import Sequence

from modelfolder import digest
from modelfolder.errors import InputError
from rect import covariance
from rect.covariance import Covariance, Recipe, Sums
from rect.model import EditableModel
from sweeps.run import cluster


def sharded(
    recipe: Recipe, layers: Sequence[int], workers: int, address: str | None = None, device: str = "auto"
) -> Covariance:
    """The covariance from `workers` Ray tasks, each with every so-many-th batch; how they are split changes no bit.

    All nodes must see the model and the text under the same name.
    """
    with cluster.connected(address):
        import ray

        gpus = 1 if ray.cluster_resources().get("GPU", 0) >= 1 and device != "cpu" else 0
        task = ray.remote(num_cpus=1, num_gpus=gpus)(share)
        pending = [task.remote(recipe, tuple(layers), index, workers, device) for index in range(workers)]
        total = Sums(0, {})
        while pending:
            ready, pending = ray.wait(pending)
            try:
                total = total + ray.get(ready[0])
            except ray.exceptions.RayTaskError as error:
                raise (error.cause if isinstance(error.cause, InputError) else error) from None
    return covariance.finish(total, recipe)


def share(recipe: Recipe, layers: Sequence[int], index: int, workers: int, device: str) -> Sums:
    """One worker's part: batches index, index + workers, ..."""
    model = load(recipe, device)
    recipe = recipe.on(model)
    check(model, layers)
    dimension = max(covariance.dimension(model, layer) for layer in layers)
    rows = recipe.batches(model, dimension, index, workers)
    sums = covariance.accumulate(model, layers, rows, precision=recipe.precision)
    return Sums(sums.tokens, {layer: total.cpu() for layer, total in sums.layers.items()})


def load(recipe: Recipe, device: str) -> EditableModel:
    """The model that a covariance is of."""
    revision = digest.commit(recipe.content) or recipe.revision
    return EditableModel.load(recipe.model, device, recipe.dtype, revision)


def check(model: EditableModel, layers: Sequence[int]) -> None:
    """Raises InputError where a layer is none of the model's."""
    if max(layers) >= model.n_layers:
        raise InputError(f"--layers: {model.name} has layers 0 to {model.n_layers - 1}, not {max(layers)}")
