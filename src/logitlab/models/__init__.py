"""Models that run here, by what they need: nothing, a recording, a file, or another library."""

from logitlab.models.model import Model, State
from logitlab.models.ngram import NGram

__all__ = ["Model", "NGram", "State"]
