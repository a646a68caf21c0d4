"""The front door with Caddy.

Two Caddy processes: the edge holds ports, host names and certificates and changes only with an app's address; the
switch knows the instances behind them and changes with each of them. docs/adr/0004-front-door.md says why.
"""
