"""Objects between nodes: who has what, who fetches it from outside, and the bytes themselves.

What is sent is a piece: a whole small object, or one chunk of a big one, so that everything which crosses the network
is verified by a digest of its own before anybody sees it. Decisions are in schedule.py, which is pure; the rest moves
bytes. Nothing here knows engines or mounts: they ask through agent.source.
"""
