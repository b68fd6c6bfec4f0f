"""The operator: reconciles TaskQueues, publishes Tasks.

Layers, held by import-linter: handlers (Kopf only) -> services -> domain (pure); the edges
`broker` and `cluster` talk to RabbitMQ and to the API server.
"""
