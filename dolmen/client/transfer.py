"""Whole files between this machine and the cluster: in order, in bounded memory, compared at the end.

Signatures that the command line and the fsspec plugin share:

    await upload_stream(client, path, source, progress=...)         source: async iterable of buffers
    await upload_file(client, disk, local_path, path, progress=...)
    async for view in read_in_order(reader, start, end): ...        views valid until the next one
    await download_stream(client, path, sink, progress=...)         sink: async callable(memoryview)
    await download_file(client, path, disk, local_path, progress=...)
"""
