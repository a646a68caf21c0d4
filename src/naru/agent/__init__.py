"""Image bytes to nodes: every file of an image by its digest, from the nearest agent that has it, when it is needed.

An agent runs on each node. It keeps objects (the contents of files), derives an index of an image without converting
the image, exchanges objects with its peers, and gives engines root file systems that start before they are complete.
It decides nothing about apps: it reaches the control plane only through naru.client.
"""
