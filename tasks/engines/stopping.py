"""Generation up to stop strings, on engines that know token ids alone: in rounds, each for those that go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

FIRST_ROUND = 16  # tokens; each round is twice as long as the one before


def until(
    generate: Callable[[list[list[int]], list[int]], list[list[int]]],
    prompts: Sequence[list[int]],
    budgets: Sequence[int],
    ended: Callable[[int, list[int]], bool],
) -> list[list[int]]:
    """New token ids of each prompt, up to its budget or a little beyond where `ended(index, ids)` says that it is over.

    A prompt that goes on is asked again with what it has said: an engine with a prefix cache reads it from there.

    Args:
        generate: (prompts, budgets) -> new ids, fewer than the budget only where a text has ended.
    """
    said: list[list[int]] = [[] for _ in prompts]
    going = [index for index, budget in enumerate(budgets) if budget > 0]
    step = FIRST_ROUND
    while going:
        steps = [min(step, budgets[index] - len(said[index])) for index in going]
        new = generate([prompts[index] + said[index] for index in going], steps)
        for index, ids in zip(going, new, strict=True):
            said[index] = said[index] + ids
        going = [index for index in going if len(said[index]) < budgets[index] and not ended(index, said[index])]
        step *= 2
    return said
