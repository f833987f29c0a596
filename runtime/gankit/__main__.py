"""`python -m gankit` is `gan-gen`."""

from gankit._cli import main

if __name__ == "__main__":
    main()
