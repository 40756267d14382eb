"""The search for v*, which ROME, MEMIT and their kin share: the output of a layer that makes the model give an answer.

`search` optimizes it, `later_layers` runs what stands above the edited layer, `prefix_cache` keeps what never changes,
`blocks` runs transformers' blocks, `calls` is what they are called with, `rise` brings MEMIT's prompts up through them,
`losses` reads the answer, `packing` spares the padding on CPUs.
"""
