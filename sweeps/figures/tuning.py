"""What a tuning found, drawn: the profile of the layers, and the settings with their front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweeps.figures import render, style

if TYPE_CHECKING:
    from sweeps.plan.tuning import Setting


def draw(effects: Sequence[float], tried: Sequence[Setting], picked: Setting, model: str, method: str) -> bytes:
    """A PNG.

    Args:
        effects: by layer (`rect.tracing`); none where no layers were looked for.
        tried: settings; those that were given up are drawn hollow, as far as they were measured.
        picked: one of them.
    """
    import matplotlib
    from matplotlib.figure import Figure

    blue, red = style.NUMBERED[0], "#cc3333"
    with matplotlib.rc_context(style.SETTINGS):
        canvas = Figure(figsize=(8.0, 3.2), layout="constrained")
        left, right = canvas.subplots(1, 2)
        if effects:
            edited = picked.values.get("layers", [])
            left.bar(range(len(effects)), effects, color=[red if i in edited else blue for i in range(len(effects))])
            left.xaxis.get_major_locator().set_params(integer=True)
            left.set(xlabel="layer (red: picked)", ylabel="indirect effect of its MLPs")
        else:
            left.set_axis_off()
        for one in tried:
            if not one.failed:
                colour = red if one is picked else blue
                right.plot(one.drift, one.success, "o", color=colour, mfc=colour if one.whole else "none")
        right.set(xlabel="drift, nats", ylabel="success", xscale="log")
        canvas.suptitle(f"{method} on {model}", fontsize=10)
        return render.save(canvas, ["png"])["png"]
