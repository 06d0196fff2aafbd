"""The mutants of readers and writers that are on the host of their datanodes."""

from tests.mutants.mutant import Change, Mutant

LOCAL_MUTANTS = (
    Mutant(
        "what is read locally is not verified",
        16,
        "property 2",
        (
            Change(
                "dolmen/client/local_replica.py",
                "    return first_bad_chunk("
                "place, checksums_of(checksums, run.offset, run.length))\n",
                "    return None\n",
            ),
        ),
        rot_every_ms=500,
    ),
    Mutant(
        "a writer beside its datanodes sends to the first alone",
        10,
        "property 1",
        (
            Change(
                "dolmen/client/block_writer.py",
                "for chain in pipeline.chains)",
                "for chain in pipeline.chains[:1])",
            ),
        ),
        test="tests/simulation/test_direct_writing.py"
        "::test_a_writer_on_the_host_of_all_datanodes_sends_to_each_by_itself",
    ),
    Mutant(
        "what is read locally is not given up when it is revoked",
        21,
        "property 2",
        (
            Change(
                "dolmen/client/local_datanode.py",
                "                self._give_up((message.block_id, message.stamp))\n",
                "                pass\n",
            ),
        ),
        test="tests/simulation/test_local_reads.py"
        "::test_a_bit_that_flips_under_an_open_file_is_never_read_and_the_replica_is_revoked",
    ),
    Mutant(
        "what is read locally is kept beyond its token",
        22,
        "property 2",
        (
            Change(
                "dolmen/client/local_replicas.py",
                "        return replica if _now_s() < replica.expires_s else None\n",
                "        return replica\n",
            ),
            Change(
                "dolmen/client/local_replicas.py",
                "        replica.expiry = "
                "loop.call_at(replica.expires_s, self._give_up, replica)\n",
                "",
            ),
        ),
        test="tests/simulation/test_local_reads.py"
        "::test_a_reader_goes_on_while_its_datanode_stands_still_and_no_longer_than_its_token",
    ),
)
