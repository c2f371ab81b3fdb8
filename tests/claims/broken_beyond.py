"""What is broken for the claims beyond the page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from logitlab.claims import Lab
from logitlab.datasets import Recording

from claims.broken import Altered, Cuts, forces, maps, renames, without

__all__ = ["BROKEN_BEYOND"]


class Rows(Lab):
    """Logits of another model."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        self.change = change

    @property
    def rows(self) -> Recording:
        return dataclasses.replace(super().rows, logits=self.change(super().rows.logits))


def instead(key: str, **values: Any) -> Lab:
    """A library that does something else where a parameter is given."""

    def change(request: dict[str, Any]) -> dict[str, Any]:
        return {**request, **values} if request.pop(key, None) is not None else request

    return Altered(change)


BROKEN_BEYOND: dict[str, list[Lab]] = {
    "typical_p.most_likely": [renames("typical_p", "top_p")],
    "typical_p.expected": [renames("typical_p", "top_p"), without("typical_p")],
    "typical_p.random": [renames("typical_p", "top_p"), renames("typical_p", "min_p")],
    "top_n_sigma.temperature": [instead("top_n_sigma", min_p=0.1), without("top_n_sigma")],
    "top_n_sigma.noise": [Rows(lambda x: x**3), Rows(lambda x: np.maximum(x, x.mean()))],
    "epsilon_cutoff.flat": [
        renames("epsilon_cutoff", "eta_cutoff"),
        maps("epsilon_cutoff", lambda e: e / 100),
    ],
    "eta_cutoff.entropy": [
        renames("eta_cutoff", "epsilon_cutoff"),
        maps("eta_cutoff", lambda e: e * 1.1),
    ],
    "eta_cutoff.likely": [maps("eta_cutoff", lambda e: e * 10), renames("eta_cutoff", "top_p")],
    "tfs.tail": [renames("tfs", "top_p"), without("tfs")],
    "top_h.bounded": [maps("top_h", lambda a: a * 1.1), renames("top_h", "top_p")],
    "p_less.adapts": [instead("p_less", epsilon_cutoff=0.1), instead("p_less", min_p=0.1)],
    "p_less.valid": [instead("p_less", top_p=0.5), instead("p_less", top_k=100)],
    "xtc_probability.least": [maps("xtc_threshold", lambda t: t / 2), without("xtc_threshold")],
    "xtc_probability.coin": [maps("xtc_probability", lambda q: 1 - q), forces(xtc_probability=1)],
    "xtc_probability.tail": [
        without("xtc_probability"),
        instead("xtc_probability", xtc_probability=1.0, temperature=1.5),
    ],
    "min_p.heat": [without("min_p"), maps("top_p", lambda p: 0.01)],
    "min_p.controlled": [
        Cuts("min_p", lambda p, value: p < value),
        without("min_p"),
    ],
    "dynatemp_range.entropy": [
        maps("dynatemp_range", lambda r: r / 2),
        maps("dynatemp_exponent", lambda e: 1 / e),
    ],
    "smoothing_factor.even": [
        without("smoothing_factor"),
        instead("smoothing_factor", temperature=0.7),
    ],
    "smoothing_curve.overtakes": [
        maps("smoothing_curve", lambda c: min(c, 3.0)),
        maps("smoothing_curve", lambda c: c + 2),
    ],
    "temperature_last.coherent": [without("temperature_last"), without("temperature")],
    "skew.direction": [maps("skew", lambda s: -s), maps("skew", lambda s: s / 2)],
    "dry_multiplier.exponential": [
        maps("dry_allowed_length", lambda n: n + 1),
        maps("dry_base", lambda b: b + 0.1),
    ],
    "dry_multiplier.breakers": [without("dry_sequence_breakers")],
    "dry_multiplier.spares": [renames("dry_multiplier", "presence_penalty")],
    "dry_multiplier.loops": [
        without("dry_multiplier"),
        maps("dry_penalty_last_n", lambda n: 3),
    ],
    "no_repeat_ngram_size.never": [
        without("no_repeat_ngram_size"),
        maps("no_repeat_ngram_size", lambda n: n and n + 1),
    ],
    "min_tokens.least": [without("min_tokens"), maps("min_tokens", lambda n: n // 2)],
    "exponential_decay_length_penalty.grows": [
        without("exponential_decay_length_penalty"),
        maps("exponential_decay_length_penalty", lambda pair: [pair[0], 2 - pair[1]]),
    ],
    "allowed_token_ids.only": [without("allowed_token_ids"), without("logit_bias")],
    "bad_words.phrase": [
        without("bad_words"),
        maps("bad_words", lambda words: [word[-1:] for word in words]),
    ],
    "ignore_eos.goes_on": [without("ignore_eos")],
    "repetition_detection.ends": [
        without("repetition_detection"),
        maps("repetition_detection", lambda rule: {**rule, "min_count": 4}),
    ],
    "mirostat.settles": [without("mirostat"), maps("mirostat_tau", lambda tau: tau + 1)],
    "mirostat.zipf": [without("mirostat"), forces(mirostat_eta=0.0)],
    "mirostat.repetition": [without("mirostat"), maps("mirostat_tau", lambda tau: 6 - tau)],
    "adaptive_target.near": [maps("adaptive_target", lambda t: 1 - t), without("adaptive_target")],
    "adaptive_target.average": [
        without("adaptive_target"),
        maps("adaptive_target", lambda t: t / 2),
    ],
    "guidance_scale.equation": [maps("guidance_scale", lambda g: g + 0.1)],
    "guidance_scale.adherence": [
        without("guidance_scale"),
        maps("guidance_scale", lambda g: 2 - g),
    ],
    "watermarking_config.length": [
        without("watermarking_config"),
        maps("watermarking_config", lambda config: {**config, "hashing_key": 7}),
    ],
    "watermarking_config.entropy": [without("watermarking_config"), without("temperature")],
}
