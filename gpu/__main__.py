"""`python -m gpu`: first what it needs, then the command."""

from gpu import needs

if __name__ == "__main__":
    needs.check()

    from gpu.command import run

    run()
