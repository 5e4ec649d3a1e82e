"""The Python that makes what a page shows, with the library's own names."""

import inspect

from penchant._checks import check_instance
from penchant.explorer._landscapes import LEAST_EPS, MODELS, flow_steps
from penchant.explorer._state import State
from penchant.explorer._weights import HELD

IMPORTS = "import numpy as np\n\nimport penchant as pn\n"


def code(state: State) -> str:
    """Python that computes what a page in this state shows, and prints it.

    >>> from penchant.explorer import State, code
    >>> "pn.max_margin" in code(State())
    True

    Args:
        state: What is shown. Data that were given are `problem` in the program, which
            has to be made first.

    Raises:
        TypeError: If it is no state.
    """
    check_instance("state", state, State, "a State of penchant.explorer")
    if state.view == "landscape":
        parts = _pair(state) if state.landscape == "pair" else _toy(state)
    else:
        parts = _classifier(state)
    return "\n".join([IMPORTS, *parts, ""])


def _classifier(state: State) -> list[str]:
    matrices = state.view == "weights" and state.data == "centres"
    names = ("ℓ∞", "ℓ2", "nuclear", "spectral") if matrices else ("ℓ1", "ℓ2", "ℓ∞")
    words = {"ℓ1": "L1", "ℓ2": "L2", "ℓ∞": "Linf"}
    listed = ", ".join(f"pn.norms.{words.get(n, n.capitalize())}()" for n in names)
    samples = len(state.points) if state.view == "features" else None
    made = _points(state) if state.view == "features" else _data(state)
    lines = [
        *made,
        f"rule = {rule(state)}",
        "run = pn.train(",
        "    problem,",
        "    rule,",
        f"    steps={state.steps},",
        f"    step_size={step_size(state)},",
        f"    batching={batching(state, samples)},",
        ")",
        "",
    ]
    if samples is not None and not _separable(state):
        return [*lines, *_least()]
    return [
        *lines,
        f"for norm in ({listed}):",
        "    best = pn.max_margin(problem, norm)",
        "    margin = problem.margins(run.last).min() / norm(run.last)",
        "    share = float(margin / best.margin)",
        '    print(norm.label, np.round(best.weights, 4).tolist(), f"{share:.4f}")',
        'print("run", np.round(run.last, 4).tolist())',
    ]


def _least() -> list[str]:
    return [
        "try:",
        '    pn.max_margin(problem, "l2")',
        "except pn.NotSeparableError as proof:",
        "    least = pn.diagnosis.find_minimiser(problem, run, proof)",
        '    print("minimiser", np.round(least.weights, 4).tolist())',
        '    print("misclassified", least.misclassified)',
        'print("run", np.round(run.last, 4).tolist())',
    ]


def _separable(state: State) -> bool:
    from penchant import NoMarginError, max_margin
    from penchant.explorer._padded import repeated

    try:
        max_margin(repeated(state.points, state.loss, state.bias), "l2")
    except NoMarginError:
        return False
    return True


def _points(state: State) -> list[str]:
    bias = ", bias=True" if state.bias else ""
    return [
        "X = np.array([",
        *(f"    [{x!r}, {y!r}]," for x, y, _ in state.points),
        "])",
        f"y = np.array({[label for *_, label in state.points]})",
        f'problem = pn.LinearClassification(X, y, loss="{state.loss}"{bias})',
    ]


def _data(state: State) -> list[str]:
    loss = f'.problem("{state.loss}")'
    if state.data == "given":
        return ["# problem: the classifier that the page was opened with"]
    if state.data == "rademacher":
        return [
            f"problem = pn.datasets.scaled_rademacher(6, 16, seed=2){loss}",
        ]
    if state.data == "centres":
        return [f"problem = pn.datasets.class_centres(4, 10, 8, 0.3, seed=0){loss}"]
    return [
        f'whole = pn.datasets.digits(("3", "8")){loss}',
        f"rows = pn.datasets.split(np.asarray(whole.y), {HELD})",
        "problem = whole.take(rows.train)",
    ]


def rule(state: State) -> str:
    """The rule, as one writes it."""
    given = ", ".join(f"{name}={value!r}" for name, value in state.options.items())
    name = f'pn.optimizers.read("{state.rule}"'
    if "polar" in state.options:
        kept = {k: v for k, v in state.options.items() if k != "polar"}
        given = ", ".join(f"{k}={v!r}" for k, v in kept.items())
        given += f', polar=pn.optimizers.read_polar("{state.polar}")'
    return f"{name}{', ' if given else ''}{given})"


def step_size(state: State) -> str:
    """The step sizes, as one writes them."""
    if state.power == 0 and state.view == "landscape":
        return f"{state.step!r}"
    return f"pn.schedules.power({state.step!r}, {state.power!r})"


def batching(state: State, samples: int | None) -> str:
    """The batches, as one writes them."""
    if state.batch == 0 or (samples is not None and state.batch >= samples):
        return "pn.batching.FullBatch()"
    return f'pn.batching.read({state.batch}, "{state.order}")'


def _toy(state: State) -> list[str]:
    size = step_size(state)
    lines = [
        "",
        inspect
        .getsource(MODELS[state.landscape])
        .replace("w: Array, X: Array) -> Any", "w, X)")
        .rstrip(),
        "",
        "",
        "problem = pn.Regression(",
        f"    {state.landscape},",
        f"    np.array([{state.x!r}, {state.y!r}]),",
        "    np.zeros((1, 1)),",
        "    np.zeros(1),",
        f"    label_noise={state.noise!r},",
        ")",
        f"rule = {rule(state)}",
        f"run = pn.train(problem, rule, steps={state.steps}, step_size={size})",
        'print("run", np.round(run.last, 3).tolist())',
        'for order, name in ((1, "flow"), (2, "corrected flow")):',
        "    flow = pn.flows.modified_flow(",
        f"        problem, rule, step_size={size}, steps={flow_steps(state)}, "
        "order=order",
        "    )",
        "    print(name, np.round(flow[-1], 3).tolist())",
    ]
    adaptive = "b2" in state.options
    if (
        state.noise > 0
        and state.power == 0
        and not (adaptive and state.eps < LEAST_EPS)
    ):
        rate = f"{(1 - state.b2) / state.step**2!r}" if adaptive else "None"
        T = min(state.steps * state.step**2, 400.0)
        lines += [
            "slow = pn.flows.slow_flow(",
            f"    problem, rule, noise={state.noise**2!r}, time={T!r}, rate={rate}",
            ")",
            'print("slow flow", np.round(slow.last, 3).tolist())',
        ]
    return lines


def _pair(state: State) -> list[str]:
    batches = batching(state.but(batch=1 if state.batch == 1 else 0), 2)
    return [
        f'problem = pn.datasets.bistable().problem("{state.loss}")',
        f"rule = {rule(state)}",
        "x, y = np.meshgrid(np.linspace(-2, 2, 13), np.linspace(-2, 2, 13))",
        "runs = pn.sweep(",
        "    problem,",
        "    rule,",
        '    grid={"init": np.stack([x, -x, y], axis=-1).reshape(-1, 3)},',
        f"    steps={state.steps},",
        f"    step_size={step_size(state)},",
        f"    batching={batches},",
        "    record=60,",
        ")",
        "half = int(np.argmin(np.abs(runs.step.values - runs.step.values[-1] // 2)))",
        "moved = runs.weights.values[:, -1] - runs.weights.values[:, half]",
        "print(np.sign(np.round(moved[:, 2], 6)).astype(int).reshape(13, 13))",
    ]
