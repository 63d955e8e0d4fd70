"""Where the command `som` begins: signals are taken over first, and only then what takes a while is imported.

The other way around, an early Ctrl-C would end the command with the traceback of an import.
"""

from pipelines.interruption import orderly_end


def main() -> None:
    """Entry point of the installed command."""
    with orderly_end():
        from pipelines.cli import main as run

        run()


if __name__ == "__main__":
    main()
