"""Hypothesis without a clock: a loaded machine makes examples slow, and slow is not wrong."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
