"""Models that run here, by what they need: nothing, a recording, a file, or another library."""

from logitlab.models.gguf import Gguf
from logitlab.models.model import Model, State

__all__ = ["Gguf", "Model", "State"]
