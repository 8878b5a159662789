"""`python -m hsm`: what `portcullis hsm` is, without loading the rest of the command line."""

from hsm.cli import app

if __name__ == "__main__":
    app(prog_name="portcullis hsm")
