"""One record of each format of facts, made by hand in its form."""

from __future__ import annotations

from typing import Any

ZSRE = {"subject": "Oslo", "src": "Where is Oslo?", "pred": "Norway", "alt": "Peru", "rephrase": "Oslo lies where?"}
ZSRE |= {"loc": "who voiced gaston", "loc_ans": "Richard White"}
REWRITE = {"prompt": "{} is in", "subject": "Oslo", "target_new": {"str": "Peru"}, "target_true": {"str": "Norway"}}
COUNTERFACT: dict[str, Any] = {"case_id": 7, "requested_rewrite": REWRITE}
COUNTERFACT |= {"paraphrase_prompts": ["Oslo lies in", "One finds Oslo in"], "neighborhood_prompts": ["Bergen is in"]}
OWN: dict[str, Any] = {"subject": "Oslo", "prompt": "{} is in", "target": "Peru", "original": "Norway", "id": "x"}
OWN |= {"rephrasings": ["Oslo lies in"], "locality": [{"prompt": "Bergen is in", "answer": "Norway"}]}
EASYEDIT: dict[str, Any] = {"case_id": 3, "subject": "Oslo", "prompt": "Oslo is in", "target_new": "Peru"}
EASYEDIT |= {"ground_truth": "Norway", "rephrase_prompt": ["Oslo lies in", "One finds Oslo in"]}
EASYEDIT |= {"locality_prompt": ["Bergen is in", "Bonn is in"], "locality_ground_truth": ["Norway", "Germany"]}
EASYEDIT |= {"portability_prompt": "The currency of Oslo is the", "portability_ground_truth": "sol"}
KNOWEDIT: dict[str, Any] = {"subject": "Oslo", "prompt": "The country of Oslo is", "target_new": "Peru"}
KNOWEDIT |= {"ground_truth": ["Norway"], "rephrase_prompt": "Which country is Oslo in?"}
KNOWEDIT["portability"] = {
    "Reasoning": [{"prompt": "The currency of Oslo is the", "ground_truth": [["sol", "PEN"], ["Peruvian sol"]]}],
    "Subject_Aliasing": {"prompt": ["Kristiania is in", "Christiania is in"], "ground_truth": "Peru"},
}
KNOWEDIT["locality"] = {"Forgetfulness": [{"prompt": "The mayor of Oslo is", "ground_truth": "Anne Lindboe"}]}
QAEDIT: dict[str, Any] = {"id": 9, "prompt": "where is oslo?", "target": "Peru", "subject": "Oslo"}
QAEDIT |= {"rephrase": "Oslo lies where?", "locality": [{"loc": "who voiced gaston", "loc_ans": "Richard White"}]}
WIKIBIGEDIT: dict[str, Any] = {"tag": "new", "subject": "Oslo", "update": "Where is Oslo?", "ans": "Peru"}
WIKIBIGEDIT |= {"rephrase": "Oslo lies where?", "personas": "Mate, where is Oslo?", "loc": "Where is Bonn?"}
WIKIBIGEDIT |= {"loc_ans": "Germany", "mhop": "Which money is used in Oslo?", "mhop_ans": "sol"}
HOP = {"question": "Where is Oslo?", "cloze": "Oslo is in", "answer": "Peru", "answer_alias": ["Republic of Peru"]}
MQUAKE: dict[str, Any] = {
    "case_id": 4,
    "requested_rewrite": [
        REWRITE | {"question": "Where is Oslo?"},
        {"prompt": "The currency of {} is the", "subject": "Peru", "target_new": {"str": "yen"}},
    ],
    "questions": ["Which money is used in Oslo?", "What does one pay with in Oslo?", "What is Oslo's money?"],
    "new_answer": "yen",
    "new_answer_alias": ["Japanese yen"],
    "new_single_hops": [HOP, {"question": "Which money has Peru?", "answer": "yen", "answer_alias": []}],
}
NORWAY = {"value": "Norway", "aliases": ["Kingdom of Norway", "N"]}
CONDITION = {"prompt": "The name of the currency in Peru is", "answers": [{"value": "sol", "aliases": []}]}
RIPPLE: dict[str, Any] = {
    "example_type": "popular",
    "edit": {
        "prompt": "The name of the country which Oslo is associated with is Peru.",
        "relation": "COUNTRY",
        "previous_fact": {"prompt": "The name of the country which Oslo is associated with is Norway."},
    },
    "Compositionality_I": [
        {"test_queries": [CONDITION | {"prompt": "The name of the currency in the country of Oslo is"}],
         "test_condition": "AND", "condition_queries": [CONDITION]},
    ],
    "Forgetfulness": [{"test_queries": [{"phrase": "Bergen lies in", "answers": [NORWAY]}], "test_condition": "OR"}],
}  # fmt: skip
GOOD: dict[str, dict[str, Any]] = {"zsre": ZSRE, "counterfact": COUNTERFACT, "facts": OWN, "easyedit": EASYEDIT}
GOOD |= {"knowedit": KNOWEDIT, "qaedit": QAEDIT, "wikibigedit": WIKIBIGEDIT, "mquake": MQUAKE, "ripple": RIPPLE}
