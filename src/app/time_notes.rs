//! What is said of the clock's servers: the first correction, and who cannot be asked.

use std::time::Duration;

use super::config::Level;
use super::serve::Site;
use crate::manager::Net;

/// How far it has been said.
#[derive(Default)]
pub(super) struct Notes {
    /// The service's count of changes when it was last looked at.
    seen: u64,
    is_synchronised: bool,
    /// By server: what was last said to be wrong with it.
    troubles: Vec<Option<String>>,
}

/// A server that is silent for so long at the start is told; it is asked again all the same.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

impl Notes {
    /// Says what is new, once. Costs next to nothing where nothing is.
    pub(super) fn tell(&mut self, site: &Site, net: &Net<'_, Site>) {
        let Some(sync) = net.time_sync().filter(|sync| sync.changes() != self.seen) else { return };
        self.seen = sync.changes();
        let status = sync.status(net);
        if let Some(first) = status.synchronised.filter(|_| !self.is_synchronised) {
            self.is_synchronised = true;
            let url = status.servers.get(first.best).map_or("?", |server| &*server.url);
            site.note(Level::Info, || format!("time: right by {url}, offset {}", first.offset));
        }
        self.troubles.resize(status.servers.len(), None);
        for (told, server) in self.troubles.iter_mut().zip(&status.servers) {
            let trouble = server.trouble.as_ref().map(|trouble| trouble.to_string());
            let is_heard = trouble.is_none() && server.sample.is_some();
            if is_heard && told.take().is_some() {
                site.note(Level::Info, || format!("time: {} answers", server.url));
            }
            if let Some(trouble) = trouble.filter(|trouble| told.as_ref() != Some(trouble)) {
                let but = if server.is_dropped { "; it is not asked any more" } else { "; it is asked again later" };
                site.note(Level::Warn, || format!("time: {} cannot be asked: {trouble}{but}", server.url));
                *told = Some(trouble);
            }
        }
    }
}

/// Says which servers have not been heard of at all.
pub(super) fn tell_silent(site: &Site, net: &Net<'_, Site>) {
    let Some(sync) = net.time_sync() else { return };
    for server in sync.status(net).servers.iter().filter(|server| server.sample.is_none() && server.trouble.is_none()) {
        site.note(Level::Warn, || format!("time: {} has not answered; it is asked again later", server.url));
    }
}
