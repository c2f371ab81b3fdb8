"""Models whose rows were recorded, the model that records another, and files of logits."""

from logitlab.models.recording.files import read_logits, write_logits
from logitlab.models.recording.recorded import Recorded
from logitlab.models.recording.recorder import Recorder

__all__ = ["Recorded", "Recorder", "read_logits", "write_logits"]
