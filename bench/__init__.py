"""Measurements: each prints ratios from one run. They sit in no timed test."""
