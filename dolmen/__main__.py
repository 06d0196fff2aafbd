"""`python -m dolmen` is the command `dolmen`."""

from dolmen.cli import main

if __name__ == "__main__":
    main(prog_name="dolmen")
