//! What the API tells of the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::manager::Net;
use crate::manager::sntp::ServerStatus;

/// The body of `/api/v1/time`. Times are seconds; moments are seconds since 1970.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Time {
    /// What the clock says.
    now: f64,
    /// It has been put right by servers.
    synchronised: bool,
    /// What it lacked when it was last corrected.
    offset: Option<f64>,
    /// The time to the best server and back.
    delay: Option<f64>,
    /// That of the best server.
    stratum: Option<u8>,
    /// When it was last corrected.
    last: Option<f64>,
    /// What it has still to gain or to lose.
    owed: f64,
    /// Corrections made at once.
    steps_total: u64,
    /// Corrections made little by little.
    slews_total: u64,
    servers: Vec<Server>,
}

#[derive(Debug, Clone, Serialize)]
struct Server {
    url: String,
    /// It agreed with most of the others when the clock was last corrected.
    agrees: bool,
    /// It does not want to be asked.
    dropped: bool,
    /// Why it was given up the last time.
    trouble: Option<String>,
    offset: Option<f64>,
    delay: Option<f64>,
    stratum: Option<u8>,
    last: Option<f64>,
}

/// The clock of a manager.
pub(super) fn of<S>(net: &Net<'_, S>) -> Time {
    let wall = net.wall_clock();
    let Some(status) = net.time_sync().map(|sync| sync.status(net)) else {
        return Time {
            now: unix(wall),
            synchronised: false,
            offset: None,
            delay: None,
            stratum: None,
            last: None,
            owed: 0.0,
            steps_total: 0,
            slews_total: 0,
            servers: Vec::new(),
        };
    };
    let at = status.synchronised;
    let ago = |at| wall.checked_sub(net.now().saturating_duration_since(at)).map(unix);
    Time {
        now: unix(wall),
        synchronised: at.is_some(),
        offset: at.map(|at| at.offset.as_secs_f64()),
        delay: at.map(|at| at.sample.delay.as_secs_f64()),
        stratum: at.map(|at| at.sample.stratum),
        last: at.and_then(|at| ago(at.at)),
        owed: status.owed.as_secs_f64(),
        steps_total: status.steps,
        slews_total: status.slews,
        servers: status.servers.into_iter().map(Server::from).collect(),
    }
}

impl From<ServerStatus> for Server {
    fn from(server: ServerStatus) -> Self {
        let sample = server.sample;
        Self {
            url: server.url,
            agrees: server.agrees,
            dropped: server.is_dropped,
            trouble: server.trouble.map(|trouble| trouble.to_string()),
            offset: sample.map(|sample| sample.offset.as_secs_f64()),
            delay: sample.map(|sample| sample.delay.as_secs_f64()),
            stratum: sample.map(|sample| sample.stratum),
            last: sample.map(|sample| unix(sample.time)),
        }
    }
}

/// Milliseconds are enough, and shorter to read.
fn unix(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

fn millis(time: Duration) -> f64 {
    time.as_millis() as f64 / 1000.0
}
