//! Settings of a node that may change while it runs, what its topics run on apart ([`super::TopicConfig`]).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::catalogue::{Value, host_limits};
use super::proved::{Config, Dynamic, Layers};

/// What a node runs on just now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LiveConfig {
    /// `max.connections*`
    pub connections: ConnectionLimits,
    /// `log.cleaner.backoff.ms`: pause of compaction when there is nothing to do.
    pub cleaner_backoff_ms: u64,
    /// `log.cleaner.io.max.bytes.per.second`; `None` is no throttle. A compaction keeps what it began with.
    pub cleaner_io_bytes_per_s_max: Option<u64>,
    /// `producer.id.expiration.ms`
    pub producer_id_expiration_ms: u64,
}

/// How many connections may be open. A lower bound than there are closes none: it holds for new ones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionLimits {
    /// `max.connections`
    pub total_max: u32,
    /// `max.connections.per.ip`
    pub per_ip_max: u32,
    /// `max.connections.per.ip.overrides`, those of addresses.
    pub per_ip_overrides: BTreeMap<IpAddr, u32>,
}

impl Config {
    /// What the node runs on with these settings changed since its start.
    #[must_use]
    pub fn live(&self, dynamic: Dynamic<'_>) -> LiveConfig {
        LiveConfig::from_layers(self.layers(dynamic))
    }
}

impl LiveConfig {
    /// Whether nobody may connect, and so nobody could change it back either.
    pub(super) fn locks_everybody_out(&self) -> bool {
        let ConnectionLimits { total_max, per_ip_max, per_ip_overrides } = &self.connections;
        *total_max == 0 || (*per_ip_max == 0 && per_ip_overrides.values().all(|max| *max == 0))
    }

    fn from_layers(layers: Layers<'_>) -> Self {
        let int = |name: &str| match layers.value(name) {
            Some(Value::Int(value)) => u64::try_from(value).unwrap_or(0),
            _ => 0,
        };
        let u32 = |name: &str| u32::try_from(int(name)).unwrap_or(u32::MAX);
        let overrides = layers.value("max.connections.per.ip.overrides").map(|value| value.to_text());
        let overrides = overrides.as_deref().and_then(host_limits).unwrap_or_default();
        Self {
            connections: ConnectionLimits {
                total_max: u32("max.connections"),
                per_ip_max: u32("max.connections.per.ip"),
                per_ip_overrides: overrides
                    .into_iter()
                    .filter_map(|(host, max)| Some((host.parse().ok()?, max)))
                    .collect(),
            },
            cleaner_backoff_ms: int("log.cleaner.backoff.ms"),
            cleaner_io_bytes_per_s_max: match layers.value("log.cleaner.io.max.bytes.per.second") {
                #[expect(clippy::cast_sign_loss, reason = "checked to lie between 1 and 2^53")]
                Some(Value::Double(rate)) if (1.0..9e15).contains(&rate) => Some(rate as u64),
                _ => None,
            },
            producer_id_expiration_ms: int("producer.id.expiration.ms"),
        }
    }
}
