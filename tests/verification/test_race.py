"""The race: laws of its evidence, exact, and what it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from logitlab import ParameterError
from logitlab.verification.envelope import with_foreign
from logitlab.verification.race import Cell, Drawn, Race, growths, least_factors
from scipy.optimize import minimize

FAIR = np.array([[0.5, 0.5], [0.9, 0.1]])
EVEN = np.array([0.5, 0.5])
NAMES = {"fair": "fair", "biased": "biased"}


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    """Bets and envelopes of three hypotheses over four categories, foreign answers included."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    alpha = draw(st.sampled_from((0.05, 0.5, 3.0)))
    members = rng.dirichlet(np.full(4, alpha), (3, 5))
    reference = rng.dirichlet(np.ones(4))
    central, envelope = with_foreign(members[:, 0], members.max(axis=1), reference)
    return Cell(central, envelope, reference)


@given(cells())
def test_an_envelope_is_at_least_the_bet(cell: Cell) -> None:
    assert (cell.envelope >= cell.central - 1e-15).all()


@given(cells(), st.permutations(range(4)))
def test_evidence_is_a_supermartingale(cell: Cell, order: list[int]) -> None:
    # sum_y q'(y) e_gh(y) for the corners of all that has the envelope: as much of each as may be.
    for most in cell.envelope:
        truth = np.zeros(4)
        for y in order:
            truth[y] = min(most[y], 1 - truth.sum())
        assert truth.sum() == pytest.approx(1)
        for bet in (*cell.central, cell.reference, 0.7 * cell.reference):
            factor = np.maximum(bet / most, least_factors(bet, most))
            assert (truth * factor).sum() <= 1 + 1e-12


@pytest.mark.filterwarnings("ignore:Values in x were outside bounds")  # scipy 1.13 clips them
@given(cells())
@settings(max_examples=20)
def test_growth_is_that_of_the_distribution_that_is_hardest_to_tell(cell: Cell) -> None:
    # The least divergence of all that has the envelope, by somebody else's optimisation.
    found = growths(cell.central, cell.envelope)
    for g, bet in enumerate(cell.central):
        for h, most in enumerate(cell.envelope):
            least = minimize(
                lambda p, bet=bet: float((bet * np.log(bet / p)).sum()),
                most / most.sum(),
                bounds=[(1e-9, top) for top in most],
                constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
                options={"ftol": 1e-13, "maxiter": 500},
            )
            assert found[g, h] == pytest.approx(least.fun, abs=1e-5)
            assert found[g, h] >= -1e-9


@given(cells())
def test_the_mean_of_evidence_after_an_answer_is_at_most_what_it_was(cell: Cell) -> None:
    names = {name: name for name in "abc"}
    mean = np.zeros(3)
    for y in range(4):
        race = Race(names)
        race.update("cell", cell.central, cell.envelope, y, cell.reference)
        after = np.exp(list(race.log_e.values()))
        mean += cell.central[:, y] * after
    assert (mean <= 1 + 1e-12).all()


@given(st.permutations(range(8)))
def test_the_order_of_the_past_does_not_matter(order: list[int]) -> None:
    answers = [("x", 0), ("x", 1), ("y", 0), ("x", 0), ("y", 0), ("y", 1), ("x", 1), ("y", 0)]
    races = [Race(NAMES), Race(NAMES)]
    for race, places in zip(races, (range(8), order), strict=True):
        for place in places:
            cell, category = answers[place]
            race.update(cell, FAIR if cell == "x" else FAIR[::-1], FAIR, category, EVEN)
    first, second = (race.log_e for race in races)
    assert second == pytest.approx(first, abs=1e-12)


def test_evidence_is_the_equation() -> None:
    race = Race(NAMES, prior={"fair": 3})
    for category in (0, 0, 1):
        race.update("toss", FAIR, FAIR, category, EVEN)
    # 5 % of the weight is the catch-all's: (0 + 1) / 2, (1 + 1) / 3, (0 + 1) / 4.
    catch_all = 0.05 * (1 / 2) * (2 / 3) * (1 / 4)
    fair, biased = 0.95 * 0.75, 0.95 * 0.25
    against_fair = (biased * 0.9 * 0.9 * 0.1 + catch_all) / (1 - fair) / 0.5**3
    against_biased = (fair * 0.5**3 + catch_all) / (1 - biased) / (0.9 * 0.9 * 0.1)
    assert race.log_e["fair"] == pytest.approx(math.log(against_fair))
    assert race.log_e["biased"] == pytest.approx(math.log(against_biased))


def test_a_request_by_which_a_rival_would_not_lose_costs_no_evidence() -> None:
    wide = np.array([[0.5, 0.5], [0.9, 0.9]])  # the second allows nearly anything here
    race, every = Race(NAMES), Race(NAMES)
    for category in (0, 1, 1, 0) * 5:
        race.update("wide", FAIR, wide, category, EVEN)
        every.update("wide", FAIR, wide, category, EVEN, every=True)
    # The catch-all bets against the envelope as it is: it may lose its part.
    assert -0.11 < race.log_e["biased"] <= 0
    # Where nothing is known of other categories, what is not known is paid for twenty times.
    assert every.log_e["biased"] < 10 * math.log(0.5 / 0.9)


def test_parts_that_are_lost_bet_no_more() -> None:
    known = [("fair", 1.0), ("biased", 0.25)]
    whole, part = Race(NAMES), Race(NAMES, rows=known)
    for race in (whole, part):
        for _ in range(5):
            race.update("toss", FAIR, FAIR, 0, EVEN)
    assert part.log_e["fair"] < whole.log_e["fair"] - 1
    # A weight that nobody has lost is divided as before.
    more = Race(NAMES, rows=[("fair", 3.0), ("biased", 3.0)])
    more.update("toss", FAIR, FAIR, 0, EVEN)
    assert more.log_e == pytest.approx(dict(whole.history[0][1]))


def test_a_refuted_hypothesis_stays_refuted() -> None:
    race = Race(NAMES, alpha=0.05)
    for _ in range(12):
        race.update("toss", FAIR, FAIR, 0, EVEN)
    assert race.alive == ["biased"]
    for _ in range(12):
        race.update("toss", FAIR, FAIR, 1, EVEN)
    assert "fair" not in race.alive
    assert race.most["fair"] >= race.limit


def test_nothing_fits_and_all_are_refuted() -> None:
    race = Race(NAMES, alpha=0.001)
    for _ in range(60):
        race.update("toss", FAIR, FAIR, 1, EVEN)
    assert race.alive == []
    assert race.left == []


def test_what_is_ruled_out_altogether_is_refuted_at_once() -> None:
    race = Race({"never": "a", "also never": "b"})
    sure = np.array([[1.0, 0.0], [1.0, 0.0]])
    race.update("cell", sure, sure, 1, EVEN)
    assert race.alive == []


def test_an_answer_outside_the_categories_counts_and_tells_nothing() -> None:
    race = Race(NAMES)
    race.update("toss", FAIR, FAIR, None, EVEN)
    assert race.requests == 1
    assert race.log_e == pytest.approx({"fair": 0, "biased": 0})


def test_history_has_the_evidence_after_each_request() -> None:
    race = Race(NAMES)
    for category in (0, 1):
        race.update("toss", FAIR, FAIR, category, EVEN)
    assert [requests for requests, _ in race.history] == [1, 2]
    assert race.history[-1][1] == race.log_e


def test_the_plan_is_the_request_of_the_fastest_growth() -> None:
    same = np.array([[0.5, 0.5], [0.5, 0.5]])
    table = {"tells": Cell(FAIR, FAIR, EVEN), "does not": Cell(same, same, EVEN)}
    race = Race(NAMES, alpha=0.01, prior={"fair": 2})
    (name, (action, more)), *others = race.plan(table).items()
    assert (name, action, others) == ("biased", "tells", [])
    growth = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert more == pytest.approx(math.log(100) / growth)
    assert race.forecast(table) == {"biased": math.ceil(more)}
    assert race.forecast(table, "biased").keys() == {"fair"}
    assert race.forecast({"does not": table["does not"]}) == {"biased": math.inf}
    assert race.plan({}) == {}


def test_a_request_that_often_tells_nothing_is_planned_less() -> None:
    rare = Cell(FAIR, FAIR, EVEN, np.array([0.1, 0.1]))
    race = Race(NAMES, prior={"fair": 2})
    often = race.forecast({"often": Cell(FAIR, FAIR, EVEN)})["biased"]
    assert race.forecast({"rare": rare})["biased"] == pytest.approx(10 * often, rel=0.1)


def test_a_run_ends_when_one_answer_is_left() -> None:
    race = Race(NAMES, alpha=0.01)
    left = race.run({"toss": Cell(FAIR, FAIR, EVEN)}, lambda action: 0, 100)
    assert race.left == ["biased"]
    assert left == {}
    assert race.requests < 30


def test_a_run_leaves_out_what_is_refused_and_what_is_out_of_reach() -> None:
    asked: list[str] = []

    def ask(action: str) -> Drawn | None:
        asked.append(action)
        return None if action == "refused" else Drawn(0)

    near = np.array([[0.5, 0.5], [0.51, 0.49]])
    table = {"refused": Cell(FAIR, FAIR, EVEN), "near": Cell(near, near, EVEN)}
    race = Race(NAMES, alpha=0.01)
    left = race.run(table, ask, 50)
    assert asked == ["refused"]
    assert min(left.values()) > 1000


def test_an_answer_may_bring_a_better_cell() -> None:
    sure = Cell(np.array([[0.5, 0.5], [0.999, 0.001]]), np.array([[0.5, 0.5], [1.0, 1.0]]), EVEN)
    race = Race(NAMES, alpha=0.01)
    race.run({"toss": Cell(FAIR, FAIR, EVEN)}, lambda action: Drawn(0, sure), 30)
    assert race.log_e["biased"] < 0


def test_a_union_is_refuted_when_its_rows_are() -> None:
    rows = [("fair", 1.0), ("biased", 1.0), ("biased", 1.0)]
    race = Race(NAMES, alpha=0.05, rows=rows)
    three = np.array([[0.5, 0.5], [0.95, 0.05], [0.7, 0.3]])
    for category in (1, 0, 1, 0):
        race.update("toss", three, three, category, EVEN)
    assert race.alive == ["fair", "biased"]
    stay = race.retire()
    assert stay.tolist() == [True, True, True] or stay.tolist() == [True, False, True]
    for category in (1, 0) * 40:
        race.update("toss", three[stay], three[stay], category, EVEN)
    assert race.alive == ["fair"]
    race.retire()
    assert race.log_e["biased"] >= race.limit
    assert race.alive == ["fair"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({},), "answers must be of at least one hypothesis, got {}."),
        ((NAMES, 1.5), "alpha must be in (0, 1), got 1.5."),
        ((NAMES, 0.1, {"fair": 0.0}), "prior must be positive, got {'fair': 0.0}."),
        (
            (NAMES, 0.1, None, [("fair", 1.0)]),
            "rows must be of the hypotheses ['fair', 'biased'], got [('fair', 1.0)].",
        ),
    ],
)
def test_what_is_no_race_is_told(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        Race(*arguments)  # type: ignore[arg-type]
    assert str(caught.value) == message
