//! The smallest MQTT broker: `broker URL`.

use vansire::Manager;
use vansire::broker::{Broker, Options};

fn main() -> vansire::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mqtt://127.0.0.1:1883".into());
    let mut manager = Manager::new(())?;
    Broker::new(Options::new()).listen(&mut manager.net(), url)?;
    manager.run()
}
