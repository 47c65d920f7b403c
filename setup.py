"""The one thing pyproject.toml cannot say: a native extension that may be missing.

Without a working C++17 compiler the package installs all the same and computes in tiles of torch.
"""

import sys
from pathlib import Path

from setuptools import Extension, setup

FOLDER = Path("src/seqstate/native")
UNIX = ["-std=c++17", "-O3", "-fno-math-errno", "-fvisibility=hidden", "-g0"]
UNIX += ["-Wno-maybe-uninitialized", "-Wno-uninitialized"]  # the compiler's own AVX-512 headers

setup(
    ext_modules=[
        Extension(
            "seqstate.native._fused",
            sources=sorted(str(path) for path in FOLDER.glob("*.cpp")),
            depends=sorted(str(path) for path in FOLDER.glob("*.h")),
            extra_compile_args=["/std:c++17", "/O2"] if sys.platform == "win32" else UNIX,
            extra_link_args=[] if sys.platform == "win32" else ["-pthread"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            py_limited_api=True,
            language="c++",
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
