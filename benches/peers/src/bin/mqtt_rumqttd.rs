//! rumqttd with limits that the comparison does not reach, and without the console and the metrics: `mqtt_rumqttd IP:PORT`.

use std::collections::HashMap;
use std::io;

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};
use vansire_peers::addr_argument;

fn main() -> io::Result<()> {
    let connections = ConnectionSettings {
        connection_timeout_ms: 60_000,
        max_payload_size: 1 << 20,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "v4".into(),
        listen: addr_argument()?,
        tls: None,
        next_connection_delay_ms: 0,
        connections,
    };
    let config = Config {
        // As in the configuration that rumqttd comes with, but for the number of clients.
        router: RouterConfig {
            max_connections: 100_000,
            max_outgoing_packet_count: 200,
            max_segment_size: 100 << 20,
            max_segment_count: 10,
            ..RouterConfig::default()
        },
        v4: Some(HashMap::from([("1".into(), server)])),
        ..Config::default()
    };
    Broker::new(config).start().map_err(io::Error::other)
}
