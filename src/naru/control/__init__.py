"""The use cases: deploy, reconcile, place, prove, and who may ask for them.

This room decides and remembers; engines, doors and the gate act and judge for it. Only this room touches the store.
"""
