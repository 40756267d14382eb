"""EasyEdit (https://github.com/zjunlp/EasyEdit) beside this project, in an environment of its own.

Its pins and ours do not install together, so this package never imports it: a worker process in that environment edits
the model and hands the update back (rect.editors.easyeditor.editor is what users meet).
"""
