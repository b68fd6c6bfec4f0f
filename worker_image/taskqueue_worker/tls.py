"""TLS towards the API server and the broker."""

import ssl
from pathlib import Path


def trust(authority: Path) -> ssl.SSLContext:
    """Return a context that trusts the certificates of one authority. Raises OSError.

    Names and signatures are checked as ever. Only the form that Python 3.13 newly insists on
    (VERIFY_X509_STRICT) is not: many private authorities, of clusters too, leave out the
    authority key identifier.
    """
    context = ssl.create_default_context(cafile=str(authority))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
