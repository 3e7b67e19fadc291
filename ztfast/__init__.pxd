"""Make the package known to Cython: `cimport ztfast.gate` then finds gate.pxd."""
