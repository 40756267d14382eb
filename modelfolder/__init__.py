"""What a model folder says, read in one place for everybody: its config, its tokenizer, which file holds which tensor.

`rect` and `tasks` know nothing of each other; what both must agree on, so that the edited model and the engines are one
model, stands here. It knows neither of them.
"""
