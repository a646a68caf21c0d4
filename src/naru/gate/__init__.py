"""May this image run?

The gate collects evidence and decides. It never deploys: see naru.control.
"""
