"""`python -m dolmen.simulation` is `dolmen simulate`."""

from dolmen.cli.simulate import simulate

if __name__ == "__main__":
    simulate()
