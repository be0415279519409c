//! `understudy demo`: the whole story in one command. Three nodes, documents from many clients, the
//! leader killed with -9 in the middle, and the proof that nothing acknowledged was lost.

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::time::sleep;
use understudy_core::Namespace;

use crate::api::status::StatusPage;
use crate::client::Client;
use crate::cluster::{self, LocalCluster, Shape};
use crate::dev::{self, Stop};
use crate::documents::{Document, Documents, Source};
use crate::load::{self, Summary, progress_bar};
use crate::pace::Pace;
use crate::say::say;
use crate::verify::{self, Index, Verdict};

/// What to show.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Documents of the user's own, if any.
    pub data: Option<Source>,
    /// How many documents at least; made up beyond the user's own.
    pub documents: u64,
    /// How many leaders to kill, one after the other.
    pub kills: u32,
    /// Writes under way at once.
    pub concurrency: usize,
    /// A new folder; one for temporary files if it is not given.
    pub dir: Option<PathBuf>,
    /// What the cluster looks like.
    pub shape: Shape,
    /// Print one JSON object at the end and nothing else.
    pub json: bool,
    /// Stop the cluster at the end.
    pub exit: bool,
}

/// One leader's end and what clients felt of it.
#[derive(Clone, Debug, Serialize)]
pub struct Kill {
    /// Who led.
    pub leader: u64,
    /// Who led then.
    pub successor: u64,
    /// Documents acknowledged before.
    pub acknowledged_before: u64,
    /// How long no write was acknowledged.
    pub pause_ms: u64,
    /// From its restart until it was level again.
    pub level_after_ms: u64,
}

/// What the demo found.
#[derive(Clone, Debug, Serialize)]
struct Report {
    load: Summary,
    kills: Vec<Kill>,
    pauses: Pauses,
    verify: Verdict,
    state_hashes_equal: bool,
    endpoints: Vec<String>,
}

/// The distribution of the pauses.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Pauses {
    median_ms: u64,
    p90_ms: u64,
    max_ms: u64,
}

/// Tells the story. Success means that everything acknowledged is there, exactly once.
///
/// # Errors
/// When something that should work does not.
pub async fn demo(plan: &Plan) -> anyhow::Result<ExitCode> {
    ensure!(
        plan.kills == 0 || plan.shape.nodes.is_none_or(|nodes| nodes >= 3),
        "the rest of a cluster can go on from 3 nodes up; give `--nodes 3`, or `--kills 0`"
    );
    let mut stop = Stop::new()?;
    let attended = stdout().is_terminal() && !plan.json;
    let tied = plan.exit || attended;
    let dir = plan.dir.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("understudy-demo-{}", std::process::id()))
    });
    if std::fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("`{}` is not empty; the demo wants a new folder", dir.display());
    }
    let started = Instant::now();
    let mut cluster = LocalCluster::create_or_open(&dir, &plan.shape, tied)?;
    cluster.start()?;
    let client = Arc::new(Client::new(&cluster.endpoints())?);
    let story = async {
        let pages = cluster.wait_for_leader(&client).await?;
        tell(plan, "nodes", &format!("{} in {}", cluster.nodes.len(), cluster.dir.display()));
        let elected = started.elapsed().as_millis();
        let leader = leader(&pages).context("no leader")?;
        tell(plan, "leader", &format!("node {leader}, elected {elected} ms after the start"));
        act(plan, &mut cluster, &client).await
    };
    let report = tokio::select! {
        report = story => report?,
        () = stop.wait() => bail!("interrupted; the cluster is stopped"),
    };
    let good = report.verify.complete()
        && report.verify.rewritten == 0
        && report.load.failed == 0
        && report.state_hashes_equal;
    if plan.json {
        say!("{}", serde_json::to_string(&report)?);
    } else {
        say!();
        let verdict = match good {
            true => "nothing acknowledged was lost, and every document is there exactly once",
            false => "SOMETHING IS WRONG: see the lines above",
        };
        say!("  {verdict}");
    }
    finish(plan, cluster, good, attended, &mut stop).await?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn act(
    plan: &Plan,
    cluster: &mut LocalCluster,
    client: &Arc<Client>,
) -> anyhow::Result<Report> {
    let namespace = cluster.namespaces()?.into_iter().next().context("no namespace")?;
    let writes = load::Plan {
        namespace: Namespace::new(namespace).map_err(anyhow::Error::msg)?,
        concurrency: plan.concurrency,
        patience: Duration::from_secs(60),
    };
    let script = Script::new(plan)?;
    let pace = Arc::new(Pace::new());
    let hidden = plan.json;
    tell(plan, "writing", &format!("{} documents, {} at a time", script.total(), plan.concurrency));
    let bar = progress_bar(script.total(), "  writing", hidden);
    let loading = load::load(client.clone(), script.documents(true)?, &writes, pace.clone(), &bar);
    let killing = kill_leaders(plan, cluster, client, &script, &pace, &bar);
    let (summary, kills) = tokio::join!(loading, killing);
    bar.finish_and_clear();
    let (load, kills) = (summary?, kills?);
    tell(
        plan,
        "written",
        &format!(
            "{} documents in {:.1} s ({:.0}/s); {} tries were repeated, {} answers came from \
             the record of an earlier one",
            load.documents, load.seconds, load.rate, load.retries, load.replayed
        ),
    );
    let written = script.written.load(Ordering::Relaxed);
    let index = Index::of(script.again(written)?);
    let bar = progress_bar(index.len(), "  reading", hidden);
    let verify =
        verify::verify(client.clone(), script.again(written)?, &index, &writes, &bar).await?;
    bar.finish_and_clear();
    let Verdict { documents, missing, different, rewritten, failed, .. } = verify;
    tell(
        plan,
        "verified",
        &format!(
            "{documents} read back: {missing} missing, {different} different, {rewritten} written \
             twice, {failed} unreadable"
        ),
    );
    let state_hashes_equal = replicas_equal(cluster, client).await?;
    let same = if state_hashes_equal { "equal" } else { "DIFFERENT" };
    tell(plan, "replicas", &format!("{same} on all nodes, by hash of the whole state"));
    let pauses = Pauses::of(&kills);
    if kills.len() > 1 {
        let Pauses { median_ms, p90_ms, max_ms } = pauses;
        let line = format!("median {median_ms} ms, p90 {p90_ms} ms, longest {max_ms} ms");
        tell(plan, "pauses", &line);
    }
    Ok(Report { load, kills, pauses, verify, state_hashes_equal, endpoints: cluster.endpoints() })
}

/// The documents: the user's own spread evenly among made up ones, so that the leader dies in their
/// middle however few they are.
#[derive(Clone)]
struct Script {
    own: Option<Source>,
    own_count: u64,
    made_up: u64,
    /// The last kill is over: no more documents than planned are needed.
    done: Arc<AtomicBool>,
    /// How many documents were handed out.
    written: Arc<AtomicU64>,
}

impl Script {
    fn new(plan: &Plan) -> anyhow::Result<Script> {
        let own_count = plan.data.as_ref().map_or(Ok(0), Source::count)?;
        Ok(Script {
            own: plan.data.clone(),
            own_count,
            made_up: plan.documents.saturating_sub(own_count),
            done: Arc::new(AtomicBool::new(false)),
            written: Arc::new(AtomicU64::new(0)),
        })
    }

    fn total(&self) -> u64 {
        self.own_count + self.made_up
    }

    /// All of them; with `open_end` it goes on until the kills are over.
    fn documents(&self, open_end: bool) -> anyhow::Result<Documents> {
        let mut own = self.own.as_ref().map(Source::open).transpose()?;
        let mut made_up = Source::Generated { count: u64::MAX, seed: 1 }.open()?;
        let (total, own_count) = (self.total(), self.own_count);
        let (done, written) = (self.done.clone(), self.written.clone());
        let mut number = 0_u64;
        Ok(Box::new(std::iter::from_fn(move || {
            let more = open_end && !done.load(Ordering::Relaxed);
            if number >= total && !more {
                return None;
            }
            number += 1;
            if open_end {
                written.store(number, Ordering::Relaxed);
            }
            let share = |number: u64| {
                u64::try_from(u128::from(number) * u128::from(own_count) / u128::from(total.max(1)))
                    .unwrap_or(0)
            };
            let own_turn = number <= total && share(number) > share(number - 1);
            let next = match (&mut own, own_turn) {
                (Some(own), true) => own.next().or_else(|| made_up.next()),
                _ => made_up.next(),
            };
            // Lines of two sources would meet; the place in this one is what both passes share.
            next.map(|document| document.map(|document| Document { line: number, ..document }))
        })))
    }

    /// The first `count` again.
    fn again(&self, count: u64) -> anyhow::Result<Documents> {
        let all = Script { done: Arc::default(), written: Arc::default(), ..self.clone() };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Box::new(all.documents(true)?.take(count)))
    }
}

async fn kill_leaders(
    plan: &Plan,
    cluster: &mut LocalCluster,
    client: &Client,
    script: &Script,
    pace: &Pace,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<Kill>> {
    let mut kills = Vec::new();
    let mut goal = script.total() / (u64::from(plan.kills) + 2).max(3);
    let mut result = Ok(());
    while result.is_ok() && (kills.len() as u32) < plan.kills {
        while pace.counts().acknowledged < goal.min(script.total() / 2).max(1) {
            sleep(Duration::from_millis(1)).await;
        }
        match kill_leader(plan, cluster, client, pace, bar).await {
            Ok(kill) => kills.push(kill),
            Err(error) => result = Err(error),
        }
        goal = pace.counts().acknowledged + 200;
    }
    script.done.store(true, Ordering::Relaxed);
    result.map(|()| kills)
}

async fn kill_leader(
    plan: &Plan,
    cluster: &mut LocalCluster,
    client: &Client,
    pace: &Pace,
    bar: &ProgressBar,
) -> anyhow::Result<Kill> {
    const SETTLED: Duration = Duration::from_millis(1000);
    const PATIENCE: Duration = Duration::from_secs(30);
    let leader = leader(&cluster.wait_for_leader(client).await?).context("no leader")?;
    let place = cluster.nodes.iter().position(|node| node.id == leader).context("no such node")?;
    let acknowledged_before = pace.counts().acknowledged;
    let moment = Instant::now();
    cluster.kill(place)?;
    let show = |what: &str, text: String| bar.suspend(|| tell(plan, what, &text));
    show(
        "kill -9",
        format!("node {leader}, the leader, after {acknowledged_before} acknowledged writes"),
    );
    // The pause is over when writes have gone on for a while: the first few may have been
    // acknowledged on their way already.
    while pace.pause_since(moment) + SETTLED > moment.elapsed()
        || pace.last().is_none_or(|last| last < moment)
    {
        ensure!(moment.elapsed() < PATIENCE, "no write was acknowledged after the kill");
        sleep(Duration::from_millis(5)).await;
    }
    let pause = pace.pause_since(moment);
    let successor = crate::demo::leader(&cluster.pages(client).await).unwrap_or(0);
    show("pause", format!("no write for {} ms; node {successor} leads now", pause.as_millis()));
    let restarted = Instant::now();
    cluster.start_node(place)?;
    cluster::wait_level(cluster, client, place).await?;
    let level_after = restarted.elapsed();
    show(
        "restart",
        format!("node {leader} is back and level after {} ms", level_after.as_millis()),
    );
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Ok(Kill {
        leader,
        successor,
        acknowledged_before,
        pause_ms: ms(pause),
        level_after_ms: ms(level_after),
    })
}

/// Who leads the first namespace, by the word of the leader of the highest term.
fn leader(pages: &[StatusPage]) -> Option<u64> {
    let groups = pages.iter().filter_map(|page| page.groups.first().map(|group| (page, group)));
    let leads = groups.filter(|(_, group)| group.role == "leader");
    leads.max_by_key(|(_, group)| group.term).map(|(page, _)| page.node)
}

/// Waits until all replicas have applied the same and compares their states.
async fn replicas_equal(cluster: &LocalCluster, client: &Client) -> anyhow::Result<bool> {
    let start = Instant::now();
    loop {
        let pages = cluster.pages(client).await;
        let states: Vec<_> = pages
            .iter()
            .map(|page| page.groups.iter().map(|group| (group.applied, &group.state_hash)))
            .map(Iterator::collect::<Vec<_>>)
            .collect();
        let level = states.len() == cluster.nodes.len()
            && states.windows(2).all(|pair| {
                pair[0].iter().map(|(applied, _)| applied).eq(pair[1].iter().map(|(at, _)| at))
            });
        if level {
            return Ok(states.windows(2).all(|pair| pair[0] == pair[1]));
        }
        ensure!(start.elapsed() < cluster::CATCH_UP_PATIENCE, "the replicas did not become level");
        sleep(Duration::from_millis(20)).await;
    }
}

impl Pauses {
    fn of(kills: &[Kill]) -> Pauses {
        let mut all: Vec<u64> = kills.iter().map(|kill| kill.pause_ms).collect();
        all.sort_unstable();
        let Some(last) = all.len().checked_sub(1) else { return Pauses::default() };
        Pauses { median_ms: all[last / 2], p90_ms: all[last * 9 / 10], max_ms: all[last] }
    }
}

async fn finish(
    plan: &Plan,
    mut cluster: LocalCluster,
    good: bool,
    attended: bool,
    stop: &mut Stop,
) -> anyhow::Result<()> {
    if plan.exit {
        cluster.stop();
        if plan.dir.is_none() && good {
            let _ = std::fs::remove_dir_all(&cluster.dir);
        }
        return Ok(());
    }
    if plan.json {
        cluster.leave_running();
        return Ok(());
    }
    say!("\nThe cluster is running:");
    dev::introduce(&cluster)?;
    let dir = cluster.dir.display().to_string();
    if attended {
        say!("\nCtrl-C stops it; `understudy dev --data-dir {dir}` starts it again");
        dev::watch(&mut cluster, false, stop).await?;
        say!("stopping");
        cluster.stop();
    } else {
        say!("\nstop it with: understudy dev --data-dir {dir} --stop");
        cluster.leave_running();
    }
    Ok(())
}

fn tell(plan: &Plan, what: &str, text: &str) {
    if !plan.json {
        say!("  {what:<9} {text}");
    }
}
