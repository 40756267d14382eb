"""MEND: a hypernetwork that turns a fact's gradient into an edit (Mitchell et al. 2022, "Fast Model Editing at Scale").

`Trainer` trains it, `saved` keeps it, `rect.editors.mend.editor` edits with it.
"""
