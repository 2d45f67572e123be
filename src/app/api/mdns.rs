//! What the API tells of the local network.

use serde::Serialize;

use crate::manager::Net;

/// The body of `/api/v1/mdns`.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Mdns {
    /// The interfaces that are spoken on; none where nothing is announced or asked.
    interfaces: Vec<String>,
    /// What this machine answers to, below `.local`.
    host: Option<String>,
    /// What services are called, a number in it where another had the name.
    services: Vec<String>,
    /// All names are made sure of.
    settled: bool,
    sent_total: u64,
    heard_total: u64,
    /// What came from elsewhere, or was broken.
    strays_total: u64,
    /// Answers to single askers that were not sent, since there were too many.
    limited_total: u64,
    conflicts_total: u64,
}

pub(super) fn of<S>(net: &Net<'_, S>) -> Mdns {
    let (stats, status) = (net.stats(), net.mdns_status().unwrap_or_default());
    Mdns {
        interfaces: status.interfaces,
        host: status.host,
        services: status.services.into_iter().map(|(_, name)| name).collect(),
        settled: status.is_settled,
        sent_total: stats.mdns_sent,
        heard_total: stats.mdns_heard,
        strays_total: stats.mdns_strays,
        limited_total: stats.mdns_limited,
        conflicts_total: stats.mdns_conflicts,
    }
}
