"""`python -m bench [NAME…]`: measure (everything, or the named measures), keep the figures, render the page."""

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

import bench.measures
from bench.figures import Figure, keep, kept, render
from bench.measures import Absent

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "performance.md"


def main() -> None:
    """Run what was asked for; exits 1 when a measure broke, after the others have had their turn."""
    every = [module.name for module in pkgutil.iter_modules(bench.measures.__path__)]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(every) or 'none yet'}")
    parser.add_argument("--render", action="store_true", help="only render docs/performance.md from kept figures")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(every):
        parser.error(f"no such measure: {', '.join(sorted(unknown))}")
    found: list[Figure] = []
    broken = [] if asked.render else [name for name in asked.names or every if not run(name, found)]
    PAGE.write_text(render(kept(RESULTS)))
    goals = [figure.reached for figure in found if figure.reached is not None]
    if goals:
        print(f"{sum(goals)} of {len(goals)} figures hold")
    if broken:
        sys.exit(f"broken: {', '.join(broken)}")


def run(name: str, found: list[Figure]) -> bool:
    """Run one measure, keep its figures and add them to `found`; False when it broke."""
    print(f"· {name}", flush=True)
    try:
        for figure in importlib.import_module(f"bench.measures.{name}").measure():
            keep(figure, RESULTS)
            found.append(figure)
            print(f"  {figure.figure}: {figure.value:.4g} {figure.unit} (spread {figure.spread:.3g})", flush=True)
    except Absent as missing:
        print(f"  not measured: {missing}", flush=True)
    except Exception as error:  # one broken measure must not cost the others theirs
        print(f"  broke: {error!r}", flush=True)
        return False
    return True


if __name__ == "__main__":
    main()
