"""The six tasks that AlphaEdit and its followers report beside editing ("GLUE"), with their prompts: `glue` for all."""
