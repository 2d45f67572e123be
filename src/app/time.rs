//! How far the clock is off: what `vansire time HOST` does.

use std::io::{self, Write};

use super::config::items;
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::manager::{Ctx, Manager};
use crate::sntp::ClientOptions;

/// Asks each server once and prints a line for each that answers. Fails when one does not, and says why.
pub(super) fn ask(servers: &[String]) -> Result<()> {
    for server in servers {
        items::time_server(server).map_err(|why| Error::new(Kind::BadUrl, why))?;
    }
    let mut manager = Manager::new(Vec::<String>::new())?;
    for server in servers {
        let name = server.clone();
        let mut answered = false;
        let handler = move |cx: &mut Ctx<'_, Vec<String>>, event: Event<'_>| match event {
            Event::SntpTime(sample) => {
                answered = true;
                let (offset, delay, stratum) = (sample.offset, sample.delay.as_secs_f64(), sample.stratum);
                // A closed pipe ends nothing that others wait for.
                let _ = writeln!(io::stdout(), "{name}: offset {offset}, delay {delay:.6} s, stratum {stratum}");
            }
            Event::Closed(reason) if !answered => {
                let why = match cx.net.info(cx.conn).map_or(0, |info| info.bytes_in) {
                    0 => String::new(),
                    _ => " (what came does not count)".into(),
                };
                cx.state.push(format!("{name}: {reason}{why}"));
            }
            _ => {}
        };
        manager.net().sntp_connect(ClientOptions::new(items::time_server_url(server)), handler)?;
    }
    while manager.net().connection_count() > 0 {
        manager.poll(None)?;
    }
    match manager.state().as_slice() {
        [] => Ok(()),
        silent => Err(Error::new(Kind::TimedOut, silent.join("\n"))),
    }
}
