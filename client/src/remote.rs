//! A cluster over the network: carries out what `understudy-plan` decides.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Clock};

use tokio::sync::Semaphore;
use tracing::{debug, trace};
use understudy_plan::{Attempts, Certainty, Heard, Instant, Kind, Routes, Step, limits};
use understudy_proto::v1;
use understudy_proto::v1::pipeline_answer::Answer;
use understudy_proto::v1::pipeline_call::Call;

use crate::backend::{name_of, names_needed};
use crate::error::{self, Error};
use crate::options::Options;

mod credentials;
mod link;
mod session;
mod watch;

use credentials::Credentials;
use link::{Fault, Link};
use session::Session;

pub(crate) use watch::RemoteWatch;

/// What an attempt waits beyond the node's own time before it answers for a node that did not.
const GRACE: Duration = Duration::from_millis(250);

/// A cluster.
#[derive(Debug)]
pub(crate) struct Remote {
    shared: Arc<Shared>,
    /// Operations under way.
    places: Semaphore,
    /// One for each namespace that was written to; none where the caller wants none.
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    wants_sessions: bool,
}

#[derive(Debug)]
struct Shared {
    /// The beginning of [`Instant`].
    start: Clock,
    routes: Mutex<Routes>,
    /// One connection to each address that was asked.
    links: Mutex<HashMap<String, Link>>,
    credentials: Arc<Credentials>,
}

impl Remote {
    /// Waits until some endpoint answers and has said who leads.
    pub(crate) async fn connect(endpoints: Vec<String>, options: Options) -> Result<Remote, Error> {
        let Options { deadline, in_flight, token, pems, sessions } = options;
        let credentials = Arc::new(Credentials::new(token.as_deref(), pems, &endpoints)?);
        let endpoints: Result<Vec<String>, Error> =
            endpoints.iter().map(|endpoint| address(endpoint)).collect();
        let routes = Routes::new(endpoints?, chance());
        if routes.is_empty() {
            return Err(Error::invalid("no endpoint; give one such as `127.0.0.1:7401`"));
        }
        let (start, routes, links) = (Clock::now(), Mutex::new(routes), Mutex::default());
        let shared = Arc::new(Shared { start, routes, links, credentials });
        let places = Semaphore::new(in_flight);
        let remote =
            Remote { shared, places, sessions: Mutex::default(), wants_sessions: sessions };
        remote.meet(deadline).await?;
        Ok(remote)
    }

    async fn meet(&self, deadline: Duration) -> Result<(), Error> {
        let shared = &self.shared;
        let mut attempts = Attempts::new(Kind::Read, shared.now().after(deadline));
        loop {
            let place = shared.routes().pick("", attempts.failed(), shared.now());
            let patience = attempts.patience(shared.now());
            let problem = match tokio::time::timeout(patience, shared.ask_routes(place)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(fault)) => fault,
                Err(_) => Fault::Lost("no answer".to_owned()),
            };
            shared.routes().silent(place, shared.now());
            self.pause(&mut attempts, heard(&problem), &problem).await?;
        }
    }

    /// Performs one operation to its end.
    pub(crate) async fn perform(
        &self,
        namespace: &str,
        mut call: Call,
        deadline: Duration,
    ) -> Result<Answer, Error> {
        let deadline = self.shared.now().after(deadline);
        let kind = match name_of(&mut call) {
            None => Kind::Read,
            Some(None) => Kind::Write,
            Some(Some(_)) => Kind::NamedByCaller,
        };
        let mut attempts = Attempts::new(kind, deadline);
        // It is never closed.
        let place = tokio::time::timeout_at(self.shared.clock(deadline), self.places.acquire());
        let Ok(_place) = place.await else {
            return Err(no_answer(Certainty::Refused, &attempts, "too many operations wait"));
        };
        let mut taken = None;
        if kind == Kind::Write {
            taken = Some(self.name(namespace, &mut call, &attempts, deadline).await?);
        }
        loop {
            let result = self.attempt(namespace, &call, &attempts).await;
            let (heard, problem) = match &result {
                Ok(answer) => (of_answer(answer), None),
                Err(fault) => (heard(fault), Some(fault.clone())),
            };
            match (attempts.heard(heard, self.shared.now(), chance()), result) {
                // Of several writes each for itself some may be open: the caller hears which.
                (Step::Settled | Step::GiveUp(_), Ok(answer)) => return Ok(answer),
                (Step::Settled, Err(Fault::Problem(problem))) => return Err(Error::of(*problem)),
                (Step::GiveUp(certainty), Err(fault)) => {
                    return Err(given_up(certainty, &attempts, fault));
                }
                (Step::Settled, Err(fault)) => {
                    return Err(given_up(attempts.certainty(), &attempts, fault));
                }
                (Step::Again { at, rename }, _) => {
                    trace!(?problem, tries = attempts.failed(), "trying again");
                    if rename {
                        self.session(namespace).renew(taken.take());
                        taken = Some(self.name(namespace, &mut call, &attempts, deadline).await?);
                    }
                    tokio::time::sleep_until(self.shared.clock(at)).await;
                }
            }
        }
    }

    /// Waits as `attempts` decides; fails when it gives up.
    async fn pause(
        &self,
        attempts: &mut Attempts,
        heard: Heard,
        fault: &Fault,
    ) -> Result<(), Error> {
        match attempts.heard(heard, self.shared.now(), chance()) {
            Step::Again { at, .. } => {
                tokio::time::sleep_until(self.shared.clock(at)).await;
                Ok(())
            }
            Step::Settled | Step::GiveUp(_) => match fault {
                Fault::Problem(problem) => Err(Error::of((**problem).clone())),
                fault => Err(given_up(attempts.certainty(), attempts, fault.clone())),
            },
        }
    }

    /// Gives `call` a name, and a session to the client if it has none.
    async fn name(
        &self,
        namespace: &str,
        call: &mut Call,
        attempts: &Attempts,
        deadline: Instant,
    ) -> Result<session::Taken, Error> {
        let count = names_needed(call);
        let until = self.shared.clock(deadline);
        let session = self.session(namespace);
        let named = session.take(count, until, || self.open_session(namespace, deadline)).await;
        let (taken, name) = match named {
            Ok(Some(named)) => named,
            Ok(None) => {
                let why = "the operations before it have no answers yet";
                return Err(no_answer(Certainty::Refused, attempts, why));
            }
            Err(error) => return Err(error),
        };
        if let Some(place) = name_of(call) {
            *place = Some(name);
        }
        Ok(taken)
    }

    /// That of a namespace; a client of more namespaces than are remembered names by time there.
    fn session(&self, namespace: &str) -> Arc<Session> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = sessions.get(namespace) {
            return session.clone();
        }
        let has_room = sessions.len() < limits::NAMESPACES_MAX;
        let session = Arc::new(Session::new(self.wants_sessions && has_room));
        if has_room {
            sessions.insert(namespace.to_owned(), session.clone());
        }
        session
    }

    /// `None` when this cluster has no sessions to give.
    async fn open_session(
        &self,
        namespace: &str,
        deadline: Instant,
    ) -> Result<Option<String>, Error> {
        let mut attempts = Attempts::new(Kind::Read, deadline);
        let call = Call::OpenSession(v1::OpenSessionRequest { namespace: namespace.to_owned() });
        loop {
            let fault = match self.attempt(namespace, &call, &attempts).await {
                Ok(Answer::OpenSession(answer)) => return Ok(Some(answer.session)),
                Ok(_) => return Ok(None),
                Err(fault) => fault,
            };
            if let Fault::Problem(problem) = &fault
                && problem.code == "unimplemented"
            {
                debug!("the cluster gives no sessions: writes are named by time");
                return Ok(None);
            }
            self.pause(&mut attempts, heard(&fault), &fault).await?;
        }
    }

    /// One try at one node.
    async fn attempt(
        &self,
        namespace: &str,
        call: &Call,
        attempts: &Attempts,
    ) -> Result<Answer, Fault> {
        let shared = &self.shared;
        let now = shared.now();
        // Reads that any replica may answer are spread.
        let namespace = if is_for_anyone(call) { "" } else { namespace };
        let (place, address) = {
            let routes = shared.routes();
            let place = routes.pick(namespace, attempts.failed(), now);
            (place, routes.address(place).to_owned())
        };
        shared.refresh_routes(place);
        let link = shared.link(&address);
        let patience = attempts.patience(now);
        let asked = tokio::time::timeout(patience + GRACE, link.ask(call.clone(), patience)).await;
        let result = asked.unwrap_or_else(|_| Err(Fault::Lost(format!("{address}: no answer"))));
        let mut routes = shared.routes();
        match &result {
            Ok(_) => routes.answered(place),
            Err(Fault::Problem(problem)) => {
                routes.answered(place);
                if matches!(problem.code.as_str(), "unavailable" | "unknown") {
                    routes.doubt();
                }
            }
            Err(Fault::NotSent(_) | Fault::Lost(_)) => {
                routes.silent(place, now);
                drop(routes);
                shared.drop_link(&address, &link);
            }
        }
        result
    }
}

impl Shared {
    fn now(&self) -> Instant {
        Instant(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn clock(&self, at: Instant) -> tokio::time::Instant {
        (self.start + Duration::from_nanos(at.0)).into()
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to `address`, which is made if there is none.
    fn link(&self, address: &str) -> Link {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(address).filter(|link| link.is_open()) {
            return link.clone();
        }
        let link = Link::start(address.to_owned(), self.credentials.clone());
        links.insert(address.to_owned(), link.clone());
        link
    }

    /// Forgets a connection that brings no answers: the next attempt makes another.
    fn drop_link(&self, address: &str, link: &Link) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if links.get(address).is_some_and(|known| known.is(link)) {
            links.remove(address);
        }
    }

    /// Asks for the leaders beside the operations, when that is due.
    fn refresh_routes(self: &Arc<Self>, place: usize) {
        if !self.routes().is_question_due(self.now()) {
            return;
        }
        let shared = self.clone();
        drop(tokio::spawn(async move {
            let asked = tokio::time::timeout(limits::ATTEMPT_TIMEOUT, shared.ask_routes(place));
            if !matches!(asked.await, Ok(Ok(()))) {
                shared.routes().doubt();
            }
        }));
    }

    async fn ask_routes(&self, place: usize) -> Result<(), Fault> {
        let address = self.routes().address(place).to_owned();
        let link = self.link(&address);
        let status = link.status().await?;
        let mut routes = self.routes();
        routes.answered(place);
        for v1::NamespaceStatus { namespace, leader, term, .. } in status.namespaces {
            let leader = status.members.iter().find(|member| Some(member.node) == leader);
            match leader {
                Some(member) => routes.learn(&namespace, term, &member.api),
                None => routes.doubt(),
            }
        }
        Ok(())
    }
}

/// What a fault means to the plan.
fn heard(fault: &Fault) -> Heard {
    match fault {
        Fault::Problem(problem) => of_problem(problem),
        Fault::NotSent(_) => Heard::NotNow(None),
        Fault::Lost(_) => Heard::Perhaps,
    }
}

fn of_problem(problem: &v1::Problem) -> Heard {
    Heard::of(&problem.code, error::certainty(problem), error::retry_after(problem))
}

/// An answer that leaves some writes of a batch open is asked for again, under the same names.
fn of_answer(answer: &Answer) -> Heard {
    let Answer::BatchWrite(batch) = answer else { return Heard::Outcome };
    let mut worst = Heard::Outcome;
    for result in &batch.results {
        let Some(v1::batch_write_result::Result::Problem(problem)) = &result.result else {
            continue;
        };
        match of_problem(problem) {
            Heard::Perhaps => return Heard::Perhaps,
            open @ Heard::NotNow(_) => worst = open,
            Heard::Outcome | Heard::Never | Heard::NameExpired => {}
        }
    }
    worst
}

fn is_for_anyone(call: &Call) -> bool {
    let freshness = match call {
        Call::Read(request) => request.freshness,
        Call::BatchRead(request) => request.freshness,
        Call::Scan(request) => request.freshness,
        _ => None,
    };
    let level = freshness.unwrap_or_default().level();
    matches!(level, v1::ReadLevel::Session | v1::ReadLevel::Eventual)
}

fn given_up(certainty: Certainty, attempts: &Attempts, fault: Fault) -> Error {
    match fault {
        Fault::Problem(problem) => Error::NoAnswer {
            code: match certainty {
                Certainty::Unknown => "unknown".to_owned(),
                Certainty::Refused => problem.code,
            },
            certainty,
            heard: problem.message,
            tries: attempts.failed().max(1),
        },
        Fault::NotSent(why) | Fault::Lost(why) => no_answer(certainty, attempts, &why),
    }
}

fn no_answer(certainty: Certainty, attempts: &Attempts, heard: &str) -> Error {
    let code = match certainty {
        Certainty::Unknown => "unknown",
        Certainty::Refused => "unavailable",
    };
    let (code, heard, tries) = (code.to_owned(), heard.to_owned(), attempts.failed().max(1));
    Error::NoAnswer { code, certainty, heard, tries }
}

/// `host:port`, of that or `http://host:port` or `https://host:port`.
fn address(endpoint: &str) -> Result<String, Error> {
    let given = endpoint.trim().trim_end_matches('/');
    let bare = given.strip_prefix("http://").or_else(|| given.strip_prefix("https://"));
    let address = bare.unwrap_or(given);
    let port = address.rsplit_once(':').and_then(|(host, port)| {
        (!host.is_empty() && !host.contains('/')).then_some(port)?.parse::<u16>().ok()
    });
    match port {
        Some(_) => Ok(address.to_owned()),
        None => {
            Err(Error::invalid(format!("`{endpoint}` is not an endpoint such as `127.0.0.1:7401`")))
        }
    }
}

/// Any number, each as likely as the others. Asked for every answer, so without a system call.
fn chance() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for (given, meant) in [
            ("127.0.0.1:7401", "127.0.0.1:7401"),
            (" http://node-1:80/ ", "node-1:80"),
            ("https://node-1:443", "node-1:443"),
            ("[::1]:7401", "[::1]:7401"),
        ] {
            assert_eq!(address(given).unwrap(), meant);
        }
        for given in ["", "7401", ":7401", "host", "host:port", "http://host/x:80", "a:99999"] {
            assert!(address(given).is_err(), "{given:?}");
        }
    }

    #[test]
    fn a_batch_with_an_open_write_is_not_settled() {
        let problem = |code: &str, certainty: v1::Certainty| v1::BatchWriteResult {
            result: Some(v1::batch_write_result::Result::Problem(v1::Problem {
                code: code.to_owned(),
                certainty: certainty.into(),
                ..v1::Problem::default()
            })),
        };
        let heard = |results: &[v1::BatchWriteResult]| {
            of_answer(&Answer::BatchWrite(v1::BatchWriteResponse {
                results: results.to_vec(),
                receipt: None,
            }))
        };
        let conflict = problem("conflict", v1::Certainty::Refused);
        assert_eq!(heard(std::slice::from_ref(&conflict)), Heard::Outcome);
        let busy = problem("busy", v1::Certainty::Refused);
        assert_eq!(heard(&[busy.clone(), conflict]), Heard::NotNow(None));
        assert_eq!(heard(&[problem("unknown", v1::Certainty::Unknown), busy]), Heard::Perhaps);
    }
}
