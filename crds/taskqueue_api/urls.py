"""Addresses of HTTP servers, in patterns that CEL, pydantic and Python read alike."""

URL_MAX = 2048

_LABEL = "[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?"
_HOST = rf"({_LABEL}(\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]+\])"
_PORT = (
    "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"  # 65535
)
# As RFC 3986 has them, but for the single quote, which ends a string in CEL.
_REST = r"[-A-Za-z0-9._~:/?@!$&()*+,;=%\[\]]*"

HTTP_URL = rf"^https?://{_HOST}(:({_PORT}))?([/?]{_REST})?$"
"""http or https, a host, and neither credentials nor a fragment."""

URL_WITH_CREDENTIALS = "^[A-Za-z]+://[^/?#]*@"
