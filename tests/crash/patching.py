"""Taking the program apart from outside."""


def put(owner: object, name: str, replacement: object) -> None:
    """Replace a function of a class or module."""
    setattr(owner, name, replacement)
