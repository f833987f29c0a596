"""The interface through which training, packing and evaluation report what they do."""


class Reporter:
    """Receives messages and progress; this base class ignores them.

    `gan-train` passes `gankit_train.reporting.console.Console`. A program may pass a subclass of its own.
    """

    def line(self, text: str) -> None:
        """Receives one line of text."""

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        """Receives the progress of a task.

        Args:
            task: name of the task, such as `training` or `packing`.
            done: finished units, usually images.
            total: all units; the task is over when `done` reaches it.
            note: text to show beside the progress.
        """
