"""The search for v*, which ROME, MEMIT and their kin share: the output of a layer that makes the model give an answer.

`search` optimizes it, `later_layers` runs what stands above the edited layer, `prefix_cache` keeps what never changes,
`layouts` pads and packs, `blocks` runs transformers' blocks, `calls` is what they are called with, `losses` reads the
answer, `attention` is for the CPU.
"""
