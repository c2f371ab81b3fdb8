"""Which keys a request may have beside its parameters: known ones, slips, and those of nobody."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from logitlab.checks import ParameterError, longer, nearest

__all__ = ["FOREIGN", "KNOWN", "check_key", "refuse_unknown"]

_KEYS_OF = {
    "OpenAI: chat, completions, responses": (
        "audio background best_of echo function_call functions include input instructions "
        "max_completion_tokens max_output_tokens messages metadata modalities model n prediction "
        "previous_response_id prompt prompt_cache_key reasoning reasoning_effort "
        "safety_identifier service_tier store stream stream_options suffix text truncation user "
        "web_search_options "
    ),
    "OpenRouter, and clients that add their own": (
        "cache_control debug extra_body extra_headers extra_query image_config include_reasoning "
        "models options plugins preset provider raw_mode route session_id timeout top_n trace "
        "transforms usage "
    ),
    "Anthropic, Google, Mistral, Cohere": (
        "anthropic_beta candidate_count documents generation_config k max_tokens_to_sample p "
        "prompt_mode prompt_truncation random_seed response_logprobs response_mime_type "
        "response_schema safe_prompt safety_settings stop_sequences system system_instruction "
        "thinking thinking_budget thinking_config thinking_level "
    ),
    "vLLM": (
        "add_generation_prompt add_special_tokens cache_salt chat_template chat_template_kwargs "
        "continue_final_message data_parallel_rank detokenize echo enable_response_messages "
        "extra_args guided_choice guided_decoding_backend guided_grammar guided_json guided_regex "
        "guided_whitespace_pattern kv_transfer_params length_penalty logits_processors "
        "logprob_token_ids media_io_kwargs mm_processor_kwargs priority prompt_embeds "
        "prompt_logprobs request_id return_token_ids return_tokens_as_token_ids "
        "skip_special_tokens spaces_between_special_tokens truncate_prompt_tokens use_beam_search "
        "vllm_xargs watermarking "
    ),
    "SGLang": (
        "bootstrap_host bootstrap_port bootstrap_room custom_logit_processor custom_params ebnf "
        "input_ids json_schema lora_path min_new_tokens no_stop_trim reasoning_content regex "
        "return_hidden_states return_logprob return_sampling_mask rid sampling_params "
        "sampling_seed separate_reasoning stop_regex stream_reasoning structural_tag "
        "top_logprobs_num watermark "
    ),
    "llama.cpp": (
        "backend_sampling cache_prompt grammar grammar_lazy grammar_triggers id_slot input_extra "
        "input_prefix input_suffix lora min_keep n_cmpl n_discard n_indent n_keep n_predict "
        "n_probs parse_tool_calls penalize_nl post_sampling_probs preserved_tokens "
        "reasoning_budget reasoning_format reasoning_in_content repeat_last_n repeat_penalty "
        "response_fields return_progress return_tokens samplers speculative t_max_predict_ms "
        "t_max_prompt_ms tfs_z timings_per_token typ_p "
    ),
    "llama-cpp-python": ("last_n_tokens_size logits_processor mirostat_mode "),
    "KoboldCpp and KoboldAI": (
        "adapter ban_eos_token banned_strings banned_tokens bypass_eos custom_token_bans "
        "encoder_repetition genkey grammar_retain_state logit_biases max_context_length "
        "max_length memory nsigma quiet render_special rep_pen rep_pen_range rep_pen_slope "
        "replace_instruct_placeholders sampler_order sampler_seed singleline stop_sequence "
        "trim_stop typical use_default_badwordsids "
    ),
    "text-generation-webui, TabbyAPI, exllama": (
        "add_bos_token allowed_tokens auto_max_new_tokens bos_token bot_name cfg_scale character "
        "chat_instruct_command chat_template_str context_instruct continue_ do_sample dry_range "
        "dynamic_temperature dynatemp_high dynatemp_low early_stopping enable_thinking "
        "encoder_no_repeat_ngram_size encoder_repetition_penalty grammar_string greeting id "
        "include_reasoning instruction_template instruction_template_str loop_detect_window "
        "max_temp max_tokens_second min_length min_temp mode name name1 name2 num_beams "
        "penalty_alpha penalty_range preserve_thinking preset prompt_lookup_num_tokens "
        "protected_token_ids reasoning_budget_message reasoning_budget_tokens regex_pattern "
        "repetition_decay repetition_penalty_range repetition_range response_prefix "
        "sampler_priority speculative_ngram static_cache temp_exponent template_vars "
        "token_healing top_nsigma truncation_length user_bio user_name "
    ),
    "Aphrodite": (
        "custom_token_bans dry_early_exit_match_len dry_max_ngram dry_max_occurrences "
        "dry_sequence_breaker_ids dynatemp_max dynatemp_min xtc_special_tokens "
    ),
    "transformers and its server, Text Generation Inference": (
        "adapter_id assistant_early_exit bad_words_ids begin_suppress_tokens bos_token_id "
        "constraints decoder_input_details details diversity_penalty dola_layers force_words_ids "
        "forced_bos_token_id forced_eos_token_id inputs max_new_tokens max_time num_beam_groups "
        "num_return_sequences output_scores pad_token_id prefix_allowed_tokens_fn "
        "remove_invalid_values renormalize_logits return_dict_in_generate return_full_text "
        "tool_prompt top_n_tokens truncate use_cache "
    ),
    "mlx-lm": (
        "adapters draft_model frequency_context_size num_draft_tokens presence_context_size "
        "repetition_context_size role_mapping "
    ),
    "Ollama": (
        "context draft_num_predict format images keep_alive low_vram main_gpu num_batch num_ctx "
        "num_gpu num_keep num_predict num_thread raw template think use_mmap "
    ),
}

FOREIGN = frozenset(" ".join(_KEYS_OF.values()).split())
"""Keys that other engines, services and clients have, and that change nothing here."""

KNOWN: dict[str, bool] = {}
"""Keys that are read: of each whether it is a parameter, and no engine's own. Who reads, adds."""


def check_key(key: Any, value: Any) -> None:
    """Raise `ParameterError` for a key of no parameter that was meant to be another.

    Examples
    --------
    >>> check_key("user", "me")
    >>> check_key("topp", 0.1)
    Traceback (most recent call last):
    logitlab.checks.ParameterError: topp must be a known key, got 0.1. Did you mean top_p?
    """
    if key in KNOWN or key in FOREIGN or not isinstance(key, str):
        return
    parameters = [name for name, is_parameter in KNOWN.items() if is_parameter]
    if any(key.startswith(f"{name}_") for name in parameters) and not key.endswith("_"):
        return  # seed_x: a word more is meant
    meant = nearest(key, KNOWN) or nearest(key, sorted(FOREIGN), edits=1)
    meant = meant or longer(key, parameters)  # temp
    if meant is not None:
        raise ParameterError(key, "a known key", value, f"Did you mean {meant}?")


def refuse_unknown(keys: Iterable[str]) -> None:
    """Raise for a key that nobody knows, where no note can tell that it is not used."""
    for key in keys:
        if key not in KNOWN and key not in FOREIGN:
            hint = "This result has no notes, which could tell that it is not used."
            raise ParameterError("request", "free of keys that nobody knows", key, hint)
