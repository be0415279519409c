//! The change stream as its subscribers meet it, over both protocols, while nodes die.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use futures_util::StreamExt;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Streaming};
use understudy_client::{Client, Start, WatchItem, WatchOptions};
use understudy_proto::v1::watch_item::Item;
use understudy_proto::v1::*;

use crate::grpc::{actors, assert_refused, block_on, put};
use crate::world::{PATIENCE, World, ask, eventually};

const CHANGES: &str = "/v1/namespaces/default/changes";

/// One stream of a client.
struct Stream {
    requests: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
    ready: std::collections::VecDeque<WatchItem_>,
}

type WatchItem_ = understudy_proto::v1::WatchItem;

fn subscribe(start: watch_start::Kind, credit: u64) -> WatchSubscribe {
    let start = Some(WatchStart { kind: Some(start) });
    let namespaces = vec![WatchNamespace { namespace: "default".to_owned(), start }];
    WatchSubscribe { namespaces, credit, ..WatchSubscribe::default() }
}

fn now() -> watch_start::Kind {
    watch_start::Kind::Place(WatchPlace::Now.into())
}

fn beginning() -> watch_start::Kind {
    watch_start::Kind::Place(WatchPlace::Beginning.into())
}

fn resume(token: &str) -> watch_start::Kind {
    watch_start::Kind::ResumeToken(token.to_owned())
}

impl Stream {
    async fn open(api: &str, subscribe: WatchSubscribe) -> Result<Stream, tonic::Status> {
        let (requests, stream) = mpsc::channel(8);
        let kind = Some(watch_request::Kind::Subscribe(subscribe));
        requests.send(WatchRequest { kind }).await.unwrap();
        let stream = tokio_stream(stream);
        let answers = actors(api).await.watch(stream).await?.into_inner();
        Ok(Stream { requests, answers, ready: Default::default() })
    }

    async fn say(&self, kind: watch_request::Kind) {
        self.requests.send(WatchRequest { kind: Some(kind) }).await.unwrap();
    }

    async fn grant(&self, amount: u64) {
        let credit = WatchCredit { namespace: String::new(), amount };
        self.say(watch_request::Kind::Credit(credit)).await;
    }

    /// The next item of any kind.
    async fn any(&mut self) -> Result<WatchItem_, tonic::Status> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(item);
            }
            let message = self.answers.message().await?.expect("the stream goes on");
            self.ready.extend(message.items);
        }
    }

    /// The next that is no mark of progress.
    async fn next(&mut self) -> Result<(String, Item), tonic::Status> {
        loop {
            let WatchItem_ { resume_token, item, .. } = self.any().await?;
            match item.unwrap() {
                Item::Progress(_) => {}
                item => return Ok((resume_token, item)),
            }
        }
    }

    async fn change(&mut self) -> Change {
        match self.next().await.unwrap().1 {
            Item::Change(change) => change,
            other => panic!("{other:?}"),
        }
    }
}

fn tokio_stream<T: Send + 'static>(
    mut channel: mpsc::Receiver<T>,
) -> impl futures_util::Stream<Item = T> + Send {
    futures_util::stream::poll_fn(move |context| channel.poll_recv(context))
}

/// Writes that make changes of every kind but `expire`; how many.
async fn some_writes(api: &str) -> u64 {
    let mut client = actors(api).await;
    let mut count = 0;
    for round in 0..6 {
        for id in ["a", "b/1", "b/2", "c\n\"\u{e9}"] {
            client.put(put(id, &format!("{{\n  \"round\": {round}\n}}"))).await.unwrap();
            count += 1;
        }
        if round % 2 == 1 {
            let delete = DeleteRequest {
                namespace: "default".to_owned(),
                id: "a".to_owned(),
                ..DeleteRequest::default()
            };
            client.delete(delete).await.unwrap();
            count += 1;
        }
    }
    count
}

/// One answer of lines: the changes, and where to go on.
fn poll(api: &str, query: &str) -> (Vec<Value>, String) {
    let answer = ask(api, "GET", &format!("{CHANGES}?{query}"), &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let text = answer.text();
    let mut lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mark = lines.pop().unwrap();
    assert_eq!(mark["kind"], "progress");
    (lines, mark["resume_token"].as_str().unwrap().to_owned())
}

/// A stream of server-sent events, after its header.
fn events(api: &str, query: &str, headers: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(api).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET {CHANGES}?{query} HTTP/1.0\r\nhost: {api}\r\naccept: text/event-stream\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.contains(" 200 "), "{line}");
    while line != "\r\n" {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0);
    }
    reader
}

/// The next event with data that is no mark: its id, its name, its data.
fn event(reader: &mut BufReader<TcpStream>) -> (String, String, Value) {
    let (mut id, mut name, mut data) = (String::new(), String::new(), Value::Null);
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the stream goes on");
        match line.trim_end().split_once(": ") {
            Some(("id", text)) => id = text.to_owned(),
            Some(("event", text)) => name = text.to_owned(),
            Some(("data", text)) => data = serde_json::from_str(text).unwrap(),
            _ if data.is_null() || name == "progress" => data = Value::Null,
            _ => return (id, name, data),
        }
    }
}

/// S0-074…S0-077, S0-080, S0-082: every write, once, in order, the same over every protocol and at
/// every node; and from every place on what comes behind it, wherever one asks.
#[test]
fn every_write_is_told_in_order_and_every_place_can_be_gone_on_from() {
    let world = World::start(3);
    let mut sse = events(world.api(2), "start=now", "");
    let count = block_on(async {
        let mut stream = Stream::open(world.api(1), subscribe(now(), 1000)).await.unwrap();
        let count = some_writes(world.api(0)).await;
        let mut versions: BTreeMap<String, Option<Token>> = BTreeMap::new();
        for sequence in 1..=count {
            let change = stream.change().await;
            assert_eq!(change.sequence, sequence);
            let before = change.before.as_ref().and_then(|record| record.token);
            let held = versions.get(&change.id).copied().flatten();
            assert_eq!(before, held, "before is what came after");
            versions.insert(change.id.clone(), change.after.and_then(|record| record.token));
        }
        count
    });
    let (told, _) = poll(world.api(0), "start=after:0&limit=1000");
    assert_eq!(told.len() as u64, count);
    for line in &told {
        let (id, name, data) = event(&mut sse);
        assert_eq!((&data, id.as_str()), (line, line["resume_token"].as_str().unwrap()));
        assert_eq!(line["kind"], *name);
    }
    for (place, line) in told.iter().enumerate() {
        let token = line["resume_token"].as_str().unwrap();
        let (rest, _) = poll(world.api(place % 3), &format!("start={token}&limit=1000&wait_ms=0"));
        assert_eq!(rest, told[place + 1..], "behind {token}");
    }
    let last = told[count as usize - 3]["resume_token"].as_str().unwrap();
    let mut again = events(world.api(1), "start=beginning", &format!("last-event-id: {last}\r\n"));
    assert_eq!(event(&mut again).2, told[count as usize - 2]);
    // In pieces of one, and filtered at the source (S0-081, X-15).
    let mut token = "after:0".to_owned();
    for line in told
        .iter()
        .filter(|line| line["id"].as_str().unwrap().starts_with("b/") && line["kind"] == "update")
    {
        let query = format!("start={token}&limit=1&prefix=b%2F1&prefix=b%2F2&kind=update");
        let (one, next) = poll(world.api(0), &query);
        assert_eq!(one, std::slice::from_ref(line));
        token = next;
    }
    let (cloud, _) = poll_cloud(world.api(0));
    assert_eq!(cloud["type"], "understudy.actor.created");
    assert_eq!((&cloud["id"], &cloud["subject"]), (&told[0]["event_id"], &told[0]["id"]));
}

fn poll_cloud(api: &str) -> (Value, ()) {
    let answer = ask(api, "GET", &format!("{CHANGES}?start=after:0&format=cloudevents"), &[], b"");
    let text = answer.text();
    (serde_json::from_str(text.lines().next().unwrap()).unwrap(), ())
}

/// S0-080, S0-085: the library's subscriber goes on at another node, without a gap or a repeat.
#[test]
fn a_subscriber_survives_every_node_that_is_killed() {
    let mut world = World::start(3);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let options = understudy_client::Options::new().deadline(PATIENCE);
    let client =
        runtime.block_on(Client::connect_with(world.cluster.endpoints(), options)).unwrap();
    let watch = client.watch::<u64>("default", WatchOptions::from(Start::Now).window(16));
    let mut watch = runtime.block_on(watch).unwrap();
    let stop = CancellationToken::new();
    let writer = {
        let (client, stop) = (client.clone(), stop.clone());
        runtime.spawn(async move {
            let mut count = 0_u64;
            while !stop.is_cancelled() {
                client.put("default", format!("w{}", count % 7), &count).await.unwrap();
                count += 1;
            }
            count
        })
    };
    let mut heard = 0_u64;
    let mut hear = |until: u64| {
        runtime.block_on(async {
            while heard < until {
                let event = watch.next().await.unwrap().unwrap();
                if let WatchItem::Change(change) = event.item {
                    heard += 1;
                    assert_eq!(change.sequence, heard, "no gap and no repeat");
                    assert_eq!(change.after.unwrap().value + 1, heard);
                }
            }
            heard
        })
    };
    let mut until = 50;
    for place in 0..3 {
        hear(until);
        world.cluster.kill(place).unwrap();
        until = hear(until + 50) + 50;
        world.restart(place);
    }
    stop.cancel();
    let count = runtime.block_on(writer).unwrap();
    assert_eq!(hear(count), count);
}

/// S0-079, X-18: what is told from the beginning is the state, while it changes.
#[test]
fn a_snapshot_while_writing_comes_to_the_state() {
    let world = World::start(3);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::connect(world.cluster.endpoints()).await.unwrap();
        for n in 0..300_u64 {
            client.put("default", format!("s{n:03}"), &n).await.unwrap();
        }
        let writer = {
            let client = client.clone();
            tokio::spawn(async move {
                for n in 0..300_u64 {
                    let id = format!("s{:03}", n * 7 % 300);
                    match n % 3 {
                        0 => drop(client.delete("default", id).await.unwrap()),
                        1 => drop(client.put("default", id, &(n + 1000)).await.unwrap()),
                        _ => drop(client.put("default", format!("t{n}"), &n).await.unwrap()),
                    }
                }
                client.put("default", "z-end", &0_u64).await.unwrap().sequence
            })
        };
        let options = WatchOptions::from(Start::Beginning).window(8);
        let mut watch = client.watch::<u64>("default", options).await.unwrap();
        let (mut state, mut at, mut ended) = (BTreeMap::new(), 0, false);
        let mut last = None;
        let mut writer = Some(writer);
        while last.is_none_or(|last| at < last) || !ended {
            match watch.next().await.unwrap().unwrap().item {
                WatchItem::Snapshot(record) => drop(state.insert(record.id, record.value)),
                WatchItem::SnapshotEnd { sequence } => (at, ended) = (sequence, true),
                WatchItem::Change(change) => {
                    at = change.sequence;
                    match change.after {
                        Some(record) => drop(state.insert(change.id, record.value)),
                        None => drop(state.remove(&change.id)),
                    }
                }
                WatchItem::Progress => {}
            }
            if ended && last.is_none() {
                last = Some(writer.take().unwrap().await.unwrap());
            }
        }
        let all = client.get_all::<u64>("default").await.unwrap();
        let all: BTreeMap<String, u64> =
            all.into_iter().map(|record| (record.id, record.value)).collect();
        assert_eq!(state, all);
        let stats = client.change_stats("default").await.unwrap();
        assert_eq!(stats.sequence, at, "that of the last change (B-11)");
    });
}

/// S0-083, S0-140, X-17: credit is what is sent, the filter changes while the stream runs, and one who
/// takes nothing holds up nobody.
#[test]
fn credit_and_filter_are_the_subscriber_s() {
    let world = World::start(1);
    block_on(async {
        let api = world.api(0);
        let mut idle = Stream::open(api, subscribe(now(), 0)).await.unwrap();
        let mut stream = Stream::open(api, subscribe(now(), 3)).await.unwrap();
        let mut client = actors(api).await;
        for n in 1..=10 {
            client.put(put(&format!("a{n}"), "1")).await.unwrap();
        }
        for sequence in 1..=3 {
            assert_eq!(stream.change().await.sequence, sequence);
        }
        let filter = WatchFilter { prefixes: vec!["b".to_owned()], kinds: Vec::new() };
        stream.say(watch_request::Kind::Filter(filter)).await;
        let filtered = stream.next().await.unwrap();
        assert!(matches!(filtered.1, Item::Filtered(_)), "{filtered:?}");
        assert!(filtered.0.ends_with("-3"), "nothing behind the credit was told: {}", filtered.0);
        client.put(put("b", "1")).await.unwrap();
        // One more than it takes: nothing is read without credit, not even to pass it over.
        stream.grant(2).await;
        assert_eq!(stream.change().await.sequence, 11);
        client.put(put("c", "1")).await.unwrap();
        let mark = loop {
            let item = stream.any().await.unwrap();
            assert!(matches!(item.item, Some(Item::Progress(_))), "{item:?}");
            if item.resume_token.ends_with("-12") {
                break item.resume_token;
            }
        };
        let mut again = Stream::open(api, subscribe(resume(&mark), 9)).await.unwrap();
        client.put(put("d", "1")).await.unwrap();
        assert_eq!(again.change().await.sequence, 13);
        idle.grant(13).await;
        for sequence in 1..=13 {
            assert_eq!(idle.change().await.sequence, sequence);
        }
        idle.say(watch_request::Kind::Cancel(WatchCancel {})).await;
        assert!(idle.answers.message().await.unwrap().is_none());
    });
    let stats = || {
        block_on(async {
            let client = Client::connect(world.cluster.endpoints()).await.unwrap();
            client.change_stats("default").await.unwrap()
        })
    };
    eventually("subscriptions that have ended are not counted (B-11)", || {
        stats().subscriptions == 0
    });
    assert_eq!((stats().changes, stats().recent, stats().sequence), (13, 13, 13));
}

/// Several namespaces on one stream, each in its order.
#[test]
fn one_stream_is_of_several_namespaces() {
    let world = World::start(1);
    block_on(async {
        let api = world.api(0);
        let mut both = subscribe(beginning(), 10);
        let second = WatchNamespace { namespace: "second".to_owned(), start: None };
        both.namespaces.push(second);
        let mut client = actors(api).await;
        client.put(put("before", "1")).await.unwrap();
        let mut stream = Stream::open(api, both.clone()).await.unwrap();
        let there = PutRequest { namespace: "second".to_owned(), ..put("there", "2") };
        client.put(there).await.unwrap();
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 3 {
            let item = stream.any().await.unwrap();
            match item.item.unwrap() {
                Item::Snapshot(actor) => drop(seen.insert((item.namespace, actor.id))),
                Item::Change(change) => drop(seen.insert((item.namespace, change.id))),
                Item::SnapshotEnd(_) => drop(seen.insert((item.namespace, String::new()))),
                Item::Progress(_) | Item::Filtered(_) => {}
            }
        }
        let wanted = [("default", ""), ("default", "before"), ("second", "there")];
        let wanted = wanted.map(|(namespace, id)| (namespace.to_owned(), id.to_owned()));
        assert_eq!(seen, wanted.into());
        let twice = both.namespaces[0].clone();
        both.namespaces.push(twice);
        let refused = Stream::open(api, both).await.err().unwrap();
        assert_refused(&refused, Code::InvalidArgument, "bad_subscription");
    });
}

/// A node that retains few changes.
fn forgetful() -> World {
    let world = World::initialised(1);
    let path = world.cluster.nodes[0].config();
    let text = std::fs::read_to_string(&path).unwrap();
    let few = "[cluster.changes]\nmemory_bytes = 65536\n";
    let text = match text.contains("[cluster.changes]\n") {
        true => text.replace("[cluster.changes]\n", few),
        false => format!("{text}\n{few}"),
    };
    std::fs::write(&path, text).unwrap();
    let mut world = world;
    world.cluster.start().unwrap();
    world.wait_for_leader();
    world
}

/// What nobody may ask for.
fn wrong_questions(get: impl Fn(&str) -> crate::world::Answer, api: &str) {
    let long = format!("prefix={}", "x".repeat(1025));
    let many: String = (0..65).map(|n| format!("prefix={n}&")).collect();
    for wrong in [
        "start=yesterday",
        "start=00aa-1",
        "start=time:-1",
        "kind=rename",
        "policy=block",
        "format=xml",
        "prefix=",
        &long,
        &many,
    ] {
        get(wrong).assert_problem(400, "bad_subscription");
    }
    get("limit=1001").assert_problem(400, "bad_limit");
    get("wait_ms=60001").assert_problem(400, "bad_timeout");
    let nowhere = "/v1/namespaces/nowhere/changes";
    ask(api, "GET", nowhere, &[], b"").assert_problem(404, "unknown_namespace");
}

/// Writes more than a subscriber may lag behind.
async fn write_much(api: &str) {
    let mut client = actors(api).await;
    let value = format!("\"{}\"", "x".repeat(8 * 1024));
    for batch in 0..30 {
        let operations = (0..100).map(|n| BatchOperation {
            id: format!("l{n}"),
            kind: Some(batch_operation::Kind::Put(crate::grpc::content(&*value).unwrap())),
        });
        let write = BatchWriteRequest {
            namespace: "default".to_owned(),
            atomic: Some(true),
            operations: operations.collect(),
            name: crate::grpc::key(&format!("lag-{batch}")),
        };
        client.batch_write(write).await.unwrap();
    }
}

/// Provokes every end of a stream, over both protocols; which codes.
pub fn refusals() -> [&'static str; 4] {
    let world = forgetful();
    let api = world.api(0).to_owned();
    let get = |query: &str| ask(&api, "GET", &format!("{CHANGES}?{query}"), &[], b"");
    let foreign = "00000000000000aa-1";
    get(&format!("start={foreign}")).assert_problem(410, "other_lineage");
    wrong_questions(get, &api);

    block_on(async {
        let refused =
            |start| async { Stream::open(&api, subscribe(start, 1)).await.err().unwrap() };
        let status = refused(resume(foreign)).await;
        assert_refused(&status, Code::FailedPrecondition, "other_lineage");
        let status = refused(resume("17")).await;
        assert_refused(&status, Code::InvalidArgument, "bad_subscription");
        let lagging =
            WatchSubscribe { policy: WatchPolicy::Disconnect.into(), ..subscribe(now(), 0) };
        let mut slow = Stream::open(&api, lagging).await.unwrap();
        let stalled = events(&api, "start=now&policy=disconnect", "");
        write_much(&api).await;
        let status = slow.next().await.unwrap_err();
        let problem = assert_refused(&status, Code::Aborted, "lagged");
        assert!(problem.resume_token.is_some_and(|token| token.ends_with("-0")));
        let lines: Vec<String> = stalled.lines().map_while(Result::ok).collect();
        let end = lines.iter().position(|line| line == "event: error").expect("it ends");
        assert!(lines[end + 1].contains("\"code\":\"lagged\""), "{}", lines[end + 1]);
    });
    eventually("old changes are forgotten", || get("start=after:0&wait_ms=0").status == 410);
    let gone = get("start=after:0");
    gone.assert_problem(410, "compacted");
    let page: Value = serde_json::from_slice(&gone.body).unwrap();
    assert!(page["first_sequence"].as_u64().is_some_and(|first| first > 1), "{page}");
    let gone = block_on(Stream::open(&api, subscribe(watch_start::Kind::AfterSequence(0), 1)));
    let problem = assert_refused(&gone.err().unwrap(), Code::OutOfRange, "compacted");
    assert!(problem.first_sequence.is_some_and(|first| first > 1));
    // The next legal action works.
    assert_eq!(get("start=beginning").status, 200);
    ["compacted", "other_lineage", "lagged", "bad_subscription"]
}

/// The command: the same lines, and an end by `--limit`.
#[test]
fn the_command_watches_until_its_limit() {
    let world = World::start(3);
    let count = block_on(some_writes(world.api(0)));
    let run = |more: &[&str]| {
        let limit = count.to_string();
        let usual = ["watch", "default", "--start", "after:0", "--limit", &limit];
        let output = world.command(&[&usual, more].concat()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let (told, _) = poll(world.api(0), "start=after:0&limit=1000");
    let lines = run(&["--json"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, told);
    assert!(run(&["--cloudevents"]).lines().all(|line| line.contains("\"specversion\":\"1.0\"")));
    let pretty = run(&[]);
    assert_eq!(pretty.lines().count() as u64, count);
    assert!(pretty.contains("create") && pretty.contains("c\\n\""), "{pretty}");
    let refused = world.command(&["watch", "default", "--start", "x"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
}
