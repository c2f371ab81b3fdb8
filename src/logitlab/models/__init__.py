"""Models that run here, by what they need: nothing, a recording, a file, or another library."""

from logitlab.models.huggingface import Transformers
from logitlab.models.model import Model, State
from logitlab.models.recorded import Recorded
from logitlab.models.recorder import Recorder

__all__ = ["Model", "Recorded", "Recorder", "State", "Transformers"]
