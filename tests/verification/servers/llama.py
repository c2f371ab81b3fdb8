"""llama.cpp's own server, from the wheel xllamacpp: ``llama.py MODEL.gguf PORT [SLOTS]``.

It lives until it is terminated, on the loopback alone. Nothing of logitlab is imported here.
"""

from __future__ import annotations

import signal
import sys
import threading


def main(path: str, port: int, slots: int) -> None:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_ctx = 2048 * slots
    parameters.n_parallel = slots
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.warmup = False
    ends = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ends.set())
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    ends.wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else 1)
