//! Where a name leads: what `vansire resolve NAME` does.

use std::io::{self, Write};

use crate::error::Result;
use crate::manager::Manager;

/// Looks the name up, and prints a line for each address or service.
pub(super) fn ask(name: &str, service: bool, mdns: bool) -> Result<()> {
    let mut manager = Manager::new(None::<Result<Vec<String>>>)?;
    if service {
        manager.net().resolve_service(name, |cx, found| {
            let line = |srv: &crate::dns::Srv| format!("{} {} {} {}", srv.priority, srv.weight, srv.port, srv.target);
            *cx.state = Some(found.map(|found| found.iter().map(line).collect()));
        })?;
    } else if mdns {
        manager.net().mdns_resolve(name, |cx, found| {
            *cx.state = Some(found.map(|found| found.iter().map(ToString::to_string).collect()));
        })?;
    } else {
        manager.net().resolve(name, |cx, found| {
            *cx.state = Some(found.map(|found| found.iter().map(ToString::to_string).collect()));
        })?;
    }
    let lines = loop {
        if let Some(found) = manager.state_mut().take() {
            break found?;
        }
        manager.poll(None)?;
    };
    let mut out = io::stdout().lock();
    for line in lines {
        // A closed pipe has read enough.
        let _ = writeln!(out, "{line}");
    }
    Ok(())
}
