"""Measurements on real engines, one file a study.

A study speaks to engines and to the front door, never to the control plane, and leaves nothing behind on them.
"""
