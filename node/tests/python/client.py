"""A gRPC client generated from the .proto, against a running node: python client.py HOST:PORT.

Generates the client into a temporary folder, then creates, reads, writes, compares and swaps, batches,
scans, and looks at how errors and health arrive. Ends with 0 and a line, or with a traceback.
"""

import json
import pathlib
import sys
import tempfile

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parents[3] / "proto"


def generate(out):
    arguments = ["protoc", f"-I{PROTO}", f"--python_out={out}", f"--grpc_python_out={out}"]
    assert protoc.main([*arguments, "understudy/v1/understudy.proto"]) == 0
    sys.path.insert(0, out)
    from understudy.v1 import understudy_pb2, understudy_pb2_grpc

    return understudy_pb2, understudy_pb2_grpc


def refused(pb, code, word, call):
    """Runs a call that must fail; returns its Problem."""
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, (error.code(), error.details())
        status = rpc_status.from_call(error)
        problem, info = pb.Problem(), error_details_pb2.ErrorInfo()
        assert any(detail.Unpack(problem) for detail in status.details)
        assert any(detail.Unpack(info) for detail in status.details)
        assert problem.code == word == info.reason and info.domain == "understudy"
        assert problem.certainty == pb.CERTAINTY_REFUSED
        return problem
    raise AssertionError(f"{word} was expected")


def main(address):
    with tempfile.TemporaryDirectory() as out, grpc.insecure_channel(address) as channel:
        pb, pb_grpc = generate(out)
        actors = pb_grpc.ActorsStub(channel)
        one_actor(pb, actors)
        several(pb, actors)
        pipeline(pb, actors)
        status = pb_grpc.ClusterStub(channel).Status(pb.StatusRequest(), timeout=10)
        assert status.members and all(each.HasField("leader") for each in status.namespaces)
        health = health_pb2_grpc.HealthStub(channel)
        told = health.Check(health_pb2.HealthCheckRequest(service="understudy.v1.Actors"), timeout=10)
        assert told.status == health_pb2.HealthCheckResponse.SERVING
    print("python client: all as it should be")


def one_actor(pb, actors):
    where = {"namespace": "default", "id": "hamlet"}
    content = pb.Content(value=json.dumps({"role": "prince"}).encode(), metadata={"act": "1"})
    created = actors.Create(pb.CreateRequest(**where, content=content), timeout=10)
    assert created.token.version == 1 and created.id == "hamlet"
    again = lambda: actors.Create(pb.CreateRequest(**where, content=content), timeout=10)
    problem = refused(pb, grpc.StatusCode.ALREADY_EXISTS, "already_exists", again)
    assert problem.found == created.token

    found = actors.Read(pb.ReadRequest(**where), timeout=10)
    assert json.loads(found.record.value) == {"role": "prince"}
    assert dict(found.record.metadata) == {"act": "1"}

    name = pb.OperationName(idempotency_key="python-1")
    put = pb.PutRequest(**where, content=pb.Content(value=b"2"), name=name)
    first, second = actors.Put(put, timeout=10), actors.Put(put, timeout=10)
    assert first.token == second.token and second.receipt.replayed and not first.receipt.replayed

    stale = pb.Expected(token=created.token)
    swap = pb.CompareAndSwapRequest(**where, content=pb.Content(value=b"3"), expected=stale)
    refused(pb, grpc.StatusCode.ABORTED, "conflict", lambda: actors.CompareAndSwap(swap, timeout=10))
    swap.expected.token.CopyFrom(first.token)
    assert actors.CompareAndSwap(swap, timeout=10).token.version == 3
    session = actors.OpenSession(pb.OpenSessionRequest(namespace="default"), timeout=10).session
    place = pb.OperationName(session=pb.SessionSequence(session=session, sequence=1))
    deleted = actors.Delete(pb.DeleteRequest(**where, name=place), timeout=10)
    assert deleted.record.value == b"3"
    gone = lambda: actors.Read(pb.ReadRequest(**where), timeout=10)
    refused(pb, grpc.StatusCode.NOT_FOUND, "not_found", gone)
    wrong = pb.PutRequest(**where, content=pb.Content(value=b"{not json"))
    bad = lambda: actors.Put(wrong, timeout=10)
    refused(pb, grpc.StatusCode.INVALID_ARGUMENT, "invalid_json", bad)


def several(pb, actors):
    put = lambda id: pb.BatchOperation(id=id, put=pb.Content(value=b"1"))
    ids = [f"batch/{number:02}" for number in range(20)]
    batch = pb.BatchWriteRequest(namespace="default", atomic=True, operations=map(put, ids))
    results = actors.BatchWrite(batch, timeout=10).results
    assert [result.written.id for result in results] == ids
    batch.operations.append(pb.BatchOperation(id="nobody", delete=pb.Removal()))
    whole = lambda: actors.BatchWrite(batch, timeout=10)
    problem = refused(pb, grpc.StatusCode.FAILED_PRECONDITION, "batch_refused", whole)
    assert problem.failed_place == 20 and problem.cause == "not_found"
    batch.atomic = False
    results = actors.BatchWrite(batch, timeout=10).results
    assert results[20].problem.code == "not_found" and results[0].written.token.version == 2

    items = [pb.BatchReadItem(id=id) for id in [*ids[:2], "nobody"]]
    read = actors.BatchRead(pb.BatchReadRequest(namespace="default", items=items), timeout=10)
    kinds = [result.WhichOneof("result") for result in read.results]
    assert kinds == ["found", "found", "problem"]
    page = actors.Scan(pb.ScanRequest(namespace="default", prefix="batch/", limit=15), timeout=10)
    rest = pb.ScanRequest(namespace="default", prefix="batch/", after=page.next)
    more = actors.Scan(rest, timeout=10)
    assert [item.id for item in [*page.items, *more.items]] == ids and not more.HasField("next")


def pipeline(pb, actors):
    call = lambda number: pb.PipelineCall(
        number=number,
        put=pb.PutRequest(namespace="default", id=f"p{number}", content=pb.Content(value=b"1")),
    )
    calls = pb.PipelineRequest(calls=map(call, range(100)))
    answers = [a for message in actors.Pipeline(iter([calls]), timeout=30) for a in message.answers]
    assert sorted(answer.number for answer in answers) == list(range(100))
    assert all(answer.WhichOneof("answer") == "written" for answer in answers)


if __name__ == "__main__":
    main(sys.argv[1])
