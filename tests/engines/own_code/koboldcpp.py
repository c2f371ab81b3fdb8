"""KoboldCpp: its own ``SampleLogits``, cut out of ``gpttype_adapter.cpp`` and compiled alone.

Nothing of KoboldCpp is in this repository: ``KOBOLDCPP`` names a directory with the files
``gpttype_adapter.cpp`` and ``koboldcpp.py`` of a release, and g++ compiles the functions between
`sample_softmax` and `SampleLogits`, with what they need of the rest in their place: an array of
logits, the tokens so far, no grammar, no budget. What a request becomes before it gets there, in
``koboldcpp.py`` (``generate``, ``transform_genparams``) and ``gpttype_generate``, is restated here.
Each character of a DRY breaker is a token, see `engines.asked.llama_cpp`.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from . import Array, Case, Drawn

SOURCE = Path(os.environ.get("KOBOLDCPP", "."))
VARIANTS = ("1.116",)
FUNCTIONS = (
    "sample_softmax", "sample_top_k", "sample_token", "sample_token_mirostat",
    "sample_token_mirostat_v2", "sample_top_a", "sample_xtc", "sample_dry", "sample_adaptive_p",
    "sample_rep_pen", "sample_top_p", "sample_min_p", "sample_tail_free", "sampler_typical",
    "sample_top_n_sigma", "sample_entropy", "sample_temperature", "SampleLogits",
)  # fmt: skip
DEFAULTS = {
    "temperature": 0.7, "top_k": 100, "top_a": 0.0, "top_p": 0.9, "min_p": 0.0, "typical": 1.0,
    "tfs": 1.0, "nsigma": 0.0, "rep_pen_range": 320, "rep_pen_slope": 1.0,
    "presence_penalty": 0.0, "mirostat": 0, "mirostat_tau": 5.0, "mirostat_eta": 0.1,
    "dry_multiplier": 0.0, "dry_base": 1.75, "dry_allowed_length": 2, "dry_penalty_last_n": 320,
    "dry_sequence_breakers": [], "xtc_threshold": 0.2, "xtc_probability": 0.0,
    "sampler_order": [6, 0, 1, 3, 4, 2, 5], "dynatemp_range": 0.0, "dynatemp_exponent": 1.0,
    "smoothing_factor": 0.0, "smoothing_curve": 1.0, "adaptive_target": -1.0,
    "adaptive_decay": 0.9, "logit_bias": {}, "custom_token_bans": "", "ban_eos_token": False,
    "bypass_eos": False, "eos_token_id": [],
}  # fmt: skip
# The arguments of SampleLogits between the number of tokens and the generator, and behind it.
FLOATS = (
    "rep_pen", "rep_pen_slope", "presence_penalty", "top_k", "top_a", "top_p", "min_p", "typical",
    "tfs", "nsigma", "temperature", "mirostat_tau", "mirostat_eta", "dry_multiplier", "dry_base",
    "xtc_threshold", "xtc_probability", "dynatemp_range", "dynatemp_exponent", "smoothing_factor",
    "smoothing_curve", "adaptive_target", "adaptive_decay",
)  # fmt: skip
INTEGERS = ("rep_pen_range", "mirostat", "dry_allowed_length", "dry_penalty_last_n")
CONTEXT = 1 << 20
PRELUDE = """
#include <algorithm>
#include <cmath>
#include <cfloat>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>
#define GGML_ASSERT(x)
typedef int llama_token;
struct gpt_vocab { typedef int id; };
struct llama_token_data { llama_token id; float logit; float p; };
struct llama_token_data_array {
    llama_token_data * data; size_t size; int64_t selected; bool sorted;
};
struct llama_grammar; struct llama_context;
struct logit_bias { int token_id; float bias; };
struct TopPicksData {
    std::string selected_token; int32_t selected_tokenid;
    float selected_logprob, selected_probability;
    std::vector<std::string> tokens; std::vector<int> tokenid;
    std::vector<float> logprobs, p;
};
enum samplers {
    KCPP_SAMPLER_TOP_K, KCPP_SAMPLER_TOP_A, KCPP_SAMPLER_TOP_P, KCPP_SAMPLER_TFS,
    KCPP_SAMPLER_TYP, KCPP_SAMPLER_TEMP, KCPP_SAMPLER_REP_PEN, KCPP_SAMPLER_MAX
};
enum class FileFormat { NONE };
struct kcpp_params { int reasoning_budget = -1; };
static kcpp_params params_; static kcpp_params * kcpp_data = &params_;
static FileFormat file_format; static const int debugmode = 0; static const bool is_quiet = true;
static const size_t logprobs_max = 1 << 30;
static int n_vocab;
static std::vector<TopPicksData> top_picks_history;
static std::vector<logit_bias> logit_biases;
static std::vector<int> last_n_tokens, current_context_tokens, dry_repeat_count;
static std::unordered_map<int, int> dry_max_token_repeat;
static std::unordered_multimap<int, std::vector<int>> dry_sequence_breakers;
static float adaptive_p_weighted_sum, adaptive_p_total_weight, the_mu;
static std::mt19937 the_rng;
static std::string FileFormatTokenizeID(int, FileFormat, bool = false) { return ""; }
static std::string RemoveBell(const std::string & s) { return s; }
namespace { void utreplace(std::string &, const char *, const char *) {} }
static void sample_grammar(FileFormat, int, llama_token_data_array *, llama_grammar *) {}
static int apply_reasoning_budget(
    int id, const std::vector<int> &, const std::vector<int> &, std::vector<int> &, int
) { return id; }
"""
CODA = """
extern "C" void begin(unsigned seed, float mu, float target, float decay,
                      const int * text, int length, int window, const int * breakers, int count) {
    the_rng.seed(seed);
    the_mu = mu;
    adaptive_p_weighted_sum = target > 0 ? target / (1.0f - decay) : 0;
    adaptive_p_total_weight = target > 0 ? 1.0f / (1.0f - decay) : 0;
    current_context_tokens.assign(text, text + length);
    last_n_tokens.assign(std::max(window, length), 0);
    std::copy(text, text + length, last_n_tokens.end() - length);
    dry_sequence_breakers.clear();
    for (int i = 0; i < count; ++i) {
        std::vector<int> tail(breakers + 2, breakers + 1 + breakers[0]);
        dry_sequence_breakers.emplace(breakers[1], tail);
        breakers += 1 + breakers[0];
    }
}
extern "C" void accept(int token, float raw, float decay) {
    adaptive_p_weighted_sum = raw + decay * adaptive_p_weighted_sum;
    adaptive_p_total_weight = 1.0f + decay * adaptive_p_total_weight;
    last_n_tokens.erase(last_n_tokens.begin());
    last_n_tokens.push_back(token);
    current_context_tokens.push_back(token);
}
extern "C" int sample(const float * logits, int size, const float * f, const int * n,
                      const int * order, int ordered, const int * ids, const float * biases,
                      int biased, int context, int * tokens, float * probs, int * drawn) {
    n_vocab = size;
    top_picks_history.clear();
    logit_biases.clear();
    for (int i = 0; i < biased; ++i) logit_biases.push_back({ids[i], biases[i]});
    std::vector<samplers> chain;
    for (int i = 0; i < ordered; ++i) chain.push_back((samplers) order[i]);
    std::vector<int> none;
    *drawn = SampleLogits(
        logits, context, size, n[0], f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8], f[9],
        f[10], the_rng, n[1], f[11], f[12], f[13], f[14], n[2], n[3], f[15], f[16], chain, nullptr,
        f[17], f[18], f[19], f[20], f[21], none, none, none, -1);
    TopPicksData & pick = top_picks_history.back();
    std::copy(pick.tokenid.begin(), pick.tokenid.end(), tokens);
    std::copy(pick.p.begin(), pick.p.end(), probs);
    return (int) pick.tokenid.size();
}
"""


def version() -> str:
    """Return the version of the source that is used."""
    text = (SOURCE / "koboldcpp.py").read_text("utf-8")
    found = re.search(r'^KcppVersion = "(.+)"', text, re.MULTILINE)
    assert found
    return found[1]


VERSIONS = {"koboldcpp": version()} if (SOURCE / "koboldcpp.py").exists() else {}


def run(case: Case, variant: str) -> Array | str:
    """Return the probabilities that the draw meets."""
    sampler = _Sampler(case, _falling(case))
    ids, probs, _ = sampler.sample(case.logits)
    if not np.isfinite(probs).all():
        return "NaN row"
    result = np.zeros(len(case.logits))
    result[ids] = probs
    return np.asarray(result / result.sum())


def order(case: Case, variant: str) -> list[int]:
    """Return the token ids in the order in which the draw meets the candidates."""
    return [int(token) for token in _Sampler(case, _falling(case)).sample(case.logits)[0]]


def draw(case: Case, variant: str, seed: int, steps: int) -> list[int] | str:
    """Return the tokens that are drawn, if the logits stay the same."""
    return [each.token for each in follow(case, variant, seed, [case.logits] * steps)]


def follow(case: Case, variant: str, seed: int, rows: list[Array]) -> list[Drawn]:
    """Return the tokens that are drawn from some rows, one after another."""
    sampler, drawn = _Sampler(case, seed & 0xFFFFFFFF), []
    for row in rows:
        ids, probs, token = sampler.sample(row)
        prob = float(probs[np.flatnonzero(ids == token)[0]])
        drawn.append(Drawn(token, int(np.count_nonzero(probs)), prob))
        sampler.accept(row, token)
    return drawn


def _falling(case: Case) -> int:
    """Return a seed with which the coin of XTC falls as the request says."""
    chance = case.params.get("xtc_probability", 0)
    words = ((seed, np.random.RandomState(seed).bytes(4)) for seed in range(10_000))
    uniforms = ((seed, np.frombuffer(word, "<u4")[0] / 2**32) for seed, word in words)
    return next(seed for seed, u in uniforms if not 0 < chance < 1 or (u < chance) == case.acts)


class _Sampler:
    """A request that has begun."""

    def __init__(self, case: Case, seed: int) -> None:
        self.params = p = _read(case)
        self.ends = [int(token) for token in p["eos_token_id"]]
        text = np.array(case.prompt + case.output, np.int32)
        breakers = [[len(b), *(ord(each) - 0x4E00 for each in b)] for b in p["breakers"]]
        flat = np.array([token for each in breakers for token in each], np.int32)
        arguments = (seed, 2 * p["mirostat_tau"], p["adaptive_target"], p["adaptive_decay"])
        lengths = (text.ctypes.data, len(text), p["rep_pen_range"], flat.ctypes.data, len(breakers))
        _library().begin(*arguments, *lengths)

    def sample(self, row: Array) -> tuple[Array, Array, int]:
        """Return the candidates in front of the draw, their probabilities, and what is drawn."""
        p, row = self.params, row.copy()
        if p["ban_eos_token"] and not p["bypass_eos"]:
            lowest = row.min()
            row[self.ends] = lowest - np.float32(8) if lowest < 0 else 0
        floats = np.array([p[key] for key in FLOATS], np.float32)
        integers = np.array([p[key] for key in INTEGERS], np.int32)
        order = np.array(p["sampler_order"], np.int32)
        ids = np.array([*p["bias"]], np.int32)
        biases = np.array([*p["bias"].values()], np.float32)
        tokens, probs = np.zeros(len(row), np.int32), np.zeros(len(row), np.float32)
        drawn = ctypes.c_int()
        count = _library().sample(
            row.ctypes.data, len(row), floats.ctypes.data, integers.ctypes.data,
            order.ctypes.data, len(order), ids.ctypes.data, biases.ctypes.data, len(ids), CONTEXT,
            tokens.ctypes.data, probs.ctypes.data, ctypes.byref(drawn),
        )  # fmt: skip
        return tokens[:count], probs[:count], drawn.value

    def accept(self, row: Array, token: int) -> None:
        """Add a token to the text; adaptive-p remembers what the model gave it."""
        weights = np.exp((row - row.max()).astype(np.float64)).astype(np.float32)
        raw = weights[token] / np.cumsum(weights, dtype=np.float32)[-1]
        _library().accept(token, float(raw), self.params["adaptive_decay"])


def _read(case: Case) -> dict[str, Any]:
    """Return what a request becomes on its way, as koboldcpp.py and gpttype_generate have it."""
    given = case.params
    p: dict[str, Any] = DEFAULTS | given
    names = ("repeat_penalty", "repetition_penalty", "rep_pen")
    p["rep_pen"] = max(given.get(name, 1.0) for name in names)
    p["presence_penalty"] = given.get("presence_penalty", given.get("frequency_penalty", 0.0))
    p["adaptive_decay"] = min(max(p["adaptive_decay"], 0.01), 0.99)
    if p["adaptive_target"] > 0 and p["min_p"] <= 0 and p["top_p"] >= 1:
        p["min_p"] = 0.002
    bias = {int(token): float(amount) for token, amount in p["logit_bias"].items()}
    bias |= {int(t): -100.0 for t in p["custom_token_bans"].split(",") if t.strip().isdigit()}
    p["bias"] = {
        token: min(max(amount, -100.0), 100.0)
        for token, amount in list(bias.items())[:512]
        if 0 <= token < len(case.logits)
    }
    p["rep_pen_range"] = max(p["rep_pen_range"], 1)
    if not 0 < p["rep_pen_slope"] <= 1:
        p["rep_pen_slope"] = 1.0
    if p["top_k"] < 1:
        p["top_k"] = len(case.logits)
    p["breakers"] = p["dry_sequence_breakers"] if p["dry_multiplier"] > 0 else []
    if p["mirostat"] not in (1, 2):
        p["mirostat"] = 0
    return p


@cache
def _library() -> Any:
    source = (SOURCE / "gpttype_adapter.cpp").read_text("utf-8")
    parts = [_function(source, name) for name in FUNCTIONS]
    parts.insert(8, _function(source, "adaptive_p_update_history", begins="inline"))
    code = "\n".join([PRELUDE, *parts, CODA])
    # A number that is kept for as long as the process lives is told anew for each request.
    kept = "static float mirostat_mu = 2.0f * mirostat_tau;"
    assert kept in code
    code = code.replace(kept, "float & mirostat_mu = the_mu;")
    folder = Path(tempfile.mkdtemp())
    (folder / "kobold.cpp").write_text(code)
    flags = ["-O2", "-std=c++17", "-shared", "-fPIC", "-ffp-contract=off"]
    command = ["g++", *flags, "-o", str(folder / "kobold.so"), str(folder / "kobold.cpp")]
    subprocess.run(command, check=True)
    library = ctypes.CDLL(str(folder / "kobold.so"))
    p, i, f = ctypes.c_void_p, ctypes.c_int, ctypes.c_float
    library.begin.argtypes = (ctypes.c_uint, f, f, f, p, i, i, p, i)
    library.accept.argtypes = (i, f, f)
    library.sample.argtypes = (p, i, p, p, p, i, p, p, i, i, p, p, p)
    return library


def _function(source: str, name: str, begins: str = "(?:void|int|llama_token)") -> str:
    """Return the text of a function, from its first word to the brace that ends it."""
    found = re.search(rf"^{begins}[^;\n]*\b{name}\(", source, re.MULTILINE)
    assert found, name
    depth, place = 0, source.index("{", source.index(")", found.end()))
    while True:
        depth += {"{": 1, "}": -1}.get(source[place], 0)
        place += 1
        if depth == 0:
            return source[found.start() : place]
