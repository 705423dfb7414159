//! Results in the form that the OpenMessaging Benchmark writes, so that the chart scripts of its users work.
//!
//! What was not measured is left out (in a series: `null`), never made up. One thing differs from that tool: publish latency counts from the
//! moment at which a message was due, where it counts from the sending; its delay is then part of it.

use serde_json::{Map, Value, json};

use crate::outcome::{Latencies, Outcome, Quantiles, Window, quantile};

/// The percentiles that its reports show, by the end of their fields' names.
const PERCENTILES: [(&str, f64); 6] =
    [("50pct", 50.0), ("75pct", 75.0), ("95pct", 95.0), ("99pct", 99.0), ("999pct", 99.9), ("9999pct", 99.99)];

/// One run as such a document. `driver` is the target's label.
#[must_use]
pub fn omb(driver: &str, outcome: &Outcome) -> Value {
    let workload = &outcome.workload;
    let windows = || outcome.series.iter().filter(|window| window.measured);
    let rate = |of: fn(&Window) -> u64| -> Vec<f64> {
        windows().map(|window| of(window) as f64 / window.seconds.max(0.001)).collect()
    };
    let ms = |latency: fn(&Window) -> Option<Quantiles>, of: fn(Quantiles) -> u64| -> Vec<Option<f64>> {
        windows().map(|window| latency(window).map(|latency| of(latency) as f64 / 1e3)).collect()
    };
    let mut document = json!({
        "workload": workload.name,
        "driver": driver,
        "messageSize": workload.messages.size_bytes_mean().round() as u64,
        "topics": workload.topics.count,
        "partitions": workload.topics.partitions,
        "producersPerTopic": workload.producers.count.div_ceil(workload.topics.count.max(1)),
        "consumersPerTopic": workload.consumers.groups * workload.consumers.per_group,
        "publishRate": rate(|window| window.acked.messages),
        "publishErrorRate": rate(|window| window.errors),
        "consumeRate": rate(|window| window.consumed.messages),
        "backlog": windows().map(|window| window.lag.map(|lag| lag.messages)).collect::<Vec<_>>(),
        "publishLatency50pct": ms(|window| window.produce, |latency| latency.p50_us),
        "publishLatency99pct": ms(|window| window.produce, |latency| latency.p99_us),
        "publishLatency999pct": ms(|window| window.produce, |latency| latency.p999_us),
        "publishLatencyMax": ms(|window| window.produce, |latency| latency.max_us),
        "endToEndLatency50pct": ms(|window| window.end_to_end, |latency| latency.p50_us),
        "endToEndLatency99pct": ms(|window| window.end_to_end, |latency| latency.p99_us),
        "endToEndLatency999pct": ms(|window| window.end_to_end, |latency| latency.p999_us),
        "endToEndLatencyMax": ms(|window| window.end_to_end, |latency| latency.max_us),
    });
    if let Value::Object(fields) = &mut document {
        aggregate(fields, "Publish", &outcome.produce, 1e3);
        // Its delays are in microseconds.
        aggregate(fields, "PublishDelay", &outcome.slip, 1.0);
        aggregate(fields, "EndToEnd", &outcome.end_to_end, 1e3);
    }
    document
}

fn aggregate(fields: &mut Map<String, Value>, what: &str, latencies: &Latencies, divisor: f64) {
    if latencies.is_empty() {
        return;
    }
    let mut put = |name: String, value: Value| fields.insert(name, value);
    put(format!("aggregated{what}LatencyAvg"), json!(latencies.mean() / divisor));
    for (name, percentile) in PERCENTILES {
        let value = latencies.value_at_quantile(quantile(percentile)) as f64 / divisor;
        put(format!("aggregated{what}Latency{name}"), json!(value));
    }
    put(format!("aggregated{what}LatencyMax"), json!(latencies.max() as f64 / divisor));
    let mut quantiles = Map::new();
    for value in latencies.iter_quantiles(10) {
        let percentile = format!("{}", (value.quantile_iterated_to() * 100.0 * 1e6).round() / 1e6);
        quantiles.insert(percentile, json!(value.value_iterated_to() as f64 / divisor));
    }
    put(format!("aggregated{what}LatencyQuantiles"), Value::Object(quantiles));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn series_have_a_value_for_each_measured_second_and_quantiles_rise() {
        let document = omb("ringlog", &sample::outcome(1));
        for series in ["publishRate", "consumeRate", "backlog", "publishLatency99pct", "endToEndLatencyMax"] {
            assert_eq!(document[series].as_array().map(Vec::len), Some(10), "{series}");
        }
        assert_eq!(document["messageSize"], 1024);
        let quantiles = document["aggregatedPublishLatencyQuantiles"].as_object().expect("a map");
        let values: Vec<f64> = quantiles.values().filter_map(Value::as_f64).collect();
        assert!(values.len() > 10 && values.is_sorted(), "{values:?}");
        assert!(quantiles.contains_key("50"), "{:?}", quantiles.keys().collect::<Vec<_>>());
        let p99 = document["aggregatedPublishLatency99pct"].as_f64().expect("a number");
        assert!((1.0..10.0).contains(&p99), "{p99} ms");
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        let mut outcome = sample::outcome(1);
        outcome.end_to_end.reset();
        assert!(omb("x", &outcome).get("aggregatedEndToEndLatencyQuantiles").is_none());
    }
}
