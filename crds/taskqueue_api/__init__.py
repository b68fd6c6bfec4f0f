"""The API of the project: resources, their schema, names and the message contract.

Both the operator and the worker import this package; it imports neither.
"""
