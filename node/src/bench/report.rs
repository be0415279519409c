//! What a bench says in the end.

use serde_json::json;

use super::{BenchArgs, Measured, Outcome};
use crate::say::say;
use crate::tools::table::Table;

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Prints it as a table, or as one JSON object.
pub fn print(args: &BenchArgs, outcome: &Outcome) {
    let seconds = outcome.took.as_secs_f64().max(0.001);
    let heard = ("heard", &outcome.heard);
    let kinds = [("write", &outcome.writes), ("read", &outcome.reads), heard];
    if args.json {
        let kinds =
            kinds.iter().map(|(name, measured)| ((*name).to_owned(), page(measured, seconds)));
        let kinds: serde_json::Map<String, serde_json::Value> = kinds.collect();
        say!(
            "{}",
            json!({
                "protocol": format!("{:?}", args.protocol).to_lowercase(),
                "connections": args.connections,
                "in_flight": args.in_flight,
                "rate": args.rate,
                "subscribers": args.subscribers,
                "stalled": args.stalled,
                "value_size": args.value_size,
                "seconds": seconds,
                "operations": kinds,
            })
        );
        return;
    }
    let headings =
        ["", ">COUNT", ">PER SECOND", ">p50", ">p90", ">p99", ">p99.9", ">MAX", ">FAILED"];
    let mut table = Table::new(&headings);
    for (name, measured) in kinds {
        let Measured { latency, failed } = measured;
        if latency.is_empty() && failed.is_empty() {
            continue;
        }
        let mut row = vec![
            name.to_owned(),
            latency.len().to_string(),
            format!("{:.0}", latency.len() as f64 / seconds),
        ];
        row.extend(QUANTILES.map(|(_, at)| time(latency.value_at_quantile(at))));
        row.extend([time(latency.max()), failed.values().sum::<u64>().to_string()]);
        table.push(row);
    }
    table.say();
    for (name, measured) in kinds {
        for (code, count) in &measured.failed {
            say!("{count} {name}s failed: {code}");
        }
    }
}

fn page(measured: &Measured, seconds: f64) -> serde_json::Value {
    let Measured { latency, failed } = measured;
    let quantiles =
        QUANTILES.map(|(name, at)| (format!("{name}_us"), json!(latency.value_at_quantile(at))));
    let mut page: serde_json::Map<String, serde_json::Value> = quantiles.into_iter().collect();
    page.insert("count".to_owned(), json!(latency.len()));
    page.insert("per_second".to_owned(), json!(latency.len() as f64 / seconds));
    page.insert("max_us".to_owned(), json!(latency.max()));
    page.insert("mean_us".to_owned(), json!(latency.mean()));
    page.insert("failed".to_owned(), json!(failed));
    page.into()
}

/// Microseconds as people read them.
fn time(micros: u64) -> String {
    match micros {
        0..=9_999 => format!("{micros} us"),
        10_000..=9_999_999 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_that_fits() {
        assert_eq!(time(870), "870 us");
        assert_eq!(time(12_340), "12.3 ms");
        assert_eq!(time(12_300_000), "12.3 s");
    }
}
