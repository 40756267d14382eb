"""KN: knowledge neurons (Dai et al. 2022), found by attribution, and rewritten in the MLP's output projection.

The neurons of a fact are those whose score for the old answer (`rect.editors.kn.attribution`) exceeds
`adaptive_threshold` times the highest score of all layers. With `refine` the prompt's rephrasings are looked at too,
and a neuron must be found on more than the share `p` of the prompts.

The column of the output projection that belongs to a neuron is moved from the old answer to the new one,

    dW[:, i] = lr_scale * (c * sum of E[t] over the target's tokens - c * sum of E[t] over the old answer's tokens)

with E the token embedding, c = 2 for an answer of one token and 1 for more. The old answer here is what the model says
now: its own greedy tokens, as many as the target has. So a layer's update has rank one: embeddings times an indicator.

This is the released code (EleutherAI's knowledge-neurons as EasyEdit carries it) but for the following, where what it
does depends on accidents: answers are tokenized as they follow the prompt, with their space and without a
beginning-of-sequence token; each next token of an answer is looked for after the model's own tokens in every family
(there: only in some, in GPT-2 all at the prompt's end); c is the same for both answers (there: 1 for a single-token
target, 2 for the old answer); and the neurons are the paper's, the input of the output projection (there: the first
projection's output before the nonlinearity, here `neurons: projection`). `lr_scale`, unused there, scales dW.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import pydantic

from modelfolder.errors import InputError
from rect import lengths
from rect.editors.base import Editor
from rect.editors.hyperparameters import Hparams
from rect.facts import Fact
from rect.prompts import continue_with

if TYPE_CHECKING:
    from torch import Tensor

    from rect.history import History
    from rect.model import EditableModel
    from rect.update import Update

log = logging.getLogger(__name__)

Neuron = tuple[int, int]
"""(layer, index)"""


class KnHparams(Hparams):
    """Hyperparameters of KN. Names are EasyEdit's; `batch_size` and `n_toks`, which change no number, are read over.

    None depends on the depth: all layers are looked at.

    Attributes:
        steps: points on the path of integration.
        adaptive_threshold: share of the highest score that a neuron must exceed.
        refine: look at the rephrasings too.
        p: the share of the prompts on which a neuron must be found, with `refine`.
        lr_scale: factor of the update.
        neurons: "activation" (input of the output projection) or "projection" (the released code's, see above).
        rows_per_pass: points, of all layers, that are computed together. It bounds memory: a row keeps about
            4 * layers * (10 * hidden + 4 * inner) bytes in float32, 128 rows of GPT-2 XL 1.0 GB.
    """

    method: ClassVar[str] = "kn"

    steps: int = pydantic.Field(20, ge=1)
    adaptive_threshold: float = pydantic.Field(0.2, ge=0, lt=1)
    refine: bool = False
    p: float = pydantic.Field(0.4, ge=0, lt=1)
    lr_scale: float = 1.0
    neurons: Literal["activation", "projection"] = "activation"
    rows_per_pass: int = pydantic.Field(128, ge=1)

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        return super().parse({key: value for key, value in values.items() if key != "n_toks"}, where)


class Kn(Editor):
    """The KN editor: one fact, a few neurons anywhere, an update of rank one per layer."""

    name = "kn"
    version = "1"
    batch = False
    sparse = True
    hparams_class = KnHparams
    hparams: KnHparams

    def _compute(self, model: EditableModel, facts: list[Fact], history: History) -> Update:
        from rect.update import Update, outer

        (fact,) = facts
        neurons = self.neurons(model, fact)
        difference = self.difference(model, fact)
        by_layer: dict[int, list[int]] = {}
        for layer, index in neurons:
            by_layer.setdefault(layer, []).append(index)
        if not neurons:
            log.warning("kn: no neuron raises the probability of the old answer of %r: nothing is edited", fact.filled)
        entries = {}
        for layer, chosen in sorted(by_layer.items()):
            name = model.mlp_out_name(layer)
            rows, columns = model.weight(name).shape
            indicator = difference.new_zeros(rows if model.architecture.transposed else columns)
            indicator[chosen] = 1
            entries[name] = outer(difference[:, None], indicator[:, None], model.architecture.transposed)
        found = {str(layer): sorted(chosen) for layer, chosen in sorted(by_layer.items())}
        return Update(entries, {"neurons": found})

    def neurons(self, model: EditableModel, fact: Fact) -> list[Neuron]:
        """The fact's neurons, in order.

        Args:
            model: only read.
            fact: its `original` is the answer that is looked for; without one, what the model says now.

        Raises:
            UpdateError: scores that hold NaN or infinity.
        """
        prompts = (fact.filled, *fact.rephrasings) if self.hparams.refine else (fact.filled,)
        counts: collections.Counter[Neuron] = collections.Counter()
        for prompt in prompts:
            counts.update(self._coarse(model, prompt, fact))
        least = self.hparams.p * len(prompts) if self.hparams.refine else 0
        return sorted(neuron for neuron, count in counts.items() if count > least)

    def _coarse(self, model: EditableModel, prompt: str, fact: Fact) -> list[Neuron]:
        """Neurons above the threshold on one prompt."""
        import torch

        from rect.editors.kn import attribution
        from rect.update import UpdateError

        ids, target = continue_with(model.tokenizer, prompt, fact.original or fact.target, fact.space)
        if reason := lengths.of_tokens(ids, target, lengths.context(model.hf.config)):
            raise InputError(f"{fact.shown}: {prompt[:80]!r} with the answer {reason}")
        answer = target if fact.original else attribution.greedy(model, ids, len(target))
        hparams = self.hparams
        scores = attribution.scores(model, ids, answer, hparams.steps, hparams.rows_per_pass, hparams.neurons)
        if not bool(torch.isfinite(scores).all()):
            raise UpdateError("kn: the scores of neurons hold NaN or infinity; the model may have collapsed")
        threshold = hparams.adaptive_threshold * scores.max()
        return [(int(layer), int(index)) for layer, index in (scores > threshold).nonzero().tolist()]

    def difference(self, model: EditableModel, fact: Fact) -> Tensor:
        """What is added to the column of each neuron, (hidden,), float32."""

        from rect.editors.kn import attribution

        ids, target = continue_with(model.tokenizer, fact.filled, fact.target, fact.space)
        old = attribution.greedy(model, ids, len(target))
        embedding = model.hf.get_input_embeddings().weight
        scale = self.hparams.lr_scale * (2 if len(target) == 1 else 1)
        new, gone = (embedding[list(tokens)].float() for tokens in (target, old))
        return scale * (new.sum(0) - gone.sum(0))
