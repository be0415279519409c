//! The calls, alone or in a pipeline: message in, message or problem out.

use std::time::Duration;

use understudy_core::{
    ActorId, Failure, OpId, Operation, Outcome, Record, Sequence, Timestamp, Token, Ttl, Write,
};
use understudy_proto::v1::{self as proto, batch_operation, batch_read_result, batch_write_result};

use super::convert;
use crate::api::problem::{Problem, codes};
use crate::api::{Api, ops, request};

type Answer<T> = Result<T, Problem>;

pub async fn create(
    api: &Api,
    call: proto::CreateRequest,
    wait: Duration,
) -> Answer<proto::WriteResponse> {
    let op = convert::name(call.name)?;
    let content = convert::content(call.content)?;
    let id = match call.id {
        Some(id) => convert::id(&id)?,
        None => api.ids.next(op.as_ref())?,
    };
    write(api, call.namespace, id, op, Operation::Create { content }, wait).await
}

pub async fn put(
    api: &Api,
    call: proto::PutRequest,
    wait: Duration,
) -> Answer<proto::WriteResponse> {
    let content = convert::content(call.content)?;
    let op = convert::name(call.name)?;
    write(api, call.namespace, convert::id(&call.id)?, op, Operation::Put { content }, wait).await
}

pub async fn update(
    api: &Api,
    call: proto::UpdateRequest,
    wait: Duration,
) -> Answer<proto::WriteResponse> {
    let expected = convert::expected(call.expected)?;
    let content = convert::content(call.content)?;
    let op = convert::name(call.name)?;
    let operation = Operation::Update { content, expected };
    write(api, call.namespace, convert::id(&call.id)?, op, operation, wait).await
}

pub async fn compare_and_swap(
    api: &Api,
    call: proto::CompareAndSwapRequest,
    wait: Duration,
) -> Answer<proto::WriteResponse> {
    let expected = convert::expected(call.expected)?.ok_or_else(no_expected)?;
    let content = convert::content(call.content)?;
    let op = convert::name(call.name)?;
    let operation = Operation::CompareAndSwap { content, expected };
    write(api, call.namespace, convert::id(&call.id)?, op, operation, wait).await
}

fn no_expected() -> Problem {
    let detail = "compare-and-swap needs `expected`: the token of a read, or a version";
    Problem::new(&codes::BAD_PRECONDITION, detail)
}

pub async fn delete(
    api: &Api,
    call: proto::DeleteRequest,
    wait: Duration,
) -> Answer<proto::DeleteResponse> {
    let expected = convert::expected(call.expected)?;
    let op = convert::name(call.name)?;
    let (namespace, id) = (ops::namespace(call.namespace)?, convert::id(&call.id)?);
    let write = Write { id, operation: Operation::Delete { expected } };
    let done = ops::write(api, namespace, op, write, wait).await?;
    match &done.outcome {
        Outcome::Deleted { record, sequence } => {
            Ok(deleted(record, *sequence, Some(receipt(&done))))
        }
        _ => Err(Failure::Unknown.into()),
    }
}

async fn write(
    api: &Api,
    namespace: String,
    id: ActorId,
    op: Option<OpId>,
    operation: Operation,
    wait: Duration,
) -> Answer<proto::WriteResponse> {
    let namespace = ops::namespace(namespace)?;
    let name = id.as_str().to_owned();
    let write = Write { id, operation };
    let ttl = ops::ttl(&write);
    let done = ops::write(api, namespace, op, write, wait).await?;
    match done.outcome {
        Outcome::Written { token, sequence } => {
            let expires = ops::expires(done.recorded, ttl);
            Ok(written(name, token, sequence, expires, Some(receipt(&done))))
        }
        _ => Err(Failure::Unknown.into()),
    }
}

fn written(
    id: String,
    token: Token,
    sequence: Sequence,
    expires: Option<Timestamp>,
    receipt: Option<proto::Receipt>,
) -> proto::WriteResponse {
    proto::WriteResponse {
        id,
        token: Some(convert::token(token)),
        sequence: sequence.0,
        expires_at_ms: expires.map(|time| time.0),
        receipt,
    }
}

fn deleted(
    record: &Record,
    sequence: Sequence,
    receipt: Option<proto::Receipt>,
) -> proto::DeleteResponse {
    let record = Some(convert::record(record));
    proto::DeleteResponse { record, sequence: sequence.0, receipt }
}

fn receipt(done: &ops::Done) -> proto::Receipt {
    proto::Receipt {
        operation: done.op.to_string(),
        replayed: done.replayed,
        remembered_until_ms: done.remembered_until.map(|time| time.0),
    }
}

pub async fn read(
    api: &Api,
    call: proto::ReadRequest,
    wait: Duration,
) -> Answer<proto::ReadResponse> {
    let level = convert::level(call.freshness)?;
    let (namespace, id) = (ops::namespace(call.namespace)?, convert::id(&call.id)?);
    let found = ops::read(api, namespace, id, level, wait).await?;
    Ok(convert::found(&found))
}

pub async fn batch_read(
    api: &Api,
    call: proto::BatchReadRequest,
    wait: Duration,
) -> Answer<proto::BatchReadResponse> {
    let namespace = ops::namespace(call.namespace)?;
    let common = convert::level(call.freshness)?;
    let mut ids = Vec::with_capacity(call.items.len());
    let mut items = Vec::with_capacity(call.items.len());
    for proto::BatchReadItem { id, freshness } in call.items {
        let level = match freshness {
            Some(freshness) => convert::level(Some(freshness))?,
            None => common,
        };
        items.push(ops::Item { id: convert::id(&id)?, level });
        ids.push(id);
    }
    let found = ops::batch_read(api, namespace, items, wait).await?;
    let results = ids.into_iter().zip(found).map(|(id, found)| {
        let result = match found {
            Ok(found) => batch_read_result::Result::Found(convert::found(&found)),
            Err(problem) => batch_read_result::Result::Problem(problem.into()),
        };
        proto::BatchReadResult { id, result: Some(result) }
    });
    Ok(proto::BatchReadResponse { results: results.collect() })
}

pub async fn batch_write(
    api: &Api,
    call: proto::BatchWriteRequest,
    wait: Duration,
) -> Answer<proto::BatchWriteResponse> {
    let namespace = ops::namespace(call.namespace)?;
    let op = convert::name(call.name)?;
    let atomic = call.atomic.ok_or_else(|| {
        let detail = "state `atomic`: true for all or nothing, false for each operation by itself";
        Problem::new(&codes::BAD_BATCH, detail)
    })?;
    let mut ids = Vec::with_capacity(call.operations.len());
    let mut writes = Vec::with_capacity(call.operations.len());
    for one in call.operations {
        let id = convert::id(&one.id)?;
        writes.push(Write { id, operation: operation(one.kind)? });
        ids.push(one.id);
    }
    let ttls: Vec<Option<Ttl>> = writes.iter().map(ops::ttl).collect();
    let places = ids.into_iter().zip(ttls);
    if atomic {
        let (done, outcomes) = ops::write_atomic(api, namespace, op, writes, wait).await?;
        let results = places.zip(&outcomes).map(|((id, ttl), outcome)| {
            result(id, outcome, ops::expires(done.recorded, ttl), None)
        });
        let results = results.collect::<Answer<_>>()?;
        return Ok(proto::BatchWriteResponse { results, receipt: Some(receipt(&done)) });
    }
    let done = ops::write_each(api, namespace, op, writes, wait).await?;
    let results = places.zip(done).map(|((id, ttl), done)| match done {
        Ok(done) => {
            let expires = ops::expires(done.recorded, ttl);
            result(id, &done.outcome, expires, Some(receipt(&done)))
        }
        Err(problem) => {
            let result = Some(batch_write_result::Result::Problem(problem.into()));
            Ok(proto::BatchWriteResult { result })
        }
    });
    Ok(proto::BatchWriteResponse { results: results.collect::<Answer<_>>()?, receipt: None })
}

fn operation(kind: Option<batch_operation::Kind>) -> Answer<Operation> {
    Ok(match kind.ok_or_else(|| convert::missing("operations.kind"))? {
        batch_operation::Kind::Create(content) => {
            Operation::Create { content: convert::content(Some(content))? }
        }
        batch_operation::Kind::Put(content) => {
            Operation::Put { content: convert::content(Some(content))? }
        }
        batch_operation::Kind::Update(update) => Operation::Update {
            content: convert::content(update.content)?,
            expected: convert::expected(update.expected)?,
        },
        batch_operation::Kind::CompareAndSwap(swap) => Operation::CompareAndSwap {
            content: convert::content(swap.content)?,
            expected: convert::expected(swap.expected)?.ok_or_else(no_expected)?,
        },
        batch_operation::Kind::Delete(removal) => {
            Operation::Delete { expected: convert::expected(removal.expected)? }
        }
    })
}

fn result(
    id: String,
    outcome: &Outcome,
    expires: Option<Timestamp>,
    receipt: Option<proto::Receipt>,
) -> Answer<proto::BatchWriteResult> {
    use batch_write_result::Result;
    let result = match outcome {
        Outcome::Written { token, sequence } => {
            Result::Written(written(id, *token, *sequence, expires, receipt))
        }
        Outcome::Deleted { record, sequence } => {
            Result::Deleted(deleted(record, *sequence, receipt))
        }
        Outcome::Removed { token, sequence } => {
            let token = Some(convert::token(*token));
            Result::Removed(proto::RemovedResponse { id, token, sequence: sequence.0 })
        }
        // Never inside a batch that happened.
        Outcome::Batch(_) | Outcome::Refused(_) => return Err(Failure::Unknown.into()),
    };
    Ok(proto::BatchWriteResult { result: Some(result) })
}

pub async fn scan(
    api: &Api,
    call: proto::ScanRequest,
    wait: Duration,
) -> Answer<proto::ScanResponse> {
    let scan = ops::Scan {
        namespace: ops::namespace(call.namespace)?,
        prefix: request::prefix(call.prefix)?,
        after: request::after(&call.after)?,
        limit: request::limit((call.limit != 0).then_some(call.limit.into()))?,
        level: convert::level(call.freshness)?,
    };
    let ops::Page { records, more, at } = ops::scan(api, scan, wait).await?;
    let items = records.iter().map(|(id, record)| proto::ScanItem {
        id: id.as_str().to_owned(),
        record: Some(convert::record(record)),
    });
    let items: Vec<proto::ScanItem> = items.collect();
    let next = items.last().filter(|_| more).map(|item| item.id.clone());
    Ok(proto::ScanResponse { items, next, at: Some(convert::at(at)) })
}

pub async fn open_session(
    api: &Api,
    call: proto::OpenSessionRequest,
    wait: Duration,
) -> Answer<proto::OpenSessionResponse> {
    let session = ops::open_session(api, ops::namespace(call.namespace)?, wait).await?;
    Ok(proto::OpenSessionResponse { session: session.to_string() })
}
