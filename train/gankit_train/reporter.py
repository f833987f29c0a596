"""The interface through which training, packing and evaluation report what they do."""


class Reporter:
    """Receives messages and progress; this base class ignores them.

    `gan-train` passes `gankit_train.reporting.console.Console`. A program may pass a subclass of its own.
    """

    def line(self, text: str) -> None:
        """Receives one line of text."""

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        """Receives the finished and the total units, usually images, of a task such as `training` or `packing`.

        The task is over when `done` reaches `total`. `note` is a text to show beside the progress.
        """
