"""One hypothesis profile for all laws: repeatable, no deadlines on a noisy machine.

``LOGITLAB_EXAMPLES=200`` looks at more examples of every law than the 20 of a quick run.
"""

import os

from hypothesis import HealthCheck, settings

# These run where the engines are installed, each in a process of its own.
collect_ignore_glob = ["engines/own_code/*"]

settings.register_profile(
    "logitlab",
    max_examples=int(os.environ.get("LOGITLAB_EXAMPLES", "20")),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("logitlab")
