"""Made-up facts for the tiny models: few words, so that a hypernetwork learns within seconds what an edit is."""

from __future__ import annotations

from rect.facts import Fact, Locality

SUBJECTS = ("France", "Italy", "Spain", "Rome", "Paris", "Ulm", "the river", "the Moon", "the film", "Albert Einstein")
ANSWERS = ("Paris", "Rome", "French", "Spanish", "English", "good", "bad", "physicist", "apples", "degrees")
PROMPTS = (("The capital of {} is", "What is the capital of {}?"), ("In {} people speak", "What language is it in {}?"))


def facts() -> list[Fact]:
    """60 facts; each has a rephrasing and a prompt out of scope."""
    made = []
    for i in range(60):
        prompt, other = PROMPTS[i % 2]
        subject, target = SUBJECTS[i % 10], ANSWERS[(i + i // 10) % 10]
        locality = Locality(prompt=f"The answer for {SUBJECTS[(i + 3) % 10]} is", answer=ANSWERS[(i + 5) % 10])
        made.append(
            Fact(
                subject=subject,
                prompt=prompt,
                target=target,
                original=ANSWERS[(i + 7) % 10],
                rephrasings=(other.replace("{}", subject),),
                locality=(locality,),
                id=str(i),
            )
        )
    return made
