"""What the namespace must do, said in dictionaries, and in nothing else that the namespace uses."""

from dataclasses import dataclass, field
from itertools import accumulate

from dolmen.protocol.errors import (
    DirectoryNotEmpty,
    InvalidRequest,
    IsADirectory,
    LeaseConflict,
    NeedsBlocks,
    NoSuchPath,
    NotADirectory,
    PathExists,
)

Path = tuple[str, ...]

INLINE_LIMIT_BYTES = 10


@dataclass(frozen=True)
class Block:
    block_id: int
    length_bytes: int


@dataclass(eq=False)
class Draft:
    """The right to change a file, of whoever holds it; it ends by silence, or by somebody's act."""

    draft_id: int
    client_id: bytes
    heard_ms: int
    ended: bool = False


@dataclass(eq=False)
class File:
    blocks: tuple[Block, ...]
    inode_id: int
    mode: int = 0o644
    replication: int = 3
    cut_txid: int = 0
    draft: Draft | None = None
    content: bytes = b""
    """All its bytes, if it has no blocks."""

    @property
    def length_bytes(self) -> int:
        return len(self.content) + sum(block.length_bytes for block in self.blocks)

    @property
    def starts(self) -> list[int]:
        """Where its blocks begin, and its end."""
        return list(accumulate((block.length_bytes for block in self.blocks), initial=0))

    def extend(self, start_bytes: int, blocks: tuple[Block, ...]) -> None:
        if self.content:
            self.content = b"" if blocks else self.content[:start_bytes]
            self.blocks = blocks
            return
        self.blocks = self.blocks[: self.starts.index(start_bytes)] + blocks


@dataclass
class Directory:
    entries: "dict[str, File | Directory]" = field(default_factory=dict)
    mode: int = 0o755


Node = File | Directory


class Model:
    """What the namespace must do, said in dictionaries."""

    def __init__(self) -> None:
        self.root = Directory()

    def find(self, path: Path) -> Node:
        node: Node = self.root
        for name in path:
            if isinstance(node, File):
                raise NotADirectory("")
            if name not in node.entries:
                raise NoSuchPath("")
            node = node.entries[name]
        return node

    def find_file(self, path: Path) -> File:
        node = self.find(path)
        if isinstance(node, Directory):
            raise IsADirectory("")
        return node

    def concat(self, target: Path, sources: list[Path]) -> File:
        files = []
        for path in (target, *sources):
            file = self.find_file(path)
            if file.draft is not None and not file.draft.ended:
                raise LeaseConflict("")
            files.append(file)
        if len(set(files)) < len(files):
            raise InvalidRequest("")
        if any(file.content for file in files):
            length_bytes = sum(file.length_bytes for file in files)
            if length_bytes > INLINE_LIMIT_BYTES or any(file.blocks for file in files):
                raise NeedsBlocks("")
        for path, file in zip(sources, files[1:], strict=True):
            files[0].blocks += file.blocks
            files[0].content += file.content
            del self.find_directory(path[:-1]).entries[path[-1]]
        return files[0]

    def find_directory(self, path: Path) -> Directory:
        node = self.find(path)
        if isinstance(node, File):
            raise NotADirectory("")
        return node

    def make_directory(self, path: Path, parents: bool, exist_ok: bool) -> None:
        try:
            found = self.find(path)
        except NoSuchPath:
            if parents:
                self.make_parents(path[:-1])
            self.find_directory(path[:-1]).entries[path[-1]] = Directory()
            return
        if isinstance(found, File) or not exist_ok:
            raise PathExists("")

    def make_parents(self, path: Path) -> None:
        at = self.root
        for name in path:
            child = at.entries.setdefault(name, Directory())
            assert isinstance(child, Directory)
            at = child

    def check_publishable(self, path: Path, exclusive: bool) -> None:
        try:
            found = self.find(path)
        except NoSuchPath:
            return
        if isinstance(found, Directory):
            raise IsADirectory("")
        if exclusive:
            raise PathExists("")

    def publish(self, path: Path, file: File, exclusive: bool) -> None:
        self.check_publishable(path, exclusive)
        self.make_parents(path[:-1])
        self.find_directory(path[:-1]).entries[path[-1]] = file

    def rename(self, source: Path, target: Path, replace: bool) -> None:
        if not source or not target:
            raise InvalidRequest("")
        source_parent = self.find_directory(source[:-1])
        target_parent = self.find_directory(target[:-1])
        moved = self.find(source)
        replaced = target_parent.entries.get(target[-1])
        if replaced is not None and not replace:
            raise PathExists("")
        if moved is replaced:
            return
        if target[: len(source)] == source:
            raise InvalidRequest("")
        if isinstance(replaced, Directory):
            if isinstance(moved, File):
                raise IsADirectory("")
            if replaced.entries:
                raise DirectoryNotEmpty("")
        elif replaced is not None and isinstance(moved, Directory):
            raise NotADirectory("")
        target_parent.entries[target[-1]] = source_parent.entries.pop(source[-1])

    def delete(self, path: Path, recursive: bool) -> None:
        found = self.find(path)
        if not path:
            raise InvalidRequest("")
        if isinstance(found, Directory) and found.entries and not recursive:
            raise DirectoryNotEmpty("")
        del self.find_directory(path[:-1]).entries[path[-1]]

    def set_attributes(self, path: Path, mode: int | None, replication: int | None) -> None:
        found = self.find(path)
        if isinstance(found, File):
            found.replication = replication or found.replication
        elif replication is not None:
            raise InvalidRequest("")
        if mode is not None:
            found.mode = mode

    def walk(self) -> "list[tuple[str, Node]]":
        return list(self._below(self.root, ""))

    def _below(self, directory: Directory, path: str) -> "list[tuple[str, Node]]":
        found: list[tuple[str, Node]] = []
        for name in sorted(directory.entries, key=str.encode):
            child = directory.entries[name]
            found.append((f"{path}/{name}", child))
            if isinstance(child, Directory):
                found.extend(self._below(child, f"{path}/{name}"))
        return found
