"""The words of Naru.

Frozen values and the rules that hold between them. Nothing here performs I/O, knows a clock, or imports
anything but the standard library; every other room speaks in these words.
"""
