"""The compiled kernels, of which a table in pyproject.toml cannot say when they are left out.

The extension is optional: where it does not compile, logitlab is installed without it. With
``LOGITLAB_KERNELS=0`` it is left out, and the wheel is one for every machine (Pyodide, too). So it
is where Python has no global lock, for its headers know no limited API. Whatever is built on the
way lies in a directory of its own, so that no wheel has files of an earlier one.
"""

import os
import sysconfig
import tempfile
from glob import glob

from setuptools import Extension, setup

# Products may be fused into sums, which the bounds allow for, and nothing else be rearranged.
FLAGS = ["-O3", "-fno-fast-math", "-ffp-contract=fast", "-fvisibility=hidden"]
WARNINGS = ["-Wall", "-Wextra", "-Wno-psabi"]  # the last is about calls between files: there is one

switched_off = os.environ.get("LOGITLAB_KERNELS", "").lower() in ("0", "off", "no", "false")
left_out = switched_off or sysconfig.get_config_var("Py_GIL_DISABLED")
rows = Extension(
    "logitlab.kernels._rows",
    ["src/logitlab/kernels/module.c"],
    depends=glob("src/logitlab/kernels/*.h"),
    extra_compile_args=FLAGS + WARNINGS,
    optional=True,
    py_limited_api=True,
)
with tempfile.TemporaryDirectory() as scratch:
    setup(
        ext_modules=[] if left_out else [rows],
        options={
            "build": {"build_base": scratch},
            "bdist_wheel": {} if left_out else {"py_limited_api": "cp311"},
        },
    )
