"""Build of the extension module ``strategy``: ``python setup.py build_ext --build-lib build``."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

import ztfast

setup(
    name="ztfast-example-strategy",
    packages=[],
    ext_modules=cythonize(
        [
            Extension(
                "strategy",
                ["strategy.pyx"],
                include_dirs=[ztfast.get_include()],
                # A new version of the header rebuilds the module.
                depends=[str(Path(ztfast.get_include()) / "ztfast.h")],
                extra_compile_args=["-O3"],
            )
        ],
        # The folder of the generated C file.
        build_dir=os.environ.get("BUILD", "build"),
        compiler_directives={"language_level": 3, "boundscheck": False, "wraparound": False, "cdivision": True},
    ),
)
