"""For each task a table of outputs and what both scores must give them."""

from __future__ import annotations

import math

import pytest
import task_records
from hypothesis import given
from hypothesis import strategies as st

import tasks
from modelfolder.errors import InputError
from tasks.records import Example

# (index of the example, output, score, release, answered)
Row = tuple[int, str, float, float, bool]

REASONING: list[Row] = [  # gold 18; 2,125; -5
    (0, " 18", 1, 1, True),
    (0, " 18.", 1, 1, True),
    (0, " 18.0", 1, 1, True),
    (0, " $18", 1, 1, True),
    (0, " 180", 0, 1, True),
    (0, " 17", 0, 0, True),
    (0, " 17 or 18", 0, 1, True),
    (0, " 18 or 17", 1, 1, True),
    (0, "The answer: 18 apples", 1, 1, True),
    (0, " eighteen", 0, 0, False),
    (0, "", 0, 0, False),
    (0, " -18", 0, 1, True),
    (0, " 1.8", 0, 0, True),
    (0, " $.18", 0, 1, True),
    (0, "\u2019\u00e9 \u2014 18\u00b0", 1, 1, True),
    (0, " 1,8", 1, 0, True),
    (1, " 2,125", 1, 1, True),
    (1, " 2125", 1, 0, True),
    (1, " $2,125.00.", 1, 1, True),
    (1, " 2", 0, 0, True),
    (2, " -5", 1, 1, True),
    (2, " \u22125", 1, 0, True),
    (2, " -$5", 1, 0, True),
    (2, " 5", 0, 0, True),
    (2, " 4-9", 0, 0, True),
    (2, " x-5", 0, 1, True),
]
NLI: list[Row] = [  # gold true; false
    (0, " True", 1, 1, True),
    (0, " TRUE.", 1, 1, True),
    (0, "true", 1, 1, True),
    (0, " False", 0, 0, True),
    (0, " True or False", 1, 1, True),
    (0, " False or True", 0, 0, True),
    (0, " Yes", 0, 0, False),
    (0, "", 0, 0, False),
    (0, " wahr \u4f60", 0, 0, False),
    (1, " false", 1, 1, True),
    (1, " True", 0, 0, True),
    (1, " entailment", 0, 0, False),
]
OPEN_DOMAIN_QA: list[Row] = [  # gold Goethe | Johann Wolfgang von Goethe; Wilhelm Roentgen with umlaut; May 18 , 2018
    (0, " Goethe", 1, 1, True),
    (0, " goethe.\nQuestion: who", 1, 1, True),
    (0, "\n\nThe Goethe!", 1, 1, True),
    (0, " Johann Wolfgang von Goethe", 1, 1, True),
    (0, " It was Goethe", 0, 1, True),
    (0, " Schiller\nGoethe", 0, 1, True),
    (0, " Goethe, Schiller", 0, 1, True),
    (0, " Goethes", 0, 0, True),
    (0, " Schiller", 0, 0, True),
    (0, "", 0, 0, False),
    (0, " \n ", 0, 0, False),
    (0, " ?!", 0, 0, False),
    (1, " WILHELM R\u00d6NTGEN", 1, 1, True),
    (1, " Rontgen", 0, 0, True),
    (2, " May 18, 2018", 1, 1, True),
    (2, " on May 18, 2018", 0, 1, True),
    (2, " the", 0, 0, True),
]
CLOSED_DOMAIN_QA: list[Row] = [  # gold yes; no
    (0, " yes", 1, 1, True),
    (0, "Yes", 1, 1, True),
    (0, " YES\n", 1, 1, True),
    (0, " no", 0, 0, True),
    (0, " yes no", 0, 0, False),
    (0, " yesterday", 0, 0, False),
    (0, " \u044f", 0, 0, False),
    (0, "", 0, 0, False),
    (1, " No", 1, 1, True),
    (1, " yes", 0, 0, True),
    (1, " not", 0, 0, False),
]
DIALOGUE: list[Row] = [  # gold A; B; D
    (0, " A", 1, 1, True),
    (0, " A.", 1, 1, True),
    (0, " (A)", 1, 1, True),
    (0, "_A_", 1, 1, True),
    (0, " Among", 0, 1, False),
    (0, " Among B", 0, 1, True),
    (0, " a", 0, 0, False),
    (0, " E", 0, 0, False),
    (0, " \u00c4A", 0, 1, False),
    (0, "", 0, 0, False),
    (1, " (B)", 1, 1, True),
    (1, " B or C", 1, 1, True),
    (1, " C or B", 0, 1, True),
    (1, " b", 0, 0, False),
    (1, " Bob", 0, 1, False),
    (1, " B2", 0, 1, False),
    (2, " D", 1, 1, True),
    (2, " ABCD", 0, 1, False),
]
SUMMARIZATION: list[Row] = [  # gold "Ann will buy milk. "; ...
    (0, " Ann will buy milk.", 1, None, True),  # type: ignore[list-item]
    (0, " ANN WILL BUY MILK" + "." * 13, 1, 1, True),
    (0, " Ann will buy milk" + "x" * 13, (3 / 4 + 2 / 3 + 3 / 4) / 3, 1, True),
    (0, " nothing of that", 0, 0, True),
    (0, "", 0, 0, False),
    (0, " ...!", 0, 0, False),
    (0, " \u4f60\u597d", 0, 0, True),
    (0, "Ann will buy", (2 * 3 / 7 + 2 * 2 / 5 + 2 * 3 / 7) / 3, 0, True),
]
NER: list[Row] = [  # 0 Person [Angela Merkel], 1 Location [Berlin, Germany], 2 Organization [IBM], 3 Misc []
    (0, " Angela Merkel", 1, 1, True),
    (0, " Angela Merkel\nIBM", 2 / 3, 1, True),
    (0, " angela merkel", 0, 0, True),
    (0, " Merkel", 0, 0, True),
    (0, " Chancellor Angela Merkel", 0, 1, True),
    (0, "", 0, 0, False),
    (0, " ,;\n", 0, 0, False),
    (1, " Berlin, Germany", 1, 1, True),
    (1, " Germany; Berlin; Germany", 1, 1, True),
    (1, " Berlin", 2 / 3, 0.5, True),
    (1, " Berlin, Paris", 0.5, 0.5, True),
    (1, " Berlin and Germany", 0, 1, True),
    (3, "", 0, 0, False),
    (3, " None", 0, 0, True),
    (8, " J\u00fcrgen", 1, 1, True),
]
SENTIMENT: list[Row] = [  # gold positive; negative
    (0, " positive", 1, 1, True),
    (0, " Positive.", 1, 1, True),
    (0, " negative", 0, 0, True),
    (0, " positive or negative", 1, 1, True),
    (0, " good \u263a", 0, 0, False),
    (0, "", 0, 0, False),
    (1, " NEGATIVE", 1, 1, True),
    (1, " negative, not positive", 1, 1, True),
    (1, " pos", 0, 0, False),
]
TABLES = {
    "reasoning": REASONING,
    "nli": NLI,
    "open_domain_qa": OPEN_DOMAIN_QA,
    "closed_domain_qa": CLOSED_DOMAIN_QA,
    "dialogue": DIALOGUE,
    "summarization": SUMMARIZATION,
    "ner": NER,
    "sentiment": SENTIMENT,
}
ROWS = [(name, *row) for name, rows in TABLES.items() for row in rows]


@pytest.mark.parametrize(("name", "index", "output", "score", "release", "answered"), ROWS)
def test_judgement(name: str, index: int, output: str, score: float, release: float, answered: bool) -> None:
    judged = tasks.get(name).judge(output, task_records.examples(name)[index])
    assert judged.score == pytest.approx(score)
    assert judged.answered is answered
    if release is not None:
        assert judged.release == pytest.approx(release)


@pytest.mark.parametrize("name", tasks.NAMES)
def test_gold_outputs_score_1_and_empty_ones_0(name: str) -> None:
    task, examples = tasks.get(name), task_records.examples(name)
    right = task.score([task.gold_output(example) for example in examples], examples)
    assert right["score"].value == pytest.approx(1)
    assert right["score_answered"].value == pytest.approx(1)
    assert right["score"].n == len(examples)
    empty = task.score([""] * len(examples), examples)
    assert [empty[key].value for key in ("score", "score_release", "answered")] == [0, 0, 0]
    assert empty["score_answered"].n == 0
    assert math.isnan(empty["score_answered"].value)


@pytest.mark.parametrize("name", tasks.NAMES)
def test_no_examples_give_no_number(name: str) -> None:
    for score in tasks.get(name).score([], []).values():
        assert score.n == 0
        assert math.isnan(score.value)
        assert math.isnan(score.stderr)


@pytest.mark.parametrize("name", tasks.NAMES)
def test_unequal_numbers_of_outputs_and_examples_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="1 outputs for"):
        tasks.get(name).score(["x"], task_records.examples(name))


PIECES = st.sampled_from(
    [
        *"ABCDabcd .,;\n-$18",
        "true",
        "False",
        "yes",
        "no",
        "positive",
        "negative",
        "18",
        "2,125",
        "Berlin",
        "Goethe",
        "\u00fc",
    ]
)


@pytest.mark.parametrize("name", tasks.NAMES)
@given(data=st.data())
def test_scores_lie_in_0_1_and_order_does_not_matter(name: str, data: st.DataObject) -> None:
    task, examples = tasks.get(name), task_records.examples(name)
    texts = st.one_of(st.text(max_size=30), st.lists(PIECES, max_size=8).map("".join))
    outputs = [data.draw(texts) for _ in examples]
    scores = task.score(outputs, examples)
    for score in scores.values():
        assert math.isnan(score.value) == (score.n == 0)
        assert score.n == 0 or 0 <= score.value <= 1
        assert math.isnan(score.stderr) or score.stderr >= 0
    order = data.draw(st.permutations(range(len(examples))))
    shuffled = task.score([outputs[i] for i in order], [examples[i] for i in order])
    for key, score in scores.items():
        assert shuffled[key].value == pytest.approx(score.value, nan_ok=True)
        assert shuffled[key].stderr == pytest.approx(score.stderr, nan_ok=True)


@pytest.mark.parametrize("name", [name for name in tasks.NAMES if name not in ("dialogue", "ner")])
@given(output=st.one_of(st.text(max_size=30), st.lists(PIECES, max_size=8).map("".join)))
def test_what_is_no_answer_is_wrong_by_both_scores(name: str, output: str) -> None:
    for example in task_records.examples(name):
        judged = tasks.get(name).judge(output, example)
        assert judged.answered or judged.score == judged.release == 0


def test_an_answer_of_articles_alone_can_be_given() -> None:
    task = tasks.get("open_domain_qa")
    band = Example("0", {"question": "who sang uncertain smile", "passage": "x"}, ["The The"])
    assert task.judge(" The The", band).score == 1
    assert task.judge("", band).score == 0
    assert task.judge(" the", band).score == 0
