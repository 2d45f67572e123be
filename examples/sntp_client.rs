//! Asks servers for the time, once each: `cargo run --example sntp_client HOST[:PORT]...`. Fails unless all of them answer.

use std::process::ExitCode;

use vansire::{Ctx, Event, Manager};

/// Answers that counted.
type State = usize;

fn main() -> ExitCode {
    let servers: Vec<String> = std::env::args().skip(1).collect();
    if servers.is_empty() {
        eprintln!("usage: sntp_client HOST[:PORT]...");
        return ExitCode::from(2);
    }
    match ask(&servers) {
        Ok(answers) if answers == servers.len() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn ask(servers: &[String]) -> vansire::Result<usize> {
    let mut manager = Manager::new(0)?;
    for server in servers {
        let name = server.clone();
        let url = if server.contains("://") { name.clone() } else { format!("sntp://{server}") };
        manager.net().sntp_connect(url, move |cx: &mut Ctx<'_, State>, ev: Event<'_>| match ev {
            Event::SntpTime(sample) => {
                *cx.state += 1;
                let (offset, delay, stratum) = (sample.offset, sample.delay.as_secs_f64(), sample.stratum);
                println!("{name}: offset {offset}, delay {delay:.6} s, stratum {stratum}");
            }
            // The connection ends with the answer, or with the reason why there is none.
            Event::Closed(reason) => {
                let refused = cx.net.stats().sntp_refused;
                eprintln!("{name}: {reason} ({refused} answers refused)");
            }
            _ => {}
        })?;
    }
    while manager.net().connection_count() > 0 {
        manager.poll(None)?;
    }
    Ok(*manager.state())
}
