import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from penchant._checks import check_count, check_instance
from penchant._progress import Stages
from penchant._types import StepSize
from penchant.diagnosis._asked import Asked
from penchant.diagnosis._defaults import default_steps
from penchant.diagnosis._hold_out import Held, hold_out
from penchant.diagnosis._result import AbstractDiagnosis
from penchant.diagnosis.comparison._comparison import (
    ComparedRule,
    Comparison,
    Spread,
    run_folder,
)
from penchant.diagnosis.comparison._recipe import Recipe, read_recipes
from penchant.diagnosis.linear._catalogue import Catalogue, usual_norms
from penchant.diagnosis.linear._chosen import Chosen
from penchant.diagnosis.linear._diagnose import diagnose_linear, sized
from penchant.diagnosis.linear._held_out import HeldOut
from penchant.estimators import imitation
from penchant.norms import AbstractNorm, read as read_norm
from penchant.problems import LinearClassification, sort_out
from penchant.problems.losses import AbstractLoss
from penchant.training import Trajectory
from penchant.training.executors import AbstractExecutor

Rules = Mapping[str, object] | Sequence[object] | str


def compare(
    problem: LinearClassification | object,
    *given: object,
    optimizers: Rules | None = None,
    loss: AbstractLoss | str | None = None,
    bias: bool = False,
    classes: int | None = None,
    image: tuple[int, ...] | str | None = None,
    holdout: float | None = None,
    seeds: int = 1,
    batch_size: int | None = None,
    order: str = "shuffled",
    step_size: StepSize | None = None,
    steps: int | None = None,
    norms: Iterable[AbstractNorm | str] | None = None,
    key: int = 0,
    record: int = 200,
    progress: bool | Callable[[str], None] | None = None,
    folder: str | Path | None = None,
    about: dict[str, Any] | None = None,
    executor: AbstractExecutor | None = None,
) -> Comparison:
    """Which solution each of several rules picks: one problem, one table, one page.

    Every rule gets a [`diagnose`][penchant.diagnose] of its own, on the same data and
    against the same largest margins, which are computed once.

    >>> import numpy as np, penchant as pn
    >>> X = np.random.default_rng(0).normal(size=(6, 8))
    >>> found = pn.compare(X, ["no", "yes"] * 3, "sign,gd", steps=2_000)
    >>> found["sign"].leader, found["gd"].leader
    ('ℓ∞', 'ℓ2')

    Args:
        problem: A problem or a `Dataset`; or examples `X`, with `y` after them.
        *given: Labels where examples came first, then the rules.
        optimizers: A mapping of names to rules; a list of rules or of names; or text,
            `"gd,adam:eps=0,b2=.95,muon"`, as on the command line.
        loss: Of examples or a `Dataset`: a loss or its name, `logistic` by default.
        bias: Of examples or a `Dataset`: append a feature that is 1.
        classes: Of examples or a `Dataset`: 2 for two classes as two rows of weights.
        image: Of examples or a `Dataset`: the shape of the images that samples are.
        holdout: The share of samples that no training sees, as `diagnose` takes it;
            the same for all rules and seeds, drawn with `key`.
        seeds: How many runs a rule: orders of samples. Rules that see all samples in
            every step have no chance in them, and run once.
        batch_size: Samples that an update sees, for rules that do not say.
        order: Of their batches: cyclic, shuffled or replacement.
        step_size: For rules that do not say; None for one that suits the data and rule.
        steps: Number of updates; None for as many as fit the size of the data.
        norms: The norms to compare, or their names; None for the usual ones.
        key: The first seed; the others follow it.
        record: Number of records of a run.
        progress: As `diagnose` takes it.
        folder: Where a report a run and the numbers are written, as they come, and the
            page at the end. Runs that were cut off go on from there if it is called
            again. One that can't be written is warned of, and the comparison goes on.
        about: What else the settings should say, such as the data's name.
        executor: Where the runs are made, such as `executors.Ray()`; None for this
            process. Margins are computed and reports written here, as runs come in; a
            run that was cut off elsewhere starts anew.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range, or a rule is unknown.
        RuntimeError: If a run of the executor failed as often as is tried.
    """
    if executor is not None:
        check_instance(
            "executor", executor, AbstractExecutor, "one of penchant.executors"
        )
    found, rest = sort_out(
        problem, given, loss=loss, bias=bias, classes=classes, image=image
    )
    check_instance("problem", found, LinearClassification, "a LinearClassification")
    asked = [*rest, *([] if optimizers is None else [optimizers])]
    if len(asked) != 1:
        raise TypeError(
            "optimizers must be given once, as a mapping, a list or text; got "
            f"{len(asked)} arguments for it."
        )
    recipes = read_recipes(
        asked[0],
        batch_size=batch_size,
        order=order,
        step_size=step_size,
    )
    seeds, key = check_count("seeds", seeds), check_count("key", key, least=0)
    found, held = hold_out(found, holdout, key)
    chosen = usual_norms(found) if norms is None else tuple(map(read_norm, norms))
    for recipe in recipes:  # what does not fit says so before the first run
        recipe.batching(found.samples).check(found.samples)
    where = None if folder is None else Path(folder)
    settings = {
        **(about or {}),
        "samples": found.samples,
        "features": found.X.shape[1],
        "classes": found.classes,
        "bias": found.bias,
        "loss": repr(found.loss),
        "seeds": seeds,
        **({} if held is None else {"held out": held.said}),
    }
    with Stages(progress) as stages:
        work = _Work(found, chosen, stages, where, held, steps, record)
        runs = work.runs(recipes, seeds, key)
        if executor is not None:
            work.hand_to(executor, runs)
        result = _run_all(work, runs, settings)
        work.finish(result)
    return result


@dataclasses.dataclass(frozen=True)
class _Run:
    """A rule with a seed."""

    recipe: Recipe
    seed: int

    def __str__(self) -> str:
        return f"{self.recipe.name}, seed {self.seed}"


def _run_all(
    work: "_Work", runs: Mapping[str, Sequence[_Run]], settings: dict[str, Any]
) -> Comparison:
    """Every rule with every seed, until Ctrl-C."""
    done: list[tuple[Recipe, tuple[int, ...], list[AbstractDiagnosis]]] = []
    complete = True
    for each in runs.values():
        found: list[AbstractDiagnosis] = []
        done.append((each[0].recipe, tuple(run.seed for run in each), found))
        for run in each:
            says = work.run(run)
            found.append(says)
            complete = not says.interrupted
            work.keep(run, says, _gather(done, work, settings, False))
            if not complete:
                break
        if not complete:
            break
    return _gather(done, work, settings, complete)


@dataclasses.dataclass(frozen=True)
class _Task:
    """A run for an executor, with all that makes it."""

    run: _Run
    asked: Asked

    def __str__(self) -> str:
        return str(self.run)


def _trained(shared: None, task: _Task) -> Trajectory:
    """A task's run, in whichever process."""
    del shared
    return task.asked.run()


class _Work:
    """One problem's runs, the margins they share, and where results go."""

    def __init__(
        self,
        problem: LinearClassification,
        norms: tuple[AbstractNorm, ...],
        stages: Stages,
        folder: Path | None,
        held: Held | None,
        steps: int | None,
        record: int,
    ):
        self.problem, self.norms = problem, norms
        self.tell, self.folder, self.held = stages, folder, held
        self.steps, self.record = steps, record
        self.catalogue = Catalogue(problem, stages)
        self.aligned: dict[tuple[str, int], dict[str, float]] = {}
        self.coming: Iterator[tuple[_Task, Trajectory]] | None = None
        self.made: dict[tuple[str, int], Trajectory] = {}

    def runs(
        self, recipes: Sequence[Recipe], seeds: int, key: int
    ) -> dict[str, list[_Run]]:
        """The runs of each rule: one where no chance is in them."""
        samples = self.problem.samples
        random = lambda r: r.batching(samples).covers(samples) is not True
        return {
            r.name: [_Run(r, key + i) for i in range(seeds if random(r) else 1)]
            for r in recipes
        }

    def hand_to(
        self, executor: AbstractExecutor, runs: Mapping[str, Sequence[_Run]]
    ) -> None:
        """Have the runs made by an executor, the first ones first."""
        self.coming = executor.run(
            _trained, None, (self._task(run) for each in runs.values() for run in each)
        )

    def _task(self, run: _Run) -> _Task:
        asked, _ = sized(self._asked(run))
        alone = dataclasses.replace(
            asked, checkpoint=None, stages=Stages(False), catalogue=None, made=None
        )
        return _Task(run, alone)

    def _of(self, run: _Run) -> Trajectory:
        """The run, once the executor has made it."""
        wanted = (run.recipe.name, run.seed)
        assert self.coming is not None
        while wanted not in self.made:
            task, trajectory = next(self.coming)
            self.made[task.run.recipe.name, task.run.seed] = trajectory
        return self.made.pop(wanted)

    def _asked(self, run: _Run) -> Asked:
        """The question that the diagnosis of a run answers."""
        recipe = run.recipe
        batching = recipe.batching(self.problem.samples)
        steps = self.steps
        if steps is None:
            steps = default_steps(self.problem, batching, recipe.optimizer)
        return Asked(
            problem=self.problem,
            optimizer=recipe.optimizer,
            batching=batching,
            steps=check_count("steps", steps),
            step_size=recipe.step_size,
            norms=self.norms,
            init=None,
            key=run.seed,
            record=self.record,
            checkpoint=self._unfinished(run),
            about={"rule": recipe.name, "notes": list(recipe.notes)},
            stages=self.tell,
            held=self.held,
            catalogue=self.catalogue,
            made=None if self.coming is None else lambda: self._of(run),
        )

    def run(self, run: _Run) -> AbstractDiagnosis:
        """The diagnosis of one rule with one seed."""
        self.tell(str(run))
        says = diagnose_linear(self._asked(run))
        seen = says.imitation
        rows = () if seen is None else seen.rows
        missing = [n for n in self.norms if not any(n.same(r.norm) for r in rows)]
        if missing:  # the diagnosis measures the usual norms
            self.tell(f"{run.recipe.name}, alignment")
            rows = (*rows, *imitation(says.trajectory, missing).rows)
        aligned = {row.norm.label: float(row.alignment) for row in rows}
        self.aligned[run.recipe.name, run.seed] = aligned
        return says

    def _unfinished(self, run: _Run) -> Path | None:
        if self.folder is None:
            return None
        return self.folder / run_folder(run.recipe.name, run.seed) / "unfinished"

    def keep(self, run: _Run, says: AbstractDiagnosis, so_far: Comparison) -> None:
        """A run's report, and the numbers of the comparison as far as it goes."""
        folder = self.folder
        if folder is None:
            return
        with self._writing():
            says.save(folder / run_folder(run.recipe.name, run.seed))
            so_far.write_numbers(folder)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """A folder that can't be written costs the files, and no result."""
        try:
            yield
        except OSError as error:
            warnings.warn(
                f"{self.folder} can't be written: {error.strerror or error}. The "
                "comparison goes on without it.",
                stacklevel=4,
            )
            self.folder = None

    def finish(self, result: Comparison) -> None:
        """Write the whole, and drop what only an interrupted one needs."""
        folder = self.folder
        if folder is None:
            return
        with self._writing():
            result.write(folder)
        if not result.complete:
            return
        for unfinished in folder.glob("runs/*/unfinished"):
            (unfinished / "checkpoint.npz").unlink(missing_ok=True)
            if not any(unfinished.iterdir()):
                unfinished.rmdir()


def _gather(
    done: list[tuple[Recipe, tuple[int, ...], list[AbstractDiagnosis]]],
    work: _Work,
    settings: dict[str, Any],
    complete: bool,
) -> Comparison:
    """All runs so far, against the largest margins that any of them knows."""
    finished = [entry for entry in done if entry[2]]
    tables = [d.table for _, _, runs in finished for d in runs]
    labels = tuple(norm.label for norm in work.norms)
    best = {
        label: max(row.best for table in tables for row in table if row.label == label)
        for label in labels
        if tables and all(any(r.label == label for r in table) for table in tables)
    }
    rules = []
    for recipe, seeds, runs in finished:
        shares = {
            label: Spread.of([d.table[label].reached / most for d in runs])
            for label, most in best.items()
            if most > 0
        }
        here = seeds[: len(runs)]
        aligned = [work.aligned[recipe.name, seed] for seed in here]
        alignments = {
            label: Spread.of([found[label] for found in aligned]) for label in labels
        }
        rules.append(
            ComparedRule(
                recipe.name, here, shares, alignments, tuple(runs), recipe.notes
            )
        )
    known = [d.separable for _, _, runs in finished for d in runs]
    separable = True if True in known else False if False in known else None
    chosen, held_out = _chosen(finished, work, settings)
    return Comparison(
        tuple(rules), labels, separable, complete, settings, chosen, held_out
    )


def _chosen(
    finished: list[tuple[Recipe, tuple[int, ...], list[AbstractDiagnosis]]],
    work: _Work,
    settings: dict[str, Any],
) -> tuple[Chosen | None, HeldOut | None]:
    """The weights of every rule's first run beside the optima that all runs know."""
    runs = {recipe.name: found[0] for recipe, _, found in finished}
    if not runs:
        return None, None
    weights = {name: says.trajectory.weights[-1] for name, says in runs.items()}
    several: list[bool | None] = [None] * len(runs)
    for norm in work.norms:
        row = next(
            (r for d in runs.values() for r in d.table if r.norm.same(norm)), None
        )
        if row is None or norm.fingerprint not in work.catalogue.found:
            continue
        weights[norm.label] = work.catalogue.best(norm).weights
        several.append(None if row.unique is None else not row.unique)
    rules = ", ".join(runs)
    steps = ", ".join(f"{int(says.trajectory.steps[-1]):,}" for says in runs.values())
    what = f"{rules} after {steps} steps, the first seed of each"
    if settings.get("data"):
        what += f", on {settings['data']}"
    chosen = Chosen(
        names=tuple(weights),
        runs=len(runs),
        weights=tuple(weights.values()),
        several=tuple(several),
        what=what,
        problem=work.problem,
    )
    if work.held is None:
        return chosen, None
    held = work.held
    seen = HeldOut.of(held.problem, held.rows, work.problem.samples, weights, len(runs))
    return chosen, seen
