"""TLS to an API server or a RabbitMQ whose certificates come from a private authority."""

import ssl


def client_context(*, ca_file: str | None = None, ca_data: str | None = None) -> ssl.SSLContext:
    """Return a context that checks chain and host name; without a CA, against the system's.

    Python 3.13 began to refuse certificates that lack an authority key identifier and the like.
    Authorities of many clusters and brokers make such certificates, so that one check is off,
    as in the kubernetes client's `disable_strict_ssl_verification`.
    Raises ssl.SSLError for a CA that cannot be read.
    """
    if ca_data is not None:
        # Bundles name their authorities in comments of any language; the ssl module takes ASCII.
        ca_data = ca_data.encode("ascii", "ignore").decode()
    context = ssl.create_default_context(cafile=ca_file, cadata=ca_data)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
