"""The engines' own code behind one call: a row of logits and a request in, probabilities out.

Each module runs one engine's published package and nothing of logitlab. It defines

* ``VERSIONS``: package name -> version that is installed;
* ``VARIANTS``: the names that ``run`` understands;
* ``run(case, variant)``: the final probabilities, float64 of shape (V,), or the engine's own error
  as ``"ErrorClass: its text"``;
* ``draw(case, variant, seed, steps)``, where draws can be reproduced: the tokens that the engine
  draws at ``steps`` successive positions, if the row of logits were the same at each and the
  drawn tokens were appended to the output;
* ``follow(case, variant, seed, rows)``, where a sampler has a state: what it draws at successive
  positions of these rows, as ``Drawn``.

Engines do not get along in one process, so `tests/engines/record.py` starts one for each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """A request as a client would send it, on one row of logits.

    Attributes
    ----------
    logits : ndarray of float32, shape (V,)
    params : dict
        Request keys by OpenRouter's names, and an engine's own ones. What is absent is absent.
    prompt, output : list of int
        Token ids so far.
    acts : bool
        How the coin of a sampler falls that has one, where its probability leaves that open.
    """

    logits: Array
    params: dict[str, Any] = field(default_factory=dict)
    prompt: list[int] = field(default_factory=list)
    output: list[int] = field(default_factory=list)
    acts: bool = True


@dataclass(frozen=True)
class Drawn:
    """One token that an engine drew.

    Attributes
    ----------
    token : int
    kept : int
        How many tokens it drew from.
    prob : float
        How likely the token was among these.
    """

    token: int
    kept: int
    prob: float
