"""Models of GGUF files in numpy: the file, its tokenizer, and the forward pass."""

from logitlab.models.gguf.model import Gguf

__all__ = ["Gguf"]
