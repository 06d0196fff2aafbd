"""What a checker raises."""

import sys


class CheckFailed(AssertionError):
    """The cluster did what it promises not to do, or not what it promises.

    `about` names the paths, or the blocks by their hexadecimal ids, whose story is to be told;
    `checker` is the module that found it, which may report it without raising it.
    """

    def __init__(self, message: str, about: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.about = about
        self.checker = str(sys._getframe(1).f_globals["__name__"]).rpartition(".")[2]
