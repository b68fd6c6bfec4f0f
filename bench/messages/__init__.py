"""Messages without a Task against Celery's and Dramatiq's own tasks, on the same RabbitMQ."""
