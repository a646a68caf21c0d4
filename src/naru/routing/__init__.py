"""The front door: traffic from an app's endpoint to its healthy instances.

A door is told which addresses serve an app and with which weights. It never decides which release gets traffic:
see naru.control.
"""
