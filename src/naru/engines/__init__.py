"""Where containers run.

An engine is told what should run and says what does. It never decides whether, where or when: see naru.control.
Each engine is a package of its own with a pure `translate.py` and an `engine.py` that talks.
"""
