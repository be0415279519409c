//! Makes a failing schedule small: fewer acts, chances, clients, operations, nodes; calmer knobs;
//! shorter delays. A smaller schedule counts only if the same property fails.

use understudy_core::{LogSizes, Storage};

use crate::acts::{Act, TimedAct};
use crate::files::Latency;
use crate::network::Weather;
use crate::plan::{MICRO, MILLI, TRUE_RATE};
use crate::schedule::Schedule;

/// Tries schedules until `budget` says that it is enough.
pub struct Shrinker<'a> {
    /// Whether the schedule still fails in the same way.
    fails: &'a mut dyn FnMut(&Schedule) -> bool,
    /// Whether there is time for another attempt.
    budget: &'a mut dyn FnMut() -> bool,
    best: Schedule,
    /// Attempts made.
    pub attempts: u64,
}

impl<'a> Shrinker<'a> {
    /// Starts from `schedule`, which fails. Its chances should be listed, so that they can go too.
    pub fn new(
        schedule: Schedule,
        fails: &'a mut dyn FnMut(&Schedule) -> bool,
        budget: &'a mut dyn FnMut() -> bool,
    ) -> Shrinker<'a> {
        Shrinker { fails, budget, best: schedule, attempts: 0 }
    }

    /// Shrinks until nothing more goes.
    pub fn run(mut self) -> (Schedule, u64) {
        loop {
            let before = self.best.clone();
            self.fewer();
            self.calmer();
            self.shorter();
            if self.best == before || !(self.budget)() {
                return (self.best, self.attempts);
            }
        }
    }

    /// Takes the change if the run still fails.
    fn attempt(&mut self, change: impl FnOnce(&mut Schedule)) -> bool {
        let mut candidate = self.best.clone();
        change(&mut candidate);
        if candidate == self.best || !(self.budget)() {
            return false;
        }
        self.attempts += 1;
        let fails = (self.fails)(&candidate);
        if fails {
            self.best = candidate;
        }
        fails
    }

    // ---- fewer --------------------------------------------------------------------------------

    fn fewer(&mut self) {
        for client in self.best.clients() {
            self.attempt(|schedule| schedule.jobs.retain(|job| job.client != client));
        }
        self.fewer_of(|schedule| &mut schedule.acts);
        if self.best.chances.is_some() {
            self.fewer_of(|schedule| schedule.chances.get_or_insert_with(Vec::new));
        }
        self.fewer_of(|schedule| &mut schedule.jobs);
        self.fewer_nodes();
        self.attempt(|schedule| {
            schedule.jobs.retain(|job| job.namespace == 0);
            schedule.plan.namespaces = 1;
        });
        self.attempt(|schedule| {
            schedule.jobs.retain(|job| job.namespace == 1);
            schedule.jobs.iter_mut().for_each(|job| job.namespace = 0);
            schedule.plan.namespaces = 1;
        });
    }

    /// Takes away halves, then quarters, down to single items (delta debugging, Zeller 1999).
    fn fewer_of<T>(&mut self, list: impl Fn(&mut Schedule) -> &mut Vec<T>) {
        let mut chunk = list(&mut self.best).len().div_ceil(2);
        while chunk > 0 {
            let mut end = list(&mut self.best).len();
            // From the end: what is late matters least to what comes after it.
            while end > 0 {
                let start = end.saturating_sub(chunk);
                self.attempt(|schedule| {
                    list(schedule).drain(start..end);
                });
                end = start;
            }
            chunk /= 2;
        }
    }

    fn fewer_nodes(&mut self) {
        if self.best.plan.nodes <= 3 {
            return;
        }
        self.attempt(|schedule| {
            let plan = &mut schedule.plan;
            plan.nodes = 3;
            plan.damage_max = if plan.damage_max > 2 { 2 } else { plan.damage_max.min(1) };
            plan.starts.truncate(3);
            plan.disks.truncate(3);
            plan.clocks.truncate(3);
            schedule.acts.retain(|act| act.act.nodes().iter().all(|&node| node <= 3));
        });
    }

    // ---- calmer -------------------------------------------------------------------------------

    fn calmer(&mut self) {
        self.attempt(|schedule| schedule.plan.starts.fill(0));
        self.attempt(|schedule| {
            schedule.plan.clocks.iter_mut().for_each(|clock| *clock = (TRUE_RATE, 0));
        });
        self.attempt(|schedule| {
            let quick = Latency { min: 200 * MICRO, max: 200 * MICRO };
            schedule.plan.disks.iter_mut().for_each(|disk| *disk = quick);
        });
        self.attempt(|schedule| schedule.plan.weather = Weather::CALM);
        self.attempt(|schedule| schedule.plan.storage.fill(Storage::Memory));
        self.attempt(|schedule| {
            // One long log, without checkpoints; a segment of real size would only take time.
            schedule.plan.log = LogSizes { segment_bytes: 1 << 20, ..LogSizes::production() };
        });
        self.attempt(|schedule| {
            let weather = &mut schedule.plan.weather;
            weather.latency_max = weather.latency_min;
        });
        self.attempt(|schedule| schedule.plan.turn_max = 2 * MICRO);
        self.attempt(|schedule| schedule.plan.abandon_ppm = 0);
        if self.best.chances.is_some() {
            // The rates decide nothing any more.
            self.attempt(|schedule| {
                let plan = &mut schedule.plan;
                (plan.crash_mid_turn_ppm, plan.crash_at_io_ppm) = (0, 0);
                (plan.crash_in_recovery_ppm, plan.torn_write_ppm) = (0, 0);
                (plan.crash_at_file_ppm, plan.process_kill_ppm) = (0, 0);
                (plan.request_loss_ppm, plan.reply_loss_ppm) = (0, 0);
                let weather = &mut plan.weather;
                (weather.loss_ppm, weather.duplicate_ppm, weather.delay_ppm) = (0, 0, 0);
            });
        }
    }

    // ---- shorter ------------------------------------------------------------------------------

    fn shorter(&mut self) {
        self.attempt(|schedule| schedule.jobs.iter_mut().for_each(|job| job.think_ns = 0));
        self.attempt(|schedule| schedule.jobs.iter_mut().for_each(|job| job.think_ns /= 2));
        self.attempt(|schedule| schedule.acts.iter_mut().for_each(|act| act.at_ns /= 2));
        for place in 0..self.best.acts.len() {
            while self.attempt(|schedule| halve(&mut schedule.acts[place])) {}
            while self.attempt(|schedule| close_gap(&mut schedule.acts, place)) {}
        }
        while self.attempt(|schedule| {
            schedule.plan.safety_ns = (schedule.plan.safety_ns / 2).max(100 * MILLI);
        }) {}
    }
}

/// Halves the time between an act and the one before it; what comes later comes as much earlier.
fn close_gap(acts: &mut [TimedAct], place: usize) {
    let before = place.checked_sub(1).map_or(0, |before| acts[before].at_ns);
    let gap = acts[place].at_ns.saturating_sub(before);
    let earlier = if gap > MILLI { gap / 2 } else { 0 };
    acts[place..].iter_mut().for_each(|act| act.at_ns -= earlier);
}

/// Halves how long an act lasts, down to a millisecond.
fn halve(act: &mut TimedAct) {
    let half = |ns: &mut u64| *ns = (*ns / 2).max(MILLI).min(*ns);
    match &mut act.act {
        Act::Crash { down_ns, .. } | Act::WipeDisk { down_ns, .. } => half(down_ns),
        Act::LeaderBounce { wait_ms, then_ns, down_ns } => {
            *wait_ms /= 2;
            half(then_ns);
            half(down_ns);
        }
        Act::CrashAll { wait_ms, then_ns, nodes } => {
            *wait_ms /= 2;
            half(then_ns);
            nodes.iter_mut().for_each(|(_, down_ns)| half(down_ns));
        }
        Act::Cut { lasts_ns, .. }
        | Act::Isolate { lasts_ns, .. }
        | Act::Pause { lasts_ns, .. }
        | Act::SlowDisk { lasts_ns, .. }
        | Act::StallDisk { lasts_ns, .. }
        | Act::FillDisk { lasts_ns, .. } => half(lasts_ns),
        Act::Flap { cut_ns, open_ns, times, .. } => {
            half(cut_ns);
            half(open_ns);
            *times = (*times / 2).max(1);
        }
        Act::SlowLink { extra_ns, lasts_ns, .. } | Act::LatencySpike { extra_ns, lasts_ns } => {
            half(extra_ns);
            half(lasts_ns);
        }
        Act::DamageDisk { restart_after_ns, down_ns, .. }
        | Act::DamageStore { restart_after_ns, down_ns, .. } => {
            half(restart_after_ns);
            half(down_ns);
        }
        Act::JumpWall { by_ms, .. } => *by_ms /= 2,
        Act::JumpClock { by_ns, .. } => half(by_ns),
        Act::FailDisk { .. } | Act::FailStore { .. } | Act::SetRate { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Chance;
    use crate::faults::Fault;
    use crate::plan::Profile;
    use crate::schedule::What;

    fn chance(number: u64) -> Chance {
        Chance { fault: Fault::Loss, place: 12, number }
    }

    /// A schedule of five nodes with everything in it.
    fn large() -> Schedule {
        let big = |&seed: &u64| {
            let plan = Schedule::draw(seed, Profile::Swarm, None).plan;
            plan.nodes == 5 && plan.namespaces == 2
        };
        let seed = (0..).find(big).expect("some world is big");
        let mut schedule = Schedule::draw(seed, Profile::Swarm, None);
        schedule.acts = Schedule::draw(2, Profile::Standard, None).acts;
        schedule.chances = Some((0..50).map(chance).collect());
        schedule
    }

    #[test]
    fn what_does_not_matter_goes_and_what_matters_stays() {
        let culprit = large().jobs.iter().find(|job| job.what == What::Create).cloned();
        let culprit = culprit.expect("some job creates");
        let mut fails = |schedule: &Schedule| {
            let chances = schedule.chances.as_ref().expect("they are listed");
            chances.contains(&chance(17))
                && chances.contains(&chance(31))
                && schedule
                    .jobs
                    .iter()
                    .any(|job| job.job == culprit.job && job.what == What::Create)
        };
        let start = large();
        assert!(fails(&start));
        let (small, attempts) = Shrinker::new(start, &mut fails, &mut || true).run();
        assert_eq!(small.chances, Some(vec![chance(17), chance(31)]));
        assert_eq!(small.jobs.len(), 1);
        assert_eq!((small.acts.len(), small.plan.nodes, small.plan.namespaces), (0, 3, 1));
        assert_eq!(small.plan.weather.loss_ppm, 0);
        assert!(attempts < 500, "{attempts} attempts");
        assert!(Schedule::parse(&small.to_text("")).is_ok(), "a shrunk schedule is a schedule");
    }

    #[test]
    fn nothing_is_tried_without_budget_and_nothing_taken_that_passes() {
        let start = large();
        let (same, attempts) = Shrinker::new(start.clone(), &mut |_| true, &mut || false).run();
        assert_eq!((same, attempts), (start.clone(), 0));
        let (same, _) = Shrinker::new(start.clone(), &mut |_| false, &mut || true).run();
        assert_eq!(same, start);
    }
}
