"""Models that run here, by what they need: nothing, a recording, a file, or another library."""

from logitlab.models.huggingface import Transformers
from logitlab.models.llama_cpp import LlamaCpp
from logitlab.models.model import Model, State
from logitlab.models.recorded import Recorded
from logitlab.models.recorder import Recorder

__all__ = ["LlamaCpp", "Model", "Recorded", "Recorder", "State", "Transformers"]
