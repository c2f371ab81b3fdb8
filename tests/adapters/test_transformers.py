"""Needs torch and transformers: adapters inside `generate`, over small networks made here."""

from __future__ import annotations

from typing import Any

import logitlab as ll
import numpy as np
import pytest
from logitlab import ParameterError, adapters
from logitlab.models import Transformers

from adapters.requests_of_all_kinds import REQUESTS, Reference, same_bits

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from models.test_huggingface import SIZE, network  # noqa: E402 (which needs them, too)

requests = pytest.mark.parametrize(("engine", "request_"), REQUESTS)
PLAIN: Any = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
SURE: Any = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
PAD = 0


class Recorded:
    """An adapter, and a copy of whatever it was called with and returned."""

    def __init__(self, adapter: Any) -> None:
        self.adapter = adapter
        self.calls: list[tuple[Any, Any, Any]] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        ids, before = input_ids.clone(), scores.clone()
        result = self.adapter(input_ids, scores)
        assert torch.equal(before, scores)
        assert result.dtype == torch.float32
        assert result.device == scores.device
        assert type(result) is type(scores)
        self.calls.append((ids, before, result.clone()))
        return result


def written(ids: Any, adapter: Any, dtype: Any = None, seed: int = 0, **options: Any) -> Any:
    """Let transformers write with an adapter, and return the tokens after the prompts."""
    net = network("llama") if dtype is None else network("llama").to(dtype)
    torch.manual_seed(seed)
    prompts = torch.tensor(ids)
    chosen = {"max_new_tokens": 20, "pad_token_id": PAD, **PLAIN} | options
    try:
        output = net.generate(prompts, logits_processor=[adapter], **chosen)
    finally:
        network("llama").to(torch.float32)
    return output[:, prompts.shape[1] :].tolist()


def check_rows(recorded: Recorded, prompts: list[list[int]]) -> None:
    """Compare each row of each call with the chain's own, over rows that go on alone."""
    references = [Reference(recorded.adapter.chain, prompt) for prompt in prompts]
    done = [False] * len(prompts)
    width = recorded.calls[0][0].shape[1]
    for ids, scores, results in recorded.calls:
        for i, reference in enumerate(references):
            if ids.shape[1] > width:
                token = int(ids[i, -1])
                if done[i]:
                    continue
                reference.add(token)
                done[i] = token == 1
            if not done[i]:
                assert same_bits(results[i].numpy(), reference.row(scores[i].numpy()))


@requests
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rows_are_the_chains_bit_for_bit(engine: str, request_: dict[str, Any], dtype: str) -> None:
    model = Transformers(network("llama"))
    recorded = Recorded(adapters.transformers(request_, engine=engine, vocabulary=model))
    for seed, prompts in enumerate(([[5, 6, 7], [9, 10, 11], [5, 6, 7]], [[30, 31]])):
        recorded.calls.clear()
        tokens = written(prompts, recorded, getattr(torch, dtype), seed)
        assert len(recorded.calls) == len(tokens[0])
        assert len(recorded.calls) > 5
        check_rows(recorded, prompts)


@requests
def test_with_a_seed_the_tokens_are_those_of_generate(
    engine: str, request_: dict[str, Any]
) -> None:
    model = Transformers(network("llama"))
    adapter = adapters.transformers(request_, engine=engine, seed=3, vocabulary=model)
    mine = ll.generate(model, [5, 6, 7], request_, engine=engine, seed=3, n=3, max_tokens=20)
    for options in (
        PLAIN,
        {"do_sample": False, **dict.fromkeys(["temperature", "top_p", "top_k"])},
    ):
        theirs = written([[5, 6, 7]] * 3, adapter, **options)  # one adapter, one call after another
        for own, answer in zip(theirs, mine, strict=True):
            tokens = answer.tokens.tolist()
            assert own[: len(tokens)] == tokens
            assert set(own[len(tokens) :]) <= {PAD}
    [several] = [written([[5, 6, 7]], adapter, num_return_sequences=3)]
    assert several == written([[5, 6, 7]] * 3, adapter)


def test_a_seed_of_bfloat16_reads_what_the_model_said() -> None:
    request = {"temperature": 0.9, "mirostat": 2, "mirostat_tau": 3.0}
    adapter = adapters.transformers(request, seed=3)
    theirs = written([[5, 6, 7]], adapter, torch.bfloat16)
    try:
        model = Transformers(network("llama").to(torch.bfloat16))
        mine = ll.generate(model, [5, 6, 7], request, seed=3, max_tokens=20)
        assert mine.tokens.tolist() == theirs[0][: len(mine.tokens)]
    finally:
        network("llama").to(torch.float32)


def test_shorter_prompts_are_padded_and_padding_does_not_count() -> None:
    request = {"presence_penalty": 1.5, "no_repeat_ngram_size": 2, "repetition_penalty": 1.3}
    prompts, mask = [[PAD, PAD, 5], [6, 7, 8], [PAD, 0, 9]], [[0, 0, 1], [1, 1, 1], [0, 1, 1]]
    ids = torch.tensor(prompts)
    by_id, by_mask = (
        Recorded(adapters.transformers(request, **how))
        for how in ({"pad_token_id": PAD}, {"attention_mask": torch.tensor(mask)})
    )
    for recorded, own in ((by_id, [[5], [6, 7, 8], [9]]), (by_mask, [[5], [6, 7, 8], [0, 9]])):
        written(prompts, recorded, attention_mask=torch.tensor(mask))
        check_rows(recorded, own)
    assert not torch.equal(by_id.calls[0][2], by_mask.calls[0][2])
    # A prompt is never all padding, and several sequences to a prompt have its mask.
    adapter = adapters.transformers({"presence_penalty": 1.0}, pad_token_id=PAD)
    scores = torch.zeros(1, SIZE)
    assert adapter(torch.tensor([[PAD, PAD]]), scores).nonzero().tolist() == [[0, PAD]]
    expanded = adapters.transformers({"presence_penalty": 1.0}, attention_mask=mask)
    rows = expanded(ids.repeat_interleave(2, dim=0), torch.zeros(6, SIZE))
    assert [row.nonzero().ravel().tolist() for row in rows] == [
        *([5], [5], [6, 7, 8], [6, 7, 8], [0, 9], [0, 9]),
    ]


@requests
def test_beams_change_places_and_fork(engine: str, request_: dict[str, Any]) -> None:
    recorded = Recorded(adapters.transformers(request_, engine=engine))
    written([[5, 6, 7], [9, 10, 11]], recorded, max_new_tokens=12, num_beams=4, **SURE)
    moved = 0
    known: dict[tuple[int, ...], list[Reference]] = {}
    before: list[list[int]] = []
    for ids, scores, results in recorded.calls:
        now: dict[tuple[int, ...], list[Reference]] = {}
        for i, tokens in enumerate(ids.tolist()):
            # Two beams may have the same text, and scores that differ in their last bits.
            earlier = known.get(tuple(tokens[:-1]), []) if before else [None]
            own = [gone_on(one, recorded.adapter.chain, tokens) for one in earlier]
            expected = [one.row(scores[i].numpy()) for one in own]
            same = [same_bits(results[i].numpy(), row) for row in expected]
            assert any(same)
            now.setdefault(tuple(tokens), []).append(own[same.index(True)])
            moved += bool(before) and tokens[:-1] != before[i]
        known, before = now, ids.tolist()
    # Greedy beams have one token each, and those of this mirostat few.
    assert moved or request_.get("temperature") == 0 or "mirostat" in request_


def gone_on(earlier: Reference | None, chain: ll.Chain, tokens: list[int]) -> Reference:
    """Return the reference of a beam that begins, or has one more token than another."""
    reference = Reference(chain, tokens[:3])
    if earlier is not None:
        reference.state, reference.stages = earlier.state, dict(earlier.stages)
        reference.output = [*earlier.output]
        if all(stage[tokens[-1]] > -np.inf for stage in earlier.stages.values()):
            reference.add(tokens[-1])
        else:  # a beam that is over goes on with padding
            reference.output.append(tokens[-1])
    return reference


def test_beams_are_refused_where_it_draws() -> None:
    adapter = adapters.transformers({}, seed=1)
    # Its rows leave one token to a beam, so beams do not move by themselves.
    adapter(torch.tensor([[5], [6]]), torch.zeros(2, SIZE))
    with pytest.raises(ParameterError, match="input_ids must be in one order where the adapter d"):
        adapter(torch.tensor([[6, 1], [5, 2]]), torch.zeros(2, SIZE))


def test_drafts_of_another_model_are_refused() -> None:
    adapter = adapters.transformers({"top_k": 20})
    with pytest.raises(ParameterError, match="Nothing goes back here, as drafts of another model"):
        written([[5, 6, 7] * 4], adapter, prompt_lookup_num_tokens=3, max_new_tokens=30)


def test_its_own_processors_come_before_and_its_warpers_behind() -> None:
    recorded = Recorded(adapters.transformers({"top_k": 5}))
    [tokens] = written([[5, 6, 7]], recorded, repetition_penalty=1.5, top_k=2)
    model = Transformers(network("llama"))
    for (ids, scores, result), token in zip(recorded.calls, tokens, strict=True):
        assert same_bits(result.numpy(), ll.Chain(ll.TopK(5))(scores.numpy()))
        raw = model.advance([model.start()], [ids[0].tolist()])
        penalised = ll.repetition_penalty(raw, 1.5, ll.Context(ids.numpy()))
        assert np.allclose(scores.numpy(), penalised, atol=1e-4)
        assert not np.allclose(scores.numpy(), raw, atol=1e-2)
        assert (result[0] > result[0, token]).sum() < 2


def test_the_plain_one_takes_and_returns_tensors() -> None:
    row = torch.linspace(0, 3, SIZE).bfloat16()
    result: Any = adapters.plain({"top_k": 3})(torch.tensor([1]), row)
    assert result.dtype == torch.float32
    assert torch.equal(result[-3:], row[-3:].float())
    assert torch.isneginf(result[:-3]).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_scores_of_16_bits_come_back_in_float32(dtype: str) -> None:
    wide = torch.float64 if dtype == "float64" else torch.float32
    numbers = np.random.default_rng(1).normal(size=(2, SIZE))
    scores = torch.tensor(numbers, dtype=getattr(torch, dtype))
    adapter = adapters.transformers({"temperature": 0.7, "min_p": 0.1})
    result = adapter(torch.tensor([[1], [2]]), scores.requires_grad_())
    assert result.dtype == wide
    assert same_bits(result.numpy(), adapter.chain(scores.detach().to(wide).numpy()))


def test_wrong_calls() -> None:
    adapter = adapters.transformers({})
    ids, scores = torch.tensor([[1, 2]]), torch.zeros(1, SIZE)
    for wrong_ids, wrong, message in (
        (ids, scores.numpy(), "scores must be a tensor of torch, got"),
        ([[1, 2]], scores, "input_ids must be a tensor of torch, got [[1, 2]]."),
        (ids[0], scores, "input_ids must be token ids of shape (1, L), a row for each of logits, "),
        (ids + SIZE, scores, f"input_ids must be token ids in [0, {SIZE - 1}], got {SIZE + 1}."),
        (ids, scores.long(), "scores must be float16, bfloat16, float32 or float64, got int64."),
        (ids, scores[0], "scores must be of shape (n, V) with V at least 1, got shape (60,)."),
        (ids, scores * np.nan, "logits must be free of NaN, got NaN in row (0,). (In the rows of "),
    ):
        with pytest.raises(ParameterError) as error:
            adapter(wrong_ids, wrong)
        assert str(error.value).startswith(message)


def test_wrong_padding() -> None:
    mask = "attention_mask must be of shape (n, L) with ones, and zeros for padding, got shape "
    for options, message in (
        ({"pad_token_id": -1}, "pad_token_id must be an integer >= 0, got -1."),
        ({"pad_token_id": 0, "attention_mask": [[1]]}, "pad_token_id must be absent where attenti"),
        ({"attention_mask": [1, 1]}, f"{mask}(2,)."),
        ({"attention_mask": [[1, 2]]}, f"{mask}(1, 2)."),
    ):
        with pytest.raises(ParameterError) as error:
            adapters.transformers({}, **options)
        assert str(error.value).startswith(message)
    adapter = adapters.transformers({}, attention_mask=[[0, 1], [1, 1]])
    with pytest.raises(ParameterError) as error:
        adapter(torch.tensor([[1, 2]]), torch.zeros(1, SIZE))
    assert str(error.value) == (
        "attention_mask must be that of the prompts, as generate got it, got shape (2, 2) beside "
        "input_ids of shape (1, 2)."
    )


def test_notes_name_the_library() -> None:
    notes = adapters.transformers({"stop": ["x"]}).notes
    assert notes[0].sentence == "stop is left to transformers: what shapes logits ends no text."
