//! What only a program that connects, or looks names up, has need of. The loop calls it by pointers that the first such call
//! sets: so the linker leaves it out of a program that only listens, and of that it is a third (docs/benchmarks.md, "Size").

use std::io;
use std::net::SocketAddr;

#[cfg(feature = "http")]
use super::conn::Due;
use super::connect::Connecting;
use super::core::Core;
use crate::id::Key;

/// Stays unset where nothing was ever connected or looked up: then there is nothing for it to do either.
pub(crate) struct Outbound<S> {
    pub(crate) start: fn(&mut Core<S>, &mut S, Key),
    pub(crate) attempt_ready: fn(&mut Core<S>, &mut S, usize),
    pub(crate) overdue: fn(&mut Core<S>, Key),
    pub(crate) abandon: fn(&mut Core<S>, Connecting),
    pub(crate) serve_names: fn(&mut Core<S>, &mut S),
    pub(crate) lookup_done: LookupDone<S>,
    pub(crate) close_names: fn(&mut Core<S>, &mut S),
    #[cfg(feature = "http")]
    pub(crate) client: Client<S>,
}

type LookupDone<S> = fn(&mut Core<S>, &mut S, u64, io::Result<Vec<SocketAddr>>, bool);

/// The same for HTTP as a client.
#[cfg(feature = "http")]
pub(crate) struct Client<S> {
    pub(crate) serve: fn(&mut Core<S>, &mut S, Key, &[u8]) -> usize,
    pub(crate) end: fn(&mut Core<S>, &mut S, Key),
    pub(crate) write_failed: fn(&mut Core<S>, Key) -> bool,
    pub(crate) settle: fn(&mut Core<S>, Key),
    pub(crate) overdue: fn(&mut Core<S>, Key, Due),
    pub(crate) stop: fn(&mut Core<S>, Key),
}

impl<S> Core<S> {
    /// A write has failed: true where that is not the end of it.
    #[cfg(feature = "http")]
    pub(super) fn client_goes_on(&mut self, key: Key) -> bool {
        match &self.outbound {
            Some(outbound) => (outbound.client.write_failed)(self, key),
            None => false,
        }
    }

    /// To be called before anything is connected or looked up.
    pub(super) fn reach_out(&mut self) {
        self.outbound = Some(Outbound {
            start: Self::start_connecting,
            attempt_ready: Self::attempt_ready,
            overdue: Self::connect_overdue,
            abandon: Self::abandon,
            serve_names: Self::serve_names,
            lookup_done: Self::lookup_done,
            close_names: Self::close_names,
            #[cfg(feature = "http")]
            client: Client {
                serve: Self::serve_client,
                end: Self::end_of_response,
                write_failed: Self::client_write_failed,
                settle: Self::settle_client,
                overdue: Self::client_overdue,
                stop: Self::stop_client,
            },
        });
    }
}
