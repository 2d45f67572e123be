//! The smallest program that uses each protocol of the default library: `all HTTP-URL MQTT-URL`.

use vansire::broker::{Broker, Options};
use vansire::{Ctx, Event, Manager, http};

fn main() -> vansire::Result<()> {
    let mut urls = std::env::args().skip(1);
    let mut manager = Manager::new(())?;
    let mut net = manager.net();
    net.listen(
        urls.next().unwrap_or_else(|| "http://127.0.0.1:8080".into()),
        |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
            if let Event::HttpRequest(_) = ev {
                cx.reply(http::Response::text(200, "Hello, World!"));
            }
        },
    )?;
    Broker::new(Options::new()).listen(&mut net, urls.next().unwrap_or_else(|| "mqtt://127.0.0.1:1883".into()))?;
    manager.run()
}
