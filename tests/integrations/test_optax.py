"""The probe of a loop in JAX: real optax and flax, and what PyTorch's probe reads."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

import penchant as pn
from tests.integrations.alike import assert_same

pytestmark = pytest.mark.usefixtures("as_users_have_it")
WIDTH, BATCH = 16, 32
NUMBERS = {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8}

RMS = {"learning_rate": 1e-3, "decay": 0.9, "eps": 1e-8}


@pytest.fixture
def as_users_have_it():
    """JAX's own rules of promotion: optax does not run under stricter ones."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def digits():
    X, y = load_digits(return_X_y=True)
    return jnp.asarray(X / 16.0, jnp.float32), jnp.asarray(y)


def batches(count=8, dtype=jnp.float32):
    X, y = digits()
    return [
        (X[i : i + BATCH].astype(dtype), y[i : i + BATCH])
        for i in range(0, count * BATCH, BATCH)
    ]


def start(seed=0, dtype=jnp.float32):
    draws = np.random.default_rng(seed)
    make = lambda *shape: jnp.asarray(draws.normal(size=shape) / 8.0, dtype)
    return {"a": make(64, WIDTH), "b": make(WIDTH), "c": make(WIDTH, 10)}


def logits(params, batch):
    X, y = batch
    return jnp.tanh(X @ params["a"] + params["b"][None, :]) @ params["c"], y


def loss(params, batch):
    scores, y = logits(params, batch)
    return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()


def updating(tx, of=loss):
    @jax.jit
    def update(params, state, batch):
        updates, state = tx.update(jax.grad(of)(params, batch), state, params)
        return optax.apply_updates(params, updates), state

    return update


def train(
    tx, steps, watch=None, *, params=None, state=None, first=0, dtype=jnp.float32
):
    params = start() if params is None else params
    state = tx.init(params) if state is None else state
    update, some = updating(tx), batches(dtype=dtype)
    for step in range(first, first + steps):
        params, state = update(params, state, some[step % len(some)])
        if watch is not None:
            watch(step, params, state)
    return params, state


def last(watch, name, group="all"):
    return watch.recorder.recording().last(name, group)


CHAINS = {
    "sgd": (lambda: optax.sgd(0.1), {"learning_rate": 0.1}, "SGD"),
    "momentum": (
        lambda: optax.sgd(0.1, momentum=0.9),
        {"learning_rate": 0.1, "momentum": 0.9},
        "SGD",
    ),
    "nesterov": (
        lambda: optax.sgd(0.1, momentum=0.9, nesterov=True),
        {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
        "SGD",
    ),
    "adam": (lambda: optax.adam(1e-3), NUMBERS, "Adam"),
    "clipped adamw": (
        lambda: optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(1e-3)),
        {**NUMBERS, "weight_decay": 1e-4},
        "AdamW",
    ),
    "injected adamw": (
        lambda: optax.inject_hyperparams(optax.adamw)(
            optax.linear_schedule(1e-3, 0.0, 100), weight_decay=0.1
        ),
        {},
        "AdamW",
    ),
    "lion": (
        lambda: optax.lion(1e-4, weight_decay=0.1),
        {"learning_rate": 1e-4, "b1": 0.9, "b2": 0.99, "weight_decay": 0.1},
        "Lion",
    ),
    "nadam": (lambda: optax.nadam(1e-3), NUMBERS, "NAdam"),
    "nadamw": (
        lambda: optax.nadamw(1e-3, weight_decay=0.1),
        {**NUMBERS, "weight_decay": 0.1},
        "NAdamW",
    ),
    "rmsprop": (lambda: optax.rmsprop(1e-3), RMS, "RMSprop"),
    "rmsprop, as torch has it": (
        lambda: optax.rmsprop(1e-3, eps_in_sqrt=False, bias_correction=True),
        RMS,
        "RMSprop",
    ),
    "injected rmsprop": (
        lambda: optax.inject_hyperparams(optax.rmsprop)(1e-3),
        {},
        "RMSprop",
    ),
    "adagrad": (
        lambda: optax.adagrad(0.01),
        {"learning_rate": 0.01, "eps": 1e-7},
        "Adagrad",
    ),
    "adabelief, which has no row": (lambda: optax.adabelief(1e-3), NUMBERS, "unknown"),
    "rmsprop with momentum": (
        lambda: optax.rmsprop(1e-3, momentum=0.9),
        RMS,
        "unknown",
    ),
    "numbers that are others": (lambda: optax.adam(1e-2), NUMBERS, "unknown"),
    "two sets of moments": (
        lambda: optax.chain(optax.trace(0.9), optax.adam(1e-3)),
        NUMBERS,
        "unknown",
    ),
}


QUICK = ("sgd", "clipped adamw", "injected adamw", "numbers that are others")
"""Chains of the fast suite: plain, clipped, injected, and not believed."""


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CHAINS],
)
def test_a_row_is_believed_where_its_step_is_the_one_that_was_made(name):
    make, settings, known = CHAINS[name]
    watch = pn.optax.watch(settings=settings)
    train(pn.optax.probe(make()), 10, watch)
    (group,) = watch.recorder.run["groups"]
    assert group["known"] == known
    assert bool(group["why"]) == (known == "unknown")
    assert not watch.recorder.failed
    assert last(watch, "step_rms") > 0
    if name == "injected adamw":
        assert last(watch, "lr") == pytest.approx(1e-3 * (1 - 9 / 100), rel=1e-6)
        assert last(watch, "applied_decay")[0] == pytest.approx(0.1, abs=2e-3)
    if name == "clipped adamw":  # gradients are seen before clipping, by its name
        assert last(watch, "gradient_rms") > 0.1 / math.sqrt(1200)


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["momentum", "injected adamw"])
def test_updates_are_the_same_with_and_without_it(name):
    make, settings, _ = CHAINS[name]
    watch = pn.optax.watch(
        loss, batches(), settings=settings, logits=logits, total_steps=12, overhead=10.0
    )
    probed, state = train(pn.optax.probe(make()), 12, watch)
    plain, alone = train(make(), 12)
    assert {"state", "curvature"} == {r["tier"] for r in watch.recorder.records}
    same = lambda a, b: all(
        np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    )
    assert same(probed, plain)
    assert same(state.inner_state, alone)


class Net:
    """The same network in PyTorch, with the same weights."""

    def __init__(self, torch, dtype):
        kind = {jnp.float32: torch.float32, float: torch.float64}[dtype]
        self.weights = [
            torch.nn.Parameter(torch.tensor(np.array(v), dtype=kind))
            for v in start(dtype=dtype).values()
        ]
        self.batches = [
            (torch.tensor(np.array(x)), torch.tensor(np.array(y)))
            for x, y in batches(dtype=dtype)
        ]
        own = self.weights

        class Module(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.w = torch.nn.ParameterList(own)

            def forward(self, x):
                return torch.tanh(x @ self.w[0] + self.w[1]) @ self.w[2]

        self.module = Module()

    def train(self, rule, cost, steps=10):
        for step in range(steps):
            rule.zero_grad()
            cost(self.module, self.batches[step % 8]).backward()
            rule.step()


BOTH = {
    "momentum": (
        lambda t, p: t.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda: optax.sgd(0.1, momentum=0.9),
        {"learning_rate": 0.1, "momentum": 0.9},
    ),
    "adam": (
        lambda t, p: t.optim.Adam(p, lr=1e-3),
        lambda: optax.adam(1e-3),
        NUMBERS,
    ),
}
SAMPLES = (
    "gradient_rms", "weight_rms", "step_rms", "cosine", "sign_likeness", "swallowed",
    "dead", "throttled", "median_root", "spread", "signal", "noise_signal",
    "underflow_half",
)  # fmt: skip
WHOLE = (
    "loss", "threshold", "largest", "largest_hessian", "batch_sharpness", "gap",
    "gradient_norm", "noise_to_signal", "share_valid", "validity", "validity_first",
    "correction_ratio", "margins", "margin_least", "norm_l2", "norm_linf",
    "norm_spectral", "stable_rank", "degree",
)  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "dtype", "near"),
    [("momentum", float, 1e-7), ("adam", float, 1e-7), ("momentum", jnp.float32, 2e-5)],
)
def test_torch_and_jax_read_the_same_of_the_same_run(rule, dtype, near):
    """One formula, two backends: the same coordinates and the same first vectors."""
    torch = pytest.importorskip("torch")
    net, (theirs, ours, settings) = Net(torch, dtype), BOTH[rule]
    cost = lambda model, batch: torch.nn.functional.cross_entropy(
        model(batch[0]), batch[1]
    )
    optimizer = theirs(torch, net.module.parameters())
    options = {"overhead": 10.0, "total_steps": 10}
    options["readouts"] = ["state", "edge", "memory", "margins"]
    other = pn.torch.watch(
        net.module, optimizer, loss=cost, probe_batches=net.batches, **options
    )
    own = pn.optax.watch(
        loss, batches(dtype=dtype), logits=logits, settings=settings, **options
    )
    train(pn.optax.probe(ours()), 10, own, params=start(dtype=dtype), dtype=dtype)
    net.train(optimizer, cost)
    a, b = own.finish().recording, other.finish().recording
    seen = 0
    for names, group, name in ((SAMPLES, "all", b.groups[0]), (WHOLE, None, None)):
        for key in names:
            value, told = a.last(key, group), b.last(key, name)
            assert (value is None) == (told is None), key
            if value is not None:
                seen += 1
                assert_same(value, told, near, key)
    assert seen > 20


def walked(lr, rate, spread):
    """What optax applied of a decay over 2 000 steps of random signs, in float32.

    Beside it the formula's mean over some of the steps, and its error.
    """
    steps, n = 2000, 2000
    tx = optax.chain(
        optax.add_decayed_weights(rate / lr), optax.scale_by_learning_rate(lr)
    )
    draws = np.random.default_rng(0)
    w = jnp.asarray(spread * draws.normal(size=n), jnp.float32)

    def one(carry, key):
        w, state, total, square = carry
        sign = jax.random.rademacher(key, (n,), dtype=jnp.float32)
        updates, state = tx.update(sign, state, w)
        new = optax.apply_updates(w, updates)
        bare = optax.apply_updates(w, -jnp.float32(lr) * sign)
        wide, moved = w.astype(float), bare.astype(float) - new.astype(float)
        sums = total + jnp.vdot(wide, moved), square + jnp.vdot(wide, wide)
        return (new, state, *sums), None

    nothing = jnp.zeros((), float)
    walk = jax.jit(lambda carry, keys: jax.lax.scan(one, carry, keys)[0])
    carry, told = (w, tx.init(w), nothing, nothing), []
    for keys in jax.random.split(jax.random.key(0), (20, steps // 20)):
        carry = walk(carry, keys)
        s = -float(np.float32(lr)) * draws.choice([-1.0, 1.0], n)
        told.append(
            pn.estimators.rounding.kept_added_decay(carry[0], s, rate, "float32")
        )
    mean = np.mean([x.value for x in told])
    error = math.sqrt(sum(x.error**2 for x in told)) / len(told)
    return float(carry[2] / (rate * carry[3])), float(mean), error


@pytest.mark.parametrize(
    ("lr", "rate", "spread", "kept"),
    [
        (1e-5, 1e-8, 0.05, 0.33),
        pytest.param(1e-5, 1e-7, 0.05, 1.0, marks=pytest.mark.slow),
        pytest.param(1e-3, 1e-8, 1.0, 1.53, marks=pytest.mark.slow),
    ],
)
def test_decay_that_is_added_is_dithered_by_the_step(lr, rate, spread, kept):
    """In PyTorch's order 1e-8 is nothing; here the size of the step decides."""
    applied, formula, error = walked(lr, rate, spread)
    assert applied == pytest.approx(kept, abs=0.03)
    assert abs(formula - applied) < 4 * error
    assert error < 0.03


def test_a_run_that_goes_on_counts_on(tmp_path):
    tx, settings = pn.optax.probe(optax.adam(1e-3)), NUMBERS
    first = pn.optax.watch(folder=tmp_path, settings=settings)
    params, state = train(tx, 20, first)
    first.recorder.close()  # as a killed one leaves it
    second = pn.optax.watch(folder=tmp_path, settings=settings)
    train(tx, 20, second, params=params, state=state, first=5)  # its own count is off
    seen = second.recorder.recording()
    second.recorder.close()
    steps = [r["step"] for r in seen.records if r["tier"] == "state"]
    assert steps == [1, 2, 5, 10, 20, 40]
    assert list(seen.happened("resumed"))
    assert not list(seen.happened("gap"))


def test_an_exception_finishes_it_and_is_raised(tmp_path):
    watch = pn.optax.watch(loss, batches(), tmp_path, settings=NUMBERS)

    def run():
        train(pn.optax.probe(optax.adam(1e-3)), 12, watch)
        raise RuntimeError("out of digits")

    with pytest.raises(RuntimeError, match="out of digits"), watch:
        run()
    (event,) = watch.finished.recording.happened("ended")
    assert "out of digits" in event["why"]
    assert (tmp_path / "report.html").is_file()
    assert watch.finish() is watch.finished


def test_what_fails_is_switched_off_and_the_loop_goes_on():
    def broken(params, batch):
        raise ArithmeticError("no loss today")

    watch = pn.optax.watch(broken, batches(), settings=NUMBERS)
    with pytest.warns(pn.optax.ProbeWarning, match="no loss today"):
        params, _ = train(pn.optax.probe(optax.adam(1e-3)), 12, watch)
    plain, _ = train(optax.adam(1e-3), 12)
    assert all(map(np.array_equal, params.values(), plain.values()))
    assert last(watch, "signal") is not None


def test_without_its_state_curvature_alone_is_read():
    watch = pn.optax.watch(loss, batches(), total_steps=12, readouts=["state", "edge"])
    train(optax.adam(1e-3), 12, watch)
    says = watch.finish()
    assert {r["tier"] for r in says.recording.records} == {"curvature"}
    assert says.recording.last("largest")["upper"] > 0
    assert "no state of pn.optax.probe" in str(says)


@pytest.mark.slow
def test_traces_and_the_edge_are_those_of_measures():
    """By resampled labels and Lanczos, against the exact matrices of this library."""
    X, y = digits()
    X, y = X[:256].astype(float), y[:256]
    wide = {k: v.astype(float) for k, v in start().items()}
    problem = pn.NetworkClassification(
        lambda p, X: logits(p, (X, y))[0], wide, np.asarray(X), np.asarray(y),
        loss=pn.losses.Logistic(), degree=None,
    )  # fmt: skip
    exact = pn.measures.sharpness(problem, wide)
    watch = pn.optax.watch(
        loss, batches(dtype=float), logits=logits, settings={"learning_rate": 0.0},
        total_steps=10, overhead=10.0, readouts=["sharpness", "edge"],
    )  # fmt: skip
    train(pn.optax.probe(optax.sgd(0.0)), 10, watch, params=wide)
    seen = watch.finish().recording
    value, error = seen.last("trace")
    assert abs(value - float(exact.gauss_newton)) < 4 * error
    assert error < 0.2 * value
    found = seen.last("largest")
    assert found["lower"] <= float(exact.largest) <= found["upper"]


def test_a_chain_without_a_row_goes_by_the_character_that_is_given():
    """Two sets of moments are in no row; a heavy ball's threshold is 2(1 + β)/η."""
    tx = optax.chain(optax.trace(0.9), optax.trace(0.0), optax.scale(-0.1))
    watch = pn.optax.watch(
        loss, batches(), settings={"learning_rate": 0.1}, total_steps=10, overhead=10.0,
        readouts=["state", "edge", "memory"],
        rule=pn.optimizers.GradientDescent(momentum=0.9).character(),
    )  # fmt: skip
    train(pn.optax.probe(tx), 10, watch)
    says = watch.finish()
    assert says.recording.last("threshold") == pytest.approx(2 * 1.9 / 0.1)
    assert says.recording.last("validity_first") > 0
    assert says.recording.run["groups"][0]["known"] == "measured"
    assert "(measured)" in says.table[0].optimizer


@pytest.mark.slow
def test_half_precision_has_no_curvature_and_loses_decay():
    tx = pn.optax.probe(optax.adamw(1e-3, weight_decay=0.1))
    watch = pn.optax.watch(
        loss, batches(dtype=jnp.bfloat16), settings={**NUMBERS, "weight_decay": 0.1}
    )
    params, state = start(dtype=jnp.bfloat16), None
    state, update, some = tx.init(params), updating(tx), batches(dtype=jnp.bfloat16)
    for step in range(20):
        params, state = update(params, state, some[step % 8])
        watch(step, params, state)
    says = watch.finish()
    assert "bfloat16: second derivatives have no digits" in str(says)
    assert last_of(says, "swallowed") > 0.1
    assert any(
        "swallow" in str(f).lower() or "lost" in str(f).lower() for f in says.warnings
    )


def last_of(says, name):
    return says.recording.last(name, "all")


def test_flax_and_its_train_state(tmp_path):
    linen = pytest.importorskip("flax.linen")
    from flax.training.train_state import TrainState

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(10)(linen.tanh(linen.Dense(WIDTH)(x)))

    net, some = Net(), batches()
    params = net.init(jax.random.key(0), some[0][0])
    tx = pn.optax.probe(optax.inject_hyperparams(optax.adamw)(1e-3))
    state = TrainState.create(apply_fn=net.apply, params=params, tx=tx)

    def cost(params, batch):
        scores = net.apply(params, batch[0])
        return optax.softmax_cross_entropy_with_integer_labels(scores, batch[1]).mean()

    step = jax.jit(lambda s, b: s.apply_gradients(grads=jax.grad(cost)(s.params, b)))
    watch = pn.optax.watch(cost, some, total_steps=10, readouts=["state", "edge"])
    for i in range(10):
        state = step(state, some[i % 8])
        watch(i, state.params, state.opt_state)
    seen = watch.finish().recording
    assert seen.run["groups"][0]["known"] == "AdamW"
    assert seen.last("largest_hessian")[0] > 0


def test_arguments_are_checked_at_the_door():
    for wrong, told in [
        ({"settings": {"lr": 0.1}}, "settings must be of learning_rate"),
        ({"readouts": ["curvature"]}, "readouts must be of"),
        ({"overhead": 0.0}, "overhead"),
        ({"batches": []}, "batches must hold at least one"),
        ({"batches": [jnp.ones(2), jnp.ones(3)]}, "batches must have one structure"),
    ]:
        with pytest.raises(ValueError, match=told):
            pn.optax.watch(loss, **wrong)
    with pytest.raises(TypeError, match="loss"):
        pn.optax.watch(3)
    with pytest.raises(TypeError, match="tx"):
        pn.optax.probe(3)
    tx = pn.optax.probe(optax.sgd(0.1))
    state = tx.init(jnp.ones(2))
    with pytest.raises(ValueError, match="params must be given to update"):
        tx.update(jnp.ones(2), state)
