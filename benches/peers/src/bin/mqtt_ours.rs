//! vansire's broker: `mqtt_ours IP:PORT`.

use std::io;

use vansire::broker::{Broker, Options};
use vansire::{Limits, Manager};
use vansire_peers::addr_argument;

fn main() -> io::Result<()> {
    let addr = addr_argument()?;
    let limits = Limits::new().connections_max(200_000);
    let mut manager = Manager::builder().limits(limits).build(()).map_err(io::Error::other)?;
    // As mosquitto is told here: any number of messages in flight, where the default is 20 for both.
    let broker = Broker::new(Options::new().inflight_max(u16::MAX));
    broker.listen(&mut manager.net(), format!("mqtt://{addr}")).map_err(io::Error::other)?;
    loop {
        manager.poll(None).map_err(io::Error::other)?;
    }
}
