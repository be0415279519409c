use super::*;

const OLD: u64 = 1;
const NEW: u64 = 2;

fn replica(node: u64, incarnation: u64) -> ReplicaId {
    ReplicaId { node: NodeId(node), incarnation: Incarnation(incarnation) }
}

/// Three members, of which the third may have lost its folder; node 1 leads.
#[derive(Clone, Copy, Debug)]
struct Case {
    committed: bool,
    joint: bool,
    /// The new folder gets the log.
    learner: bool,
    /// It has answered lately.
    learner_answers: bool,
    /// It has all that the leader has.
    learner_level: bool,
    /// The old folder has answered lately.
    old_answers: bool,
    /// Node 2 has.
    second_answers: bool,
    /// Node 3 shows its new folder; if not, none.
    shown: bool,
    /// Node 3 shows yet another one.
    shows_third: bool,
}

const LIVE: Progress = Progress {
    heard: Some(Duration::from_millis(10)),
    silent: Duration::from_millis(10),
    matched: 1000,
};
const DEAD: Progress = Progress { heard: None, silent: Duration::from_secs(2), matched: 0 };

fn next(case: Case) -> Option<Step> {
    let mut configs = vec![vec![replica(1, OLD), replica(2, OLD), replica(3, OLD)]];
    let mut nodes = configs[0].clone();
    if case.joint {
        configs.push(vec![replica(1, OLD), replica(2, OLD), replica(3, NEW)]);
    }
    if case.joint || case.learner {
        nodes.push(replica(3, NEW));
    }
    let members = Members { configs, nodes };
    let of = |answers| if answers { LIVE } else { DEAD };
    let matched = if case.learner_level { 1000 - limits::JOIN_LAG_ENTRIES } else { 900 };
    let learner = Progress { matched, ..of(case.learner_answers) };
    let replicas = BTreeMap::from([
        (replica(2, OLD), of(case.second_answers)),
        (replica(3, OLD), of(case.old_answers)),
        (replica(3, NEW), learner),
    ]);
    let third = if case.shows_third { Some(3) } else { case.shown.then_some(NEW) };
    let shown = third.map(|third| (NodeId(3), Incarnation(third))).into_iter().collect();
    let view = View {
        me: replica(1, OLD),
        nodes: &[NodeId(1), NodeId(2), NodeId(3)],
        members: &members,
        committed: case.committed,
        head: 1000,
        replicas: &replicas,
        shown: &shown,
        timing: &Timing::production(),
    };
    view.next()
}

/// The module's table, said once more by itself.
fn expected(case: Case) -> Option<Step> {
    let healthy = case.second_answers && !case.old_answers;
    let wanted = if case.shows_third { replica(3, 3) } else { replica(3, NEW) };
    let shows = case.shown || case.shows_third;
    match case {
        Case { committed: false, .. } => None,
        Case { joint: true, .. } => Some(Step::Settle),
        Case { learner: true, learner_answers: false, .. }
            if case.shows_third || case.old_answers =>
        {
            Some(Step::Drop(replica(3, NEW)))
        }
        Case { learner: true, learner_answers: true, learner_level: true, .. }
            if healthy && !case.shows_third =>
        {
            let voters = vec![replica(1, OLD), replica(2, OLD), replica(3, NEW)];
            Some(Step::Promote { learner: replica(3, NEW), voters })
        }
        Case { learner: true, shows_third: false, .. } => None,
        _ => (healthy && shows).then_some(Step::Add(wanted)),
    }
}

#[test]
fn every_case_has_the_step_of_the_table() {
    let mut steps = [0; 5];
    for bits in 0_u32..1 << 9 {
        let bit = |place: u32| bits & (1 << place) != 0;
        let case = Case {
            committed: bit(0),
            joint: bit(1),
            learner: bit(2),
            learner_answers: bit(3),
            learner_level: bit(4),
            old_answers: bit(5),
            second_answers: bit(6),
            shown: bit(7),
            shows_third: bit(8),
        };
        let step = next(case);
        assert_eq!(step, expected(case), "{case:?}");
        steps[match step {
            None => 0,
            Some(Step::Settle) => 1,
            Some(Step::Drop(_)) => 2,
            Some(Step::Add(_)) => 3,
            Some(Step::Promote { .. }) => 4,
        }] += 1;
    }
    assert!(steps.iter().all(|&count| count > 0), "{steps:?}");
}

/// A leader that has just begun has heard from nobody, and does not take that for silence.
#[test]
fn a_young_leader_waits() {
    let young = Progress { heard: None, silent: Duration::from_millis(500), matched: 0 };
    let members = Members {
        configs: vec![vec![replica(1, OLD), replica(2, OLD), replica(3, OLD)]],
        nodes: vec![replica(1, OLD), replica(2, OLD), replica(3, OLD)],
    };
    let mut replicas = BTreeMap::from([(replica(2, OLD), LIVE), (replica(3, OLD), young)]);
    let shown = BTreeMap::from([(NodeId(3), Incarnation(NEW)), (NodeId(9), Incarnation(1))]);
    let view = |replicas: &BTreeMap<ReplicaId, Progress>| {
        let view = View {
            me: replica(1, OLD),
            nodes: &[NodeId(1), NodeId(2), NodeId(3)],
            members: &members,
            committed: true,
            head: 1000,
            replicas,
            shown: &shown,
            timing: &Timing::production(),
        };
        view.next()
    };
    assert_eq!(view(&replicas), None);
    replicas.insert(replica(3, OLD), DEAD);
    assert_eq!(view(&replicas), Some(Step::Add(replica(3, NEW))), "and no stranger");
}
