"""Gossip: the cluster of one node, whose instance id spells out that it is a stand-in."""

from __future__ import annotations

import time

from esdbclient.protos.Grpc import gossip_pb2

INSTANCE_ID = b"kurrent stand-in"


def gossip_reply(is_ready: bool, host: str, port: int) -> bytes:
    """One member: leader, or not yet."""
    states = gossip_pb2.MemberInfo
    member = gossip_pb2.MemberInfo(
        time_stamp=time.time_ns() // 100,
        state=states.Leader if is_ready else states.PreLeader,
        is_alive=True,
        http_end_point=gossip_pb2.EndPoint(address=host, port=port),
    )
    halves = member.instance_id.structured
    halves.most_significant_bits = int.from_bytes(INSTANCE_ID[:8], "big", signed=True)
    halves.least_significant_bits = int.from_bytes(INSTANCE_ID[8:], "big", signed=True)
    return gossip_pb2.ClusterInfo(members=[member]).SerializeToString()
