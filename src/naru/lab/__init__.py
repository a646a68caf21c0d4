"""What measurements teach: models, and the studies that feed and test them.

The lab knows nothing of apps and rollouts: those who decide ask it.
"""
