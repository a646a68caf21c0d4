"""Naru takes a container image to running, proven, watched instances."""
