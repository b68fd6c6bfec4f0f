"""The edge to RabbitMQ: AMQP by pika, the management API by aiohttp."""
