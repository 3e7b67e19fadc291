"""Build of the Cython gate, ``ztfast/gate.*.so``. ``build_backend/backend.py`` calls it; maturin builds the rest."""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    name="ztfast-gate",
    packages=[],
    ext_modules=cythonize(
        [
            Extension(
                "ztfast.gate",
                ["src_ext/cython/gate.pyx"],
                include_dirs=["ztfast/include"],
                depends=["ztfast/include/ztfast.h", "ztfast/gate.pxd"],
                extra_compile_args=["-O3"],
            )
        ],
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            # Methods are plain C functions, which are the cheapest for CPython to call.
            "binding": False,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "embedsignature": True,
            # inspect.signature() and the check of gate.pyi need this format.
            "embedsignature.format": "clinic",
            # Importing the gate leaves a free-threaded interpreter without the GIL.
            "freethreading_compatible": True,
        },
    ),
)
