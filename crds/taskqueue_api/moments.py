"""Times as RFC 3339 writes them, in a pattern that CEL and Python read alike.

It has the calendar in it: CEL gives an error that nobody can read for a day that does not exist,
and takes no lower case `t` and `z`, which the format `date-time` allows.
"""

_LONG = "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
_SHORT = "(0[469]|11)-(0[1-9]|[12][0-9]|30)"
_FEBRUARY = "02-(0[1-9]|1[0-9]|2[0-8])"
_LEAP_YEAR = "(20([02468][048]|[13579][26])|21(0[48]|[2468][048]|[13579][26]))"
_DAY = f"(2[01][0-9]{{2}}-({_LONG}|{_SHORT}|{_FEBRUARY})|{_LEAP_YEAR}-02-29)"

_HOUR = "([01][0-9]|2[0-3])"
_TIME = rf"{_HOUR}:[0-5][0-9]:[0-5][0-9](\.[0-9]{{1,9}})?"
# Go takes an offset of 24 hours, Python does not.
_ZONE = f"(Z|[+-]{_HOUR}:[0-5][0-9])"

PATTERN = f"^{_DAY}T{_TIME}{_ZONE}$"
"""From 2000 to 2199. What lies beyond cannot be meant, and the libraries that read it differ."""
