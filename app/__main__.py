"""`python -m app` is `signoff`."""

from app.cli import main

if __name__ == "__main__":
    main()
