//! The gRPC services: `understudy.v1`, health and reflection.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use tokio::sync::Semaphore;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep};
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use understudy_core::limits as core;
use understudy_proto::v1;
use understudy_proto::v1::actors_server::ActorsServer;
use understudy_proto::v1::cluster_server::ClusterServer;

use crate::api::problem::{Problem, codes};
use crate::api::{Desk, front, server, status};
use crate::limits;

mod actors;
mod calls;
mod cluster;
mod convert;
mod pipeline;
mod watch;

/// What the paths of our own methods begin with.
pub const PACKAGE_PATH: &str = "/understudy.v1.";
/// The calls that last.
pub const LASTING_PATHS: [&str; 2] =
    ["/understudy.v1.Actors/Pipeline", "/understudy.v1.Actors/Watch"];
/// The names under which health is told: the node's, and each service's.
const HEALTH_NAMES: [&str; 3] = ["", "understudy.v1.Actors", "understudy.v1.Cluster"];

/// When the client of a call gives up.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Instant);

/// Room for the calls in flight of one connection.
#[derive(Clone, Debug)]
pub struct Room(pub Arc<Semaphore>);

/// The services as routes; spawns what keeps the health service true.
pub fn router(api: &Arc<Desk>) -> Router {
    let actors = ActorsServer::new(actors::Actors::new(api.clone()))
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(usize::MAX);
    let cluster = ClusterServer::new(cluster::Cluster::new(api.clone()))
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
    let (reporter, health) = tonic_health::server::health_reporter();
    drop(tokio::spawn(watch_health(api.clone(), reporter)));
    let mut routes = Routes::new(actors).add_service(cluster).add_service(health);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Both versions of the protocol: tools are divided.
    if let (Ok(v1), Ok(v1alpha)) = (reflection().build_v1(), reflection().build_v1alpha()) {
        routes = routes.add_service(v1).add_service(v1alpha);
    }
    routes.into_axum_router()
}

/// Says what `readyz` says, a moment later at most.
async fn watch_health(api: Arc<Desk>, reporter: HealthReporter) {
    let mut stop: Receiver<bool> = api.stop.clone();
    loop {
        let ready = status::ready(&api).await.is_ok();
        let serving = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in HEALTH_NAMES {
            reporter.set_service_status(name, serving).await;
        }
        if *stop.borrow() {
            return;
        }
        tokio::select! {
            () = server::stopped(&mut stop) => {}
            () = sleep(limits::HEALTH_EVERY) => {}
        }
    }
}

/// How long a call may take, by its `grpc-timeout`.
///
/// # Errors
/// A problem when it is not one.
pub fn timeout(headers: &HeaderMap) -> Result<Duration, Problem> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(limits::API_TIMEOUT) };
    let parsed = value.to_str().ok().and_then(parse_timeout);
    let wait = parsed.ok_or_else(|| {
        let detail = "`grpc-timeout` is up to 8 digits and one of H, M, S, m, u, n";
        Problem::new(&codes::BAD_TIMEOUT, detail)
    })?;
    let wait = wait.min(core::REQUEST_TIMEOUT_MAX);
    Ok(wait - front::way_back(wait))
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_of_every_unit() {
        let parsed = |text| parse_timeout(text);
        assert_eq!(parsed("2S"), Some(Duration::from_secs(2)));
        assert_eq!(parsed("1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(parsed("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(parsed("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for wrong in ["", "S", "5", "-1S", "123456789S", "1s", "1 S", "\u{e9}", "1\u{e9}"] {
            assert_eq!(parsed(wrong), None, "{wrong:?}");
        }
    }
}
