"""Claims about cuts: typical_p, top_n_sigma, epsilon and eta, tail-free, top_h, p_less."""

from __future__ import annotations

from typing import Any

import numpy as np
from logitlab.claims.claim import Family, Measured, Picture, Source
from logitlab.claims.lab import Lab
from logitlab.claims.truth import LEVEL, Floats, entropies, ranking, recorded_probs, survivors

__all__ = ["CLAIMS"]

CLAIMS = Family()
_MEISTER = Source.paper("Meister et al.", "2202.00666")
_WIKI = Source(
    "text-generation-webui, Parameters Tab",
    "https://github.com/oobabooga/text-generation-webui/wiki/03-%E2%80%90-Parameters-Tab",
)
_TANG = Source.paper("Tang et al.", "2411.07641")
_HEWITT = Source.paper("Hewitt et al.", "2210.15191")
_BRICKEN = Source(
    "Bricken, Tail Free Sampling, 2019", "https://www.trentonbricken.com/Tail-Free-Sampling/"
)
_POTRAGHLOO = Source.paper("Potraghloo et al.", "2509.02510")
_TAN = Source.paper("Tan et al.", "2509.23234")


def _surprise() -> Floats:
    """Return the surprise of every token of the recorded rows, in nats."""
    return -np.log(recorded_probs())


def _kept(lab: Lab, rows: Any, **request: Any) -> Any:
    """Return which tokens a request leaves."""
    return survivors(lab.logits(rows, request))


def _medians(masks: Any) -> list[float]:
    """Return the median number of survivors of each batch of rows."""
    return [float(np.median(mask.sum(axis=-1))) for mask in masks]


@CLAIMS.about(
    "typical_p",
    "most_likely",
    "The most likely token may be dropped: the one that is too predictable to be typical.",
    source=_MEISTER,
)
def _typical_most_likely(lab: Lab) -> Measured:
    rows, best = lab.rows.logits, ranking()[:, :1]
    values = [0.2, 0.5, 0.9]
    masks = [_kept(lab, rows, typical_p=value) for value in values]
    gone = [int((~np.take_along_axis(mask, best, axis=-1)).sum()) for mask in masks]
    others = [_kept(lab, rows, top_p=value) for value in values[:2]]
    stays = sum(int(np.take_along_axis(mask, best, axis=-1).sum()) for mask in others)
    return Measured(
        gone[0] > 0 and stays == 2 * len(rows),
        "It is gone on {low} of {rows} rows at 0.2, on {half} at 0.5, on {high} at 0.9. top_p 0.2 "
        "and 0.5 keep it always ({stays} of {cases}).",
        {
            "low": gone[0],
            "half": gone[1],
            "high": gone[2],
            "rows": len(rows),
            "stays": stays,
            "cases": 2 * len(rows),
        },
        Picture(
            "Rows of 20 whose most likely token typical_p drops",
            "typical_p",
            "rows",
            [f"{value:g}" for value in values],
            {"without it": gone},
            "bars",
        ),
    )


@CLAIMS.about(
    "typical_p",
    "expected",
    "What stays has an information content near the one to be expected, the entropy.",
    source=_MEISTER,
)
def _typical_expected(lab: Lab) -> Measured:
    rows, p = lab.rows.logits, recorded_probs()
    surprise = _surprise()
    far = np.abs(surprise - (p * surprise).sum(axis=-1, keepdims=True))
    right = 0
    means = []
    for key in ("typical_p", "top_p"):
        mask = _kept(lab, rows, **{key: 0.5})
        kept, dropped = np.where(mask, far, 0).max(axis=-1), np.where(mask, np.inf, far).min(-1)
        right += int((kept <= dropped).sum()) if key == "typical_p" else 0
        q = np.where(mask, p, 0)
        means.append(float(((q * far).sum(axis=-1) / q.sum(axis=-1)).mean()))
    return Measured(
        right == len(rows) and means[0] < means[1],
        "At 0.5 no token that goes is nearer to the entropy than one that stays, on {right} of "
        "{rows} rows; what is left is {typical:.2f} nats away on average, with top_p {top:.2f}.",
        {"right": right, "rows": len(rows), "typical": means[0], "top": means[1]},
    )


@CLAIMS.about(
    "typical_p",
    "random",
    "Only tokens stay that are so much more likely than random ones.",
    wrong="it has no threshold: unlikely tokens stay where likelier ones go, down to a mass",
    source=_WIKI,
)
def _typical_random(lab: Lab) -> Measured:
    rows, p = lab.rows.logits, recorded_probs()
    mask = _kept(lab, rows, typical_p=0.9)
    kept = np.where(mask, p, 1).min(axis=-1)
    dropped = np.where(mask, 0, p).max(axis=-1)
    low = _kept(lab, rows, typical_p=0.2)
    passed = np.where(low, 0, p).max(axis=-1) > np.where(low, p, 1).min(axis=-1)
    random = 1 / rows.shape[1]  # how likely a random token is; the value would be the factor
    return Measured(
        bool(kept.min() < 0.9 * random < dropped.max()) and passed.any(),
        "With 0.9 tokens down to {kept:.0e} stay, which is less than one of {vocabulary} at "
        "random, and one of {dropped:.3f} goes. With 0.2 a token goes that is likelier than one "
        "that stays on {passed} of {rows} rows.",
        {
            "kept": kept.min(),
            "vocabulary": rows.shape[1],
            "dropped": dropped.max(),
            "passed": passed.sum(),
            "rows": len(rows),
        },
    )


@CLAIMS.about(
    "top_n_sigma",
    "temperature",
    "The set of tokens is the same at any temperature, unlike that of top_p or min_p.",
    source=_TANG,
)
def _sigma_temperature(lab: Lab) -> Measured:
    rows = lab.rows.logits
    temperatures = [0.5, 1.0, 1.5, 2.0]
    cuts: dict[str, dict[str, float]] = {
        "top_n_sigma 1": {"top_n_sigma": 1.0},
        "min_p 0.1": {"min_p": 0.1},
        "top_p 0.9": {"top_p": 0.9},
    }
    masks = {
        name: np.array([_kept(lab, rows, temperature=t, **cut) for t in temperatures])
        for name, cut in cuts.items()
    }
    same = [int((mask == mask[1]).all(axis=(0, 2)).sum()) for mask in masks.values()]
    median = {name: _medians(mask) for name, mask in masks.items()}
    x = rows.astype(np.float64)
    equation = x >= x.max(axis=-1, keepdims=True) - x.std(axis=-1, keepdims=True)
    return Measured(
        same[0] == len(rows) > max(same[1:])
        and bool((masks["top_n_sigma 1"][1] == equation).all()),
        "From 0.5 to 2 the set stays the same on {sigma} of {rows} rows, with min_p on {min_p}, "
        "with top_p on {top_p}: in the median {low:.0f} tokens at 0.5 and {high:.0f} at 2, where "
        "top_p 0.9 goes from {top_low:.0f} to {top_high:.0f}.",
        {
            "sigma": same[0],
            "min_p": same[1],
            "top_p": same[2],
            "rows": len(rows),
            "low": median["top_n_sigma 1"][0],
            "high": median["top_n_sigma 1"][-1],
            "top_low": median["top_p 0.9"][0],
            "top_high": median["top_p 0.9"][-1],
        },
        Picture(
            "Tokens left at a temperature, median of 20 rows",
            "temperature",
            "tokens left",
            temperatures,
            median,
            log_y=True,
        ),
    )


@CLAIMS.about(
    "top_n_sigma",
    "noise",
    "Logits are noise of a Gaussian distribution, and a region of their own that informs.",
    vague="how near to it is not said; nor do those that inform stand apart from the noise",
    source=_TANG,
)
def _sigma_noise(lab: Lab) -> Measured:
    from scipy.special import ndtr
    from scipy.stats import kstwobign

    rows = lab.rows.logits[::2].astype(np.float64)
    z = np.sort((rows - rows.mean(axis=-1, keepdims=True)) / rows.std(axis=-1, keepdims=True))
    share = np.arange(z.shape[1] + 1) / z.shape[1]
    cdf = ndtr(z)
    distance = np.maximum(share[1:] - cdf, cdf - share[:-1]).max(axis=-1)
    refused = int((kstwobign.sf(distance * z.shape[1] ** 0.5) < LEVEL).sum())
    apart = np.diff(z[:, -51:])  # how far a token is from the next one
    return Measured(
        bool(distance.max() < 0.1) and refused > 0,
        "No distribution function is farther than {most:.3f} from a Gaussian one (least "
        "{least:.3f}), and yet a test of {logits} logits refuses it on {refused} of {rows} rows. "
        "The best token is {low:.1f} to {high:.1f} σ above the mean, and of the first 50 each is "
        "{gap:.2f} σ above the next on average.",
        {
            "most": distance.max(),
            "least": distance.min(),
            "logits": z.shape[1],
            "refused": refused,
            "rows": len(z),
            "low": z[:, -1].min(),
            "high": z[:, -1].max(),
            "gap": float(apart.mean()),
        },
    )


@CLAIMS.about(
    "epsilon_cutoff",
    "flat",
    "A fixed cutoff takes too much away where there are many good tokens.",
    vague="how many are good is not known; what it takes is",
    source=_HEWITT,
)
def _epsilon_flat(lab: Lab) -> Measured:
    rows, p = lab.rows.logits, recorded_probs()
    order = np.argsort(entropies(rows))
    mask = _kept(lab, rows, epsilon_cutoff=0.003)
    best = p == p.max(axis=-1, keepdims=True)
    right = int((mask == ((p >= 0.003) | best)).all(axis=-1).sum())
    left = (p * mask).sum(axis=-1)[order]
    return Measured(
        right == len(rows) and left[0] > 0.9 > 0.5 > left[-1],
        "0.003 leaves {sure:.0%} of the probability where the model is surest and {flat:.0%} where "
        "it is least sure ({tokens} tokens); the set is that of the equation on {right} of {rows} "
        "rows.",
        {
            "sure": left[0],
            "flat": left[-1],
            "tokens": mask[order[-1]].sum(),
            "right": right,
            "rows": len(rows),
        },
        Picture(
            "Probability that epsilon_cutoff 0.003 leaves, by row",
            "entropy in nats",
            "probability left",
            np.sort(entropies(rows)),
            {"one row": left},
            "points",
        ),
    )


@CLAIMS.about(
    "eta_cutoff",
    "entropy",
    "The cutoff follows the entropy: it is lower where the model is less sure.",
    source=_HEWITT,
)
def _eta_entropy(lab: Lab) -> Measured:
    rows, p = lab.rows.logits, recorded_probs()
    value = 0.003
    height = entropies(rows)
    cutoff = np.minimum(value, value**0.5 * np.exp(-height))
    eta, epsilon = (_kept(lab, rows, **{key: value}) for key in ("eta_cutoff", "epsilon_cutoff"))
    right = (eta == (p >= cutoff[:, None])).all(axis=-1) & (epsilon <= eta).all(axis=-1)
    low = cutoff < value
    return Measured(
        bool(right.all()) and bool((eta.sum(-1) > epsilon.sum(-1))[low].any()) and not low.all(),
        "At 0.003 the survivors are those of p ≥ min(η, √η e^-H) on {right} of {rows} rows. On "
        "{low} the entropy lowers the cutoff, where the model is least sure to {least:.1g}: "
        "{eta} tokens stay and {epsilon} with epsilon_cutoff; on the others both keep the same.",
        {
            "right": right.sum(),
            "rows": len(rows),
            "low": low.sum(),
            "least": cutoff.min(),
            "eta": eta[height.argmax()].sum(),
            "epsilon": epsilon[height.argmax()].sum(),
        },
        Picture(
            "Tokens left at 0.003, by row",
            "entropy in nats",
            "tokens left",
            height,
            {"eta_cutoff": eta.sum(axis=-1)},
            "points",
            log_y=True,
        ),
    )


@CLAIMS.about(
    "eta_cutoff",
    "likely",
    "top_p removes tokens without need that are likely, and eta does not.",
    vague="likely is, what eta itself calls so",
    source=_HEWITT,
)
def _eta_likely(lab: Lab) -> Measured:
    rows, p = lab.rows.logits, recorded_probs()
    lost = {
        key: np.where(_kept(lab, rows, **{key: value}), 0, p).max(axis=-1)
        for key, value in (("top_p", 0.95), ("eta_cutoff", 0.003))
    }
    over = {key: int((values >= 0.003).sum()) for key, values in lost.items()}
    return Measured(
        over["eta_cutoff"] == 0 < over["top_p"],
        "top_p 0.95 removes a token of at least 0.003 on {top_p} of {rows} rows, one of "
        "{likeliest:.3f} among them; eta_cutoff 0.003 on {eta}.",
        {
            "top_p": over["top_p"],
            "eta": over["eta_cutoff"],
            "rows": len(rows),
            "likeliest": lost["top_p"].max(),
        },
    )


@CLAIMS.about(
    "tfs",
    "tail",
    "It finds where the tail begins, wherever that is: top_p and top_k cannot.",
    vague="where the row has an edge; real ones hardly have, and there little is left",
    source=_BRICKEN,
)
def _tfs_tail(lab: Lab) -> Measured:
    heads = [2, 5, 10, 20, 40]
    rows = np.where(np.arange(100) < np.array(heads)[:, None], 0.0, -5.0)
    tfs, top_p = (_kept(lab, rows, **{key: 0.95}).sum(axis=-1) for key in ("tfs", "top_p"))
    found = int((tfs == heads).sum())
    real = _kept(lab, lab.rows.logits, tfs=0.95)
    mass = (recorded_probs() * real).sum(axis=-1)
    return Measured(
        found == len(heads) > int((top_p == heads).sum()) and bool((mass < 0.95).any()),
        "Of heads of 2, 5, 10, 20 and 40 equal tokens over a flat tail 0.95 keeps exactly the head "
        "in {found} of {cases} cases, and top_p 0.95 in {top_p}. On real rows it leaves "
        "{median:.0f} tokens in the median, which hold {mass:.0%} of the probability, on one row "
        "{least:.0%}.",
        {
            "found": found,
            "cases": len(heads),
            "top_p": (top_p == heads).sum(),
            "median": _medians([real])[0],
            "mass": float(np.median(mass)),
            "least": mass.min(),
        },
        Picture(
            "Tokens left of a head of equal ones over a tail",
            "tokens of the head",
            "tokens left",
            [str(head) for head in heads],
            {"tfs 0.95": tfs, "top_p 0.95": top_p},
            "bars",
        ),
    )


@CLAIMS.about(
    "top_h",
    "bounded",
    "What is left has at most the part alpha of the entropy, and as much mass as that allows.",
    vague="of beginnings of the sorted row; and the authors' code compares another sum",
    source=_POTRAGHLOO,
)
def _top_h_bounded(lab: Lab) -> Measured:
    rows, order = lab.rows.logits, ranking()
    x = np.take_along_axis(rows.astype(np.float64), order, axis=-1)
    w = np.exp(x - x[:, :1])
    mass = np.cumsum(w, axis=-1)
    # ln of the mass less the mean of x: the entropy of every beginning of the sorted row.
    height = np.log(mass) - np.cumsum(w * (x - x[:, :1]), axis=-1) / mass
    values, right, over, counts = [0.2, 0.4, 0.8], 0, 0.0, []
    for alpha in values:
        counts.append(_kept(lab, rows, top_h=alpha).sum(axis=-1))
        limit = alpha * height[:, -1]
        here = np.take_along_axis(height, counts[-1][:, None] - 1, axis=-1)[:, 0]
        more = np.take_along_axis(height, counts[-1][:, None], axis=-1)[:, 0]
        right += int(((here <= limit + 1e-9) & (more > limit - 1e-9)).sum())
        over = max(over, float((here / limit).max()))
    return Measured(
        right == 3 * len(rows),
        "At 0.2, 0.4 and 0.8 the entropy of what is left is at most that part of the row's "
        "({over:.3f} of it at most), and one token more would exceed it, in {right} of {cases} "
        "cases; 0.4 leaves {least} to {most} tokens.",
        {
            "over": over,
            "right": right,
            "cases": 3 * len(rows),
            "least": counts[1].min(),
            "most": counts[1].max(),
        },
        Picture(
            "Tokens that top_h leaves, by row",
            "entropy in nats",
            "tokens left",
            height[:, -1],
            {"0.4": counts[1]},
            "points",
            log_y=True,
        ),
    )


@CLAIMS.about(
    "p_less",
    "adapts",
    "Without a parameter the cutoff adapts to the whole distribution: the surer, the higher.",
    source=_TAN,
)
def _p_less_adapts(lab: Lab) -> Measured:
    from scipy.stats import spearmanr

    rows, p = lab.rows.logits, recorded_probs()
    cutoff = (p**2).sum(axis=-1)
    mask = _kept(lab, rows, p_less=True)
    right = int((mask == (p >= cutoff[:, None])).all(axis=-1).sum())
    counts, height = mask.sum(axis=-1), entropies(rows)
    rho = float(spearmanr(cutoff, height).statistic)
    return Measured(
        right == len(rows) and rho < -0.9 and counts.max() > counts.min(),
        "The survivors are those of p ≥ Σ p² on {right} of {rows} rows. That cutoff goes from "
        "{least:.4f} to {most:.2f}, against the entropy (rank correlation {rho:.2f}), and leaves "
        "{fewest} to {tokens} tokens.",
        {
            "right": right,
            "rows": len(rows),
            "least": cutoff.min(),
            "most": cutoff.max(),
            "rho": rho,
            "fewest": counts.min(),
            "tokens": counts.max(),
        },
        Picture(
            "Tokens that p_less leaves, by row",
            "entropy in nats",
            "tokens left",
            height,
            {"one row": counts},
            "points",
        ),
    )


@CLAIMS.about(
    "p_less",
    "valid",
    "The cutoff is valid: it never removes everything, and of equal tokens nothing.",
    source=_TAN,
)
def _p_less_valid(lab: Lab) -> Measured:
    sizes = [1, 2, 3, 7, 100, 1000, 49152]
    flat = sum(bool(_kept(lab, np.full(size, -1.7), p_less=True).all()) for size in sizes)
    hot = [_kept(lab, lab.rows.logits, temperature=t, p_less=True).sum(-1) for t in (0.05, 1, 2)]
    least = int(min(counts.min() for counts in hot))
    return Measured(
        flat == len(sizes) and least >= 1,
        "Of rows of equal tokens {flat} of {cases} stay whole (1 to 49152 tokens). At temperatures "
        "0.05, 1 and 2 at least {least} token of every row is left, {one:.0f} in the median at 1 "
        "and {two:.0f} at 2.",
        {
            "flat": flat,
            "cases": len(sizes),
            "least": least,
            "one": float(np.median(hot[1])),
            "two": float(np.median(hot[2])),
        },
    )
