"""The REST API, version 1.

Routes translate HTTP to use cases and back. They decide nothing and remember nothing: see naru.control. Bodies are
the values of naru.domain as JSON.
"""
