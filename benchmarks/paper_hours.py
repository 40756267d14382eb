"""What a sweep of the paper's size would take on a GPU: a model from sizes alone, nothing in it is measured.

Time is floating-point operations over what an NVIDIA A100 does in float32 (19.5 TFLOP/s, 40% of it used):
an evaluation reads 2 operations per parameter and token over the published tasks; an edit runs forward and backward
(6 per parameter and token) for each step of its optimization.
"""

from __future__ import annotations

from modelfolder.errors import InputError
from sweeps.plan.identity import Plan

FLOPS = 19.5e12 * 0.4  # of an A100 in float32, at 40%

PARAMETERS = {
    "openai-community/gpt2-xl": 1.56e9,
    "huggyllama/llama-7b": 6.74e9,
    "meta-llama/Llama-2-7b-hf": 6.74e9,
    "smollm2-135m": 0.135e9,
}

PROMPTS = {  # of the published tasks
    "reasoning": 1319,
    "nli": 277,
    "open_domain_qa": 3610,
    "closed_domain_qa": 3270,
    "dialogue": 886,
    "summarization": 818,
    "ner": 4 * 3453,
    "sentiment": 872,
}
TOKENS = 100  # per prompt, about: 1,100 for one example of each of the eight tasks (eleven prompts)

# (optimization steps, tokens of one step) per fact: ROME sees 21 contexts of about 20 tokens, MEMIT six.
EDITS = {"rome": (25, 420), "memit": (25, 120), "mend": (1, 20), "kn": (20, 400)}


def gpu_hours(plan: Plan) -> float:
    """Modelled hours on one A100: every operation once, however many k share it, and every checkpoint's evaluation.

    Raises:
        InputError: a model whose size is not known here.
    """
    total = 0.0
    seen: set[str] = set()
    for cell in plan.cells:
        if cell.model.name not in PARAMETERS:
            raise InputError(f"the size of {cell.model.name} is not known; known are {', '.join(PARAMETERS)}")
        size = PARAMETERS[cell.model.name]
        tokens = sum(PROMPTS.get(one.name, 0) * (TOKENS + one.task.max_new_tokens) for one in plan.questions)
        total += len(cell.checkpoints) * tokens * 2 * size
        if cell.method is None:
            continue
        steps, length = EDITS[cell.method.name]
        for operation in plan.operations(cell, max(cell.checkpoints)):
            if operation.id not in seen:
                seen.add(operation.id)
                total += len(operation.facts) * steps * length * 6 * size
    return total / FLOPS / 3600
