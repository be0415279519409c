//! The commands that ask a running cluster about itself.

use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::api::status::{GroupPage, StatusPage};
use crate::client::{Call, Client};
use crate::limits;
use crate::say::say;

/// The status page of one node.
///
/// # Errors
/// When it does not answer in time.
pub async fn status_of(client: &Client, endpoint: &str) -> anyhow::Result<StatusPage> {
    let reply = client.attempt(endpoint, &Call::get("/v1/status"), limits::ATTEMPT_TIMEOUT).await?;
    if !reply.status.is_success() {
        bail!("{}", reply.refusal().detail);
    }
    serde_json::from_slice(&reply.body).context("its status is not understood; is it a node?")
}

/// Prints what every endpoint says of itself.
///
/// # Errors
/// When no endpoint answers.
pub async fn status(client: &Client, json: bool) -> anyhow::Result<ExitCode> {
    let mut pages = Vec::new();
    for endpoint in client.endpoints() {
        pages.push((endpoint, status_of(client, endpoint).await));
    }
    if json {
        let all = pages.iter().map(|(endpoint, page)| match page {
            Ok(page) => serde_json::json!({ "endpoint": endpoint, "status": page }),
            Err(error) => {
                serde_json::json!({ "endpoint": endpoint, "error": format!("{error:#}") })
            }
        });
        say!("{}", serde_json::Value::Array(all.collect()));
    } else {
        print!("{}", table(&pages));
    }
    if pages.iter().all(|(_, page)| page.is_err()) {
        bail!("no endpoint answers; start the cluster, or name others with `--endpoints`");
    }
    Ok(ExitCode::SUCCESS)
}

fn table(pages: &[(&String, anyhow::Result<StatusPage>)]) -> String {
    let mut rows = vec![
        ["NODE", "API", "NAMESPACE", "ROLE", "TERM", "LEADER", "APPLIED", "ACTORS"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (endpoint, page) in pages {
        match page {
            Ok(page) => rows.extend(page.groups.iter().map(|group| row(page, endpoint, group))),
            Err(error) => rows.push(vec!["?".into(), (*endpoint).clone(), format!("{error:#}")]),
        }
    }
    let columns = rows[0].len();
    let width = |column: usize| {
        // The last cell of a short row is a sentence and may stand across the columns.
        let cells = rows.iter().filter(|row| row.len() == columns || column + 1 < row.len());
        cells.map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The role, or what the node waits for.
fn role(page: &StatusPage, group: &GroupPage) -> String {
    if group.joining {
        return "joining".to_owned();
    }
    if page.formed {
        return group.role.clone();
    }
    let unmet: Vec<String> = page.unmet.iter().map(u64::to_string).collect();
    format!("waits for {}", unmet.join(","))
}

fn row(page: &StatusPage, endpoint: &str, group: &GroupPage) -> Vec<String> {
    vec![
        page.node.to_string(),
        endpoint.to_owned(),
        group.namespace.clone(),
        role(page, group),
        group.term.to_string(),
        group.leader.map_or("none".to_owned(), |leader| leader.to_string()),
        group.applied.to_string(),
        group.actors.to_string(),
    ]
}
