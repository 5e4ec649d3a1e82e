"""`python -m benchmarks`: measure everything and write `benchmarks/RESULTS.md`."""

import argparse
import time
from pathlib import Path

import jax

from benchmarks import (
    _report,
    adam_per_sample,
    backward_error,
    diagnose,
    equilibrium,
    explorer,
    full_batch,
    growth,
    matching,
    max_margin,
    networks,
    overfitting,
    probe,
    robustness,
    scale,
    sharpness,
    state_space,
    svm,
)

MODULES = {
    "adam_per_sample": adam_per_sample,
    "full_batch": full_batch,
    "max_margin": max_margin,
    "svm": svm,
    "equilibrium": equilibrium,
    "diagnose": diagnose,
    "scale": scale,
    "networks": networks,
    "sharpness": sharpness,
    "backward_error": backward_error,
    "matching": matching,
    "state_space": state_space,
    "overfitting": overfitting,
    "robustness": robustness,
    "probe": probe,
    "explorer": explorer,
}
GROWTH = "growth"
RESULTS = Path(__file__).parent / "RESULTS.md"
RESULTS_GPU = RESULTS.with_name("RESULTS-gpu.md")


def main() -> None:
    arguments = _parse()
    begun = time.monotonic()
    _use(arguments.device)
    print(f"device: {_report.device()}", flush=True)
    names = [arguments.only] if arguments.only else [*MODULES, GROWTH]
    rows, reasons = [], {}
    for name in names:
        if name == GROWTH:
            continue
        reasons |= MODULES[name].REASONS
        for row in MODULES[name].rows(arguments.quick):
            print(_report.one_line(row), flush=True)
            rows.append(row)
    out = arguments.out
    if out is None and not (arguments.only or arguments.quick):
        out = RESULTS if arguments.device == "cpu" else RESULTS_GPU
    drawn = ""
    if GROWTH in names and out is not None and not arguments.no_growth:
        drawn = growth.section(out.with_name("growth.svg"), arguments.quick)
    if out is not None:
        out.write_text(_report.write(rows, reasons, drawn))
    print(f"took {time.monotonic() - begun:.0f} s")


def _use(device: str) -> None:
    """Have JAX compute on a kind of device, or end with a sentence."""
    try:
        first = jax.devices(device)[0]
    except RuntimeError as error:
        raise SystemExit(f"--device {device}: JAX finds none: {error}") from None
    jax.config.update("jax_default_device", first)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        choices=[*MODULES, GROWTH],
        help="one part; without --out it is printed and not written",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small sizes, to see that all runs; without --out not written",
    )
    parser.add_argument("--no-growth", action="store_true", help="leave out the plots")
    parser.add_argument(
        "--out", type=Path, help="file to write; growth.svg goes beside it"
    )
    parser.add_argument(
        "--device", choices=["cpu", "gpu"], default="cpu", help="what JAX computes on"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
