"""How the report bears 10,000 cells: python benchmarks/report_scale.py [--cells 10000]

Made-up rows of a sweep (models x 90 cells, eight tasks, five checkpoints), the real page. Printed: seconds to build it,
its size, and in headless Chromium the first paint, until all is drawn, and each filter until what is on the screen is
drawn again (`answer`) and until the rest of the page is too (`all`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sweeps.report import webpage
from sweeps.results import tradeoff
from tests.sweeps import synthetic_rows
from tests.sweeps.report import browser

READY = "document.documentElement.dataset.ready === 'yes'"
PAINT = "(performance.getEntriesByName('first-contentful-paint')[0] ?? {startTime: NaN}).startTime / 1000"
# Two frames after the change the browser has laid out and painted what the handler drew.
FILTER = """(async () => {
  const control = document.getElementById('%s');
  const began = performance.now();
  control.value = '%s';
  control.dispatchEvent(new Event('%s'));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return (performance.now() - began) / 1000;
})()"""

SETTLED = f"new Promise((done) => (function look() {{ if ({READY}) done(); else setTimeout(look, 10); }})())"


def rows_of(cells: int) -> pd.DataFrame:
    """A sweep of about so many cells: one model's, copied under other names."""
    base = synthetic_rows.sweep(
        ks=(5, 10, 20, 30, 40, 50, 60, 80), seeds=tuple(range(9)), checkpoints=(1, 2, 4, 6, 8), facts=1
    )
    copies = max(1, round(cells / base["cell"].nunique()))
    return pd.concat(
        [base.assign(cell=base["cell"] + f"-{i}", model=f"model-{i}") for i in range(copies)], ignore_index=True
    )


def busy(tab: browser.Browser) -> float:
    """Seconds of CPU that the page's main thread has taken."""
    metrics = {one["name"]: one["value"] for one in tab.call("Performance.getMetrics")["metrics"]}
    return float(metrics["TaskDuration"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000)
    wanted = parser.parse_args().cells

    rows = rows_of(wanted)
    outputs = synthetic_rows.outputs(rows[rows["model"].isin(["model-0", "model-1"])], 3)
    began, worked = time.perf_counter(), time.process_time()
    table = tradeoff.tradeoff(rows)
    aggregated = time.perf_counter()
    page = webpage.render(webpage.Material("scale", rows, outputs, table))
    built = time.perf_counter()
    print(f"cells {len(table)}, rows {len(rows)}")
    cpu = time.process_time() - worked
    print(f"build {built - began:.1f} s (trade-off table {aggregated - began:.1f} s), of the CPU {cpu:.1f} s")
    print(f"size {len(page.encode()) / 1e6:.1f} MB")
    if browser.find() is None:
        print("no Chromium: apt-get install chromium")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        path.write_text(page, encoding="utf-8")
        with browser.Browser() as tab:
            tab.call("Performance.enable", timeDomain="threadTicks")
            seconds = tab.open(path, READY)
            print(f"first paint {tab.run(PAINT):.2f} s, everything drawn {seconds:.2f} s, CPU {busy(tab):.2f} s")
            for control, value, event in (
                ("filter-model", "model-7", "change"),
                ("filter-model", "", "change"),
                ("find", "model-7 rect 40", "input"),
                ("find", "", "input"),
                ("heat-metric", "retention", "change"),
            ):
                before, began = busy(tab), time.perf_counter()
                seconds = tab.run(FILTER % (control, value, event))
                answered = busy(tab) - before
                tab.run(SETTLED)
                rest = f"all {time.perf_counter() - began:.2f} s, CPU {busy(tab) - before:.2f} s"
                print(f"{control} = {value!r}: answer {seconds:.2f} s, CPU {answered:.2f} s; {rest}")
            for problem in tab.errors():
                print(f"error: {problem}")


if __name__ == "__main__":
    main()
