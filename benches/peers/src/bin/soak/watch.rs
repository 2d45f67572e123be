//! Looks at both processes each second: memory, descriptors, timers, connections.

use std::io;
use std::time::{Duration, Instant};

use serde_json::Value;
use vansire::aio::Handle;
use vansire_peers::procfs;

use crate::ledger::Ledger;

/// What there is at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Seconds since the start.
    pub(crate) at: f64,
    /// Resident memory of the server and of the clients in KB.
    pub(crate) server_kb: f64,
    pub(crate) clients_kb: f64,
    /// Memory that is allocated, in KB.
    pub(crate) server_heap: f64,
    pub(crate) clients_heap: f64,
    /// Descriptors.
    pub(crate) server_fds: f64,
    pub(crate) clients_fds: f64,
    /// Connections and timers of the managers.
    pub(crate) server_conns: f64,
    pub(crate) clients_conns: f64,
    pub(crate) server_timers: f64,
    pub(crate) clients_timers: f64,
    /// Sessions of the broker.
    pub(crate) sessions: f64,
}

pub(crate) struct Watch {
    pid: u32,
    start: Instant,
    /// Until when nothing counts: tables and buffers find their size.
    warm_up: Duration,
    samples: Vec<Sample>,
    before: [Duration; 2],
    /// As it was before the first client came.
    fds: [f64; 2],
}

/// Five minutes, or a third of a short run.
const WARM_UP: Duration = Duration::from_secs(300);

impl Watch {
    pub(crate) fn new(pid: u32, time: Duration) -> io::Result<Self> {
        let nothing = Sample {
            at: -1.0,
            server_kb: -1.0,
            clients_kb: -1.0,
            server_heap: -1.0,
            clients_heap: -1.0,
            server_fds: -1.0,
            clients_fds: -1.0,
            server_conns: -1.0,
            clients_conns: -1.0,
            server_timers: -1.0,
            clients_timers: -1.0,
            sessions: -1.0,
        };
        // Written to now: what the samples take must not look like a leak.
        let mut samples = vec![nothing; time.as_secs() as usize + 60];
        samples.clear();
        let own = std::process::id();
        Ok(Self {
            pid,
            start: Instant::now(),
            warm_up: WARM_UP.min(time / 3),
            samples,
            before: [procfs::cpu_time(&[pid])?, procfs::cpu_time(&[own])?],
            fds: [procfs::descriptors(&[pid])? as f64, procfs::descriptors(&[own])? as f64],
        })
    }

    pub(crate) fn since_start(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn warm_up(&self) -> Duration {
        self.warm_up
    }

    /// What counts.
    pub(crate) fn warm(&self) -> &[Sample] {
        let from = self.samples.partition_point(|sample| sample.at < self.warm_up.as_secs_f64());
        &self.samples[from..]
    }

    /// What a second costs, in seconds: the server and the clients.
    pub(crate) fn cpu_shares(&self) -> io::Result<[f64; 2]> {
        let now = [procfs::cpu_time(&[self.pid])?, procfs::cpu_time(&[std::process::id()])?];
        let share = |n: usize| now[n].saturating_sub(self.before[n]).as_secs_f64() / self.start.elapsed().as_secs_f64();
        Ok([share(0), share(1)])
    }

    pub(crate) async fn take(&mut self, stats: &Value, clients: &Handle<()>) -> io::Result<()> {
        let sample = self.look(stats, clients).await?;
        self.samples.push(sample);
        Ok(())
    }

    pub(crate) async fn look(&self, stats: &Value, clients: &Handle<()>) -> io::Result<Sample> {
        let count = |path: &str| stats.pointer(path).and_then(Value::as_f64).unwrap_or(-1.0);
        let counts = clients.with(|cx| (cx.net.connection_count(), cx.net.timer_count())).await;
        let (conns, timers) = counts.map_err(io::Error::other)?;
        let (server, own) = ([self.pid], [std::process::id()]);
        Ok(Sample {
            at: self.start.elapsed().as_secs_f64(),
            server_kb: procfs::resident(&server)? as f64 / 1024.0,
            clients_kb: procfs::resident(&own)? as f64 / 1024.0,
            server_heap: count("/heap") / 1024.0,
            clients_heap: crate::HEAP.allocated() as f64 / 1024.0,
            server_fds: procfs::descriptors(&server)? as f64,
            clients_fds: procfs::descriptors(&own)? as f64,
            server_conns: count("/conns"),
            clients_conns: conns as f64,
            server_timers: count("/timers"),
            clients_timers: timers as f64,
            sessions: count("/broker/sessions"),
        })
    }
}

impl Sample {
    /// At the end there are as many descriptors as at the beginning.
    pub(crate) fn same_things(watch: &Watch, end: &Self, ledger: &Ledger) {
        ledger.same("descriptors of the server at the end", end.server_fds, watch.fds[0]);
        ledger.same("descriptors of the clients at the end", end.clients_fds, watch.fds[1]);
        ledger.same("timers of the clients at the end", end.clients_timers, 0.0);
    }
}
