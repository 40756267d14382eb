"""Errors of tasks besides `modelfolder.errors.InputError`."""

from collections.abc import Mapping

from modelfolder.errors import InputError


class Unaskable(InputError):
    """Some examples of a task cannot be asked of a model.

    Attributes:
        examples: {id of an example: why}.
    """

    def __init__(self, said: str, examples: Mapping[str, str]) -> None:
        super().__init__(f"{said} (and {len(examples) - 1} more)" if len(examples) > 1 else said)
        self.examples = dict(examples)
