"""Our chains inside other libraries: a request as the logits processor that each of them takes.

No other library is imported: what an adapter is called with suffices, or what vLLM has loaded.
"""

from logitlab.adapters.adapter import Adapter
from logitlab.adapters.llama_cpp import llama_cpp
from logitlab.adapters.mlx_lm import mlx_lm
from logitlab.adapters.plain import plain
from logitlab.adapters.transformers import transformers
from logitlab.adapters.vllm import vllm

__all__ = ["Adapter", "llama_cpp", "mlx_lm", "plain", "transformers", "vllm"]
