"""The index of an image: what is in its merged root file system, and by which digests the contents go."""
