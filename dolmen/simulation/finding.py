"""What a checker raises."""


class CheckFailed(AssertionError):
    """The cluster did what it promises not to do, or not what it promises.

    `about` names the paths, or the blocks by their hexadecimal ids, whose story is to be told.
    """

    def __init__(self, message: str, about: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.about = about
