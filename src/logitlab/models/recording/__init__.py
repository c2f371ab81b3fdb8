"""Models whose rows were recorded, and the model that records another."""

from logitlab.models.recording.recorded import Recorded
from logitlab.models.recording.recorder import Recorder

__all__ = ["Recorded", "Recorder"]
