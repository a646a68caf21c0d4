"""Images as bytes: references, manifests, registries, archives, and the store of loaded images.

Everything that comes from outside is bounded, verified by its digest and parsed at the door. Whether an image may
run is not decided here (naru.gate), and nothing here talks to an engine (naru.engines).
"""
