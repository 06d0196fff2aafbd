"""fsspec's door to Dolmen: `dolmen://host:port/path` for pandas, Dask, PyArrow and all else."""

from fsspec_plugin.filesystem import DolmenFileSystem

__all__ = ["DolmenFileSystem"]
